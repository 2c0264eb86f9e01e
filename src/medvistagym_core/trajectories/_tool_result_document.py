"""A tool's result as a JSON document, for programs that read it outside an episode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from medvistagym_core.tools import ToolResult
from medvistagym_core.trajectories._records import ErrorRecord, error_record

__all__ = ["ImageDocument", "ToolResultDocument"]


class ImageDocument(BaseModel):
    """An image that a tool gave back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str | None = Field(default=None, description="Where its picture was written; null when it was not.")
    height: int = Field(gt=0, description="Height in pixels.")
    width: int = Field(gt=0, description="Width in pixels.")
    unit: str = Field(description='Unit of its values, such as "HU".')
    spacing: tuple[float, ...] | None = Field(
        default=None, description="Distance of pixel centres in mm, row and column last; null when unknown."
    )


class ToolResultDocument(BaseModel):
    """What a tool gave back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(default="", description="What a policy reads.")
    data: dict[str, Any] | None = Field(default=None, description="The same facts for programs.")
    images: tuple[ImageDocument, ...] = Field(default=(), description="The images, in order.")
    error: ErrorRecord | None = Field(default=None, description="Why there is no result; then the rest is empty.")
    seconds: float = Field(default=0.0, ge=0, description="Wall time of the tool.")

    @classmethod
    def from_result(cls, result: ToolResult, files: Sequence[Path] = ()) -> ToolResultDocument:
        """The document of a result.

        Args:
            result: The result.
            files: Where its pictures were written, in order; empty where they were not.
        """
        images = tuple(
            ImageDocument(
                file=str(files[position]) if files else None,
                height=image.shape[0],
                width=image.shape[1],
                unit=image.unit,
                spacing=image.spacing,
            )
            for position, image in enumerate(result.images)
        )
        return cls(
            text=result.text, data=result.data, images=images, error=error_record(result.error), seconds=result.seconds
        )
