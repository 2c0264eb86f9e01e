"""MCP over streamable HTTP, with what stands before it: who may connect, and which session a request belongs to.

A request is looked at in this order: its `Host` and `Origin` (against DNS rebinding), its token, its path, its session.
The first two are checked by the `mcp` package. Sessions are opened by the initialize handshake and named by the
`Mcp-Session-Id` header; an unknown or ended one is answered 404, as the protocol has it, and the client opens another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import ipaddress
import json
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp_types import INVALID_REQUEST
from starlette.datastructures import Headers
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medvistagym_mcp.server._session import Session, Sessions

PATH: Final = "/mcp"
SESSION: Final = "mcp-session-id"
MIN_TOKEN_LENGTH: Final = 16
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_MAX_BODY: Final = 2**20  # arguments name images by handle, so that no request comes near it
_CONNECTIONS_PER_SESSION: Final = 8
_MIN_CONNECTIONS: Final = 64
_SHUTDOWN_S: Final = 2


@dataclasses.dataclass(frozen=True)
class AccessPolicy:
    """Who may connect.

    Attributes:
        token: What a request must carry as `Authorization: Bearer TOKEN`; None for no token.
        hosts: The `Host` headers that are served, `name`, `name:port`, or `name:*` for any port; none for any header.

    Raises:
        ValueError: There is neither a token nor a host, or the token has fewer than 16 characters.
    """

    token: str | None
    hosts: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.token is None and not self.hosts:
            raise ValueError("a server that others can reach needs a token")
        if self.token is not None and len(self.token) < MIN_TOKEN_LENGTH:
            raise ValueError(f"a token has at least {MIN_TOKEN_LENGTH} characters")

    @property
    def security(self) -> TransportSecuritySettings:
        """The check of `Host` and `Origin`: an origin is served if it is one of `hosts`, over HTTP or HTTPS."""
        return TransportSecuritySettings(
            enable_dns_rebinding_protection=bool(self.hosts),
            allowed_hosts=list(self.hosts),
            allowed_origins=[f"{scheme}://{host}" for host in self.hosts for scheme in ("http", "https")],
        )


def access_policy(listener: socket.socket, token: str | None, names: Sequence[str] = ()) -> AccessPolicy:
    """The policy for a socket.

    Requests must name the address listened on, this machine, or one of `names`, so that no web page can reach the server
    through a rebound name. On all interfaces and without names any header is served: the token is what protects there.

    Args:
        listener: What clients connect to.
        token: What they must send; needed where other machines can connect.
        names: Further names by which clients reach it; with a port, or `:*` for any, where it is not the listener's.

    Raises:
        ValueError: There is no token where one is needed, or it is too short.
    """
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    if token is None and not address.is_loopback:
        raise ValueError("a server that others can reach needs a token")
    if address.is_unspecified and not names:
        return AccessPolicy(token, ())
    own = f"[{address}]" if address.version == 6 else str(address)
    hosts = []
    for name in dict.fromkeys((*_LOOPBACK, own, *names)):
        has_port = ":" in name.rpartition("]")[2]
        hosts += [name] if has_port else [name, f"{name}:{port}"]
    return AccessPolicy(token, tuple(hosts))


class _OneToken(TokenVerifier):
    """Knows one token."""

    def __init__(self, token: str) -> None:
        self._digest = hashlib.sha256(token.encode()).digest()

    async def verify_token(self, token: str) -> AccessToken | None:
        """Compare in constant time; digests have one length, so that the comparison tells nothing of the token's."""
        if not hmac.compare_digest(hashlib.sha256(token.encode()).digest(), self._digest):
            return None
        return AccessToken(token=token, client_id="client", scopes=[])


def session_resolver(sessions: Sessions) -> Callable[[Any], Session | None]:
    """How the server finds the session of a request's context."""

    def find(ctx: Any) -> Session | None:
        key = ctx.request.headers.get(SESSION) if ctx.request is not None else None
        return None if key is None else sessions.find(key)

    return find


def http_app(manager: StreamableHTTPSessionManager, sessions: Sessions, policy: AccessPolicy) -> ASGIApp:
    """The ASGI application: host and origin, token, path and session, then the protocol."""
    app: ASGIApp = McpAsgiApp(manager, sessions)
    if policy.token is not None:
        app = RequireAuthMiddleware(app, required_scopes=[])
        app = AuthenticationMiddleware(app, backend=BearerAuthBackend(_OneToken(policy.token)))
    security = TransportSecurityMiddleware(policy.security)

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await security.validate_request(Request(scope))
        await (app if refusal is None else refusal)(scope, receive, send)

    return checked


class McpAsgiApp:
    """The protocol at its path, with the images of a session kept as long as the session."""

    def __init__(self, manager: StreamableHTTPSessionManager, sessions: Sessions) -> None:
        self._manager = manager
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["path"] != PATH:
            await _refusal(404, f"The server is at {PATH}.")(scope, receive, send)
            return
        key = Headers(scope=scope).get(SESSION)
        if key is None:
            await self._manager.handle_request(scope, receive, self._opening(send))
            return
        with self._sessions.in_use(key) as session:
            if session is None:
                await _refusal(404, "The session has ended; open another one.")(scope, receive, send)
                return
            await self._manager.handle_request(scope, receive, send)
        if scope["method"] == "DELETE":
            self._sessions.close(key)

    def _opening(self, send: Send) -> Send:
        """`send`, with a session begun when the manager, which keeps to the limit, has opened one."""

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300:
                key = Headers(raw=message["headers"]).get(SESSION)
                if key is not None:
                    self._sessions.open(key)
            await send(message)

        return watched


async def serve_http(
    server: Server[Any],
    sessions: Sessions,
    policy: AccessPolicy,
    listener: socket.socket,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer clients until the process is interrupted.

    Args:
        server: What they talk to.
        sessions: Their images.
        policy: Who may connect.
        listener: A bound socket.
        ready: Called once connections are accepted.
    """
    import uvicorn

    from medvistagym_mcp.server._connections import BoundedConnection

    manager = StreamableHTTPSessionManager(
        server,
        json_response=True,
        session_idle_timeout=sessions.limits.idle_s,
        max_request_body_size=_MAX_BODY,
        max_sessions=sessions.limits.sessions,
    )
    connections = max_connections(sessions.limits.sessions)
    config = uvicorn.Config(
        http_app(manager, sessions, policy),
        http=BoundedConnection,
        ws="none",
        limit_concurrency=connections,
        backlog=connections,  # so many may be accepted before the first of them is counted
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    program = uvicorn.Server(config)

    async def announce() -> None:
        while not program.started:
            await anyio.sleep(0.01)
        ready()

    async with manager.run(), anyio.create_task_group() as tasks:
        tasks.start_soon(announce)
        await program.serve(sockets=[listener])
        tasks.cancel_scope.cancel()


def max_connections(sessions: int) -> int:
    """Connections for a number of sessions, within what the system lets this process open."""
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(max(_CONNECTIONS_PER_SESSION * sessions, _MIN_CONNECTIONS), max(files // 4, 8))


def bind_socket(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 lets the system choose one.

    Args:
        host: A name or an address of this machine.
        port: 0 to 65535.

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


def url_of(listener: socket.socket) -> str:
    """The URL of the server behind a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"


def _refusal(status: int, message: str) -> Response:
    error = {"code": INVALID_REQUEST, "message": message}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error})
    return Response(body, status_code=status, media_type="application/json")
