"""What the plugin offers, and that it is light."""

from __future__ import annotations

import subprocess
import sys

from medvistagym_core.plugins import Registry
from medvistagym_dicom import (
    PRESETS,
    medvistagym_tools,
    window,
)


def test_the_plugin_offers_its_tools() -> None:
    registry = Registry.discover("dicom")
    toolbox = registry.toolbox("window,zoom,measure")
    assert [tool.id for tool in toolbox.values()] == ["dicom:measure", "dicom:window", "dicom:zoom"]


def test_arguments_are_described_and_no_others_are_taken() -> None:
    wanted = {
        "window": ["image", "preset", "center", "width", "function"],
        "auto_window": ["image", "low", "high", "box"],
        "zoom": ["image", "box"],
        "measure": ["image", "box"],
        "distance": ["image", "from_point", "to_point"],
        "area": ["image", "points", "ellipse"],
        "reformat": ["image", "plane", "index", "position_mm"],
        "project": ["image", "method", "plane", "from_mm", "to_mm"],
        "acquisition": ["image"],
    }
    offered = {tool.name: tool for tool in medvistagym_tools()}
    assert list(offered) == [
        "window", "auto_window", "zoom", "measure", "distance", "area", "reformat", "project", "acquisition",
    ]  # fmt: skip
    for name, tool in offered.items():
        properties = tool.spec.parameters["properties"]
        assert list(properties) == wanted[name]
        assert all(p["description"] for p in properties.values())
        assert tool.spec.deterministic
    assert window.spec.parameters["properties"]["preset"]["enum"] == sorted(PRESETS)


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, medvistagym_dicom; print([m for m in ('numpy', 'SimpleITK', 'PIL', 'pydicom') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
