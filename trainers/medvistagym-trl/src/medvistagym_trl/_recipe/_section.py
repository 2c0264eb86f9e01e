"""What all sections of a recipe are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of a recipe that takes no setting it does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid")
