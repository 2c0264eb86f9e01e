"""What a forked child begins anew: it has none of its parent's threads, and the locks that they held stay held."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Final

_FORGET: Final[set[weakref.WeakMethod[Callable[[], None]]]] = set()


def in_child(forget: Callable[[], None]) -> None:
    """Have a method called in every child that is forked while its object lives."""
    _FORGET.add(weakref.WeakMethod(forget, _FORGET.discard))


def _run() -> None:
    for reference in list(_FORGET):
        forget = reference()
        if forget is not None:
            forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run)
