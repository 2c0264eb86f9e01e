"""Connections of HTTP clients, with deadlines and a limit.

uvicorn waits for a request as long as a client likes, and counts connections only once a request is there. Here a request
must be complete within `REQUEST_S`, and what is sent must be taken within `RESPONSE_S`. Beyond the limit, a new connection
takes the place of the one that has been without a request for longest, so that nobody can keep others out by holding
connections that are not used; while all are in use, it is answered 503.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

REQUEST_S: Final = 20.0
RESPONSE_S: Final = 30.0


class BoundedConnection(H11Protocol):
    """One client's connection. `uvicorn.Config.limit_concurrency` is how many there may be."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting_since = self.loop.time()
        self._request_timer: asyncio.TimerHandle | None = None
        self._response_timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it has no request that is being answered."""
        cycle: RequestResponseCycle | None = self.cycle  # None at first, though it is declared otherwise
        return cycle is None or cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, in place of another connection if need be."""
        super().connection_made(transport)
        self._request_timer = self.loop.call_later(REQUEST_S, transport.abort)
        if self.limit_concurrency is None or len(self.connections) < self.limit_concurrency:
            return
        others = [other for other in self.connections if isinstance(other, BoundedConnection) and other is not self]
        waiting = sorted((other for other in others if other.is_waiting), key=lambda other: other.waiting_since)
        for other in waiting[: len(self.connections) - self.limit_concurrency + 1]:
            self.connections.discard(other)
            other.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        if not self.is_waiting and not self.cycle.more_body:
            self._stop_request_timer()
        elif self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_S, self.transport.abort)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.waiting_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._response_timer = self.loop.call_later(RESPONSE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, since the client reads."""
        super().resume_writing()
        self._stop_response_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._stop_request_timer()
        self._stop_response_timer()

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _stop_response_timer(self) -> None:
        if self._response_timer is not None:
            self._response_timer.cancel()
            self._response_timer = None
