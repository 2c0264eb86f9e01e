import pytest

from medvistagym_core.scoring import PROTOCOLS, score

from .items import choice, item, value_of

PROTOCOL = PROTOCOLS["medvlthinker"]


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("<think>I look.</think><answer>B</answer>", True),
        ("<answer>b</answer>", True),
        ("<answer>B. Focal uptake pattern</answer>", True),
        ("<answer>Focal uptake pattern\nbecause</answer>", True),
        ("<answer>A</answer> no, <answer>B</answer>", True),
        ("The answer is: B", True),
        ("Answer: Focal uptake pattern", True),
        ("I think it is: B", True),
        ("B", True),
        ("B.", False),
        ("(B)", False),
        ("B Focal uptake pattern", False),
        ("<answer>B or C</answer>", False),
        ("<answer></answer>", False),
        ("", False),
    ],
)
def test_exact_letter_or_text(response, right):
    assert (PROTOCOL.score_item(choice(response)).score == 1) is right


def test_open_questions_are_left_out_and_counted():
    scores = score([choice("B"), item("lung", "lung", "open")], ["medvlthinker"])["medvlthinker"]
    assert value_of(scores, "accuracy").total == 1
    assert "a question is left out: medvlthinker scores closed questions and choices" in scores.notes[0]


def test_a_closed_question_without_options_is_matched_by_its_text():
    assert PROTOCOL.score_item(item("<answer>Yes</answer>")).score == 1
    assert PROTOCOL.score_item(item("<answer>A</answer>")).score == 0


def test_benchmarks_count_the_same_in_the_mean():
    items = [choice("B"), choice("B"), choice("B"), choice("A", benchmark="medxpertqa")]
    scores = score(items, ["medvlthinker"])["medvlthinker"]
    assert value_of(scores, "mean of benchmarks").value == 0.5
