"""Inspecting the files of a model: their kind, which of them its results depend on, and whether they are safe to load.

Safe are safetensors, ONNX, TorchScript (a program for torch's own interpreter) and pickles of plain tensors. A pickle may
name any Python function to be called when it is loaded, so one that names others than those tensors are made of is refused
before anything loads it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from medvistagym_core.tools import parse_document
from medvistagym_models._entry import LABELLED_TASKS, ModelEntry
from medvistagym_models._models_file import ModelError

ModelKind = Literal["transformers", "onnx", "torchscript", "monai-bundle"]
_MAX_CONFIG_BYTES: Final = 16 * 2**20  # a tokenizer's configuration has some 1 MiB
_TORCHSCRIPT_SUFFIXES: Final = (".pt", ".pth", ".ts", ".jit", ".torchscript")


def model_kind(entry: ModelEntry) -> ModelKind:
    """Of which kind the model is.

    Raises:
        ModelError: It is of none that is taken; the sentence says what was found, and what is taken.
    """
    path = entry.path
    assert path is not None
    if path.is_dir():
        if (path / "configs" / "metadata.json").is_file():
            return "monai-bundle"
        if (path / "config.json").is_file():
            return "transformers"
        inside = sorted(file.name for file in path.iterdir())[:4]
        raise ModelError(
            entry.name,
            f"{path.name} holds neither config.json (transformers) nor configs/metadata.json (MONAI bundle), but "
            f"{', '.join(inside) or 'nothing'}",
        )
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix in _TORCHSCRIPT_SUFFIXES:
        if _is_torchscript(path):
            return "torchscript"
        raise ModelError(
            entry.name,
            f"{path.name} is no TorchScript file: weights alone do not say what network they are of; save it with "
            "torch.jit.save or as ONNX, or name the adapter that makes the network",
        )
    raise ModelError(
        entry.name,
        f"{path.name} is of no kind that is taken: a folder of transformers or of a MONAI bundle, .onnx, "
        f"or TorchScript ({', '.join(_TORCHSCRIPT_SUFFIXES)})",
    )


def weight_files(path: Path) -> tuple[str, ...]:
    """The files that a model's results depend on: the file itself, or all of a folder but hidden ones and documents."""
    if path.is_file():
        return (str(path), *(str(other) for other in sorted(path.parent.glob(f"{path.name}.data*")) if other.is_file()))
    return tuple(
        str(file)
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and file.suffix not in (".md", ".txt.md", ".png", ".jpg")
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def check_transformers_folder(entry: ModelEntry) -> Mapping[str, Any]:
    """The configuration of a folder that transformers saved, once it is known that loading it runs no foreign code.

    Raises:
        ModelError: It asks for code of its own, has no safetensors, or its configuration cannot be read.
    """
    folder = entry.path
    assert folder is not None
    config = read_json(entry, folder / "config.json")
    for name in ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in read_json(entry, folder / name):
            raise ModelError(
                entry.name,
                f"{folder.name}/{name} asks for code of its own (auto_map), which needs trust_remote_code and is refused; "
                "take a model that transformers itself knows, or save it as ONNX or TorchScript",
            )
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.h5") for file in folder.glob(pattern))
        found = f"only {pickled[0]}, a pickle that could run code" if pickled else "no weights"
        raise ModelError(
            entry.name,
            f"{folder.name} has {found}; safetensors are taken: model.save_pretrained(folder) writes them",
        )
    return config


def transformers_labels(entry: ModelEntry, config: Mapping[str, Any]) -> dict[int, str]:
    """The classes of a folder that transformers saved: the entry's, else its own.

    Raises:
        ModelError: Neither has names, or the entry names a class that the model has not.
    """
    own = {int(number): str(label) for number, label in (config.get("id2label") or {}).items()}
    if entry.labels is not None:
        count = len(own) or int(config.get("num_labels", 0)) or 2
        if max(entry.labels) >= count:
            raise ModelError(
                entry.name, f"labels names class {max(entry.labels)}, and the model has classes 0 to {count - 1}"
            )
        return entry.labels
    if not own or all(label == f"LABEL_{number}" for number, label in own.items()):
        count = len(own) or 2  # the number of classes that transformers leaves out of a configuration
        example = ", ".join(f'{number} = "..."' for number in range(min(count, 3)))
        raise ModelError(
            entry.name, f"labels are missing: the model does not name its {count} classes; add labels = {{{example}}}"
        )
    return own


def stated_labels(entry: ModelEntry) -> dict[int, str]:
    """The labels that an entry must state, as its file has none; empty where its task needs none.

    Raises:
        ModelError: They are missing.
    """
    if entry.require_task() not in LABELLED_TASKS:
        return {}
    if entry.labels is None:
        raise ModelError(
            entry.name,
            f'labels are missing: {entry.model} does not name its classes; add labels = {{0 = "...", 1 = "..."}}',
        )
    return entry.labels


def check_pickle(name: str, file: Path) -> None:
    """Refuse a pickle, or torch's archive of one, that names anything but what tensors and plain figures are made of.

    It is read by torch's unpickler for weights, which looks up nothing else, so afterwards a package that unpickles the file
    without such care finds nothing else in it either.

    Args:
        name: The entry's name, for the sentence.
        file: The file.

    Raises:
        ModelError: It names a function or class that could do something else, or cannot be read.
    """
    import pickle

    import torch

    from medvistagym_segment.segmenters import is_deflated

    if is_deflated(file):
        raise ModelError(name, f"{file.name} is compressed, and torch.save compresses nothing")
    try:
        with torch.serialization.safe_globals(_plain_numpy()):
            torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(name, f"{file.name} is not there") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        found = f"names {named[1]}" if named else "cannot be read"
        raise ModelError(name, f"{file.name} {found}, and only a file of plain tensors is loaded") from None


def _plain_numpy() -> list[Any]:
    """What scalars and arrays of numpy are pickled as, by numpy 1 and 2; nnU-Net keeps some beside its weights."""
    import numpy as np

    pickled: Any = np.float64(0).__reduce__()[0]
    rebuilt: Any = np.zeros(1).__reduce__()[0]
    names = [(pickled, "scalar"), (rebuilt, "_reconstruct")]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")]
    return [np.dtype, np.ndarray, *kinds, *((what, f"{module}.{name}") for what, name in names for module in modules)]


def read_json(entry: ModelEntry, file: Path) -> dict[str, Any]:
    """A JSON object of a model's folder.

    Args:
        entry: The model, which errors name.
        file: The file, of at most 16 MiB.

    Raises:
        ModelError: It is none.
    """
    try:
        if file.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError(f"it has more than {_MAX_CONFIG_BYTES >> 20} MiB")
        content = parse_document(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(entry.name, f"{file.parent.name}/{file.name} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(entry.name, f"{file.parent.name}/{file.name} holds no JSON object")
    return content


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        parts = [name.split("/") for name in archive.namelist()]
    return any(len(part) == 2 and part[1] == "constants.pkl" for part in parts) and any(
        "code" in part[1:2] for part in parts
    )
