"""Chat templates rendered in a process of their own, within limits of time, memory and output.

A checkpoint's chat template is a Jinja program of whoever made it. Jinja's sandbox keeps it from files and from Python, but
not from looping or growing without end, and it may wait for certain words before it does. So no template is rendered
elsewhere: a child renders it as transformers would, and one that exceeds a limit costs that rendering and the child.

This is no `execution.ChildProcess`, which answers in pickles: a process that runs a stranger's program must not hand those
back. Here requests and answers are JSON, and the child imports Jinja and nothing of this project.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from typing import Any, Final

MAX_SECONDS: Final = 3
"""Processor time of one rendering."""
MAX_BYTES: Final = 256 * 2**20
MAX_CHARS: Final = 4_000_000
"""Of what is rendered, for one conversation."""
MAX_SOURCE_CHARS: Final = 1_000_000
"""Of the template itself; the longest published ones have some 30,000."""
_ANSWER_S: Final = 60.0  # of a machine that has much else to do
_END_S: Final = 5.0
_OUT_OF_MEMORY: Final = 77
"""The child's exit code when its memory does not suffice."""


class ChatTemplateError(ValueError):
    """A chat template that cannot be read, or that fails on a conversation."""


class CostlyTemplateError(ValueError):
    """A chat template that takes more time or memory than rendering may, or whose renderer ends again and again."""


TEMPLATE_ERRORS: Final = (ChatTemplateError, CostlyTemplateError)
"""What rendering a conversation may raise: of that conversation, unless the template does so on every one."""


def render_template(source: str, variables: Mapping[str, Any]) -> str:
    """What a chat template makes of variables, as transformers renders it.

    Args:
        source: The template.
        variables: `messages`, `tools`, `add_generation_prompt` and others; what is no JSON is replaced by the name of its type.

    Raises:
        ChatTemplateError: It cannot be read, or fails.
        CostlyTemplateError: It exceeds a limit.
    """
    if len(source) > MAX_SOURCE_CHARS:
        raise CostlyTemplateError(
            f"the chat template has {len(source)} characters; at most {MAX_SOURCE_CHARS} are read"
        )
    status, text = _RENDERER.ask((source, _as_plain_values(variables)))
    if status == "rendered":
        return text
    raise (CostlyTemplateError if status == "costly" else ChatTemplateError)(text)


def try_chat_template(template: Any) -> None:
    """Render some conversations; nothing is said of what comes of them, or whether it fails.

    Args:
        template: The attribute `chat_template` of a tokenizer or processor: text, texts by name, or None.

    Raises:
        CostlyTemplateError: The template exceeds a limit.
    """
    sources = template.values() if isinstance(template, Mapping) else [template]
    for source in sources:
        if isinstance(source, str):
            _try_source(source)


@functools.lru_cache(64)
def _try_source(source: str) -> None:
    for conversation in _conversations():
        with contextlib.suppress(ChatTemplateError):  # a template may refuse a conversation
            render_template(source, conversation)


def _conversations() -> list[dict[str, Any]]:
    function = {"name": "window", "description": "Show.", "parameters": {"type": "object", "properties": {}}}
    call = {"type": "function", "function": {"name": "window", "arguments": {"note": "a"}}}
    conversations = []
    for words in ("What is shown?", "What is shown? " * 200):
        for blocks in (True, False):
            text: Any = [{"type": "image"}, {"type": "text", "text": words}] if blocks else words
            turns = [{"role": "user", "content": text}, {"role": "assistant", "content": text, "tool_calls": [call]}]
            turns += [{"role": "tool", "name": "window", "content": text}, {"role": "assistant", "content": text}]
            for messages in (turns[:1], turns, [{"role": "system", "content": text}, *turns * 5]):
                conversations += [
                    {"messages": messages, "tools": tools, "add_generation_prompt": True}
                    for tools in (None, [{"type": "function", "function": function}])
                ]
    return [{**each, "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"} for each in conversations]


def _as_plain_values(value: Any) -> Any:
    """A value of JSON types alone: images, arrays and the like are placeholders, which templates only look for."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {_as_plain_values(key): _as_plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain_values(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_plain_values(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):
        return _as_plain_values(dump())
    return f"<{type(value).__name__}>"


# -- the parent's side


class _Renderer:
    """The child, started when it is first asked, and again after it ended; a forked process starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: tuple[subprocess.Popen[bytes], Connection] | None = None

    def reset_after_fork(self) -> None:
        """Leave the child to the process that this one was forked from, a thread of which may hold the lock."""
        if self._child is not None:
            process, connection = self._child
            connection.close()
            process.returncode = 0  # it is no child of this process, which cannot wait for it
        self._lock, self._child = threading.Lock(), None

    def ask(self, request: tuple[str, Any]) -> tuple[str, str]:
        """Whether a template was "rendered", "failed" or was too "costly", and its text or what is wrong."""
        with self._lock:
            try:
                try:
                    return self._ask(request)
                except _EndedError:  # perhaps it was ended by somebody else
                    return self._ask(request)
            except _EndedError as ended:
                return "costly", f"the chat template was not rendered: its renderer ended twice ({ended})"
            except BaseException:  # an answer that comes later would be taken for that to the next request
                self._end()
                raise

    def _ask(self, request: tuple[str, Any]) -> tuple[str, str]:
        self._child = self._child or _start_child()
        connection = self._child[1]
        try:
            connection.send_bytes(json.dumps(request).encode())
            if not connection.poll(_ANSWER_S):
                self._end()
                return "costly", f"the chat template was not rendered within {_ANSWER_S:g} s"
            status, text = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            code = self._end(_END_S)
            if code not in (_OUT_OF_MEMORY, -signal.SIGXCPU):
                raise _EndedError(_describe_exit(code)) from None
            return (
                "costly",
                f"the chat template takes more than {MAX_SECONDS} s or {MAX_BYTES >> 20} MiB for a conversation",
            )
        return str(status), str(text)

    def close(self) -> None:
        """End the child, with the process that asked it."""
        with self._lock:
            self._end()

    def _end(self, wait_s: float = 0.0) -> int | None:
        """End the child unless it does so within a time; its exit code, or None without one."""
        if self._child is None:
            return None
        process, connection = self._child
        self._child = None
        connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(wait_s)
        process.kill()
        return process.wait()


class _EndedError(Exception):
    """The child ended, and by none of the limits."""


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _start_child() -> tuple[subprocess.Popen[bytes], Connection]:
    here, there = Pipe()
    with there:
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(there.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(there.fileno(),),
            start_new_session=True,  # Ctrl-C is for the parent
        )
    return process, here


_RENDERER: Final = _Renderer()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_RENDERER.reset_after_fork)
atexit.register(_RENDERER.close)


# -- the child's side


def _main(descriptor: int) -> None:
    connection = Connection(descriptor)
    _limit_memory()
    try:
        while True:
            source, variables = json.loads(connection.recv_bytes())
            _limit_processor_time()
            connection.send_bytes(json.dumps(_render(source, variables)).encode())
    except EOFError:
        return
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)  # an orderly end takes memory


def _render(source: str, variables: dict[str, Any]) -> tuple[str, str]:
    try:
        pieces, length = [], 0
        for piece in _template(source).generate(**variables):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_CHARS:
                return "costly", f"the chat template renders more than {MAX_CHARS} characters for a conversation"
        return "rendered", "".join(pieces)
    except _PowerError:
        return "costly", "the chat template raises numbers to powers (**), which none needs"
    except MemoryError:
        raise  # it is no failure of the template; `_main` ends
    except ModuleNotFoundError:
        return "failed", "chat templates are rendered by Jinja: pip install jinja2"
    except Exception as error:  # noqa: BLE001 - a template may fail in any way
        return "failed", ": ".join(filter(None, (type(error).__name__, str(error)[:2000])))


class _PowerError(Exception):
    """A template that raises numbers to powers, which no limit stops while it is compiled."""


@functools.lru_cache(8)
def _template(source: str) -> Any:
    environment = _environment()
    from jinja2 import nodes

    if any(True for _ in environment.parse(source).find_all(nodes.Pow)):
        raise _PowerError
    return environment.from_string(source)


@functools.cache
def _environment() -> Any:
    """Jinja as transformers sets it up for chat templates (`transformers.utils.chat_template_utils`)."""
    import datetime as dt

    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The block that marks what an assistant wrote."""

        tags = {"generation"}  # noqa: RUF012 - declared so by Jinja

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    class Namespace(jinja2.utils.Namespace):
        """Without attributes that lead to Python's own."""

        def __init__(*args: Any, **kwargs: Any) -> None:
            self, given = args[0], dict(*args[1:], **kwargs)
            for name in given:
                Namespace._check(name)
            jinja2.utils.Namespace.__init__(self, given)

        def __setitem__(self, name: str, value: Any) -> None:
            Namespace._check(name)
            super().__setitem__(name, value)

        @staticmethod
        def _check(name: Any) -> None:
            if isinstance(name, str) and name.startswith("_"):
                raise jinja2.exceptions.SecurityError(f"a namespace has no attribute {name!r}")

    def fail(reason: Any) -> None:
        raise jinja2.TemplateError(str(reason))

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals |= {
        "raise_exception": fail,
        "strftime_now": lambda form: dt.datetime.now().strftime(form),  # noqa: DTZ005 - as transformers does
        "namespace": Namespace,
    }
    return environment


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system; there only `_ANSWER_S` holds
        return
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_processor_time() -> None:
    """Let the next rendering have its time, whatever those before it took."""
    import time

    try:
        import resource
    except ImportError:
        return
    limit = int(time.process_time()) + MAX_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
