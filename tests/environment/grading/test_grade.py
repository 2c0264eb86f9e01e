import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import GRADERS, MAX_ANSWER_CHARS, Grade, grade, unwrap_answer

FRAGMENTS = (
    "yes", "no", " ", ",", ".", "A", "B", "(", ")", "5", "-", "mm", "<", ">", "nodule", "left", "not ", "\\boxed{",
    "}", "{", "$", "**", "_", "`", '"', "[", "]", "\n", "0.5", "×10^", "½", "²", "–", "\ud800", "\u202e", "a ",
    "the ", " or ", " and ", "no ", "\\text{", "<b>", "&lt;", "?",
)  # fmt: skip
OPTIONS = ("upper left", "upper right", "lower left", "lower right")


@pytest.mark.parametrize(
    ("value", "text", "right"),
    [
        ("fat", "Fat.", True),
        ("fat", "the fat", True),
        ("fat", "fat or fluid", False),
        ("fat", "not fat", False),
        ("air", "", False),
        ("-5", "5", False),
        ("upper left", "upper left upper right", False),
        ("fat", "**fat**", True),
        ("fat", "It is fat.", True),
        ("fat", "It is not fat", False),
        ("fat", "fat?", False),
        ("fat", "fat, probably", False),
        ("T2", "T1", False),
        ("T2", "T2*", False),
        ("T2*", "T2*", True),
        ("T2*", "*T2*", False),
        ("HER2+", "her2+", True),
        ("HER2+", "HER2 positive", True),
        ("HER2+", "HER2 +", True),
        ("HER2+", "HER2⁺", True),
        ("HER2+", "HER2−", False),
        ("HER2+", "HER2-", False),
        ("Murphy (+)", "Murphy +", True),
        ("Murphy (+)", "Murphy (-)", False),
        ("Murphy (-)", "Murphy", False),
        ("-", "-", True),
        ("-", "+", False),
        ("-", "", False),
        ("3+", "3", False),
        ("p<0.05", "p>0.05", False),
        ("✓", "✗", False),
        ("no effusion, edema, or mass", "no effusion. Edema or mass", False),
        ("HER2+", "HER2", False),
        ("<5 mm", "< 5mm", True),
        ("<5 mm", "&lt;5 mm", True),
        ("<5 mm", r"$\lt 5$ mm", True),
        ("<5 mm", ">5 mm", False),
        ("<5 mm", "≤5 mm", False),
        ("<5 mm", "5 mm", False),
        ("10^3", "10³", True),
        ("10^3", "$10^{3}$", True),
        ("10^3", "10<sup>3</sup>", True),
        ("10^3", "103", False),
        ("10^3", "10 3", False),
        ("3-4", "3 4", False),
        ("3-4", "34", False),
        ("3-4", "3–4", True),
        ("120/80", "120 80", False),
        ("1:2", "2:1", False),
        ("±2", "+/-2", True),
        ("±2", "2", False),
        ("50%", "50", False),
        ("30°", "30", False),
        ("↑ signal", "↓ signal", False),
        ("anechoic", "an echoic", False),
        ("hepatitis A", "hepatitis", False),
        ("hepatitis A", "Hepatitis A.", True),
        ("hepatitis A", "hepatitis B", False),
        ("two", "2", True),
        ("twenty-one", "21", True),
        ("haemorrhage", "hemorrhage", True),
        ("L4-L5", "L4/L5", True),
        ("L4-L5", "L5-S1", False),
    ],
)
def test_exact(value, text, right):
    assert grade(Answer(value), text).correct is right


def test_any_alias_is_as_right():
    answer = Answer("soft tissue", aliases=("muscle",))
    assert grade(answer, "Muscle").correct
    assert not grade(answer, "soft tissue or muscle").correct


def test_abstention_is_neither_right_nor_wrong():
    answer = Answer("fat")
    assert grade(answer, "Unclear.", abstention="unclear") == Grade(abstained=True)
    assert not grade(answer, "unclear", abstention="unclear").wrong
    assert grade(answer, "unclear").wrong
    assert grade(answer, "fat, else unclear", abstention="unclear").wrong
    assert grade(Answer("unclear"), "unclear", abstention="unclear") == Grade(correct=True)
    assert grade(answer, None, abstention="unclear") == Grade(answered=False)
    assert grade(answer, None).wrong


def test_an_answer_that_is_none_of_its_kind_is_refused():
    for answer in (
        Answer("maybe", kind="yes_no"),
        Answer("centre", kind="choice"),
        Answer("many", kind="number"),
        Answer("x", kind="guess"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=answer.value):
            grade(answer, "yes", options=OPTIONS)


def test_an_answer_too_long_to_be_one_is_wrong():
    assert grade(Answer("fat"), " " * MAX_ANSWER_CHARS + "fat" + "\n" * MAX_ANSWER_CHARS).correct
    assert grade(Answer("yes", kind="yes_no"), "yes. " + "x" * MAX_ANSWER_CHARS).wrong
    assert grade(Answer("yes", kind="yes_no"), "yes, " + "\ufdfa" * (MAX_ANSWER_CHARS // 2) + " no").wrong


def test_the_earlier_name_of_the_partial_credit():
    assert (
        grade(Answer("a; b", kind="set"), "a").credit
        == grade(Answer("a; b", kind="set"), "a").partial_credit
        == pytest.approx(2 / 3)
    )


def test_a_kind_of_ones_own():
    def grade_rhyme(answer, text, options):
        return Grade(correct=unwrap_answer(text)[-2:] == answer.value[-2:])

    graders = {**GRADERS, "rhyme": grade_rhyme}
    assert grade(Answer("nodule", kind="rhyme"), "**module**", graders=graders).correct  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rhyme"):
        grade(Answer("nodule", kind="rhyme"), "module")  # type: ignore[arg-type]


ANSWERS = (
    (Answer("yes", kind="yes_no"), ()),
    (Answer("no", kind="yes_no"), ()),
    (Answer("fat"), ()),
    (Answer("upper left", kind="choice"), OPTIONS),
    (Answer("5", kind="number", unit="mm", tolerance=1), ()),
    (Answer("nodule; effusion", kind="set"), ("nodule", "effusion", "cyst", "mass")),
    (Answer("[100, 100, 300, 300]", kind="box"), ()),
    (Answer("small nodule in the left lung", kind="text"), ()),
)
HACKS = (
    "yes no", "yes and no", "yes or no", "yes/no", "Yes. No.", "no, yes", "either yes or no", "A, B, C, D",
    "A B C D", "A or B", "all", "all of the above", "any of them", "; ".join(OPTIONS), " or ".join(OPTIONS),
    " ".join(OPTIONS), "nodule, effusion, cyst, mass", "nodule; effusion; cyst; mass", "A; B; C; D",
    "1 2 3 4 5 6 7 8 9", "0-100 mm", "4 to 6 mm", "less than 10 mm", "fat, fluid, air, bone", "fat or fluid",
    "[0, 0, 1000, 1000]", "[100, 100, 300, 300] [0, 0, 1000, 1000]", "nodule in the left or right lung",
    "small or large nodule in the left or right lung", "a nodule, a mass, an effusion, no nodule",
    r"\boxed{yes} \boxed{no}", r"\boxed{A} \boxed{B} \boxed{C} \boxed{D}", '{"answer": "yes", "answer": "no"}',
    "I do not know", "unsure", "maybe", "", " ", "?", "*", "not upper left", "the answer", "answer:",
    "the answer is", "it depends", "<answer>yes</answer><answer>no</answer>", "yes" * 500,
)  # fmt: skip


@pytest.mark.parametrize("text", HACKS)
def test_an_answer_for_every_case_is_right_in_none(text):
    assert [answer.value for answer, options in ANSWERS if grade(answer, text, options=options).correct] == []


@given(st.text(max_size=60) | st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join))
def test_no_text_is_too_odd_to_be_graded(text):
    for answer, options in ANSWERS:
        once = grade(answer, text, options=options)
        assert 0 <= once.partial_credit <= 1
        assert 0 <= once.overlap <= 1
        assert grade(answer, f" {text}\n", options=options) == once
