"""Turning a row of a table into a question: each cell is read as the field that it stands for."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medvistagym_core.environment._task import Answer
from medvistagym_core.environment.grading import GRADERS, Grader, answer_key, grade
from medvistagym_core.environment.questions._columns import FACETS, ColumnMap
from medvistagym_core.environment.questions._pictures import PictureFolder
from medvistagym_core.environment.questions._question import PictureCell, PictureFile, PictureReference, Question
from medvistagym_core.environment.questions._source import MAX_INLINE_CHARS, EmbeddedPicture, SourceRow

_BLANKS: Final = re.compile(r"[^\S\n]+")  # no-break and hair spaces among them
_NUMBER: Final = re.compile(r"[-+]?\d+(?:[.,]\d+)?")
_YES_NO: Final = frozenset(("yes", "no"))
_OPTION_HEAD: Final = re.compile(r"\s*\(?\s*([A-Za-z])\s*(?:[:.)]|-(?=\s))\s*(?=\S)")
_BARE_HEAD: Final = re.compile(r"\s*([A-Za-z])\s+(?=\S)")
_IMAGE_MARK: Final = re.compile(r"<\s*image[\s_]*(\d{1,2})\s*>")
_QUOTE: Final = re.compile("['\"]")
_ADJACENT_TEXTS: Final = re.compile(r"['\"]\s+['\"]")
_PLAIN_MARK: Final = re.compile(r"\s*<\s*image\s*>\s*")
_BASE64_HEADS: Final = (
    "iVBORw0KGgo",
    "/9j/4",
    "R0lGODlh",
    "R0lGODdh",
    "SUkqA",
    "TU0AK",
    "UklGR",
)  # PNG, JPEG, GIF, TIFF, WebP
_LIST_SEPARATORS: Final = ("\n", "|", ";", ",")
_OPTION_TEXTS: Final = ("text", "value", "content", "option")
_PHRASE_SEPARATORS: Final = _LIST_SEPARATORS[:3]  # a phrase may have a comma
_MAX_LITERAL_CHARS: Final = 20_000
_MAX_TEXT_CHARS: Final = 1_000_000
_KIND_NAMES: Final = {
    "multiple_choice": "choice", "multiple-choice": "choice", "multiple choice": "choice", "mcq": "choice",
    "yes/no": "yes_no", "yesno": "yes_no", "boolean": "yes_no", "numeric": "number", "open": "text", "free_text": "text",
}  # fmt: skip
_CHECKED_KINDS: Final = frozenset(("number", "box", "set", "yes_no", "exact"))


class RowError(ValueError):
    """A row that cannot be used; the message says why, without its place."""


def read_row(
    row: SourceRow,
    columns: ColumnMap,
    *,
    label: str,
    default_split: str = "test",
    extra_facets: Sequence[str] = (),
    pictures: PictureFolder | None = None,
    graders: Mapping[str, Grader] = GRADERS,
) -> Question:
    """Read a row.

    Args:
        row: Its cells.
        columns: Where the parts of a question stand.
        label: The table's name, for ids.
        default_split: The split of a row that says none.
        extra_facets: More columns to break results down by.
        pictures: Where picture files are; None where none are looked for.
        graders: Kinds of answers, which `kind` may name.

    Raises:
        RowError: It cannot be used.
    """
    values = row.values
    if "__error__" in values:
        raise RowError(str(values["__error__"]))

    def cell(part: str) -> Any:
        return values.get(columns.one[part]) if part in columns.one else None

    references, numbers = _references(row, columns)
    _require_pictures(references, columns, pictures)
    question = _with_handles(read_text(cell("question"), keep_lines=True), numbers)
    if not question:
        raise RowError("the question is empty")
    options = strip_letters(_options(values, columns))
    answer = _answer(cell, options, graders)
    options = tuple(_with_handles(option, numbers) for option in options)
    if answer.kind == "choice":  # the right option as it is shown
        answer = dataclasses.replace(answer, value=_with_handles(answer.value, numbers))
    facets = {name: text for name in FACETS if (text := read_text(cell(name)))}
    facets |= {name: text for name in extra_facets if (text := read_text(values.get(name)))}
    split = read_text(cell("split"))
    number = "".join(re.findall(r"[\w-]+", row.place.replace(" ", "-")))
    return Question(
        id=read_text(cell("id")) or f"{label.partition('.')[0]}-{number}",
        question=question,
        answer=answer,
        pictures=references,
        options=options,
        split=canonical_split(split) if split else row.split or default_split,
        family=read_text(cell("family")) or answer.kind,
        tools=_tools(cell("tools")),
        facets=facets,
        place=row.place,
    )


def _require_pictures(
    references: Sequence[PictureReference], columns: ColumnMap, pictures: PictureFolder | None
) -> None:
    if columns.pictures and not references:
        raise RowError("it has no picture")
    for reference in references:
        if (
            isinstance(reference, PictureFile)
            and pictures is not None
            and (problem := pictures.problem(reference.path))
        ):
            raise RowError(problem)


def read_text(value: Any, *, keep_lines: bool = False) -> str:
    """A cell as text: one kind of blank, no blanks around it; numbers and truth values as one would write them.

    Args:
        value: What the cell holds.
        keep_lines: Whether lines of a text stay apart, and the blanks within them as they are.

    Raises:
        RowError: It has more than a million characters, or is bytes.
    """
    if isinstance(value, str) and len(value) > _MAX_TEXT_CHARS:
        raise RowError(f"a text has {len(value):,} characters, and {_MAX_TEXT_CHARS:,} is the most")
    if isinstance(value, str) and not keep_lines:
        return " ".join(value.split())
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, bytes):
        raise RowError("a text is expected where there are bytes")
    text = _BLANKS.sub(" ", str(value).replace("\r\n", "\n"))
    return "\n".join(line.strip() for line in text.split("\n")).strip() if keep_lines else " ".join(text.split())


def read_list(value: Any, separators: Sequence[str] = _LIST_SEPARATORS) -> list[str]:
    """A cell as several texts: a list, a dict by its keys, JSON or Python text of either, or texts with separators.

    Args:
        value: What the cell holds.
        separators: What may stand between texts; the first that occurs is the one.

    Raises:
        RowError: It looks like a list and is none that can be read, or one of its texts cannot be.
    """
    if isinstance(value, str):
        text = value.strip()
        if text[:1] in "[{(" and len(text) <= _MAX_LITERAL_CHARS:
            parsed = _literal(text)
            if isinstance(parsed, list | tuple | dict):
                value = parsed
            elif text.startswith("[") and text.endswith("]") and _QUOTE.search(text):
                raise RowError(f"the list {_short(text)} can be read neither as JSON nor as Python; quote its texts")
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [read_text(_labelled_text(item) if isinstance(item, dict) else item) for item in value]
    text = "" if value is None else str(value)
    for separator in separators:
        if separator in text.strip():
            return [part for item in text.split(separator) if (part := read_text(item))]
    return [text] if (text := read_text(value)) else []


def strip_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Options without the letters of their places, where most of them begin with theirs ("A: lung", "(B) liver")."""
    heads = [_OPTION_HEAD.match(option) for option in options]
    own = [head is not None and ord(head[1].lower()) - ord("a") == place for place, head in enumerate(heads)]
    if len(options) < 2 or sum(own) * 2 < len(options) or sum(own) < 2:
        return tuple(options)
    stripped = []
    for place, (option, head) in enumerate(zip(options, heads, strict=True)):
        bare = _BARE_HEAD.match(option)
        if head is not None and own[place]:
            option = option[head.end() :]
        elif bare is not None and ord(bare[1].lower()) - ord("a") == place:
            option = option[bare.end() :]
        stripped.append(option.strip())
    return tuple(stripped)


def find_option(text: str, letter: str, options: Sequence[str]) -> int:
    """Which option is the right one: by its text, or where there is none by its letter.

    Where text and letter disagree, the text counts: published tables label some answers wrongly.

    Args:
        text: The right answer as the table writes it; empty where it gives the letter alone.
        letter: The letter of the right answer, "A" for the first option; empty where there is none.
        options: The options, in order.

    Returns:
        Its position among `options`, from 0.

    Raises:
        RowError: It is none of them.
    """
    by_letter = ord(letter.lower()) - ord("a") if len(letter) == 1 and letter.isascii() and letter.isalpha() else -1
    if not 0 <= by_letter < len(options):
        by_letter = -1
    key = _option_key(text)
    matches = [place for place, option in enumerate(options) if _option_key(option) == key]
    if text and matches:
        return by_letter if by_letter in matches else matches[0]
    head = _OPTION_HEAD.match(text)
    if head is not None:
        key = _option_key(text[head.end() :])
        matches = [place for place, option in enumerate(options) if _option_key(option) == key]
        if matches:
            return matches[0]
    bare = text.strip().strip("().: ")
    if (
        len(bare) == 1
        and bare.isalpha()
        and bare.isascii()
        and 0 <= (place := ord(bare.lower()) - ord("a")) < len(options)
    ):
        return place
    if not text and by_letter >= 0:
        return by_letter
    given = text or letter
    advice = "; write a place as its letter" if given.isdecimal() else ""
    raise RowError(f"the answer {given!r} is none of the options ({'; '.join(options)}){advice}")


def canonical_split(name: str) -> str:
    """One spelling of a split's name: "val" and "valid" are "validation"."""
    lower = name.strip().lower()
    return {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}.get(lower, lower)


def _answer(cell: Any, options: tuple[str, ...], graders: Mapping[str, Grader]) -> Answer:
    value, letter = cell("answer"), read_text(cell("letter"))
    kind = read_text(cell("kind")).lower()
    kind = _KIND_NAMES.get(kind, kind)
    unit = read_text(cell("unit")) or None
    tolerance, threshold = _float(cell("tolerance"), "tolerance"), _float(cell("threshold"), "threshold")
    aliases = tuple(read_list(cell("aliases"), _PHRASE_SEPARATORS))
    texts = read_list(value) if isinstance(value, list | tuple) else [read_text(value)]
    if kind and kind not in graders:
        raise RowError(f"the kind {kind!r} is not one of {', '.join(graders)}")
    if options and kind in ("", "choice"):
        return Answer(options[find_option(texts[0] if texts else "", letter, options)], "choice")
    text = "; ".join(texts) if kind == "set" else texts[0] if texts else ""
    if kind != "set":
        aliases = (*texts[1:], *aliases)
    if not text:
        raise RowError("the answer is empty")
    if kind == "choice":
        raise RowError("its kind is 'choice' and it has no options")
    if not kind:
        if text.lower() in _YES_NO:
            kind = "yes_no"
        elif unit or tolerance is not None or _NUMBER.fullmatch(text):
            kind = "number"
        else:
            kind = "text"
    answer = Answer(text, kind, aliases, tolerance, unit, threshold)
    if kind == "text" and not answer_key(text):
        raise RowError(f"the answer {text!r} has no words")
    if kind in _CHECKED_KINDS or kind not in GRADERS:
        try:
            right = grade(answer, text, options=options, graders=graders).correct
        except ValueError as error:
            raise RowError(str(error)) from None
        if not right:
            raise RowError(f"the answer {text!r} would not be right under its kind {kind!r}")
    return answer


def _options(values: Mapping[str, Any], columns: ColumnMap) -> list[str]:
    if not columns.options:
        return read_list(values.get(columns.one["options"])) if "options" in columns.one else []
    texts = [read_text(values.get(name)) for name in columns.options]
    while texts and not texts[-1]:
        texts.pop()
    if "" in texts:
        hole = columns.options[texts.index("")]
        raise RowError(f"the option {hole!r} is empty, and a later one is not")
    return texts


def _references(row: SourceRow, columns: ColumnMap) -> tuple[tuple[PictureReference, ...], dict[int, int]]:
    """The pictures of a row, and which handle a number in a column's name ("image_2") became."""
    references: list[PictureReference] = []
    numbers: dict[int, int] = {}
    for column, number in columns.pictures:
        before = len(references)
        references += _cell_references(row.values.get(column), row.row, column)
        if number is not None and len(references) > before:
            numbers[number] = before
    if not numbers:
        numbers = {handle + 1: handle for handle in range(len(references))}
    return tuple(references), numbers


def _cell_references(value: Any, row: int, column: str) -> list[PictureReference]:
    if isinstance(value, EmbeddedPicture):
        return [PictureCell(row, value.column)]
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, bytes):
        return [PictureCell(row, column)]
    if isinstance(value, dict):
        return [PictureCell(row, column)] if value.get("bytes") else _cell_references(value.get("path"), row, column)
    if isinstance(value, str):
        if _is_picture_text(value):
            return [PictureCell(row, column)]
        parts = read_list(value) if value.strip()[:1] == "[" or ";" in value or "|" in value else [value.strip()]
        return [PictureFile(part.replace("\\", "/")) for part in parts if part]
    if isinstance(value, list | tuple):
        if any(isinstance(part, dict) and part.get("bytes") for part in value):
            return [PictureCell(row, column)]
        if any(isinstance(part, str) and _is_picture_text(part) for part in value):
            return [PictureCell(row, column)]
        return [reference for part in value for reference in _cell_references(part, row, column)]
    raise RowError(f"a picture is a path or bytes, not a {type(value).__name__}")


def _is_picture_text(text: str) -> bool:
    """Whether a text is a picture itself, in base64 or as a data URL, and no path."""
    return len(text) > MAX_INLINE_CHARS or text.startswith(("data:", *_BASE64_HEADS))


def _with_handles(text: str, numbers: Mapping[int, int]) -> str:
    """A text whose image marks name the pictures as they are shown: "<image 1>" becomes "image 0"."""
    if "<" not in text:
        return text
    text = _IMAGE_MARK.sub(lambda mark: f"image {numbers.get(int(mark[1]), int(mark[1]) - 1)}", text)
    return _PLAIN_MARK.sub(" ", text).strip()


def _tools(value: Any) -> tuple[str, ...] | None:
    """Tools that a question needs; none for "none", None for an empty cell."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    names = tuple(read_list(value))
    return () if names in ((), ("none",)) else names


def _float(value: Any, what: str) -> float | None:
    text = read_text(value)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise RowError(f"the {what} {text!r} is no number of at least 0")
    return number


def _literal(text: str) -> Any:
    """JSON or Python text of a list or dict, or the text of a NumPy array of texts; None when it is none of them."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(_with_commas(text) if _ADJACENT_TEXTS.search(text) else text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _with_commas(text: str) -> str:
    """A list with commas between its texts: `['lung' 'liver']`, as NumPy writes one, is one text to Python."""
    lines = text.splitlines(keepends=True)
    starts = [0, *itertools.accumulate(map(len, lines))]
    ends: list[int] = []
    previous = None
    try:
        for token in tokenize.generate_tokens(iter([*lines, ""]).__next__):
            if token.type == tokenize.STRING == previous:
                ends.append(starts[token.start[0] - 1] + token.start[1])
            if token.type not in (tokenize.NL, tokenize.NEWLINE):
                previous = token.type
    except (tokenize.TokenError, SyntaxError):  # as `literal_eval` will say
        return text
    for end in reversed(ends):
        text = f"{text[:end]}, {text[end:]}"
    return text


def _labelled_text(option: Mapping[str, Any]) -> Any:
    """The text of an option that stands beside its letter: `{"key": "A", "value": "lung"}`."""
    texts = [option[name] for name in _OPTION_TEXTS if name in option]
    if len(texts) != 1:
        raise RowError(f"an option {_short(str(dict(option)))} has no text under one of {', '.join(_OPTION_TEXTS)}")
    return texts[0]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _option_key(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
