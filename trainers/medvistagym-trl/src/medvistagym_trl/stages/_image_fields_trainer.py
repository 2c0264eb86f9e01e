"""A GRPO trainer for families whose images TRL's tool loop would hand on wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch

from medvistagym_trl.model import ImageFields
from medvistagym_trl.stages._vision_fields import VISION_FIELDS

Rows = Sequence[Sequence[PIL.Image.Image] | None]


class ImageFieldsTrainer:
    """Mixed into TRL's `GRPOTrainer`: makes the fields of a batch's images itself, once a family needs it.

    Once a tool has returned an image, TRL 1.16 calls the image processor alone and hands all that it gives to the model: counts
    that the model does not take, tiles without their number, token types under a name of another family. Here the fields are
    made of the images of each row, in the form that TRL cuts along with the rows (`num_tiles`, `image_position_ids`). Families
    with a grid of patches (Qwen), which TRL handles, are left to it.

    Attributes:
        image_fields: Makes the fields; None leaves them to TRL.
    """

    image_fields: ImageFields | None = None
    _is_scoring: bool = False
    _row_images: Rows | None = None

    def turn_fields(self: Any, prompt_ids: Any, images: Rows | None, fields: Any) -> Any:
        """The fields that are handed to `generate` for a turn."""
        if self.image_fields is None:
            return fields
        if not images or not any(images):
            return {}
        turn = self.image_fields.make([image for row in images for image in row or ()])
        if self.image_fields.has_token_types:  # lists, so that TRL pads them as it pads the tokens
            turn["mm_token_type_ids"] = [
                self.image_fields.token_types(torch.tensor(ids)).tolist() for ids in prompt_ids
            ]
        return turn

    def _generate_single_turn(self: Any, prompt_ids: Any, images: Any, fields: Any, *args: Any, **kwargs: Any) -> Any:
        if self.image_fields is not None:
            kwargs["has_tool_images"] = False  # else TRL adds token types of its own
        return super()._generate_single_turn(prompt_ids, images, fields, *args, **kwargs)  # type: ignore[misc]

    def _generate(self: Any, prompts: Any) -> Any:
        generated = super()._generate(prompts)  # type: ignore[misc]
        self._row_images = generated[6]
        return generated

    def _generate_and_score_completions(self: Any, inputs: Any) -> Any:
        self._is_scoring = True
        try:
            output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        finally:
            self._is_scoring = False
        if self.image_fields is None:
            return output
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
        kept = {name: value for name, value in output.items() if name not in VISION_FIELDS}
        return {**kept, **self._batch_fields(ids)}

    def _get_per_token_logps_and_entropies(self: Any, model: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        if self.image_fields is not None and self._is_scoring:
            kept = {name: value for name, value in kwargs.items() if name not in VISION_FIELDS}
            kwargs = {**kept, **self._batch_fields(input_ids)}
        return super()._get_per_token_logps_and_entropies(model, input_ids, *args, **kwargs)  # type: ignore[misc]

    def _batch_fields(self: Any, ids: torch.Tensor) -> dict[str, Any]:
        """The fields of all rows of the batch, and how many images and tiles each row has."""
        rows, fields = self._row_images, self.image_fields
        if not rows or not any(rows):
            return {}
        batch: dict[str, Any] = {
            name: value.to(ids.device)
            for name, value in fields.make([image for row in rows for image in row or ()]).items()
        }
        batch["num_images"] = [len(row or ()) for row in rows]
        if "image_position_ids" not in batch:
            batch["num_tiles"] = [sum(fields.counts(row or ())) for row in rows]
        if fields.has_token_types:
            batch["mm_token_type_ids"] = fields.token_types(ids)
        return batch
