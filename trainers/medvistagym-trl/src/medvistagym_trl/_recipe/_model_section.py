"""The model: a checkpoint and how it is trained, or the sizes of one that is built."""

from __future__ import annotations

from typing import Final, Literal, Self, get_args

from pydantic import Field, model_validator

from medvistagym_trl._recipe._section import Section

Tower = Literal["language", "projector", "vision"]
TOWERS: Final[tuple[Tower, ...]] = get_args(Tower)


class LoraRecipe(Section):
    """Low-rank adapters (peft). Adapters are kept and trained in float32, whatever the weights below them are."""

    rank: int = Field(0, ge=0, description="Rank of the adapters; 0 trains the weights themselves.")
    alpha: float = Field(32.0, gt=0, description="Scale of the adapters; their output counts alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in front of the adapters.")
    targets: tuple[str, ...] = Field(
        (), description="Names of the linear layers that get one, such as q_proj; all of the towers below when empty."
    )
    towers: tuple[Tower, ...] = Field(("language",), description="Parts of the model whose layers get adapters.")
    rslora: bool = Field(False, description="Scale by alpha / sqrt(rank) (rank-stabilised LoRA).")
    dora: bool = Field(False, description="Also learn the magnitude of each column (DoRA).")


class ModelRecipe(Section):
    """The model: a checkpoint, or the sizes of one that is built."""

    path: str | None = Field(None, description="Folder of a checkpoint to begin with; None builds a tiny model.")
    chat_template: str | None = Field(
        None, description="File of a chat template (Jinja) in place of the checkpoint's own."
    )
    view_side: int | None = Field(
        64, ge=1, description="Longer side of every image the policy sees, pixels; None shows images at their own size."
    )
    max_pixels: int | None = Field(
        None,
        ge=1,
        description="Most pixels of an image in the model's own processor, which scales down what is larger.",
    )
    min_pixels: int | None = Field(
        None,
        ge=1,
        description="Least pixels of an image in the model's own processor, which scales up what is smaller.",
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] = Field(
        "auto", description="Attention kernel of a checkpoint; auto is what transformers chooses."
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, a third more time."
    )
    quantization: Literal["none", "8bit", "4bit"] = Field(
        "none", description="Quantise the frozen weights below adapters (bitsandbytes); needs lora.rank."
    )
    frozen: tuple[Tower, ...] = Field(
        (), description="Parts of the model that are not trained: language, projector, vision."
    )
    lora: LoraRecipe = Field(LoraRecipe(), description="Low-rank adapters.")

    width: int = Field(128, description="Tiny model: hidden size of the language and the vision tower.")
    layers: int = Field(3, description="Tiny model: layers of the language tower.")
    vision_layers: int = Field(2, description="Tiny model: layers of the vision tower.")
    heads: int = Field(4, description="Tiny model: attention heads in both towers.")
    patch: int = Field(8, description="Tiny model: side of an image patch, pixels.")
    merge: int = Field(2, description="Tiny model: patches per image token along each axis.")
    position_scale: float = Field(10.0, description="Tiny model: factor on the initial vision position embeddings.")
    detail_scale: float = Field(
        1.0,
        gt=0,
        description="Tiny model: factor on the initial patch weights less their mean, so how much more a patch's detail counts "
        "than its brightness at first. With 40 it soon sees what differs from its surroundings by a grey level or two.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.quantization != "none" and not self.lora.rank:
            raise ValueError("quantised weights cannot be trained themselves: set model.lora.rank, such as 16")
        if set(self.frozen) == set(TOWERS) and not self.lora.rank:
            raise ValueError("every part of the model is frozen: there is nothing to train")
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is more than max_pixels {self.max_pixels}")
        return self
