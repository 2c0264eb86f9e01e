"""What the answers of an HTTP server are held to: they are bounded, and a refusal is remembered by its status."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Final

import httpx2

from medvistagym_mcp.client._config import McpServerConfig

MAX_ANSWER: Final = 64 * 2**20
_CONNECT_S: Final = 30.0
_READ_S: Final = 300.0
_REFUSED: Final = (401, 403)


class HttpStatus:
    """The last status by which a server refused a request, for the sentence that tells of it."""

    def __init__(self, server: McpServerConfig) -> None:
        self._server = server
        self._code: int | None = None

    def client(self) -> httpx2.AsyncClient:
        """A client whose answers are bounded and whose refusals are noted.

        Raises:
            LookupError: The variable that holds the token is not set; the message is a sentence without a subject.
        """
        headers = {"Accept-Encoding": "identity"}
        if (variable := self._server.token_env) is not None:
            token = os.environ.get(variable)
            if not token:
                raise LookupError(f"needs a token, and the variable {variable} is not set")
            headers["Authorization"] = f"Bearer {token}"
        timeout = httpx2.Timeout(_CONNECT_S, read=_READ_S)
        return httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks={"response": [self._look]})

    def describe(self) -> str | None:
        """What the server said by its last status, as a sentence without a subject; None when it refused nothing."""
        if self._code is None:
            return None
        if self._code not in _REFUSED:
            return f"answered HTTP {self._code}"
        variable = self._server.token_env
        hint = (
            f"the token in {variable} is not accepted"
            if variable
            else "name the variable that holds its token in token_env"
        )
        return f"refused the connection (HTTP {self._code}): {hint}"

    async def _look(self, response: httpx2.Response) -> None:
        if response.status_code >= 400:
            self._code = response.status_code
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedStream(response.stream, response.headers.get("content-encoding", "identity"))


class _BoundedStream(httpx2.AsyncByteStream):
    """A body of at most `MAX_ANSWER` bytes, which must not be compressed: a small one may expand to gigabytes."""

    def __init__(self, stream: httpx2.AsyncByteStream, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in parts."""
        if self._encoding != "identity":
            raise httpx2.StreamError(f"it is compressed ({self._encoding[:20]}), which was not asked for")
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > MAX_ANSWER:
                raise httpx2.StreamError(f"it is larger than {MAX_ANSWER >> 20} MiB")
            yield part

    async def aclose(self) -> None:
        """Give the rest up."""
        await self._stream.aclose()
