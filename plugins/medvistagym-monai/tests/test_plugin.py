"""The plugin as it is discovered."""

from __future__ import annotations

import subprocess
import sys

import pytest

from medvistagym_core.plugins import Registry
from medvistagym_core.testing import conformance
from medvistagym_segment import SEGMENTERS_ENV_VAR

test_conformance = conformance("monai", examples=4)


def test_the_plugin_offers_its_tools() -> None:
    names = ["components", "crop_foreground", "fill_holes", "resample", "scale_intensity"]
    assert list(Registry.discover("monai").toolbox()) == names


def test_without_a_bundle_there_is_no_segment_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SEGMENTERS_ENV_VAR, raising=False)
    assert "segment_bundle" not in Registry.discover("monai").toolbox()


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    heavy = ("numpy", "cv2", "cc3d", "SimpleITK", "torch", "monai")
    code = f"import sys, medvistagym_monai; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
