"""How the conversations of a checkpoint are written, as a file beside its weights says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FILE_NAME: Final = "conversation.json"


class ConversationFormat(BaseModel):
    """What a policy has to be shown for its checkpoint to be read as it was trained."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = Field(1, description="Version of this format.")
    action_format: Literal["native", "text"] = Field("native", description="How calls are written and results read.")
    compact: bool = Field(False, description="Whether images go without a number, errors as their code alone.")
    view_side: int | None = Field(None, description="Longer side of the images, pixels.")


def write_conversation_format(folder: Path, conversation: ConversationFormat) -> None:
    """Write the file into a checkpoint's folder.

    Args:
        folder: The checkpoint's folder, which exists.
        conversation: How its conversations are written.
    """
    (folder / FILE_NAME).write_text(conversation.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_conversation_format(folder: Path) -> ConversationFormat | None:
    """How a checkpoint was trained to converse, or None where it does not say."""
    file = folder / FILE_NAME
    if file.is_file():
        try:
            return ConversationFormat.model_validate_json(file.read_bytes())
        except ValidationError:
            return None
    preprocessor = folder / "preprocessor_config.json"
    if not preprocessor.is_file():
        preprocessor = folder / "processor_config.json"
    if not preprocessor.is_file():
        return None
    settings = json.loads(preprocessor.read_text("utf-8"))
    settings = settings.get("image_processor", settings)
    if settings.get("temporal_patch_size") != 1:
        return None
    side = round(float(settings["size"]["longest_edge"]) ** 0.5)
    return ConversationFormat(
        action_format="native", compact=True, view_side=side
    )  # a tiny model saved without the file
