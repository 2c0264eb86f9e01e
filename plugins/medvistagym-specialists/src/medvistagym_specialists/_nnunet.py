"""Folders that nnU-Net trained, which TotalSegmentator and HD-BET load: checked before their packages unpickle them."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from medvistagym_models import ModelEntry, ModelError, check_pickle, read_json

_NETWORKS: Final = "dynamic_network_architectures."
_CHECKPOINT: Final = "checkpoint_final.pth"


def check_trained_folder(entry: ModelEntry, folder: Path, *, load: bool = True) -> list[Path]:
    """The files of a trained folder, laid out as nnU-Net leaves it: dataset.json, plans.json, fold_*/checkpoint_final.pth.

    Args:
        entry: The entry, for sentences.
        folder: The folder.
        load: Whether to read the checkpoints, as tensors only, so that what unpickles them later meets nothing else.

    Raises:
        ModelError: A file is missing, a plan names a network that is not one of nnU-Net's, or a checkpoint could run code.
    """
    files = [folder / "dataset.json", folder / "plans.json", *sorted(folder.glob(f"fold_*/{_CHECKPOINT}"))]
    missing = [str(file.relative_to(folder)) for file in files if not file.is_file()]
    if missing or len(files) < 3:
        raise ModelError(entry.name, f"{folder.name} has no {missing[0] if missing else f'fold_0/{_CHECKPOINT}'}")
    plans = read_json(entry, folder / "plans.json")
    for configuration in plans.get("configurations", {}).values():
        network = configuration.get("architecture", {}).get("network_class_name", _NETWORKS)
        if not str(network).startswith(_NETWORKS):
            raise ModelError(
                entry.name, f"{folder.name}/plans.json names the network {network}; those of {_NETWORKS[:-1]} are taken"
            )
    if load:
        for file in files[2:]:
            check_pickle(entry.name, file)
    return files


def labels_of(entry: ModelEntry, folder: Path) -> dict[int, str]:
    """The labels of a trained folder by number, without the background."""
    labels: Any = read_json(entry, folder / "dataset.json").get("labels", {})
    return {int(number): str(name) for name, number in labels.items() if str(name) != "background"}


@contextlib.contextmanager
def quiet_environment(results: Path) -> Iterator[None]:
    """nnU-Net's settings: where results lie, no compiling, and its remarks left unsaid."""
    settings = {
        "nnUNet_results": str(results),
        "nnUNet_raw": str(results),
        "nnUNet_preprocessed": str(results),
        "nnUNet_compile": "F",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
