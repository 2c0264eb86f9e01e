"""The README's pictures are what its commands and its example make today."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("medvistagym_dicom")
pytest.importorskip("medvistagym_scoutvqa")
pytest.importorskip("pydicom.data")

PICTURES = runpy.run_path(str(ROOT / "docs" / "readme_pictures.py"))["PICTURES"]


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_made_again(name: str) -> None:
    committed = PIL.Image.open(ROOT / "docs" / name)
    again = PICTURES[name]()
    assert again.size == committed.size
    new, old = (np.asarray(picture.convert("RGB")).astype(int) for picture in (again, committed))
    assert np.abs(new - old).mean() < 2  # of 255; the committed one has 64 colours
    assert f"docs/{name}" in (ROOT / "README.md").read_text("utf-8")
