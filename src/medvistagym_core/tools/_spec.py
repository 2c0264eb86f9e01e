"""`ToolSpec` and `ToolCall`, the two documents of the tool protocol: how a tool is described, and how it is called."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from medvistagym_core.tools._signature import LOCAL_PLUGIN, TOOL_NAME_PATTERN


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """What a policy asks for."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Annotated[str, Field(description="Name of the tool in the toolbox.")]
    arguments: Annotated[dict[str, Any], Field(description="Arguments by name, as JSON values.")] = dataclasses.field(
        default_factory=dict
    )
    id: Annotated[
        str | None, Field(description="Identifier given by the policy's protocol, returned with the result.")
    ] = None
    repairs: Annotated[
        tuple[str, ...],
        Field(description="What had to be mended in its form before it could be read, by name; empty for none."),
    ] = ()


class ToolSpec(BaseModel):
    """What a tool says of itself: everything a prompt, a registry or a lock needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str = Field(pattern=TOOL_NAME_PATTERN.pattern, description="Name a policy calls it by.")
    plugin: str = Field(default=LOCAL_PLUGIN, description="Plugin it comes from; `plugin:name` is its canonical id.")
    version: str = Field(default="0", description="Version of the distribution it comes from.")
    description: str = Field(min_length=1, description="What it does and when to use it, for the policy.")
    parameters: dict[str, Any] = Field(description="JSON Schema (draft 2020-12) of its arguments.")
    images: tuple[str, ...] = Field(default=(), description="Arguments that name images by handle.")
    returns: tuple[Literal["image", "text", "data"], ...] = Field(description="What its result may hold.")
    deterministic: bool = Field(default=True, description="Whether equal arguments always give equal results.")
    timeout_s: float | None = Field(
        default=30.0, gt=0, description="Seconds after which a call is given up; null for none."
    )
    modalities: tuple[str, ...] = Field(default=(), description="DICOM modalities it is meant for; empty for any.")

    @property
    def id(self) -> str:
        """Canonical id, `plugin:name`."""
        return f"{self.plugin}:{self.name}"
