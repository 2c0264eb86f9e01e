import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import grade

OPTIONS = ("upper left", "upper right", "lower left", "lower right")


@pytest.mark.parametrize(
    ("text", "right", "credit"),
    [
        ("effusion; nodule", True, 1.0),
        ("Nodule, effusion", True, 1.0),
        ("the nodule and the effusion.", True, 1.0),
        ("- nodule\n- effusion", True, 1.0),
        ("1. nodule\n2. effusion", True, 1.0),
        ("nodule; nodule; effusion", True, 1.0),
        ("nodule", False, 2 / 3),
        ("nodule; effusion; cyst", False, 0.8),
        ("nodule effusion", False, 0.0),
        ("no nodule; effusion", False, 0.5),
        ("", False, 0.0),
        (";;", False, 0.0),
    ],
)
def test_set(text, right, credit):
    graded = grade(Answer("nodule; effusion", kind="set"), text)
    assert graded.correct is right
    assert graded.credit == pytest.approx(credit)


def test_a_set_of_options_may_be_named_by_letters():
    answer = Answer("upper right; lower left", kind="set")
    assert grade(answer, "B, C", options=OPTIONS).correct
    assert grade(answer, "(B) upper right; (C)", options=OPTIONS).correct
    assert not grade(answer, "A, B, C, D", options=OPTIONS).correct
    assert not grade(answer, "; ".join(OPTIONS), options=OPTIONS).correct
    assert grade(Answer("bone and joint; soft tissue", kind="set"), "soft tissue; bone and joint").correct
    with pytest.raises(ValueError, match="names none"):
        grade(Answer(" ; ", kind="set"), "x")
