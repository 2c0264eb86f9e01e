"""Connections to one server that stay open from request to request.

The standard library's client takes a quarter of the processor time of the larger ones for a request, and a rollout makes a
thousand of them a second. Connections are lent to one thread at a time. `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are heeded.
Redirects are not followed: what is sent is for one server.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.parse
import urllib.request
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_BLOCK_BYTES: Final = 65536


class HttpResponse(NamedTuple):
    """What a server answered."""

    status: int
    headers: http.client.HTTPMessage
    content: bytes


class ResponseTooLargeError(Exception):
    """A response of more bytes than are taken."""


class Connections:
    """Open connections to the server of a URL.

    Args:
        url: Where the API begins.
        headers: Sent with every request.
        timeout_s: Seconds that the server may be silent.
        max_bytes: Most bytes of a response.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float, max_bytes: int) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host, self._port, self._secure = parts.hostname or "", parts.port, parts.scheme == "https"
        self._base, self._headers = parts.path.rstrip("/"), dict(headers)
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._context = ssl.create_default_context() if self._secure else None
        self._proxy = _proxy(parts.scheme, self._host)
        self._idle: deque[http.client.HTTPConnection] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def request(self, method: str, path: str, payload: bytes | None, deadline: float) -> HttpResponse:
        """Send a request, and read the response.

        Args:
            method: "GET" or "POST".
            path: Below the URL, such as "/chat/completions".
            payload: JSON, encoded; None for none.
            deadline: When to give up, by `time.monotonic`.

        Raises:
            TimeoutError: The server was silent for too long, or the deadline has passed.
            ConnectionRefusedError: Nobody listens there; `OSError` for whatever else keeps a connection from being made.
            http.client.HTTPException: What came back is no HTTP.
            ResponseTooLargeError: The response is too large.
        """
        try:
            connection, used = self._idle.pop(), True
        except IndexError:
            connection, used = self._connect(), False
        try:
            try:
                response = self._send(connection, method, path, payload)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if not used:
                    raise
                connection.close()  # the server had closed it while it was idle
                connection = self._connect()
                response = self._send(connection, method, path, payload)
            content = self._read(response, deadline)
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return HttpResponse(response.status, response.headers, content)

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._proxy or (self._host, self._port)
        connection: http.client.HTTPConnection
        if self._secure:
            connection = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._context)
            if self._proxy:
                connection.set_tunnel(self._host, self._port or 443)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        return connection

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, payload: bytes | None
    ) -> http.client.HTTPResponse:
        target = f"{self._base}{path}"
        if self._proxy and not self._secure:
            target = f"http://{self._host}:{self._port or 80}{target}"
        connection.request(method, target, payload, self._headers)
        return connection.getresponse()

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        blocks: list[bytes] = []
        size = 0
        while block := response.read1(_BLOCK_BYTES):
            blocks.append(block)
            size += len(block)
            if time.monotonic() > deadline:
                raise TimeoutError
            if size > self._max_bytes:
                raise ResponseTooLargeError
        if response.length:
            raise http.client.IncompleteRead(b"".join(blocks), response.length)
        response.close()  # the connection takes no other request before; its socket stays open
        return b"".join(blocks)


def _proxy(scheme: str, host: str) -> tuple[str, int | None] | None:
    """Host and port of the proxy that the environment names for a host; None where there is none."""
    url = urllib.request.getproxies().get(scheme)
    if not url or urllib.request.proxy_bypass(host):
        return None
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    return (parts.hostname, parts.port) if parts.hostname else None


def _close_all(connections: deque[Any]) -> None:
    while connections:
        connections.pop().close()
