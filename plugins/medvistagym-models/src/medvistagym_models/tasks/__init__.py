"""Tasks: which arguments a policy may set for a model, what its calls give, and the sentence that says it.

May use the networks and the entries.
"""

from typing import Final

from medvistagym_models.tasks._base import TaskKind
from medvistagym_models.tasks._classification import Classification, classification_data
from medvistagym_models.tasks._detection import ObjectDetection, PhraseDetection
from medvistagym_models.tasks._embedding import Embedding
from medvistagym_models.tasks._findings import box_data, format_data, mask_data
from medvistagym_models.tasks._segmentation import InstanceSegmentation, PromptableSegmentation, SemanticSegmentation

__all__ = ["TASK_KINDS", "TaskKind", "box_data", "classification_data", "format_data", "mask_data"]

TASK_KINDS: Final[dict[str, TaskKind]] = {
    "image-classification": Classification(),
    "object-detection": ObjectDetection(),
    "semantic-segmentation": SemanticSegmentation(),
    "instance-segmentation": InstanceSegmentation(),
    "promptable-segmentation": PromptableSegmentation(),
    "open-vocabulary-detection": PhraseDetection(),
    "embedding": Embedding(),
}
"""What makes a tool's arguments and results, by task."""
