"""Images at their own resolution, where a policy was shown smaller pictures: dealt and made again, as replay does.

Only an image whose digest is the recorded one is shown.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core.imaging import encode_png
from medvistagym_core.plugins import Registry
from medvistagym_core.rollouts._replay import locked_toolbox, recorded_task, replay
from medvistagym_core.trajectories import Trajectory, TrajectoryReader

MAX_CACHED_EPISODES: Final = 8


class FullResolutionReplayer:
    """Makes the images of episodes again.

    Args:
        registry: Gives what is installed; asked when the first image is.
    """

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._open = registry
        self._registry: Registry | None = None
        self._stores: OrderedDict[tuple[Path, str], ImageStore] = OrderedDict()
        self._lock = threading.Lock()

    def png(self, file: Path, trajectory: Trajectory, handle: int) -> bytes | None:
        """An image of an episode as PNG; None when it cannot be made again as it was.

        Args:
            file: The trajectory file.
            trajectory: The record of the episode.
            handle: The image.
        """
        with self._lock:
            store = self._store(file, trajectory)
        if not handle < min(len(store), len(trajectory.images)):
            return None
        image = store[handle]
        if image.digest != trajectory.images[handle].digest:
            return None
        return encode_png(image.view())

    def _store(self, file: Path, trajectory: Trajectory) -> ImageStore:
        key = file, trajectory.id
        if key not in self._stores:
            self._stores[key] = self._replay(file, trajectory)
            while len(self._stores) > MAX_CACHED_EPISODES:
                self._stores.popitem(last=False)
        self._stores.move_to_end(key)
        return self._stores[key]

    def _replay(self, file: Path, trajectory: Trajectory) -> ImageStore:
        if self._registry is None:
            self._registry = self._open()
        try:
            lock = TrajectoryReader(file).lock()
            with LocalExecutor(locked_toolbox(lock, self._registry), cache_bytes=0) as executor:
                (played,) = replay([trajectory], executor, recorded_task(self._registry))
        except (OSError, ValueError):  # no lock, or no such task here
            return ImageStore()
        return played.store
