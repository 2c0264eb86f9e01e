"""A trial of a chat template, in a process of its own, before anything else renders it.

A checkpoint's chat template is a Jinja program of whoever made it. Jinja's sandbox keeps it from files and from Python, but
not from looping or growing without end. So it is rendered once by a child with a limit of processor time, memory and output,
and one that exceeds them is refused. What it does with other conversations than those tried is not bounded by that.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

MAX_SECONDS: Final = 4
MAX_BYTES: Final = 256 * 2**20
MAX_CHARS: Final = 4_000_000
MAX_SOURCE_CHARS: Final = 1_000_000
"""Of the template itself; the longest published ones have some 30,000."""
_TOO_LONG, _REFUSED = 3, 4
_START_S: Final = 60.0


class CostlyTemplateError(ValueError):
    """A chat template that takes more time or memory than rendering may."""


def try_chat_template(template: Any) -> None:
    """Render a chat template within limits; nothing is said of what it renders, or whether it fails.

    Args:
        template: The attribute `chat_template` of a tokenizer or processor: text, texts by name, or None.

    Raises:
        CostlyTemplateError: It exceeds them.
    """
    sources = template.values() if isinstance(template, Mapping) else [template]
    for source in sources:
        if isinstance(source, str):
            _try_source(source)


@functools.lru_cache(64)
def _try_source(source: str) -> None:
    if len(source) > MAX_SOURCE_CHARS:
        raise CostlyTemplateError(
            f"the chat template has {len(source)} characters; at most {MAX_SOURCE_CHARS} are read"
        )
    try:
        child = subprocess.run(
            [sys.executable, "-P", __file__],
            input=json.dumps(source).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_START_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CostlyTemplateError(f"the chat template was not rendered within {_START_S:g} s") from None
    if child.returncode == _TOO_LONG:
        raise CostlyTemplateError(
            f"the chat template renders more than {MAX_CHARS} characters for a short conversation"
        )
    if child.returncode == _REFUSED:
        raise CostlyTemplateError(f"the chat template {child.stderr.decode(errors='replace').strip()[:200]}")
    if child.returncode != 0:  # ended by a limit
        raise CostlyTemplateError(
            f"the chat template takes more than {MAX_SECONDS} s or {MAX_BYTES >> 20} MiB for a short conversation"
        )


def _main() -> int:
    """Render the template on stdin for some conversations; what the child does."""
    try:
        import jinja2
        from jinja2 import nodes
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ModuleNotFoundError:  # then transformers renders nothing either
        return 0

    class Generation(Extension):
        """The block that marks what an assistant wrote, as transformers has it."""

        tags = {"generation"}  # noqa: RUF012 - declared so by Jinja

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    source = json.load(sys.stdin)
    _limit()
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    environment.globals |= {"raise_exception": _raise, "strftime_now": lambda form: "1 January"}
    try:
        tree = environment.parse(source)
        if any(True for _ in tree.find_all(nodes.Pow)):  # no limit stops a number while it is computed
            sys.stderr.write("raises numbers to powers (**), which none needs")
            return _REFUSED
        template = environment.from_string(source)
    except (jinja2.TemplateError, RecursionError):
        return 0
    for conversation in _conversations():
        length = 0
        try:
            for piece in template.generate(**conversation):
                length += len(piece)
                if length > MAX_CHARS:
                    return _TOO_LONG
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - a template may refuse a conversation, and say so in any way
            continue
    return 0


def _raise(reason: str) -> None:
    raise ValueError(reason)


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system; there only `_START_S` holds
        return
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


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


if __name__ == "__main__":
    sys.exit(_main())
