"""The plugin as it is discovered."""

from __future__ import annotations

import subprocess
import sys

from medvistagym_core.plugins import Registry
from medvistagym_core.testing import conformance

test_conformance = conformance("medvistagym-ocr")


def test_the_plugin_offers_its_tools() -> None:
    assert list(Registry.discover("ocr").toolbox()) == ["hide_text", "read_text"]


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, medvistagym_ocr; print([m for m in ('numpy', 'cv2', 'rapidocr', 'onnxruntime') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
