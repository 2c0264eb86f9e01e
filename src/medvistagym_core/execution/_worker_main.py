"""What runs in a worker process: `python -m medvistagym_core.execution._worker_main CONNECTION LIFELINE`, two file
descriptors.

A request is `(name, origin or None, calls, together)`; the answers are `TOOL_LOADED` once the tool is there, and then the
results: one message for each call in order, or a single list of them when the tool's kernel takes all calls together.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from medvistagym_core.execution._pickle_channel import TOOL_LOADED, UnpicklableMessageError, receive, send
from medvistagym_core.execution._tool_reference import load_tool
from medvistagym_core.tools import Tool, ToolError, ToolResult


def serve_requests(connection: Connection) -> None:
    """Answer requests until the other side is gone."""
    tools: dict[str, Tool] = {}
    while True:
        try:
            name, origin, calls, together = receive(connection)
        except UnpicklableMessageError as error:
            send(connection, ToolError("tool_failed", f"The call could not be handed over: {error}."))
            continue
        try:
            if origin is not None:
                tools[name] = load_tool(origin)
                with contextlib.suppress(Exception):  # the call meets it again, and says what is wrong
                    tools[name].setup()  # loading a model is not part of the first call's time
        except BaseException as error:  # noqa: BLE001 of the module of the tool
            message = str(error).strip().split("\n")[0][:300]
            send(
                connection, ToolError("tool_failed", f"{name} could not be loaded: {type(error).__name__}: {message}.")
            )
            continue
        send(connection, TOOL_LOADED)
        tool = tools[name]
        if together:
            _answer(connection, name, tool.run_batch(calls))
        else:
            for arguments in calls:
                _answer(connection, name, tool.run(arguments))


def _answer(connection: Connection, name: str, answer: ToolResult | list[ToolResult]) -> None:
    try:
        send(connection, answer)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 a result that cannot be pickled
        failed = ToolResult(
            error=ToolError("tool_failed", f"{name} gave a result that cannot be handed over: {error}.")
        )
        send(connection, failed if isinstance(answer, ToolResult) else [failed] * len(answer))


def die_with_parent(lifeline: int) -> None:
    """End this process, whatever it does, when the other end of a pipe is closed: with its parent, however that ends."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)  # which ends it
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(1)


def main(arguments: list[str]) -> None:
    """Serve the connection given by its file descriptor."""
    connection, lifeline = Connection(int(arguments[0])), int(arguments[1])
    die_with_parent(lifeline)
    for descriptor in (connection.fileno(), lifeline):  # not for what a tool starts
        os.set_inheritable(descriptor, False)
    os.dup2(2, 1)  # what a tool prints is no answer of the program that called it
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        serve_requests(connection)


if __name__ == "__main__":
    _arguments: Any = sys.argv[1:]
    main(_arguments)
