"""Grading costs time in proportion to a text's length: no text makes a pattern go over it again and again.

The texts are made from the patterns themselves: what each of them nearly matches, repeated.
"""

import functools
import importlib
import pkgutil
import re
from re import _parser as parser

import pytest
from costs import processor_seconds

import medvistagym_core.environment.grading as grading
from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import (
    GRADERS,
    MAX_ANSWER_CHARS,
    answer_key,
    canonical_finding,
    grade,
    normalize_answer,
    unwrap_answer,
)

LIMIT_S = 0.1
DAILY_LIMIT_S = 2.0  # enough to tell a quadratic pattern on a busy machine
VALUES = {
    "exact": "fat",
    "yes_no": "yes",
    "choice": "fat",
    "number": "5",
    "set": "a; b",
    "box": "[1, 2, 3, 4]",
    "text": "fat in lung",
}
ODD = (
    *(
        " ",
        "\n",
        "\\boxed{",
        "{",
        "[",
        "(",
        "()",
        "*",
        "**a ",
        "_a",
        "`",
        "$a",
        "\\text{",
        "&amp;",
        "&#",
        "<",
        "<sup>",
        "-",
        "a-",
    ),
    *(
        "1",
        "1,",
        "1,000,",
        "1 ",
        " and ",
        "no ",
        "yes, ",
        "two hundred and ",
        "the a an ",
        "e\u0301",
        "\ufdfa",
        '{"answer":',
        "[1,",
    ),
    *("(1,2)", "5 mm per ", "left right ", "of "),
)


def patterns():
    """Every compiled pattern of the package."""
    found = set()
    for module in pkgutil.iter_modules(grading.__path__):
        values = list(vars(importlib.import_module(f"{grading.__name__}.{module.name}")).values())
        while values:
            value = values.pop()
            if isinstance(value, re.Pattern):
                found.add(value)
            elif isinstance(value, tuple):
                values.extend(value)
    return sorted(found, key=lambda pattern: pattern.pattern)


def example(tree, repeats):
    """A text that a parsed pattern matches, with its repetitions taken so often."""
    text = ""
    for operation, argument in tree:
        match str(operation):
            case "LITERAL":
                text += chr(argument)
            case "NOT_LITERAL" | "ANY":
                text += "x"
            case "IN":
                text += member(argument)
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = argument
                text += example(inner, 2) * max(least, min(int(most), repeats))
            case "SUBPATTERN":
                text += example(argument[3], repeats)
            case "BRANCH":
                text += example(argument[1][0], repeats)
    return text


def member(items):
    """A character of a class."""
    pattern = re.compile("x")
    for character in "a1 .,-x(<*_\n$é":
        allowed = False
        for operation, value in items:
            match str(operation):
                case "LITERAL":
                    allowed |= chr(value) == character
                case "RANGE":
                    allowed |= value[0] <= ord(character) <= value[1]
                case "CATEGORY":
                    kind = str(value).removeprefix("CATEGORY_").removeprefix("NOT_")
                    pattern = re.compile({"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[kind])
                    allowed |= bool(pattern.match(character)) is ("NOT_" not in str(value))
        if allowed is (str(items[0][0]) != "NEGATE"):
            return character
    return chr(items[0][1]) if str(items[0][0]) == "LITERAL" else chr(items[0][1][0])


def worst_texts(length):
    units = {
        text
        for pattern in patterns()
        for n in (1, 40)
        if (text := example(parser.parse(pattern.pattern, pattern.flags), n))
    }
    for unit in sorted({*units, *ODD}):
        yield (unit * (length // len(unit) + 1))[:length]
        yield ("yes 5 " + unit[:-1] * (length // max(1, len(unit) - 1) + 1))[:length]


def test_there_are_patterns_to_try():
    assert len(patterns()) > 60


@pytest.mark.attack
def test_no_text_takes_more_than_its_length():
    """A quadratic pattern takes seconds for the longest text that is read; a linear one, milliseconds."""
    slow = []
    for text in worst_texts(MAX_ANSWER_CHARS - 2):
        for kind in GRADERS:
            answer, options = Answer(VALUES[kind], kind=kind), ("fat", "b") if kind == "choice" else ()
            if processor_seconds(functools.partial(grade, answer, text, options=options), LIMIT_S) > LIMIT_S:
                slow.append((kind, text[:40]))
    assert slow == []


def test_a_megabyte_is_not_read():
    for unit in ODD:
        text = unit * (1_000_000 // len(unit))
        for kind, value in VALUES.items():
            options = ("fat", "b") if kind == "choice" else ()
            assert grade(Answer(value, kind=kind), text, options=options).wrong
            read = functools.partial(grade, Answer(value, kind=kind), text, options=options)
            assert processor_seconds(read, DAILY_LIMIT_S) < DAILY_LIMIT_S
        for read in (unwrap_answer, normalize_answer, answer_key, canonical_finding):
            assert processor_seconds(functools.partial(read, text), DAILY_LIMIT_S) < DAILY_LIMIT_S, (read, unit)
