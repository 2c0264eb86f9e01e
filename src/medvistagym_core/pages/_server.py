"""Serving a page on loopback, to whoever was told the address and to nobody else.

Every path begins with a secret, so that other users of the machine cannot read along; the `Host` header must name loopback, so
that no page of the web can either (DNS rebinding). What changes something is sent as JSON from the page's own origin, which no
other page can do. Nothing is cached by a browser, and no file is served but what the page's `respond` returns.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import sys
import threading
from abc import ABC, abstractmethod
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from pydantic_core import to_json

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
MAX_BODY_BYTES: Final = 1 << 20
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}


@dataclasses.dataclass(frozen=True)
class PageRequest:
    """What a browser asks for.

    Attributes:
        path: Below the secret, without a leading slash.
        query: Values by name.
        body: The JSON object that was posted; None for a request that only reads.
    """

    path: str
    query: dict[str, list[str]]
    body: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class PageResponse:
    """What a page answers.

    Attributes:
        kind: "html", "css", "js", "json", "text", "svg" or "png".
        content: The body.
        status: Status of HTTP.
    """

    kind: str
    content: bytes
    status: HTTPStatus = HTTPStatus.OK

    @classmethod
    def json(cls, value: Any, status: HTTPStatus = HTTPStatus.OK) -> PageResponse:
        """A value as JSON; numbers that are not finite become null.

        Args:
            value: What `to_json` of pydantic takes.
            status: Status of HTTP.
        """
        return cls("json", to_json(value, inf_nan_mode="null"), status)


class LoopbackServer(ABC):
    """A page at `url`, from `with` or `start` until `close`.

    A page that changes nothing says so by `accepts_posts = False`.

    Args:
        port: Port on 127.0.0.1; 0 for any that is free.

    Raises:
        OSError: The port is taken.
    """

    accepts_posts = True

    def __init__(self, port: int = 0) -> None:
        self.secret = secrets.token_urlsafe(16)
        page = self

        class Handler(_Handler):
            served = page

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self._closed = threading.Event()

    @abstractmethod
    def respond(self, request: PageRequest) -> PageResponse | None:
        """The answer to a request that may be answered; None when there is nothing there."""

    @property
    def url(self) -> str:
        """The address, with the secret."""
        return f"http://127.0.0.1:{self.port}/{self.secret}/"

    def start(self) -> None:
        """Begin to serve."""
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that no longer wants an answer; show anything else."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    served: LoopbackServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "medvistagym", ""
    wbufsize = -1  # head and body in one piece; two would wait for each other's acknowledgement
    timeout = 60

    def do_GET(self) -> None:
        if (path := self._admitted_path()) is not None:
            self._answer(path, None)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        self.close_connection = True  # until the body is read, what follows on the connection is not a request
        if (path := self._admitted_path()) is None:
            return None
        if not self.served.accepts_posts:
            return self._refuse(HTTPStatus.NOT_IMPLEMENTED, "this page only shows")
        origins = [f"http://{name}:{self.served.port}" for name in ("127.0.0.1", "localhost")]
        if self.headers.get("Origin", origins[0]).lower() not in origins:
            return self._refuse(HTTPStatus.FORBIDDEN, "only this page itself may ask for that")
        if self.headers.get_content_type() != "application/json":
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{MAX_BODY_BYTES} bytes are the most")
        content = self.rfile.read(int(length))
        self.close_connection = False
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return self._refuse(HTTPStatus.BAD_REQUEST, "that is not JSON")
        if not isinstance(body, dict):
            return self._refuse(HTTPStatus.BAD_REQUEST, "send a JSON object")
        return self._answer(path, body)

    def _admitted_path(self) -> str | None:
        """The path below the secret, if whoever asks may have an answer; else None, and the refusal is sent."""
        page = self.served
        if self.headers.get("Host", "").lower() not in (f"127.0.0.1:{page.port}", f"localhost:{page.port}"):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "this page answers to 127.0.0.1 alone")
            return None
        _, secret, *rest = [*urlsplit(self.path).path.split("/", 2), ""]
        if not secrets.compare_digest(secret.encode(), page.secret.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "use the whole address that was printed")
            return None
        return rest[0]

    def _answer(self, path: str, body: dict[str, Any] | None) -> None:
        response = self.served.respond(PageRequest(path, parse_qs(urlsplit(self.path).query), body))
        if response is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        else:
            self._send(response)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._send(PageResponse("text", f"{sentence}\n".encode(), status))

    def _send(self, response: PageResponse) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", _TYPES[response.kind])
        self.send_header("Content-Length", str(len(response.content)))
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        for name, value in (
            ("Cache-Control", "no-store"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the name it has in the standard library
        """Say nothing: an access log would only repeat the secret."""
