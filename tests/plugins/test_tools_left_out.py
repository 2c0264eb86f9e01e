"""A plugin that cannot offer one of its tools says why, and offers the others."""

from __future__ import annotations

import importlib.metadata
import sys
import types

import pytest

from medvistagym_core import hookimpl, tool
from medvistagym_core.plugins import PluginReport
from medvistagym_core.plugins._discovery import load


def test_a_tool_that_cannot_be_offered_is_reported_and_the_others_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    @tool
    def fine() -> str:
        """Work."""
        return "fine"

    module = types.ModuleType("half_broken")
    module.medvistagym_tools = hookimpl(  # type: ignore[attr-defined]
        lambda: [ValueError("models.toml, [lesions]: there is no folder weights/lesions"), fine],
        specname="medvistagym_tools",
    )
    monkeypatch.setitem(sys.modules, "half_broken", module)
    report = PluginReport(name="half", distribution="half-broken", version="1.0", state="loaded")
    plugin = load(importlib.metadata.EntryPoint("half", "half_broken", "medvistagym"), report)
    assert plugin.report.state == "loaded"
    assert plugin.report.tools == ("fine",)
    assert plugin.report.faults == ("medvistagym_tools: models.toml, [lesions]: there is no folder weights/lesions",)
    assert plugin.contributions["tools"][0].version == "1.0"
