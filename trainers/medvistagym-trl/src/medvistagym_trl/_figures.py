"""Smoothing of training curves."""

from __future__ import annotations

from collections.abc import Sequence


def smooth(values: Sequence[float], window: int = 5) -> list[float]:
    """The mean of each value and those before it, `window` of them at most."""
    parts = [values[max(0, end - window) : end] for end in range(1, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]
