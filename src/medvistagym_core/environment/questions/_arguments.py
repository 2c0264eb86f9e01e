"""Arguments of question tables, as `--task-file` and tasks of plugins take them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class TableArguments(BaseModel):
    """Arguments of a question table."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Columns by part of a question, where their names are not recognised: columns.question=prompt.",
    )
    pictures: Path | None = Field(
        default=None,
        description="Folder or zip archive that the paths of pictures begin at; the table's folder unless given.",
    )
    facets: tuple[str, ...] = Field(default=(), description="More columns to break results down by.")
    strict: bool = Field(default=False, description="Whether a row that cannot be used is refused, not left out.")
    split: str | None = Field(default=None, description="The split of rows that say none: test unless given.")
    test_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Deal the questions anew into train and test, so that about this share of the pictures is in test.",
    )
    config: str | None = Field(default=None, description="Configuration of a data set on the Hub.")
    tools: str | None = Field(
        default=None, description="The tools it is meant to be solved with; all that are installed."
    )
    abstention: str | None = Field(
        default=None, description="The answer that says 'I cannot tell', if there is to be one."
    )
