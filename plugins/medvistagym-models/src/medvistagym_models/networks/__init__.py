"""Networks: what a loaded model can do by task, how transformers, ONNX Runtime, torch, MONAI or an adapter does it, and memory.

May use the entries and what lies at their paths. Each library is imported when a model of its kind is loaded.
"""

from medvistagym_models.networks._adapter import GROUP, Adapter, adapter_names, find_adapter, load_adapters
from medvistagym_models.networks._base import (
    Classifier,
    Detection,
    Detector,
    Embedder,
    InstanceSegmenter,
    LabelMask,
    NotANumberError,
    OpenVocabularyDetector,
    PointPrompt,
    PromptableSegmenter,
    SemanticSegmenter,
    require_numbers,
)
from medvistagym_models.networks._bundle import bundle_labels
from medvistagym_models.networks._file_models import intersection_over_union
from medvistagym_models.networks._input import displayed_frame
from medvistagym_models.networks._load import load_model
from medvistagym_models.networks._memory import LOADED, LoadedModels
from medvistagym_models.networks._transformers_embedding import has_text_tower

__all__ = [
    "GROUP",
    "LOADED",
    "Adapter",
    "Classifier",
    "Detection",
    "Detector",
    "Embedder",
    "InstanceSegmenter",
    "LabelMask",
    "LoadedModels",
    "NotANumberError",
    "OpenVocabularyDetector",
    "PointPrompt",
    "PromptableSegmenter",
    "SemanticSegmenter",
    "adapter_names",
    "bundle_labels",
    "displayed_frame",
    "find_adapter",
    "has_text_tower",
    "intersection_over_union",
    "load_adapters",
    "load_model",
    "require_numbers",
]
