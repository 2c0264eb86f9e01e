"""Which segmenters there are, by name, and how they are loaded.

Built in are the classical ones and, where its package is installed, the brain network. Others are named by the environment
variable MEDVISTAGYM_SEGMENTERS, `name=target` separated by semicolons, where the target is the folder of a MONAI bundle or of a
SAM-family model of transformers, or `module:attribute` for a `Segmenter` in Python. Names become choices of the tools'
`method`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from medvistagym_core import Registry
from medvistagym_core.imaging import Segmenter
from medvistagym_core.tools import parse_document
from medvistagym_segment._segmenter import FunctionSegmenter
from medvistagym_segment.segmenters import (
    CLASSICAL_METHODS,
    DeepBetSegmenter,
    MonaiBundleSegmenter,
    SamSegmenter,
    load_classical,
)

SEGMENTERS_ENV_VAR: Final = "MEDVISTAGYM_SEGMENTERS"
_BRAIN: Final = "brain"
_NAME: Final = re.compile(r"^[a-z][a-z0-9_]{0,31}$")


def segmenter_names() -> tuple[str, ...]:
    """The names of the segmenters, sorted.

    Raises:
        ValueError: MEDVISTAGYM_SEGMENTERS is not written as it should be.
    """
    brain = (_BRAIN,) if importlib.util.find_spec("deepbet") else ()
    return tuple(sorted({*CLASSICAL_METHODS, *brain, *configured_segmenters()}))


def configured_segmenters() -> Mapping[str, str]:
    """The segmenters that the environment names: folder, or `module:attribute`, by name.

    Raises:
        ValueError: MEDVISTAGYM_SEGMENTERS is not written as it should be.
    """
    targets: dict[str, str] = {}
    for entry in filter(None, (entry.strip() for entry in os.environ.get(SEGMENTERS_ENV_VAR, "").split(";"))):
        name, equals, target = (piece.strip() for piece in entry.partition("="))
        if not equals or not target or not _NAME.match(name):
            raise ValueError(
                f"{SEGMENTERS_ENV_VAR} is name=folder or name=module:attribute, separated by semicolons, not {entry!r}"
            )
        if name in (*CLASSICAL_METHODS, _BRAIN) or name in targets:
            raise ValueError(f"{SEGMENTERS_ENV_VAR} names {name!r}, which is taken already")
        targets[name] = target
    return targets


def configured_bundles() -> Mapping[str, Path]:
    """The folders of the MONAI bundles among the configured segmenters, by name, sorted."""
    return {
        name: Path(target).expanduser()
        for name, target in sorted(configured_segmenters().items())
        if _is_bundle(Path(target).expanduser())
    }


_OFFERED: Final[dict[str, Segmenter]] = {}


def offer_segmenters(segmenters: Mapping[str, Segmenter]) -> tuple[str, ...]:
    """Make segmenters of other plugins known by their names; the names that were free."""
    _OFFERED.update(
        {name: one for name, one in segmenters.items() if name not in segmenter_names() and _NAME.match(name)}
    )
    return tuple(_OFFERED)


@functools.lru_cache(maxsize=8)
def load_segmenter(name: str, device: str) -> Segmenter:
    """A segmenter by its name, ready on a device; the last eight are kept, so that tools share them.

    Args:
        name: One of `segmenter_names`.
        device: Where a network runs, such as "cpu" or "cuda:0"; classical methods run on the CPU.

    Raises:
        ValueError: It cannot be loaded; the sentence says why.
    """
    if name in CLASSICAL_METHODS:
        return load_classical(name)
    if name == _BRAIN:
        return DeepBetSegmenter(device)
    target = configured_segmenters().get(name)
    if target is None and name not in _OFFERED:  # a worker process has not discovered plugins yet
        offer_segmenters(Registry.discover().segmenters)
    if name in _OFFERED:
        return _OFFERED[name]
    if target is None:
        raise ValueError(f"there is no segmenter {name}; the segmenters are {', '.join(segmenter_names())}")
    folder = Path(target).expanduser()
    if _is_bundle(folder):
        return _load_bundle(name, folder, device)
    if (folder / "config.json").is_file():
        return _load_sam(name, folder, device)
    module, colon, attribute = target.partition(":")
    if colon and re.match(r"^[A-Za-z_][\w.]*$", module) and attribute.isidentifier():
        return _import_segmenter(name, module, attribute)
    raise ValueError(
        f"the segmenter {name} is not to be found: its folder has no configs/metadata.json (MONAI bundle) nor config.json"
    )


def load_bundle(name: str, device: str) -> MonaiBundleSegmenter:
    """One of `configured_bundles`, as `load_segmenter` gives it.

    Args:
        name: Its name among `configured_bundles`.
        device: Where the network runs, such as "cpu" or "cuda:0".

    Raises:
        ValueError: It cannot be loaded, or is no bundle; the sentence says why.
    """
    bundle = load_segmenter(name, device)
    if not isinstance(bundle, MonaiBundleSegmenter):
        raise ValueError(f"{name} is no MONAI bundle; the bundles are {', '.join(configured_bundles()) or 'none'}")
    return bundle


def _is_bundle(folder: Path) -> bool:
    return (folder / "configs" / "metadata.json").is_file()


def _load_bundle(name: str, folder: Path, device: str) -> MonaiBundleSegmenter:
    if not all(map(importlib.util.find_spec, ("monai", "torch"))):
        raise ValueError(
            f"the segmenter {name} is a MONAI bundle, which needs MONAI: pip install 'medvistagym-segment[bundle]'"
        )
    return MonaiBundleSegmenter(folder, device)


def _load_sam(name: str, folder: Path, device: str) -> SamSegmenter:
    config = parse_document((folder / "config.json").read_bytes())
    kind = config.get("model_type", "") if isinstance(config, dict) else ""
    if not str(kind).startswith(("sam", "edgetam")):
        raise ValueError(f"the segmenter {name} is a model of type {kind!r}, and models of the SAM family are taken")
    return SamSegmenter(folder, device)


def _import_segmenter(name: str, module: str, attribute: str) -> Segmenter:
    """A `Segmenter`, or a function of image and prompt, in Python."""
    try:
        target: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the segmenter {name} is not to be found: {error}") from error
    if isinstance(target, type):
        raise ValueError(f"the segmenter {name} is the class {module}:{attribute}; name an instance of it")
    if hasattr(target, "segment"):
        segmenter: Segmenter = target
        return segmenter
    if callable(target):
        return FunctionSegmenter(target)
    raise ValueError(f"the segmenter {name}, {module}:{attribute}, is no function and has no method segment")
