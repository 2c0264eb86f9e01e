"""`medvistagym serve`: the toolbox as an MCP server, which `medvistagym-mcp` is."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._mcp import import_mcp
from medvistagym_core.cli._options import (
    add_common,
    add_execution,
    add_selection,
    load_registry,
    make_executor,
    select_toolbox,
)

if TYPE_CHECKING:
    import socket

    from medvistagym_core.execution import Executor
    from medvistagym_core.imaging import Image
    from medvistagym_core.tools import Toolbox

__all__ = ["configure"]

TOKEN_VARIABLE: Final = "MEDVISTAGYM_SERVE_TOKEN"
_HOST: Final = "127.0.0.1"
_PORT: Final = 8765
_EXAMPLE: Final = """\
medvistagym serve --image scan.dcm
medvistagym serve --tools 'window,zoom' --root studies
medvistagym serve --http --port 8765 --root studies"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE)
    add_selection(parser)
    add_execution(parser)
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
    _add_http_options(parser)
    _add_picture_options(parser)
    _add_limit_options(parser)
    parser.set_defaults(execute=_serve)


def _add_http_options(parser: argparse.ArgumentParser) -> None:
    web = parser.add_argument_group("HTTP (without --http: stdin and stdout)")
    web.add_argument("--http", action="store_true", help="serve over streamable HTTP")
    web.add_argument("--host", help=f"address to listen on (default: {_HOST})")
    web.add_argument("--port", type=int, help=f"port to listen on; 0: any (default: {_PORT})")
    web.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help=f"the token that clients must send (default: ${TOKEN_VARIABLE}, else a new one, printed)",
    )
    web.add_argument("--no-token", action="store_true", help="let every program of this machine connect")
    web.add_argument(
        "--allow-host",
        metavar="NAME[:PORT]",
        action="append",
        default=[],
        help="a host name that clients use, with its port where that is not --port (* for any); may be given again",
    )


def _add_picture_options(parser: argparse.ArgumentParser) -> None:
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--side", metavar="PIXELS", type=int, default=1024, help="longest side of a picture sent (default: 1024)"
    )
    pictures.add_argument(
        "--picture-format",
        choices=("auto", "png", "jpeg", "webp"),
        default="auto",
        help="how pictures are sent; auto: as PNG where the result is small enough, else as JPEG (default: auto)",
    )
    pictures.add_argument(
        "--quality",
        metavar="N",
        type=int,
        default=90,
        help="of JPEG and WebP, 1 to 100; less where a result would be too large (default: 90)",
    )


def _add_limit_options(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--result-bytes",
        metavar="N",
        type=int,
        default=1_000_000,
        help="size of a result; pictures are made to fit (default: 1000000, what desktop clients take)",
    )
    limits.add_argument("--memory", metavar="MIB", type=int, default=512, help="images of a session (default: 512)")
    limits.add_argument(
        "--calls", metavar="N", type=int, default=600, help="calls of a session in a minute (default: 600)"
    )
    limits.add_argument("--sessions", metavar="N", type=int, default=32, help="sessions at a time (default: 32)")
    limits.add_argument(
        "--idle", metavar="MINUTES", type=float, default=60, help="after which a session ends (default: 60)"
    )


def _serve(options: argparse.Namespace) -> int:
    server = import_mcp("server")
    limits = _limits(server, options)
    try:
        if options.http:
            _over_http(server, options, limits)
        else:
            _over_stdio(server, options, limits)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("the server has stopped")
        raise
    return 0


def _over_stdio(server: Any, options: argparse.Namespace, limits: Any) -> None:
    for flag, given in (
        ("--host", options.host),
        ("--port", options.port is not None),
        ("--token-file", options.token_file),
        ("--no-token", options.no_token),
        ("--allow-host", options.allow_host),
    ):
        if given:
            raise UsageError(f"{flag} goes with --http")
    with server.claim_stdio() as fds, _offer(server, options, limits) as (toolbox, images, executor):
        print_stderr(f"medvistagym: serving {', '.join(toolbox) or 'no tools'} on stdin and stdout")
        server.run_stdio(toolbox, images, limits, fds, executor)


def _over_http(server: Any, options: argparse.Namespace, limits: Any) -> None:
    try:
        listener = server.bind_socket(options.host or _HOST, _PORT if options.port is None else options.port)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with contextlib.closing(listener):
        policy = _policy(server, options, listener)
        with _offer(server, options, limits) as (toolbox, images, executor):

            def ready() -> None:
                print_stderr(f"medvistagym: serving {', '.join(toolbox) or 'no tools'} at {server.url_of(listener)}")

            server.run_http(toolbox, images, limits, policy, listener, ready, executor)


def _limits(server: Any, options: argparse.Namespace) -> Any:
    try:
        return server.SessionLimits(
            side=options.side,
            picture_format=options.picture_format,
            quality=options.quality,
            result_bytes=options.result_bytes,
            session_bytes=options.memory << 20,
            calls=options.calls,
            sessions=options.sessions,
            idle_s=options.idle * 60,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def _offer(
    server: Any, options: argparse.Namespace, limits: Any
) -> Iterator[tuple[Toolbox, list[Image], Executor | None]]:
    """The toolbox with the server's own tools, the images of `--image`, and what runs the tools; None for the server's own."""
    from medvistagym_core.cli._image_files import PIPE, read_images

    if PIPE in options.image:
        raise UsageError("--image -: a server's stdin is its client's; name a file")
    registry = load_registry(options)
    toolbox = select_toolbox(registry, options.tools, options.device)
    images = read_images(registry, options.image)
    with contextlib.ExitStack() as stack:
        try:
            own = [server.show_image] if images or options.root else []
            if options.root is not None:
                reader = stack.enter_context(server.FileReader(options.plugins, limits))
                own += server.folder_tools(options.root, reader, limits)
            whole: Toolbox = server.add_server_tools(toolbox, own)
        except ValueError as error:
            raise UsageError(str(error)) from error
        executor = None
        if options.executor != "local":
            executor = stack.enter_context(contextlib.closing(make_executor(registry, options.executor, whole)))
        yield whole, images, executor


def _policy(server: Any, options: argparse.Namespace, listener: socket.socket) -> Any:
    loopback = server.is_loopback(listener)
    token = _given_token(options)
    if token is None and not loopback:
        raise UsageError(
            f"{options.host} can be reached by others, so a token is needed: "
            f"--token-file FILE, or the variable {TOKEN_VARIABLE}"
        )
    if token is None and not options.no_token:
        token = secrets.token_urlsafe(24)
        print_stderr(f"medvistagym: clients must send the header `Authorization: Bearer {token}`")
    if not loopback:
        print_stderr(
            "medvistagym: this is not encrypted; put a server with TLS before it on a network that is not your own"
        )
    try:
        return server.access_policy(listener, token, [name.lower() for name in options.allow_host])
    except ValueError as error:
        raise UsageError(str(error)) from error


def _given_token(options: argparse.Namespace) -> str | None:
    if options.token_file is not None and options.no_token:
        raise UsageError("--token-file and --no-token exclude each other")
    if options.token_file is not None:
        try:
            token: str = options.token_file.read_text("utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise UsageError(f"--token-file {options.token_file}: {reason}") from error
        return token
    return None if options.no_token else os.environ.get(TOKEN_VARIABLE, "").strip() or None
