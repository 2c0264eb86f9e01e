"""An entry of models.toml: the path of a model, its task, its input settings, and its description for policies."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

Task = Literal[
    "image-classification",
    "object-detection",
    "semantic-segmentation",
    "instance-segmentation",
    "promptable-segmentation",
    "open-vocabulary-detection",
    "embedding",
]
TASKS: Final[tuple[str, ...]] = get_args(Task)
LABELLED_TASKS: Final = frozenset(TASKS[:4])
"""The tasks whose model tells classes apart that it was trained on."""

_Size = Annotated[int, Field(ge=1, le=8192)]
_Channels = Annotated[float, Field(allow_inf_nan=False)]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class InputSettings(BaseModel):
    """How an image becomes the numbers that a network takes.

    The image is displayed (`window`) in greys of 0 to 255, resized, multiplied by `scale`, and `mean` is taken off before it is
    divided by `std`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    window: Annotated[Literal["file", "display", "full"] | tuple[float, float], BeforeValidator(_as_tuple)] = Field(
        default="file",
        description='How values become greys: the window of the "file", the one it is "display"ed with, the "full" range, or '
        "[center, width] in the image's unit.",
    )
    unit: str | None = Field(
        default=None, description='The unit that values must have, such as "HU"; any when left out.'
    )
    size: Annotated[_Size | tuple[_Size, _Size] | None, BeforeValidator(_as_tuple)] = Field(
        default=None, description="Side, or [height, width], in pixels; the image's own when left out."
    )
    resize: Literal["stretch", "pad", "crop"] = Field(
        default="stretch",
        description="How another shape is made to fit: stretched, padded with zeros at right and bottom, or cut at its "
        "middle after the shorter side fits.",
    )
    multiple: int = Field(default=1, ge=1, le=256, description="Sides are padded with zeros to multiples of this.")
    channels: Literal[1, 3] = Field(default=3, description="1 (grey) or 3 (red, green, blue).")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        default="bilinear", description="Of the resizing."
    )
    scale: float = Field(default=1 / 255, gt=0, description="What greys are multiplied by first.")
    mean: Annotated[_Channels | tuple[_Channels, ...], BeforeValidator(_as_tuple)] = Field(
        default=0.0, description="What is taken off, for all channels or each."
    )
    std: Annotated[_Channels | tuple[_Channels, ...], BeforeValidator(_as_tuple)] = Field(
        default=1.0, description="What it is divided by then, for all channels or each."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.channels:
                raise ValueError(f"{name} has {len(value)} values and channels is {self.channels}")
        if 0.0 in (self.std if isinstance(self.std, tuple) else (self.std,)):
            raise ValueError("std is not 0")
        if self.size is None and self.resize == "crop":
            raise ValueError('resize = "crop" needs a size')
        return self

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width; None for the image's own."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


class ModelEntry(BaseModel):
    """One model of models.toml. Paths are absolute once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str = Field(pattern="^[a-z][a-z0-9_]{0,63}$", description="Name of the tool.")
    path: Path | None = Field(
        default=None,
        description="A folder that transformers saved, an ONNX file, a TorchScript file, the folder of a MONAI bundle, or what "
        "the adapter takes.",
    )
    adapter: str | None = Field(
        default=None, description="A specialist by its name (`medvistagym models list` shows them), for other packages."
    )
    task: Task | None = Field(default=None, description="What the model does; an adapter says it itself.")
    description: str = Field(
        default="", max_length=2000, description="What a policy reads: what it finds, and when not to call it."
    )
    modalities: tuple[str, ...] = Field(default=(), description="DICOM modalities it is made for; any when left out.")
    input: InputSettings | None = Field(
        default=None, description="What the network is given; as its image processor says when left out."
    )
    labels: dict[int, str] | None = Field(
        default=None, description="Names of classes by their number; classes that are left out are not reported."
    )
    threshold: float | None = Field(default=None, ge=0, le=1, description="Least probability that is reported.")
    output: Literal["boxes", "detr", "yolo"] | None = Field(
        default=None, description="How a detector in ONNX or TorchScript writes its boxes."
    )
    activation: Literal["softmax", "sigmoid", "none"] | None = Field(
        default=None, description="What makes probabilities of the network's values; as its file says, else softmax."
    )
    batch: int = Field(default=32, ge=1, le=4096, description="Most images that go through the network together.")
    timeout_s: float = Field(default=120.0, gt=0, description="Seconds after which a call is given up.")
    python: str | None = Field(default=None, description="The interpreter of the environment that holds its packages.")
    licence: str | None = Field(default=None, description="Licence of the weights.")
    options: dict[str, str | int | float | bool] = Field(default_factory=dict, description="For the adapter.")

    @field_validator("labels", mode="before")
    @classmethod
    def _numbers(cls, labels: Any) -> Any:
        """TOML's keys are text; a list numbers from 0."""
        return dict(enumerate(labels)) if isinstance(labels, list) else labels

    @field_validator("labels")
    @classmethod
    def _names(cls, labels: dict[int, str] | None) -> dict[int, str] | None:
        if labels is None:
            return None
        if not labels or not all(name.strip() for name in labels.values()) or min(labels) < 0:
            raise ValueError("labels are names by numbers from 0, at least one")
        if len(set(labels.values())) < len(labels):
            raise ValueError("two labels have one name")
        return dict(sorted(labels.items()))

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.adapter is None and self.path is None:
            raise ValueError("path is missing: say where the model lies")
        if self.adapter is None and self.task is None:
            raise ValueError(f"task is missing: it is one of {', '.join(TASKS)}")
        if self.adapter is None and not self.description:
            raise ValueError("description is missing: say what it finds, and when a policy should not call it")
        return self

    @property
    def model(self) -> str:
        """Name of the model in results: of its file or folder, else of the adapter."""
        return self.path.stem if self.path is not None else str(self.adapter)

    @property
    def settings_hash(self) -> str:
        """Eight hexadecimal digits that change with every setting that results depend on, wherever the model lies."""
        text = self.model_dump_json(exclude={"path", "python", "licence", "timeout_s", "batch"})
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def require_task(self) -> Task:
        """The task.

        Raises:
            ValueError: It is left to the adapter, which has not been asked.
        """
        if self.task is None:
            raise ValueError(f"[{self.name}] has no task yet")
        return self.task
