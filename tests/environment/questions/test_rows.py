"""What the cells of a row are taken for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.questions import Question, read_table, rows_source, strip_letters


def read(row: Mapping[str, Any], **options: Any) -> Question:
    table = read_table(rows_source("mine", [row]), strict=True, **options)
    (question,) = table.splits[next(iter(table.splits))]
    return question


def problem(row: Mapping[str, Any]) -> str:
    with pytest.raises(ValueError, match=r"^mine: no row can be used: row 1: ") as raised:
        read(row)
    return str(raised.value).partition("row 1: ")[2]


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"answer": "Yes"}, Answer("Yes", "yes_no")),
        ({"answer": True}, Answer("yes", "yes_no")),
        ({"answer": 2}, Answer("2", "number")),
        ({"answer": 2.0}, Answer("2", "number")),
        ({"answer": "12", "unit": "mm", "tolerance": "1.5"}, Answer("12", "number", tolerance=1.5, unit="mm")),
        ({"answer": "small  effusion\u00a0left"}, Answer("small effusion left", "text")),
        ({"answer": "None"}, Answer("None", "text")),
        ({"answer": "NA"}, Answer("NA", "text")),
        ({"answer": ["lung", "pulmonary"]}, Answer("lung", "text", aliases=("pulmonary",))),
        ({"answer": "lung", "aliases": "pulmonary; of the lung"}, Answer("lung", "text", aliases=("pulmonary", "of the lung"))),
        ({"answer": ["lung", "liver"], "kind": "set"}, Answer("lung; liver", "set")),
        ({"answer": "[10, 20, 300, 400]", "kind": "box", "threshold": 0.4}, Answer("[10, 20, 300, 400]", "box", threshold=0.4)),
        ({"answer": "lung", "kind": "exact"}, Answer("lung", "exact")),
        ({"answer": "b", "options": ["lung", "liver"]}, Answer("liver", "choice")),
        ({"answer": "Liver.", "options": "lung; liver"}, Answer("liver", "choice")),
        ({"answer": "B: liver", "options": {"A": "lung", "B": "liver"}}, Answer("liver", "choice")),
        ({"answer": "liver", "option_a": "lung", "option_b": "liver", "option_c": None}, Answer("liver", "choice")),
        ({"answer_letter": "A", "A": "lung", "B": "liver"}, Answer("lung", "choice")),
        ({"answer": "None", "options": "['None', 'one']"}, Answer("None", "choice")),
        ({"answer": "liver", "options": "['right lung' 'liver'\n 'spleen']"}, Answer("liver", "choice")),  # NumPy's
        ({"answer": "B", "options": [{"key": "A", "text": "lung"}, {"key": "B", "text": "liver"}]}, Answer("liver", "choice")),
        ({"answer": "yes", "options": ["yes", "no"], "kind": "yes_no"}, Answer("yes", "yes_no")),
    ],
)  # fmt: skip
def test_an_answer_is_taken_for_what_it_is(row: Mapping[str, Any], answer: Answer) -> None:
    assert read({"question": "What?", **row}).answer == answer


def test_an_answer_that_is_a_picture_is_the_option_as_it_is_shown() -> None:
    marks = ["<image 1>", "<image 2>"]
    question = read({"question": "Which?", "images": ["a.png", "b.png"], "options": marks, "answer": "B"})
    assert (question.options, question.answer) == (("image 0", "image 1"), Answer("image 1", "choice"))


def test_a_part_may_be_named_by_what_its_column_is_often_called() -> None:
    table = read_table(
        rows_source("mine", [{"scan": "a.png", "ask": "What?", "reply": "lung"}]),
        columns={"image": "scan", "prompt": "ask", "answer": "reply"},
    )
    (question,) = table.splits["test"]
    assert (question.question, question.answer.value, len(question.pictures)) == ("What?", "lung", 1)


def test_the_text_of_an_option_counts_where_the_letter_beside_it_disagrees() -> None:
    row = {"question": "What?", "answer": "liver", "answer_label": "A", "options": ["lung", "liver"]}
    assert read(row).answer.value == "liver"


@pytest.mark.parametrize(
    ("options", "bare"),
    [
        ((" A:Diffuse uptake ", " B:Focal ", "C: None", "D\u200a:\u00a0Mixed"), ("Diffuse uptake", "Focal", "None", "Mixed")),
        (("A: lung", "B liver", "C: heart"), ("lung", "liver", "heart")),
        (("(A) lung", "(B) liver"), ("lung", "liver")),
        (("A nodule", "A mass"), ("A nodule", "A mass")),
        (("a cyst", "b cells"), ("a cyst", "b cells")),
        (("B: liver", "A: lung"), ("B: liver", "A: lung")),
    ],
)  # fmt: skip
def test_letters_inside_options_are_taken_off_where_they_are_those_of_their_places(
    options: tuple[str, ...], bare: tuple[str, ...]
) -> None:
    texts = read({"question": "What?", "answer": bare[1], "options": list(options)}).options
    assert texts == bare
    assert strip_letters(bare) == bare


def test_columns_are_found_by_common_names_and_by_those_that_are_given() -> None:
    row = {"Prompt": "What is it?", "ground_truth": "lung", "Modality_Type": "CT", "q_lang": "en", "organ": "Chest"}
    question = read(row)
    assert (question.question, question.answer.value) == ("What is it?", "lung")
    assert question.facets == {"modality": "CT", "language": "en", "body_part": "Chest"}
    odd = {"text1": "What is it?", "text2": "lung", "scanner": "Tesla"}
    question = read(odd, columns={"question": "text1", "answer": "text2"}, facets=["scanner"])
    assert (question.question, question.answer.value, question.facets) == ("What is it?", "lung", {"scanner": "Tesla"})


def test_tools_that_a_question_needs() -> None:
    base = {"question": "What?", "answer": "lung"}
    assert read(base).tools is None
    assert read({**base, "tools": "none"}).tools == ()
    assert read({**base, "tools_needed": "window, zoom"}).tools == ("window", "zoom")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "", "answer": "a"}, "the question is empty"),
        ({"question": "Does the picture contain liver?", "answer": ""}, "the answer is empty"),
        ({"question": "q", "answer": float("nan")}, "the answer is empty"),
        ({"question": "q", "answer": "left", "kind": "number"}, "the answer 'left' of a question for a number is not one"),
        ({"question": "q", "answer": "left", "kind": "yes_no"}, "the answer 'left' of a yes/no question is not yes or no"),
        ({"question": "q", "answer": "a", "kind": "riddle"}, "the kind 'riddle' is not one of exact, yes_no, choice, number"),
        ({"question": "q", "answer": "a", "kind": "choice"}, "its kind is 'choice' and it has no options"),
        ({"question": "q", "answer": "heart", "options": "lung; liver"}, "the answer 'heart' is none of the options (lung; li"),
        ({"question": "q", "answer": "E", "options": ["lung", "liver"]}, "the answer 'E' is none of the options (lung; liver)"),
        ({"question": "q", "answer": 1, "options": ["lung", "liver"]}, "the answer '1' is none of the options (lung; liver); "),
        ({"question": "q", "answer": "a", "options": "['Crohn's', 'a']"}, "the list \"['Crohn's', 'a']\" can be read n"),
        ({"question": "q", "answer": "a", "options": [{"k": "a"}]}, "an option \"{'k': 'a'}\" has no text under one of "),
        ({"question": "q", "answer": "x", "option_a": "x", "option_b": "", "option_c": "y"}, "the option 'option_b' is empty"),
        ({"question": "q", "answer": "1", "tolerance": "much"}, "the tolerance 'much' is no number of at least 0"),
        ({"question": "q", "answer": "1", "image": 7}, "a picture is a path or bytes, not a int"),
        ({"question": "q", "answer": "1", "image": ""}, "it has no picture"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_says_why(row: Mapping[str, Any], said: str) -> None:
    assert problem(row).startswith(said)


def test_ids_are_kept_and_made_unique(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "q", "answer": "x"},
        {"id": "a", "question": "r", "answer": "y"},
        {"question": "s", "answer": "z"},
    ]
    questions = read_table(rows_source("mine", rows)).splits["test"]
    assert [question.id for question in questions] == ["a", "a-row-2", "mine-row-3"]
