"""Reading a policy's words and escaping others' takes time in proportion to their length, whatever they are.

The texts are made from the patterns themselves: what each of them nearly matches, repeated to a megabyte.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from costs import processor_seconds

import medvistagym_core.protocol
import medvistagym_core.tools
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import closest_match, escape_control_marks, escape_policy_text, find_control_mark

LIMIT_S = 0.1  # of a processor, for a megabyte; a quadratic pattern takes minutes
DAILY_LIMIT_S = 2.0  # enough to tell a quadratic pattern on a busy machine
OPENINGS = (
    "",
    "<think>a</think>",
    "<tool_call>",
    '<tool_call>{"name": "',
    '<tool_call>{"name": "a", "arguments": ',
    "<answer>",
)
ODD = (
    "<",
    "</",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_call>{}</tool_call>",
    "<answer>",
    "</answer>",
    '{"a":',
    "[",
    "\\",
    '\\"',
    "\\u",
    "\\ud800",
    "1e9",
    "9",
    "-",
    " ",
    "\n",
    "<|",
    "|>",
    "<|a",
    "[INST",
    ">>",
    "|<",
    "é",
)


def patterns() -> list[re.Pattern[str]]:
    """Every compiled pattern of the rooms that read text of others."""
    found: set[re.Pattern[str]] = set()
    for room in (medvistagym_core.protocol, medvistagym_core.tools):
        for module in pkgutil.iter_modules(room.__path__):
            values = list(vars(importlib.import_module(f"{room.__name__}.{module.name}")).values())
            while values:
                value = values.pop()
                if isinstance(value, re.Pattern):
                    found.add(value)
                elif isinstance(value, tuple):
                    values.extend(value)
    return sorted(found, key=lambda pattern: pattern.pattern)


def example(tree: Any, repeats: int) -> str:
    """A text that a parsed pattern nearly matches: what it looks ahead for is written out."""
    text = ""
    for operation, argument in tree:
        match str(operation):
            case "LITERAL":
                text += chr(argument)
            case "NOT_LITERAL" | "ANY" | "IN":
                text += "a"
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = argument
                text += example(inner, 2) * max(least, min(int(most), repeats))
            case "SUBPATTERN":
                text += example(argument[3], repeats)
            case "BRANCH":
                text += example(argument[1][-1], repeats)
            case "ASSERT":
                text += example(argument[1], repeats) if argument[0] > 0 else ""
    return text


def units() -> list[str]:
    made = {example(parser.parse(p.pattern, p.flags), n) for p in patterns() for n in (1, 30)}
    return sorted({*ODD, *(text for text in made if text), *(text[:-1] for text in made if len(text) > 1)})


def parse(text: str) -> object:
    return TextProtocol().parse(text)


def worst(length: int) -> Iterator[str]:
    for unit in units():
        for opening in OPENINGS:
            yield opening + unit * (length // len(unit))


def test_there_are_patterns_to_try() -> None:
    assert len(patterns()) >= 8
    assert len(units()) > 30


def slow_texts(length: int, limit_s: float) -> list[tuple[str, str]]:
    readers: tuple[Callable[[str], object], ...] = (
        parse,
        escape_control_marks,
        escape_policy_text,
        find_control_mark,
    )
    return [
        (read.__name__, text[:60])
        for text in worst(length)
        for read in readers
        if processor_seconds(functools.partial(read, text), limit_s) > limit_s
    ]


def test_the_worst_text_is_parsed_and_escaped_at_once() -> None:
    assert slow_texts(30_000, DAILY_LIMIT_S) == []


@pytest.mark.attack
def test_a_megabyte_of_the_worst_text_is_parsed_and_escaped_at_once() -> None:
    assert slow_texts(1_000_000, LIMIT_S) == []


def test_a_long_name_is_compared_with_none() -> None:
    names = [f"tool_{k}" for k in range(200)]
    assert closest_match("tool" * 250_000, names) is None
    assert closest_match("tool_1O", names) is not None
    assert processor_seconds(lambda: closest_match("tool" * 250_000, names), DAILY_LIMIT_S) < DAILY_LIMIT_S
