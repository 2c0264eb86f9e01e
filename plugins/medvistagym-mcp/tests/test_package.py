"""The package as a whole: what importing it costs, and what its doors offer."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["medvistagym_mcp", "medvistagym_mcp._read_image_file"])
def test_what_needs_no_protocol_imports_none(module: str) -> None:
    program = f"import {module}, sys; print(sorted({{'mcp', 'starlette', 'uvicorn', 'httpx2'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("room", ["server", "client"])
def test_a_door_offers_what_it_names(room: str) -> None:
    door = importlib.import_module(f"medvistagym_mcp.{room}")
    assert door.__all__ == sorted(door.__all__)
    offered = {
        name for name, value in vars(door).items() if not name.startswith("_") and not hasattr(value, "__path__")
    }
    assert offered - {"annotations"} == set(door.__all__)
