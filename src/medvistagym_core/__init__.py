"""MedVistaGym Core: the tool layer and training ground for vision-language models that think with medical images.

For research only; nothing here is for clinical use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from medvistagym_core.image import Box, Image, LookupTable, Window
from medvistagym_core.plugins import hookimpl
from medvistagym_core.signature import ToolDefinitionError
from medvistagym_core.tool import Tool, ToolError, ToolResult, tool

if TYPE_CHECKING:
    from medvistagym_core.environment import MedVistaEnv, MedVistaVectorEnv
    from medvistagym_core.episode import Episode
    from medvistagym_core.execution import ImageStore, LocalExecutor
    from medvistagym_core.isolation import IsolatedExecutor
    from medvistagym_core.protocol import Protocol
    from medvistagym_core.registry import Registry, Toolbox, ToolboxLock
    from medvistagym_core.reward import Reward
    from medvistagym_core.settings import Limits, Settings
    from medvistagym_core.spec import ToolCall, ToolSpec
    from medvistagym_core.task import Answer, Case, Look
    from medvistagym_core.trajectory import TrajectoryReader

# Imported when first asked for, so that a tool author pays for nothing else.
_LATER = {
    "Answer": "task",
    "Case": "task",
    "Episode": "episode",
    "ImageStore": "execution",
    "IsolatedExecutor": "isolation",
    "Limits": "settings",
    "LocalExecutor": "execution",
    "Look": "task",
    "MedVistaEnv": "environment",
    "MedVistaVectorEnv": "environment",
    "Protocol": "protocol",
    "Registry": "registry",
    "Reward": "reward",
    "Settings": "settings",
    "ToolCall": "spec",
    "ToolSpec": "spec",
    "Toolbox": "registry",
    "ToolboxLock": "registry",
    "TrajectoryReader": "trajectory",
}
__all__ = [
    "Answer",
    "Box",
    "Case",
    "Episode",
    "Image",
    "ImageStore",
    "IsolatedExecutor",
    "Limits",
    "LocalExecutor",
    "Look",
    "LookupTable",
    "MedVistaEnv",
    "MedVistaVectorEnv",
    "Protocol",
    "Registry",
    "Reward",
    "Settings",
    "Tool",
    "ToolCall",
    "ToolDefinitionError",
    "ToolError",
    "ToolResult",
    "ToolSpec",
    "Toolbox",
    "ToolboxLock",
    "TrajectoryReader",
    "Window",
    "hookimpl",
    "tool",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"medvistagym_core.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
