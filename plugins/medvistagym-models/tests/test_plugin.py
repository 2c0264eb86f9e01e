"""The plugin as it is discovered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medvistagym_core.plugins import Registry
from medvistagym_core.testing import check_plugin


@pytest.mark.slow
def test_the_tools_of_a_file_conform(
    tmp_path: Path, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    save("image-classification", tmp_path / "vit")
    save("semantic-segmentation", tmp_path / "segformer")
    (tmp_path / "models.toml").write_text(
        '[judge_film]\npath = "vit"\ntask = "image-classification"\ndescription = "Judges a chest film. Not for CT."\n'
        '[outline_film]\npath = "segformer"\ntask = "semantic-segmentation"\ndescription = "Outlines what a film shows."\n'
    )
    monkeypatch.setenv("MEDVISTAGYM_MODELS", str(tmp_path / "models.toml"))
    assert list(Registry.discover("models").toolbox()) == ["judge_film", "outline_film"]
    report = check_plugin("models", examples=2)
    assert not report.failures, report.failures


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    heavy = ("torch", "transformers", "monai", "onnxruntime", "SimpleITK")
    code = f"import sys, medvistagym_models; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
