"""Serving the page on loopback, to whoever was told the address and to nobody else.

Every path begins with a secret, so that other users of the machine cannot read along; the `Host` header must name loopback, so
that no page of the web can either (DNS rebinding). Nothing is cached by a browser, and no file is served but the page's own
and the pictures that trajectories name.
"""

from __future__ import annotations

import re
import secrets
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from pydantic_core import to_json

from medvistagym_core.trajectories import Trajectory
from medvistagym_core.trajectories.viewer._assets import ICON, SCRIPTS, STYLE, asset, document
from medvistagym_core.trajectories.viewer._index import EpisodeIndex

FullResolution = Callable[[Path, Trajectory, int], bytes | None]

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
CHUNK: Final = 500
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PICTURE: Final = re.compile(r"picture/(\d{1,6})/([0-9a-f]{64})\.png")
_FULL: Final = re.compile(r"full/(\d{1,12})/(\d{1,6})\.png")
_NUMBERED: Final = re.compile(r"(episode|thumb)/(\d{1,12})")


class ViewerServer:
    """A page of a run at `url`, from `with` or `start` until `close`.

    Args:
        run: The run. It is read in the background; the page shows what there is and fetches the rest.
        port: Port on 127.0.0.1; 0 for any that is free.
        full_resolution: Gives an image of an episode at its own resolution as PNG, of the trajectory file, the trajectory and
            the handle, or None where it cannot; without it pictures stay as they were recorded.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, run: EpisodeIndex, port: int = 0, full_resolution: FullResolution | None = None) -> None:
        self.run = run
        self.full_resolution = full_resolution
        self.secret = secrets.token_urlsafe(16)
        self.reading = True
        page = self

        class Handler(_Handler):
            served = page

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self._closed = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/{self.secret}/"

    def start(self) -> None:
        """Begin to read the run and to serve."""
        threading.Thread(target=self._read, name="page-read", daemon=True).start()
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="page-serve", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self) -> None:
        """Return when it was closed."""
        while not self._closed.wait(1.0):
            pass

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        while not self._closed.is_set() and self.run.poll(CHUNK):
            pass
        self.reading = False

    def respond(self, path: str, query: dict[str, list[str]]) -> tuple[str, bytes] | None:
        """The media type and content of a path below the secret; None when there is nothing."""
        if path == "":
            head = f'<link rel="icon" href="{ICON}">\n<link rel="stylesheet" href="{STYLE}">'
            body = "\n".join(f'<script src="{name}" defer></script>' for name in SCRIPTS)
            return "html", document(head, body, None).encode()
        if path in (STYLE, ICON, *SCRIPTS):
            return path.rpartition(".")[2], asset(path).encode()
        if path == "rows":
            return "json", _json(self._rows(query))
        if path == "figures":
            return "json", _json(self.run.charts())
        if match := _PICTURE.fullmatch(path):
            return _png(self.run.picture(int(match[1]), match[2]))
        if match := _FULL.fullmatch(path):
            return self._full(int(match[1]), int(match[2]))
        if match := _NUMBERED.fullmatch(path):
            number = int(match[2])
            if match[1] == "thumb":
                return _png(self.run.thumbnail(number))
            try:
                return "json", _json(self.run.episode(number))
            except Exception:  # noqa: BLE001 a record can be wrong in any way, and must not end the page
                return None
        return None

    def _full(self, number: int, handle: int) -> tuple[str, bytes] | None:
        if self.full_resolution is None:
            return None
        try:
            content = self.full_resolution(self.run.file(number), self.run.trajectory(number), handle)
        except Exception:  # noqa: BLE001 it plays a record of a file with installed tools: either can be wrong in any way
            return None
        return None if content is None else ("png", content)

    def _rows(self, query: dict[str, list[str]]) -> dict[str, Any]:
        rows, strings = (_parse_nonnegative_int(query.get(name, ["0"])[0]) for name in ("rows", "strings"))
        reading = self.reading
        if not reading and rows >= len(self.run.rows):
            self.run.poll(4 * CHUNK)
        return {**self.run.table(rows, strings), "done": not reading, "full": self.full_resolution is not None}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that no longer wants an answer; show anything else."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    served: ViewerServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "medvistagym", ""
    wbufsize = -1  # head and body in one piece; two would wait for each other's acknowledgement
    timeout = 60

    def do_GET(self) -> None:
        page = self.served
        if self.headers.get("Host", "").lower() not in (f"127.0.0.1:{page.port}", f"localhost:{page.port}"):
            return self._send(HTTPStatus.MISDIRECTED_REQUEST, "text", b"this page answers to 127.0.0.1 alone\n")
        address = urlsplit(self.path)
        _, secret, *rest = [*address.path.split("/", 2), ""]
        if not secrets.compare_digest(secret.encode(), page.secret.encode()):
            return self._send(HTTPStatus.NOT_FOUND, "text", b"use the whole address that was printed\n")
        found = page.respond(rest[0], parse_qs(address.query))
        if found is None:
            return self._send(HTTPStatus.NOT_FOUND, "text", b"there is nothing here\n")
        return self._send(HTTPStatus.OK, *found)

    do_HEAD = do_GET  # noqa: N815

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _TYPES[kind])
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", CSP)
        for name, value in (
            ("Cache-Control", "no-store"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the name it has in the standard library
        """Say nothing: an access log would only repeat the secret."""


def _png(path: Path | None) -> tuple[str, bytes] | None:
    try:
        content = path.read_bytes() if path is not None else b""
    except OSError:
        return None
    return ("png", content) if content.startswith(_PNG) else None


def _json(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="null")


def _parse_nonnegative_int(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 13 else 0
