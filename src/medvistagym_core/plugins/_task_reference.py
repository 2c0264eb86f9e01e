"""References to tasks in records: a name or a file, and arguments, from which the task can be made again."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, Json, field_validator


class TaskReference(BaseModel):
    """A task by its name or its table, with the arguments it was given. `environment.make_task` makes it again."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    reference: str = Field(min_length=1, description="Name of an installed task, or a question table as it was named.")
    arguments: Json[dict[str, Any]] = Field(default_factory=dict, description="Arguments by name, as JSON text.")

    @field_validator("arguments", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        import json

        return json.dumps(value) if isinstance(value, dict) else value
