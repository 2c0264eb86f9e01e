"""Finding the columns of a question table: by names that are recognised, or as a user maps them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final

from medvistagym_core.tools import closest_match

COLUMN_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "question": ("question", "question_text", "prompt", "query", "input", "instruction"),
    "answer": ("answer", "gt_answer", "answer_text", "gold", "gold_answer", "ground_truth", "target", "answers", "label",
               "response", "output"),
    "letter": ("letter", "answer_letter", "answer_label", "correct_letter", "correct_option", "answer_option",
               "correct_choice"),
    "images": ("images", "image", "image_paths", "image_path", "pictures", "picture", "img", "img_name", "image_name",
               "image_file", "figure_path", "file_name", "filename", "path", "series"),
    "options": ("options", "choices", "candidates"),
    "kind": ("kind", "answer_kind"),
    "unit": ("unit", "units", "answer_unit"),
    "tolerance": ("tolerance", "answer_tolerance"),
    "threshold": ("threshold", "answer_threshold"),
    "aliases": ("aliases", "synonyms", "alternative_answers", "other_answers"),
    "split": ("split", "subset", "partition", "fold"),
    "family": ("family", "question_type", "category", "content_type"),
    "tools": ("tools", "tools_needed", "needed_tools", "required_tools", "tool"),
    "id": ("id", "qid", "question_id", "uid"),
    "modality": ("modality", "modality_type", "img_type"),
    "body_part": ("body_part", "organ", "location", "body_system", "image_organ"),
    "language": ("language", "lang", "q_lang"),
    "answer_type": ("answer_type",),
}  # fmt: skip
"""What a question may have, and the names of columns under which it is recognised, without case and punctuation."""

FACETS: Final = ("modality", "body_part", "language", "answer_type")
_NUMBERED_PICTURE: Final = re.compile(r"(?:image|img|picture|image_path|figure)_?(\d{1,3})")
_OPTION_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


@dataclasses.dataclass(frozen=True)
class ColumnMap:
    """Where the parts of a question stand.

    Attributes:
        one: Column by part, for parts that have one column.
        pictures: Columns with pictures, in order, and the number in the name of each ("image_2"), None without one.
        options: Columns with one option each, in the order of their letters; empty when they share a column.
    """

    one: Mapping[str, str]
    pictures: tuple[tuple[str, int | None], ...] = ()
    options: tuple[str, ...] = ()

    @property
    def picture_columns(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.pictures)


def map_columns(table: str, columns: Sequence[str], columns_by_part: Mapping[str, str]) -> ColumnMap:
    """Find the parts of a question among the columns of a table.

    Args:
        table: What sentences call the table.
        columns: Its columns.
        columns_by_part: Columns that are taken as they are; what they do not name is recognised. A part goes by its own name or
            by one of those of its column.

    Raises:
        ValueError: A part or a column that is named does not exist, or there is none for the question or the answer.
    """
    doubled = sorted({name for name in columns if columns.count(name) > 1})
    if doubled:
        raise ValueError(f"{table} has two columns named {doubled[0]!r}; rename one of them")
    plain: dict[str, str] = {}
    for name in columns:
        plain.setdefault(_plain(name), name)
    one: dict[str, str] = {}
    columns_by_part = {_part_of_question(name): column for name, column in columns_by_part.items()}
    for part, column in columns_by_part.items():
        if column not in columns:
            raise ValueError(f"{table}: {_unknown('column', column, columns)}")
        one[part] = column
    named = set(one.values())
    for part, names in COLUMN_NAMES.items():
        candidates = (plain[name] for name in names if name in plain and plain[name] not in named)
        if part not in one and (column := next(candidates, "")):
            one[part] = column
            named.add(column)
    pictures = _pictures(one, plain, named, columns_by_part)
    options = () if "options" in one else _options(plain, named)
    if "question" not in one:
        raise ValueError(_missing(table, columns, "question"))
    if "answer" not in one and not ("letter" in one and (options or "options" in one)):
        raise ValueError(_missing(table, columns, "answer"))
    return ColumnMap(one, pictures, options)


def _part_of_question(name: str) -> str:
    """The part of a question that a name means: its own, or one under which a column is recognised, such as "image".

    Raises:
        ValueError: There is none.
    """
    part = name if name in COLUMN_NAMES else next((part for part, names in COLUMN_NAMES.items() if name in names), None)
    if part is None:
        raise ValueError(_unknown("part of a question", name, COLUMN_NAMES))
    return part


def _pictures(
    one: dict[str, str], plain: Mapping[str, str], named: set[str], columns_by_part: Mapping[str, str]
) -> tuple[tuple[str, int | None], ...]:
    first = [(one.pop("images"), None)] if "images" in one else []
    numbered = [
        (int(match[1]), column)
        for name, column in plain.items()
        if column not in named and (match := _NUMBERED_PICTURE.fullmatch(name))
    ]
    if "images" in columns_by_part or not numbered:
        return tuple(first)
    return (*first, *((column, number) for number, column in sorted(numbered)))


def _options(plain: Mapping[str, str], named: set[str]) -> tuple[str, ...]:
    """Columns such as option_a, "Choice A" or A, from the first letter on; two of them at least."""
    for form in ("option_{}", "choice_{}", "option{}", "choice{}", "{}"):
        options = []
        for letter in _OPTION_LETTERS:
            column = plain.get(form.format(letter))
            if column is None or column in named:
                break
            options.append(column)
        if len(options) > 1:
            return tuple(options)
    return ()


def _missing(table: str, columns: Sequence[str], part: str) -> str:
    names = ", ".join(COLUMN_NAMES[part])
    return (
        f"{table} has no column for the {part}; its columns are {', '.join(columns) or 'none'}. Name it with "
        f"--column {part}=NAME, or call it one of {names}"
    )


def _unknown(kind: str, name: str, names: Sequence[str] | Mapping[str, object]) -> str:
    suggestion = closest_match(name, list(names))
    advice = f"did you mean {suggestion!r}?" if suggestion else f"there are {', '.join(names)}"
    return f"there is no {kind} {name!r}; {advice}"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().casefold()).strip("_")
