"""The server as a program: over stdin and stdout until the client leaves, over HTTP until it is interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from medvistagym_core.execution import Executor, LocalExecutor
from medvistagym_core.imaging import Image
from medvistagym_core.tools import Toolbox
from medvistagym_mcp.server._http import AccessPolicy, serve_http, session_resolver
from medvistagym_mcp.server._server import build_server
from medvistagym_mcp.server._session import Session, SessionLimits, Sessions
from medvistagym_mcp.server._stdio import StdioFds, serve_stdio

_ENDING_S: Final = 1.5
_INTERRUPTED: Final = 130


def run_stdio(
    toolbox: Toolbox, images: Sequence[Image], limits: SessionLimits, fds: StdioFds, executor: Executor | None = None
) -> None:
    """Answer the one client at the other end of stdin and stdout until it closes its end.

    Args:
        toolbox: The tools offered.
        images: What the session begins with.
        limits: What the client may ask for.
        fds: From `claim_stdio`.
        executor: Runs the tools; one in this process, which ends with the server, if None.
    """
    with _ending(), _running(toolbox, executor) as runs:
        session = Session(runs, images, limits)
        asyncio.run(serve_stdio(build_server(toolbox, images, lambda ctx: session, stateless=True), fds))


def run_http(
    toolbox: Toolbox,
    images: Sequence[Image],
    limits: SessionLimits,
    policy: AccessPolicy,
    listener: socket.socket,
    ready: Callable[[], None],
    executor: Executor | None = None,
) -> None:
    """Answer clients over HTTP until the process is interrupted.

    Args:
        toolbox: The tools offered.
        images: What every session begins with.
        limits: What a client may ask for.
        policy: Who may connect.
        listener: From `bind_socket`.
        ready: Called once connections are accepted.
        executor: As for `run_stdio`.
    """
    with _ending(), _running(toolbox, executor) as runs:
        sessions = Sessions(runs, images, limits)
        server = build_server(toolbox, images, session_resolver(sessions), stateless=False)
        asyncio.run(serve_http(server, sessions, policy, listener, ready))


@contextlib.contextmanager
def _running(toolbox: Toolbox, executor: Executor | None) -> Iterator[Executor]:
    """The executor that was given, or one of the server's own, which keeps no results once a client has left."""
    if executor is not None:
        yield executor
        return
    with LocalExecutor(toolbox, cache_bytes=0) as own:
        yield own


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Let the process end soon after the work, even if a thread still runs a tool: no thread can be stopped.

    The interpreter waits for such a thread at its exit, so a timer ends the process if that takes too long.
    """
    for name in ("mcp", "uvicorn"):  # their warnings repeat what a client sent, as often as it likes
        logging.getLogger(name).setLevel(logging.ERROR)
    status = 1
    try:
        yield
        status = 0
    except KeyboardInterrupt:
        status = _INTERRUPTED
        raise
    finally:
        if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
            timer = threading.Timer(_ENDING_S, _end, (status,))
            timer.daemon = True
            timer.start()


def _end(status: int) -> None:
    sys.stderr.flush()
    os._exit(status)
