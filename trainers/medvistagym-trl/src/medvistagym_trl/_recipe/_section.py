"""The base class of the sections of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of a recipe that takes no setting it does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid")
