"""The server of the page: its files, slices as pictures, and the session's images and calls as JSON."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from medvistagym_core.imaging import Image, Reader
from medvistagym_core.pages import LoopbackServer, PageRequest, PageResponse, page_document, read_asset
from medvistagym_core.play._documents import (
    describe_image,
    describe_session,
    describe_source,
    describe_tool,
    describe_voxel,
)
from medvistagym_core.play._session import PlaySession
from medvistagym_core.play._slices import SliceCache, SliceKey
from medvistagym_core.play._snippets import OpenedImage
from medvistagym_core.play._sources import ImageSource, read_source
from medvistagym_core.tools import core_version

STYLES: Final = ("base.css", "play.css")
SCRIPTS: Final = ("dom.js", "session.js", "viewport.js", "drawing.js", "form.js", "log.js", "main.js")
ICON: Final = "icon.svg"
_PACKAGE: Final = "medvistagym_core.play"
_SLICE: Final = re.compile(r"slice/(\d{1,6})/(\d{1,6})\.png")
_PREVIEW: Final = re.compile(r"preview/(\d{1,6})\.png")
_NUMBER: Final = re.compile(r"-?\d{1,12}(\.\d{1,9})?(e[+-]?\d{1,3})?")


class PlayServer(LoopbackServer):
    """A page to try tools at `url`, from `with` or `start` until `close`.

    Args:
        session: What is done on the page.
        sources: What may be opened, and nothing else.
        readers: Read files of kinds that plugins know.
        out: Folder for trajectories that are saved.
        name: What the page says is open.
        port: Port on 127.0.0.1; 0 for any that is free.

    Raises:
        OSError: The port is taken.
    """

    def __init__(
        self,
        session: PlaySession,
        sources: Sequence[ImageSource],
        readers: Sequence[Reader] = (),
        *,
        out: Path = Path("play"),
        name: str = "",
        port: int = 0,
    ) -> None:
        self.session = session
        self.slices = SliceCache()
        self._sources = list(sources)
        self._readers = readers
        self._out = out
        self._name = name
        self._read: tuple[int, list[Image]] | None = None  # the source read last, whose other series may be wanted next
        self._previews: dict[int, Image] = {}
        self._reading = threading.Lock()
        self._posts: dict[str, Callable[[dict[str, Any]], Any]] = {
            "open": self._open,
            "use": self._use,
            "call": lambda body: self.session.call(_text(body, "name"), _arguments(body)),
            "copy": lambda body: self.session.snippets(_text(body, "name"), _arguments(body)),
            "ask": lambda body: self.session.ask(_text(body, "question")),
            "step": lambda body: self.session.step(),
            "answer": lambda body: self.session.answer(_text(body, "answer")),
            "save": self._save,
            "reset": self._reset,
        }
        super().__init__(port)

    def start(self) -> None:
        """Begin to serve, and read one slice ahead, so that what reads files is loaded before a series is chosen."""
        threading.Thread(target=self._warm_up, name="page-read", daemon=True).start()
        super().start()

    def _warm_up(self) -> None:
        number = next((k for k, source in enumerate(self._sources) if source.preview_path is not None), None)
        if number is not None:
            with contextlib.suppress(ValueError, OSError):  # told when it is opened
                self._preview(number, {})

    def respond(self, request: PageRequest) -> PageResponse | None:
        """The answer to a request; None when there is nothing there."""
        if request.body is not None:
            return self._post(request.path, request.body)
        path = request.path
        if path == "":
            return self._page()
        if path in (*STYLES, ICON, *SCRIPTS):
            return PageResponse(path.rpartition(".")[2], read_asset(_PACKAGE, path).encode())
        if path == "start":
            return PageResponse.json(self._start())
        if path == "session":
            return PageResponse.json(describe_session(self.session))
        try:
            if match := _SLICE.fullmatch(path):
                return self._slice(self.session.image(int(match[1])), int(match[2]), request.query)
            if match := _PREVIEW.fullmatch(path):
                return self._preview(int(match[1]), request.query)
            if path == "value":
                handle, frame, x, y = (int(_number(request.query, name)) for name in ("handle", "frame", "x", "y"))
                return PageResponse.json(describe_voxel(self.session.image(handle), frame, x, y))
        except (LookupError, ValueError, OSError):
            return None
        return None

    def _page(self) -> PageResponse:
        styles = "\n".join(f'<link rel="stylesheet" href="{name}">' for name in STYLES)
        head = f'<link rel="icon" href="{ICON}">\n{styles}'
        body = "\n".join(f'<script src="{name}" defer></script>' for name in SCRIPTS)
        return PageResponse("html", page_document(read_asset(_PACKAGE, "play.html"), head, body).encode())

    def _start(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "version": core_version(),
            "sources": [describe_source(source) for source in self._sources],
            "tools": [describe_tool(tool) for tool in self.session.toolbox.values()],
            "session": describe_session(self.session),
        }

    def _post(self, path: str, body: dict[str, Any]) -> PageResponse | None:
        if path not in self._posts:
            return None
        try:
            value = self._posts[path](body)
        except (LookupError, ValueError, OSError) as error:
            message = str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error)
            return PageResponse.json({"error": message}, HTTPStatus.UNPROCESSABLE_ENTITY)
        if path == "copy":
            return PageResponse.json({"value": value})
        return PageResponse.json({"value": value, "session": describe_session(self.session)})

    # -- files

    def _source(self, number: int) -> ImageSource:
        if not 0 <= number < len(self._sources):
            raise LookupError(f"there is no source {number}")
        return self._sources[number]

    def _images_of(self, number: int) -> list[Image]:
        """The images of a source; the last one read is kept."""
        source = self._source(number)
        with self._reading:
            if self._read is None or self._read[0] != number:
                self._read = None
                images = read_source(source.path, self._readers)
                if not images:
                    raise ValueError(f"{source.name}: it holds no image")
                self._read = number, images
            return self._read[1]

    def _open(self, body: dict[str, Any]) -> dict[str, Any]:
        """Read a source: what it holds, and the handle of its image where there is one alone."""
        number = _integer(body, "source")
        images = self._images_of(number)
        handle = self._use({"source": number, "image": 0}) if len(images) == 1 else None
        return {"series": [describe_image(image) for image in images], "handle": handle}

    def _use(self, body: dict[str, Any]) -> int:
        """Put one of a source's images into the session; its handle."""
        number, index = _integer(body, "source"), _integer(body, "image")
        images = self._images_of(number)
        if not 0 <= index < len(images):
            raise LookupError(f"{self._source(number).name} has no image {index}")
        return self.session.add_image(images[index], OpenedImage(self._source(number).path, index, len(images)))

    def _preview(self, number: int, query: dict[str, list[str]]) -> PageResponse | None:
        """A slice in the middle of a folder, before all of it is read."""
        path = self._source(number).preview_path
        if path is None:
            return None
        if number not in self._previews:
            images = read_source(path, self._readers)
            if not images:
                return None
            self._previews = {number: images[0]}
        image = self._previews[number]
        return self._slice(image, image.displayed_frame, query)

    def _slice(self, image: Image, frame: int, query: dict[str, list[str]]) -> PageResponse:
        window = (_number(query, "center"), _number(query, "width")) if "center" in query else None
        side = int(_number(query, "side")) if "side" in query else 1024
        return PageResponse("png", self.slices.png(image, SliceKey(frame, window, side)))

    # -- the session

    def _save(self, body: dict[str, Any]) -> dict[str, str]:
        fields = {name: _text(body, name) for name in ("question", "answer", "expected")}
        file = self.session.save(self._out, **fields)
        return {"file": str(file), "folder": str(self._out)}

    def _reset(self, body: dict[str, Any]) -> None:
        self.session.reset()
        self.slices.clear()


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name} is text")
    return value


def _integer(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is a whole number")
    return value


def _arguments(body: dict[str, Any]) -> dict[str, Any]:
    value = body.get("arguments", {})
    if not isinstance(value, dict):
        raise ValueError("arguments is an object")
    return value


def _number(query: dict[str, list[str]], name: str) -> float:
    text = query.get(name, [""])[0]
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{name} is a number")
    return float(text)
