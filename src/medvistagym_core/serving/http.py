"""MCP over streamable HTTP, with what stands before it: who may connect, and which session a request belongs to.

A request is looked at in this order: its `Host` and `Origin` (against DNS rebinding), its token (compared in constant
time), its path, its session. Sessions are opened by the initialize handshake and named by the `Mcp-Session-Id` header; an
unknown or ended one is answered 404, as the protocol has it, and the client opens another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import ipaddress
import json
import socket
import urllib.parse
from collections.abc import Callable
from typing import Any, Final

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import INVALID_REQUEST
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from medvistagym_core.serving.session import Session, Sessions

PATH: Final = "/mcp"
SESSION: Final = "mcp-session-id"
LEAST_TOKEN: Final = 16
_SHUTDOWN_S: Final = 2


@dataclasses.dataclass(frozen=True)
class Guard:
    """Who may connect.

    Attributes:
        token: What a request must carry as `Authorization: Bearer TOKEN`; None for no token, on loopback only.
        names: Host names by which the server may be addressed, besides numeric addresses, which no rebinding can forge.
        loopback: Whether only addresses of this machine may be named.
    """

    token: str | None
    names: frozenset[str] = frozenset({"localhost"})
    loopback: bool = True

    def __post_init__(self) -> None:
        if self.token is None and not self.loopback:
            raise ValueError("a server that others can reach needs a token")
        if self.token is not None and len(self.token) < LEAST_TOKEN:
            raise ValueError(f"a token has at least {LEAST_TOKEN} characters")

    def refusal(self, headers: Headers) -> tuple[int, str] | None:
        """The HTTP status and sentence for a request that may not pass; None when it may."""
        if len(headers.getlist("host")) != 1 or not self._trusts(headers["host"]):
            return 421, "The Host header does not name this server."
        origin = headers.get("origin")
        if origin is not None and not self._trusts_origin(origin):
            return 403, "Requests from this Origin are not served."
        if self.token is not None and not self._knows(headers.get("authorization", "")):
            return 401, "A bearer token is needed, and it must be the right one."
        return None

    def _trusts_origin(self, origin: str) -> bool:
        scheme, separator, host = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and self._trusts(host)

    def _trusts(self, host: str) -> bool:
        try:
            parts = urllib.parse.urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if not name or parts.netloc != host or "@" in host:
            return False
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.loopback

    def _knows(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        # Digests have one length, so the comparison tells nothing of the token's.
        known = hashlib.sha256((self.token or "").encode()).digest()
        return (
            hmac.compare_digest(hashlib.sha256(given.strip().encode()).digest(), known) and scheme.lower() == "bearer"
        )


def session_of(sessions: Sessions) -> Callable[[Any], Session | None]:
    """How the server finds the session of a request's context."""

    def find(ctx: Any) -> Session | None:
        key = ctx.request.headers.get(SESSION) if ctx.request is not None else None
        return None if key is None else sessions.find(key)

    return find


class Front:
    """The ASGI application: the guard, the sessions, then the protocol."""

    def __init__(self, manager: StreamableHTTPSessionManager, sessions: Sessions, guard: Guard) -> None:
        self._manager = manager
        self._sessions = sessions
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served, not {scope['type']}")
        headers = Headers(scope=scope)
        key = headers.get(SESSION)
        if refusal := self._guard.refusal(headers):
            await _refuse(send, *refusal)
        elif scope["path"] != PATH:
            await _refuse(send, 404, f"The server is at {PATH}.")
        elif key is not None and self._sessions.find(key) is None:
            await _refuse(send, 404, "The session has ended; open another one.")
        elif key is None and self._sessions.full():
            await _refuse(send, 503, "Too many sessions are open; try again later.")
        else:
            await self._manager.handle_request(scope, receive, self._watched(scope, key, send))

    def _watched(self, scope: Scope, key: str | None, send: Send) -> Send:
        """`send`, with the sessions kept as the protocol's answers open and close them."""

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300:
                given = Headers(raw=message["headers"]).get(SESSION)
                if key is None and given is not None:
                    self._sessions.open(given)
                elif key is not None and scope["method"] == "DELETE":
                    self._sessions.close(key)
            await send(message)

        return watched


async def serve_http(
    server: Server[Any],
    sessions: Sessions,
    guard: Guard,
    listener: socket.socket,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer clients until the process is interrupted.

    Args:
        server: What they talk to.
        sessions: Their images.
        guard: Who may connect.
        listener: A bound socket.
        ready: Called once connections are accepted.
    """
    import uvicorn

    # Answers come as plain JSON: clients bound the size of a server-sent event, and a picture may be larger.
    manager = StreamableHTTPSessionManager(
        app=server,
        json_response=True,
        session_idle_timeout=sessions.limits.idle_s,
        max_sessions=2 * sessions.limits.sessions,
    )
    config = uvicorn.Config(
        Front(manager, sessions, guard),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )

    class Listening(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    async with manager.run():
        await Listening(config).serve(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 lets the system choose one.

    Raises:
        ValueError: The address is not one of this machine, or is taken.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"a port is a number from 0 to 65535, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ValueError(f"{host} is not an address: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ValueError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def address_of(listener: socket.socket) -> str:
    """The URL of the server behind a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"


async def _refuse(send: Send, status: int, said: str) -> None:
    error = {"code": INVALID_REQUEST, "message": said}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    with contextlib.suppress(OSError):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
