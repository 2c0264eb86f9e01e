"""Models in folders that transformers saved: how they are loaded and what they are given.

Only safetensors are loaded, nothing is fetched, and code that lies beside weights is never run. What a folder's image processor
does is done here where the settings can say it (one pass over greys of a whole batch); otherwise the processor itself does it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medvistagym_core.imaging import Image
from medvistagym_core.tools import first_line
from medvistagym_models._entry import InputSettings, ModelEntry
from medvistagym_models._model_files import check_transformers_folder, read_json
from medvistagym_models._models_file import ModelError
from medvistagym_models.networks._input import Placement, picture, prepare_batch, settings_of_processor

if TYPE_CHECKING:
    import PIL.Image
    import torch

_CLASSES: Mapping[str, tuple[str, ...]] = {
    "image-classification": ("AutoModelForImageClassification",),
    "object-detection": ("AutoModelForObjectDetection",),
    "semantic-segmentation": ("AutoModelForSemanticSegmentation", "AutoModelForUniversalSegmentation"),
    "instance-segmentation": (
        "AutoModelForInstanceSegmentation",
        "AutoModelForUniversalSegmentation",
        "AutoModelForImageSegmentation",
    ),
    "promptable-segmentation": ("AutoModelForMaskGeneration",),
    "open-vocabulary-detection": ("AutoModelForZeroShotObjectDetection",),
    "embedding": ("AutoModel",),
}


class Prepared(NamedTuple):
    """Images that go through a network together.

    Attributes:
        positions: Which of the images asked for they are.
        tensors: The network's arguments.
        placements: Where each lies in the input; None where boxes and masks relate to the image itself.
    """

    positions: list[int]
    tensors: dict[str, torch.Tensor]
    placements: list[Placement] | None


class TransformersFolder:
    """A model that transformers saved, loaded onto a device.

    Args:
        entry: Its entry.
        device: Where it runs.

    Raises:
        ModelError: It cannot be loaded as what its task asks for; the sentence says why.
    """

    def __init__(self, entry: ModelEntry, device: str) -> None:
        assert entry.path is not None
        self.entry, self.device, self.folder = entry, device, entry.path
        self.config = check_transformers_folder(entry)
        self.model = _load_model(entry, self.config).to(device).eval()
        own = self.folder / "preprocessor_config.json"
        self.own_settings = settings_of_processor(read_json(entry, own)) if own.is_file() else None
        settings = entry.input or self.own_settings
        if settings is not None:
            _check_channels(entry, self.config, settings)
        self.settings = settings
        self._processor: Any = None

    @property
    def processor(self) -> Any:
        """The folder's image processor.

        Raises:
            ModelError: It has none.
        """
        if self._processor is None:
            from transformers import AutoImageProcessor

            processors: Any = AutoImageProcessor
            try:
                self._processor = processors.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False
                )
            except (OSError, ValueError, ImportError, KeyError) as error:
                raise ModelError(
                    self.entry.name,
                    f"{self.folder.name} has no image processor that can be loaded ({first_line(error)}); "
                    "say what the network is given: input = {size = ..., mean = ..., std = ...}",
                ) from None
        return self._processor

    def prepare(self, images: Sequence[Image]) -> Iterator[Prepared]:
        """Images as the network takes them, in parts of at most the entry's `batch` and of one shape."""
        import torch

        if self.settings is not None:
            for positions, values, placements in prepare_batch(images, self.settings):
                for first in range(0, len(positions), self.entry.batch):
                    part = slice(first, first + self.entry.batch)
                    tensors = {"pixel_values": torch.from_numpy(values[part]).to(self.device)}
                    yield Prepared(positions[part], tensors, placements[part])
            return
        by_shape: dict[tuple[int, int], list[int]] = {}
        for position, image in enumerate(images):
            by_shape.setdefault(image.shape, []).append(position)  # padding to each other's size would change results
        for together in by_shape.values():
            for first in range(0, len(together), self.entry.batch):
                part_positions = together[first : first + self.entry.batch]
                pictures = [rgb_picture(images[position]) for position in part_positions]
                inputs = self.processor(images=pictures, return_tensors="pt")
                yield Prepared(part_positions, {key: value.to(self.device) for key, value in inputs.items()}, None)

    def run(self, tensors: Mapping[str, Any], **options: Any) -> Any:
        """The network's outputs."""
        import torch

        with torch.inference_mode():
            return self.model(**tensors, **options)

    def pipeline(self, task: str) -> Any:
        """The pipeline that transformers itself makes of this model, with the folder's processor."""
        from transformers import pipeline

        return pipeline(task, model=self.model, image_processor=self.processor, device=self.device)  # type: ignore[call-overload]


def rgb_picture(image: Image) -> PIL.Image.Image:
    """What an image processor is given: the frame in the window of its file, in colour."""
    import PIL.Image

    return PIL.Image.fromarray(picture(image, InputSettings())).convert("RGB")


def _load_model(entry: ModelEntry, config: Mapping[str, Any]) -> Any:
    import transformers

    assert entry.path is not None
    task = entry.require_task()
    kind = str(config.get("model_type", ""))
    for name in _CLASSES[task]:
        loader: Any = getattr(transformers, name)
        if name == "AutoModel" or kind in _model_types(loader):
            break
    else:
        raise ModelError(entry.name, f"{entry.path.name} is a model of type {kind or 'unknown'}, which does no {task}")
    return load_weights(entry, loader)


def load_weights(entry: ModelEntry, loader: Any) -> Any:
    """A model of a class of transformers, from the entry's folder, all of whose weights are there.

    What pools an embedding may be missing, as classifiers are saved without it; then the model's `pooler` is taken away.

    Raises:
        ModelError: It cannot be loaded, or weights are missing, which transformers would make up at random.
    """
    assert entry.path is not None
    with _quiet():
        try:
            model, info = loader.from_pretrained(
                entry.path,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
            raise ModelError(entry.name, f"{entry.path.name} cannot be loaded: {first_line(error)}") from None
    missing = sorted(info.get("missing_keys") or ())
    if missing and entry.task == "embedding" and all(key.startswith("pooler.") for key in missing):
        model.pooler, missing = None, []
    if missing:
        raise ModelError(
            entry.name,
            f"{entry.path.name} has no weights for {missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}, "
            f"so it was not trained for {entry.task}",
        )
    return model


def _model_types(loader: Any) -> set[str]:
    mapping = loader._model_mapping  # noqa: SLF001 the only place that says which models a class of transformers takes
    return set(mapping._config_mapping) & set(mapping._model_mapping)  # noqa: SLF001


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and remarks of transformers while it loads; its faults come as exceptions."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _check_channels(entry: ModelEntry, config: Mapping[str, Any], settings: InputSettings) -> None:
    wanted = config.get("num_channels")
    if isinstance(wanted, int) and wanted != settings.channels:
        raise ModelError(
            entry.name,
            f"the model takes {wanted} channel{'s' if wanted > 1 else ''}, and input.channels is {settings.channels}",
        )
