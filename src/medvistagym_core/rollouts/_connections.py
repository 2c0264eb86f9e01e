"""Connections to one server that stay open from request to request, by urllib3.

`HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are heeded, a name and a password in them too. A compressed response is inflated.
Redirects are not followed: what is sent, and the key, are for one server.
"""

from __future__ import annotations

import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import urllib3

_BLOCK_BYTES: Final = 65536


class HttpResponse(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class ResponseTooLargeError(Exception):
    """A response of more bytes than are taken, compressed or not."""


class Connections:
    """Open connections to the server of a URL, one a thread.

    Args:
        url: Where the API begins.
        headers: Sent with every request.
        count: Connections that are kept open.
        timeout_s: Seconds that the server may be silent.
        max_bytes: Most bytes of a response, inflated.

    Raises:
        ValueError: The environment names a proxy that cannot be used.
    """

    def __init__(self, url: str, headers: Mapping[str, str], count: int, timeout_s: float, max_bytes: int) -> None:
        url = url.rstrip("/")
        self._max_bytes = max_bytes
        proxy = _proxy(url)
        # What is tried again, and when, is the client's to say.
        settings: dict[str, Any] = {"headers": headers, "maxsize": count, "timeout": timeout_s, "retries": False}
        self._send: Callable[..., urllib3.BaseHTTPResponse]
        if proxy is None:  # one pool alone takes a fifth less than a manager that chooses it each time
            self._send, self._base = (
                urllib3.connection_from_url(url, **settings).urlopen,
                urllib.parse.urlsplit(url).path,
            )
            return
        try:
            credentials = urllib3.util.parse_url(proxy).auth
            login: dict[str, Any] = (
                {} if credentials is None else {"proxy_basic_auth": urllib.parse.unquote(credentials)}
            )
            manager = urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(**login), **settings)
        except (urllib3.exceptions.ProxySchemeUnknown, urllib3.exceptions.LocationParseError):
            raise ValueError(
                "the proxy that HTTP_PROXY or HTTPS_PROXY names is no URL such as http://proxy:3128"
            ) from None
        self._send, self._base = manager.urlopen, url

    def request(self, method: str, path: str, payload: bytes | None, deadline: float) -> HttpResponse:
        """Send a request, and read the response.

        Args:
            method: "GET" or "POST".
            path: Below the URL, such as "/chat/completions".
            payload: JSON, encoded; None for none.
            deadline: When to give up, by `time.monotonic`.

        Raises:
            TimeoutError: The server was silent for too long, or the deadline has passed.
            urllib3.exceptions.NewConnectionError: Nobody listens there, or there is no such host.
            urllib3.exceptions.HTTPError: Whatever else went wrong on the way.
            ResponseTooLargeError: The response is too large.
        """
        response: urllib3.BaseHTTPResponse | None = None
        try:
            response = self._send(method, f"{self._base}{path}", body=payload, redirect=False, preload_content=False)
            blocks: list[bytes] = []
            size = 0
            # What is there, since a whole block of a slow server may never come.
            while block := response.read1(_BLOCK_BYTES):
                blocks.append(block)
                size += len(block)
                if time.monotonic() > deadline:
                    raise TimeoutError
                if size > self._max_bytes:
                    raise ResponseTooLargeError
        except urllib3.exceptions.TimeoutError as error:
            if isinstance(error, urllib3.exceptions.NewConnectionError):
                raise
            raise TimeoutError from None
        except BaseException:
            if response is not None:
                response.close()
            raise
        response.release_conn()
        return HttpResponse(response.status, response.headers, b"".join(blocks))


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL; None where there is none."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
