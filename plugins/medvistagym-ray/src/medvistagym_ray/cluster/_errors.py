"""What is wrong with Ray or with what was asked of it; each message is one sentence that says what to do."""

from __future__ import annotations


class RayUnavailableError(ValueError):
    """Ray is not installed, cannot be started, or cannot be reached."""


class PlacementError(ValueError):
    """A placement that cannot be read, or that no node of the cluster can meet."""


class WorkersStoppedError(RuntimeError):
    """The workers were stopped while somebody used them."""


class ObjectStoreFullError(RuntimeError):
    """There is no room for the images of calls."""
