"""Resetting pools and locks in a forked child: it has none of its parent's threads, and the locks that they held stay held."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class ForkAware(Protocol):
    """What has locks, threads or processes."""

    def reset_after_fork(self) -> None: ...


_ALL: Final[weakref.WeakSet[ForkAware]] = weakref.WeakSet()


def register_fork_reset(owner: ForkAware) -> None:
    """Have `owner.reset_after_fork` called in every child that is forked while it lives."""
    _ALL.add(owner)


def _forget() -> None:
    for owner in list(_ALL):
        owner.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
