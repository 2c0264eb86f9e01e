"""The plugin as it is discovered."""

from __future__ import annotations

import subprocess
import sys

from medvistagym_core.plugins import Registry
from medvistagym_core.testing import conformance

test_conformance = conformance("kornia", examples=4)


def test_the_plugin_offers_its_tools() -> None:
    names = ["denoise", "difference", "edges", "enhance_contrast", "morphology", "orient", "sharpen"]
    assert list(Registry.discover("kornia").toolbox()) == names


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, medvistagym_kornia; print([m for m in ('numpy', 'cv2', 'torch', 'kornia') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
