"""Vectors of images, and of phrases where the model has both, by models of transformers such as DINO, CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image
from medvistagym_core.tools import first_line
from medvistagym_models._entry import ModelEntry
from medvistagym_models._models_file import ModelError
from medvistagym_models.networks._base import in_parts, require_numbers
from medvistagym_models.networks._transformers import TransformersFolder, rgb_picture

if TYPE_CHECKING:
    import numpy as np


class TransformersEmbedder:
    """See `Embedder`."""

    def __init__(self, entry: ModelEntry, device: str) -> None:
        self._folder = TransformersFolder(entry, device)
        self.takes_phrases = has_text_tower(self._folder.config)
        self._tokenizer: Any = None

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        import numpy as np

        parts: dict[int, np.ndarray] = {}
        for prepared in self._folder.prepare(images):
            vectors = self.image_vectors(prepared.tensors)
            parts.update(zip(prepared.positions, vectors, strict=True))
        return np.stack([parts[k] for k in range(len(images))])

    def embed_phrases(self, phrases: Sequence[str]) -> np.ndarray:
        import numpy as np
        import torch

        tokenizer = self._load_tokenizer()
        out = []
        for part in in_parts(phrases, self._folder.entry.batch):
            # SigLIP was trained on texts padded to their full length
            siglip = str(self._folder.config.get("model_type", "")).startswith("siglip")
            padding: Any = "max_length" if siglip else True
            tokens = tokenizer(list(phrases[part]), padding=padding, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                features = self._folder.model.get_text_features(**tokens.to(self._folder.device))
            out.append(self._unit(features))
        return np.concatenate(out)

    def reference(self) -> _ReferenceEmbedder:
        return _ReferenceEmbedder(self, self._folder)

    def _load_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        if self._tokenizer is None:
            tokenizers: Any = AutoTokenizer
            try:
                self._tokenizer = tokenizers.from_pretrained(
                    self._folder.folder, local_files_only=True, trust_remote_code=False
                )
            except (OSError, ValueError, ImportError, KeyError) as error:
                reason = first_line(error)
                raise ModelError(self._folder.entry.name, f"its tokenizer cannot be loaded: {reason}") from None
        return self._tokenizer

    def image_vectors(self, tensors: Any) -> np.ndarray:
        import torch

        if self.takes_phrases:
            with torch.inference_mode():
                return self._unit(self._folder.model.get_image_features(**tensors))
        return self._unit(self._folder.run(tensors))

    def _unit(self, outputs: Any) -> np.ndarray:
        """Vectors of length 1 from what a model gives: a tensor, or what it pooled, or the mean over its patches."""
        vectors = outputs
        if not hasattr(outputs, "shape"):
            pooled = getattr(outputs, "pooler_output", None)
            vectors = outputs.last_hidden_state if pooled is None else pooled
        vectors = vectors.float().flatten(2).mean(2) if vectors.ndim == 4 else vectors.float()
        vectors = vectors.mean(1) if vectors.ndim == 3 else vectors
        values: np.ndarray = (vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)).cpu().numpy()
        return require_numbers(self._folder.entry.model, values)


class _ReferenceEmbedder:
    """The model with the folder's own processor, one image at a time."""

    def __init__(self, embedder: TransformersEmbedder, folder: TransformersFolder) -> None:
        self.takes_phrases = embedder.takes_phrases
        self.embed_phrases = embedder.embed_phrases
        self._embedder, self._folder, self._processor = embedder, folder, folder.processor

    def embed(self, images: Sequence[Image]) -> np.ndarray:
        import numpy as np

        out = []
        for image in images:
            inputs = self._processor(images=rgb_picture(image), return_tensors="pt").to(self._folder.device)
            out.append(self._embedder.image_vectors(dict(inputs)))
        return np.concatenate(out)

    def reference(self) -> None:
        return None


def has_text_tower(config: Any) -> bool:
    """Whether a model of this configuration compares pictures with phrases."""
    return "text_config" in config and "vision_config" in config
