"""The plugin as it is discovered."""

from __future__ import annotations

import subprocess
import sys

from medvistagym_core.plugins import Registry
from medvistagym_core.testing import conformance

test_conformance = conformance("segment", examples=4)


def test_the_plugin_offers_its_tools() -> None:
    assert list(Registry.discover("segment").toolbox()) == [
        "best_slice", "crop_to_mask", "measure_mask", "overlay", "segment", "segment_crop",
    ]  # fmt: skip


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    heavy = ("numpy", "cc3d", "cv2", "SimpleITK", "torch", "monai", "transformers")
    code = f"import sys, medvistagym_segment; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
