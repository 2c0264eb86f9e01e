"""Filter tools run in batches: calls with equal settings share one run of a filter over their stacked planes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image
from medvistagym_kornia.backends import FilterBackend

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class FilterCall:
    """One call of a tool, ready for a backend.

    Attributes:
        planes: `(B, H, W)`.
        batch_key: Calls of equal key, plane size and dtype may be computed together.
        filter: Gives a plane for each plane.
        finish: Makes the result of them.
    """

    planes: np.ndarray
    batch_key: Hashable
    filter: Callable[[FilterBackend, np.ndarray], np.ndarray]
    finish: Callable[[np.ndarray], Image]


def run_one(backend: FilterBackend, call: FilterCall) -> Image:
    """The result of one call."""
    return call.finish(call.filter(backend, call.planes))


def prepare_or_error(prepare: Callable[..., FilterCall], arguments: Mapping[str, Any]) -> FilterCall | Exception:
    """A call's preparation, or the error that ends it, so that it ends no other call of its batch."""
    try:
        return prepare(**arguments)
    except ValueError as error:
        return error


def run_batched(backend: FilterBackend, calls: Sequence[FilterCall | Exception]) -> list[Image | Exception]:
    """The results of several calls, in one run of the filter for all that are alike, where that pays; errors pass through."""
    import numpy as np

    results: dict[int, Image | Exception] = {}
    alike: dict[Hashable, list[tuple[int, FilterCall]]] = {}
    for k, call in enumerate(calls):
        if isinstance(call, Exception):
            results[k] = call
            continue
        key = (call.batch_key, call.planes.shape[1:], call.planes.dtype.str) if backend.prefers_batches else k
        alike.setdefault(key, []).append((k, call))
    for group in alike.values():
        _, first = group[0]
        planes = first.planes if len(group) == 1 else np.concatenate([call.planes for _, call in group])
        filtered = first.filter(backend, planes)
        start = 0
        for k, call in group:
            results[k] = call.finish(filtered[start : start + len(call.planes)])
            start += len(call.planes)
    return [results[k] for k in range(len(calls))]
