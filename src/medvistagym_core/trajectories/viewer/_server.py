"""Serving the page of a run: the page's own files, the rows of the run, and the pictures that trajectories name."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from medvistagym_core.pages import LoopbackServer, PageRequest, PageResponse
from medvistagym_core.trajectories import Trajectory
from medvistagym_core.trajectories.viewer._assets import ICON, SCRIPTS, STYLES, asset, document
from medvistagym_core.trajectories.viewer._index import EpisodeIndex

FullResolution = Callable[[Path, Trajectory, int], bytes | None]

CHUNK: Final = 500
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PICTURE: Final = re.compile(r"picture/(\d{1,6})/([0-9a-f]{64})\.png")
_FULL: Final = re.compile(r"full/(\d{1,12})/(\d{1,6})\.png")
_NUMBERED: Final = re.compile(r"(episode|thumb)/(\d{1,12})")


class ViewerServer(LoopbackServer):
    """A page of a run at `url`, from `with` or `start` until `close`.

    Args:
        run: The run. It is read in the background; the page shows what there is and fetches the rest.
        port: Port on 127.0.0.1; 0 for any that is free.
        full_resolution: Gives an image of an episode at its own resolution as PNG, of the trajectory file, the trajectory and
            the handle, or None where it cannot; without it pictures stay as they were recorded.

    Raises:
        OSError: The port is taken.
    """

    accepts_posts = False

    def __init__(self, run: EpisodeIndex, port: int = 0, full_resolution: FullResolution | None = None) -> None:
        self.run = run
        self.full_resolution = full_resolution
        self.reading = True
        super().__init__(port)

    def start(self) -> None:
        """Begin to read the run and to serve."""
        threading.Thread(target=self._read, name="page-read", daemon=True).start()
        super().start()

    def _read(self) -> None:
        while not self._closed.is_set() and self.run.poll(CHUNK):
            pass
        self.reading = False

    def respond(self, request: PageRequest) -> PageResponse | None:
        """The answer to a request; None when there is nothing there."""
        path = request.path
        if path == "":
            styles = "\n".join(f'<link rel="stylesheet" href="{name}">' for name in STYLES)
            head = f'<link rel="icon" href="{ICON}">\n{styles}'
            body = "\n".join(f'<script src="{name}" defer></script>' for name in SCRIPTS)
            return PageResponse("html", document(head, body, None).encode())
        if path in (*STYLES, ICON, *SCRIPTS):
            return PageResponse(path.rpartition(".")[2], asset(path).encode())
        if path == "rows":
            return PageResponse.json(self._rows(request.query))
        if path == "figures":
            return PageResponse.json(self.run.charts())
        if match := _PICTURE.fullmatch(path):
            return _png(self.run.picture(int(match[1]), match[2]))
        if match := _FULL.fullmatch(path):
            return self._full(int(match[1]), int(match[2]))
        if match := _NUMBERED.fullmatch(path):
            number = int(match[2])
            if match[1] == "thumb":
                return _png(self.run.thumbnail(number))
            try:
                return PageResponse.json(self.run.episode(number))
            except Exception:  # noqa: BLE001 a record can be wrong in any way, and must not end the page
                return None
        return None

    def _full(self, number: int, handle: int) -> PageResponse | None:
        if self.full_resolution is None:
            return None
        try:
            content = self.full_resolution(self.run.file(number), self.run.trajectory(number), handle)
        except Exception:  # noqa: BLE001 it plays a record of a file with installed tools: either can be wrong in any way
            return None
        return None if content is None else PageResponse("png", content)

    def _rows(self, query: dict[str, list[str]]) -> dict[str, Any]:
        rows, strings = (_parse_nonnegative_int(query.get(name, ["0"])[0]) for name in ("rows", "strings"))
        reading = self.reading
        if not reading and rows >= len(self.run.rows):
            self.run.poll(4 * CHUNK)
        return {**self.run.table(rows, strings), "done": not reading, "full": self.full_resolution is not None}


def _png(path: Path | None) -> PageResponse | None:
    try:
        content = path.read_bytes() if path is not None else b""
    except OSError:
        return None
    return PageResponse("png", content) if content.startswith(_PNG) else None


def _parse_nonnegative_int(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 13 else 0
