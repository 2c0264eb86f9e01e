"""Making the model of an entry, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medvistagym_models._entry import ModelEntry
from medvistagym_models._model_files import model_kind
from medvistagym_models._models_file import ModelError
from medvistagym_models.networks._adapter import find_adapter


def load_model(entry: ModelEntry, device: str) -> Any:
    """The model of an entry, ready on a device: what `networks._base` asks of its task.

    Args:
        entry: What models.toml says of the model.
        device: Where it runs, such as "cpu" or "cuda:0".

    Raises:
        ModelError: It cannot be loaded; the sentence says why.
    """
    if entry.adapter is not None:
        return find_adapter(entry).load(entry, device)
    kind = model_kind(entry)
    if kind == "transformers":
        return _transformers_class(entry)(entry, device)
    if kind == "monai-bundle":
        from medvistagym_models.networks._bundle import BundleSegmenter

        if entry.task != "semantic-segmentation":
            raise ModelError(entry.name, f"a MONAI bundle does semantic-segmentation, not {entry.task}")
        return BundleSegmenter(entry, device)
    from medvistagym_models.networks._file_models import load_file_model

    return load_file_model(entry, kind, device)


def _transformers_class(entry: ModelEntry) -> Callable[[ModelEntry, str], Any]:
    try:
        import torch  # noqa: F401 the classes below say what they need less plainly
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModelError(
            entry.name, f"a folder of transformers needs {error.name}: pip install 'medvistagym-models[transformers]'"
        ) from None
    from medvistagym_models.networks._transformers_embedding import TransformersEmbedder
    from medvistagym_models.networks._transformers_labels import (
        TransformersClassifier,
        TransformersDetector,
        TransformersInstanceSegmenter,
        TransformersSegmenter,
    )
    from medvistagym_models.networks._transformers_phrases import TransformersPhraseDetector
    from medvistagym_models.networks._transformers_sam import TransformersSam

    classes: dict[str, Callable[[ModelEntry, str], Any]] = {
        "image-classification": TransformersClassifier,
        "object-detection": TransformersDetector,
        "semantic-segmentation": TransformersSegmenter,
        "instance-segmentation": TransformersInstanceSegmenter,
        "promptable-segmentation": TransformersSam,
        "open-vocabulary-detection": TransformersPhraseDetector,
        "embedding": TransformersEmbedder,
    }
    return classes[entry.require_task()]
