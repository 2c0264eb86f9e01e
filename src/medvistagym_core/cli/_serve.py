"""`medvistagym serve`: the toolbox as an MCP server."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_common, add_device, add_selection, load_registry, select_toolbox

if TYPE_CHECKING:
    import socket

    from medvistagym_core.imaging import Image
    from medvistagym_core.serving.http import Guard
    from medvistagym_core.serving.session import Limits
    from medvistagym_core.tools import Toolbox


__all__ = ["configure"]

TOKEN_VARIABLE: Final = "MEDVISTAGYM_SERVE_TOKEN"
_EXAMPLE: Final = """\
medvistagym serve --image scan.dcm
medvistagym serve --tools 'window,zoom' --root studies
medvistagym serve --http --port 8765 --root studies"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from medvistagym_core.serving.session import Limits

    add_common(parser, _EXAMPLE)
    add_selection(parser)
    add_device(parser)
    parser.add_argument(
        "--image",
        metavar="FILE",
        nargs="+",
        type=Path,
        default=[],
        help="images every session has as handles 0, 1, ...",
    )
    parser.add_argument(
        "--root", metavar="DIR", type=Path, help="let clients open the images of this folder, and no others"
    )
    web = parser.add_argument_group("HTTP (without --http: stdin and stdout)")
    web.add_argument("--http", action="store_true", help="serve over streamable HTTP")
    web.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    web.add_argument("--port", type=int, default=8765, help="port to listen on; 0: any (default: 8765)")
    web.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help=f"the token that clients must send (default: ${TOKEN_VARIABLE}, else a new one, printed)",
    )
    web.add_argument("--no-token", action="store_true", help="let every program of this machine connect")
    web.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="a host name that clients use; may be given again",
    )
    limits = parser.add_argument_group("limits")
    usual = Limits()
    limits.add_argument(
        "--side",
        metavar="PIXELS",
        type=int,
        default=usual.side,
        help=f"longest side of a picture sent (default: {usual.side})",
    )
    limits.add_argument(
        "--memory",
        metavar="MIB",
        type=int,
        default=usual.session_bytes >> 20,
        help=f"images of a session (default: {usual.session_bytes >> 20})",
    )
    limits.add_argument(
        "--calls",
        metavar="N",
        type=int,
        default=usual.calls,
        help=f"calls of a session in a minute (default: {usual.calls})",
    )
    limits.add_argument(
        "--sessions",
        metavar="N",
        type=int,
        default=usual.sessions,
        help=f"sessions at a time (default: {usual.sessions})",
    )
    limits.add_argument(
        "--idle",
        metavar="MINUTES",
        type=float,
        default=usual.idle_s / 60,
        help=f"after which a session ends (default: {usual.idle_s / 60:g})",
    )
    parser.set_defaults(execute=_serve)


def _serve(options: argparse.Namespace) -> int:
    try:
        import mcp  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError("serving needs the extra `mcp`: pip install 'medvistagym-core[mcp]'") from error
    try:
        return _answer(options, _limits(options))
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("the server has stopped")
        raise


def _answer(options: argparse.Namespace, limits: Limits) -> int:
    if options.http:
        with contextlib.closing(_listener(options)) as listener:
            guard = _guard(options, listener)
            toolbox, images = _offer(options, limits)
            return _over_http(toolbox, images, limits, guard, listener)

    from medvistagym_core.serving.stdio import private_wire

    for flag, given in (
        ("--token-file", options.token_file),
        ("--no-token", options.no_token),
        ("--allow-host", options.allow_host),
    ):
        if given:
            raise UsageError(f"{flag} goes with --http")
    with private_wire() as wire:
        toolbox, images = _offer(options, limits)
        return _over_stdio(toolbox, images, limits, wire)


def _limits(options: argparse.Namespace) -> Limits:
    from medvistagym_core.serving.session import Limits

    try:
        return Limits(
            side=options.side,
            session_bytes=options.memory << 20,
            calls=options.calls,
            sessions=options.sessions,
            idle_s=options.idle * 60,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _offer(options: argparse.Namespace, limits: Limits) -> tuple[Toolbox, list[Image]]:
    from medvistagym_core.cli._image_files import read_images
    from medvistagym_core.serving.folder import folder_tools
    from medvistagym_core.serving.server import show_image, with_tools

    registry = load_registry(options)
    toolbox = select_toolbox(registry, options.tools, options.device)
    images = read_images(registry, options.image)
    try:
        own = [show_image.with_metadata(plugin="serve")] if images else []
        if options.root is not None:
            own += folder_tools(options.root, lambda path: read_images(registry, [path]), limits)
        return with_tools(toolbox, own), images
    except ValueError as error:
        raise UsageError(str(error)) from error


def _over_stdio(toolbox: Toolbox, images: Sequence[Image], limits: Limits, wire: tuple[int, int]) -> int:
    import asyncio

    from medvistagym_core.execution import LocalExecutor
    from medvistagym_core.serving.server import tool_server
    from medvistagym_core.serving.session import Session
    from medvistagym_core.serving.stdio import serve_stdio

    with LocalExecutor(toolbox, cache_bytes=0) as executor:
        session = Session(executor, images, limits)
        print_stderr(f"medvistagym: serving {', '.join(toolbox) or 'no tools'} on stdin and stdout")
        asyncio.run(serve_stdio(tool_server(toolbox, images, lambda ctx: session, stateless=True), wire))
    return 0


def _over_http(toolbox: Toolbox, images: Sequence[Image], limits: Limits, guard: Guard, listener: socket.socket) -> int:
    import asyncio

    from medvistagym_core.execution import LocalExecutor
    from medvistagym_core.serving.http import address_of, serve_http, session_of
    from medvistagym_core.serving.server import tool_server
    from medvistagym_core.serving.session import Sessions

    with LocalExecutor(toolbox, cache_bytes=0) as executor:
        sessions = Sessions(executor, images, limits)
        server = tool_server(toolbox, images, session_of(sessions), stateless=False)

        def ready() -> None:
            print_stderr(f"medvistagym: serving {', '.join(toolbox) or 'no tools'} at {address_of(listener)}")

        asyncio.run(serve_http(server, sessions, guard, listener, ready))
    return 0


def _listener(options: argparse.Namespace) -> socket.socket:
    from medvistagym_core.serving.http import listen

    try:
        return listen(options.host, options.port)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _guard(options: argparse.Namespace, listener: socket.socket) -> Guard:
    from medvistagym_core.serving.http import Guard, is_loopback

    loopback = is_loopback(listener)
    token = _given_token(options)
    if token is None and not loopback:
        raise UsageError(
            f"{options.host} can be reached by others, so a token is needed: "
            f"--token-file FILE, or the variable {TOKEN_VARIABLE}"
        )
    if token is None and not options.no_token:
        token = secrets.token_urlsafe(24)
        print_stderr(f"medvistagym: clients must send the header `Authorization: Bearer {token}`")
    names: list[Any] = ["localhost", *options.allow_host]
    if not loopback:
        print_stderr(
            "medvistagym: this is not encrypted; put a server with TLS before it on a network that is not your own"
        )
    try:
        return Guard(token, frozenset(name.lower() for name in names), loopback and not options.allow_host)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _given_token(options: argparse.Namespace) -> str | None:
    if options.token_file is not None and options.no_token:
        raise UsageError("--token-file and --no-token exclude each other")
    if options.token_file is not None:
        try:
            token: str = options.token_file.read_text().strip()
        except OSError as error:
            raise UsageError(f"--token-file {options.token_file}: {error.strerror}") from error
        return token
    return None if options.no_token else os.environ.get(TOKEN_VARIABLE, "").strip() or None
