"""TotalSegmentator: organs, bones, muscles and vessels of CT and MR volumes, by its own package.

Source: Wasserthal et al., TotalSegmentator, Radiology: Artificial Intelligence 5, 2023. The package would send figures about
each run to its makers and fetch weights that are missing; here it does neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from medvistagym_core.imaging import Image
from medvistagym_models import ModelEntry, ModelError
from medvistagym_models.networks import LabelMask
from medvistagym_specialists._nnunet import check_trained_folder, labels_of, quiet_environment
from medvistagym_specialists._specialist import Specialist
from medvistagym_specialists._volumes import label_masks, require_volume, to_nifti

_DATASETS: Final = {
    ("total", "fastest"): (298,),
    ("total", "fast"): (297,),
    ("total", "full"): (291, 292, 293, 294, 295),
    ("total_mr", "fastest"): (853,),
    ("total_mr", "fast"): (852,),
    ("total_mr", "full"): (850, 851),
}
"""The trained data sets of each task at 6, 3 and 1.5 mm. Source: map_tasks_config.py of TotalSegmentator 2.18."""


class TotalSegmentator:
    """See `SemanticSegmenter`."""

    takes_volumes = True

    def __init__(self, entry: ModelEntry, device: str) -> None:
        import totalsegmentator  # noqa: F401 said at once when it is missing

        for folder in _folders(entry):
            check_trained_folder(entry, folder)
        self._entry = entry
        self._device = "gpu" if device == "cuda" else device.replace("cuda", "gpu")
        self._names = _names(entry)
        self._wanted = TOTALSEGMENTATOR.labels(entry)

    def segment(self, images: Sequence[Image]) -> list[list[LabelMask]]:
        return [self._masks(image) for image in images]

    def reference(self) -> None:
        return None

    def _masks(self, image: Image) -> list[LabelMask]:
        import numpy as np

        task, speed = _task(self._entry)
        spacing = require_volume(image, unit="HU" if task == "total" else None)
        assert self._entry.path is not None
        with _private_settings(self._entry.path), quiet_environment(self._entry.path):
            import torch
            from totalsegmentator.python_api import totalsegmentator

            threads = torch.get_num_threads()
            found = totalsegmentator(
                to_nifti(image, spacing), task=task, ml=True, fast=speed == "fast", fastest=speed == "fastest",
                device=self._device, quiet=True, skip_saving=True, nr_thr_resamp=1, nr_thr_saving=1,
            )  # fmt: skip
            torch.set_num_threads(threads)  # it takes them all
        numbers = np.asarray(found.dataobj).astype(np.int16).transpose(2, 1, 0)
        return label_masks(numbers, self._names, self._wanted)


def _task(entry: ModelEntry) -> tuple[str, str]:
    """The package's task and its speed, by the entry's options.

    Raises:
        ModelError: They are none.
    """
    task, speed = str(entry.options.get("task", "total")), str(entry.options.get("speed", "fast"))
    if (task, speed) not in _DATASETS:
        raise ModelError(
            entry.name,
            f"options say task {task} and speed {speed}; tasks are total and total_mr, speeds fastest, fast and full",
        )
    return task, speed


def _folders(entry: ModelEntry) -> list[Path]:
    """The trained folders that a task needs.

    Raises:
        ModelError: One is missing.
    """
    assert entry.path is not None
    task, speed = _task(entry)
    found = []
    for number in _DATASETS[task, speed]:
        folders = sorted(entry.path.glob(f"Dataset{number}_*/nnUNetTrainer*__nnUNetPlans__3d_fullres"))
        if not folders:
            raise ModelError(
                entry.name,
                f"{entry.path.name} has no Dataset{number}_*/nnUNetTrainer*__nnUNetPlans__3d_fullres, which {task} at speed "
                f"{speed} needs (`medvistagym models list totalsegmentator` says how to fetch it)",
            )
        found.append(folders[0])
    return found


def _names(entry: ModelEntry) -> dict[int, str]:
    """Labels by the numbers of the package's output: those of one data set, or of all of them one after the other."""
    folders = _folders(entry)
    if len(folders) == 1:
        return labels_of(entry, folders[0])
    from totalsegmentator.map_to_binary import class_map

    return {int(number): str(name) for number, name in class_map[_task(entry)[0]].items()}


def _labels(entry: ModelEntry) -> tuple[str, ...]:
    names = [name for folder in _folders(entry) for name in labels_of(entry, folder).values()]
    return tuple(dict.fromkeys(names))


def _weights(entry: ModelEntry) -> list[Path]:
    return [file for folder in _folders(entry) for file in check_trained_folder(entry, folder, load=False)]


@contextlib.contextmanager
def _private_settings(weights: Path) -> Iterator[None]:
    """Settings of the package by which it sends nothing, in a folder that is gone afterwards, and its weights."""
    with tempfile.TemporaryDirectory() as home:
        settings = {
            "totalseg_id": "none",
            "send_usage_stats": False,
            "prediction_counter": 0,
            "statistics_disclaimer_shown": True,
        }
        (Path(home) / "config.json").write_text(json.dumps(settings))
        changes = {"TOTALSEG_HOME_DIR": home, "TOTALSEG_WEIGHTS_PATH": str(weights)}
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


TOTALSEGMENTATOR = Specialist(
    task="semantic-segmentation",
    description="Outlines organs, bones, muscles and vessels in a CT volume, each with its volume and the slices that hold it. "
    "Not for single slices, and not for lesions.",
    modalities=("CT",),
    licence="Apache-2.0, code and the weights of total and total_mr; other tasks need a licence of their makers",
    install="python -m venv envs/nnunet\nenvs/nnunet/bin/pip install 'medvistagym-specialists[totalsegmentator]'",
    fetch="""TOTALSEG_WEIGHTS_PATH=weights/totalsegmentator envs/nnunet/bin/totalseg_download_weights -t total_fast
[segment_organs]
adapter = "totalsegmentator"
path = "weights/totalsegmentator"
python = "envs/nnunet/bin/python"
options = {task = "total", speed = "fast"}   # speeds: fastest (6 mm), fast (3 mm), full (1.5 mm); task total_mr for MR
labels = {5 = "liver", 1 = "spleen"}         # the names a policy chooses among; all 117 when left out
timeout_s = 600
""",
    read_labels=_labels,
    find_weights=_weights,
    make=TotalSegmentator,
)
