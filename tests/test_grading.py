import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import Grade, grade, normalise

OPTIONS = ("upper left", "upper right", "lower left", "lower right")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The upper-left  lobe.", "upper left lobe"),
        ("  Soft Tissue!", "soft tissue"),
        ("−3.5 HU", "-3.5 hu"),
        ("1,200", "1200"),
        ("T1-weighted", "t1 weighted"),
        ("a", "a"),
        ("ﬁbrosis", "fibrosis"),
        ("left_lung", "left lung"),
        ("...", ""),
        ("5.", "5"),
        ("straße", "strasse"),
    ],
)
def test_normalise(text, normal):
    assert normalise(text) == normal


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
    ],
)
def test_exact(value, text, right):
    assert grade(Answer(value), text).correct is right


def test_any_alias_is_as_right():
    answer = Answer("soft tissue", aliases=("muscle",))
    assert grade(answer, "Muscle").correct
    assert not grade(answer, "soft tissue or muscle").correct


@pytest.mark.parametrize(
    ("value", "text", "right"),
    [
        ("no", "No.", True),
        ("no", "nodule is seen", False),
        ("no", "not sure", False),
        ("no", "none", False),
        ("no", "no doubt there is a nodule", False),
        ("no", "No, nothing is seen.", True),
        ("no", "n", True),
        ("yes", "Yes, a nodule is seen", True),
        ("yes", "yes or no", False),
        ("no", "yes or no", False),
        ("no", "No, yes", False),
        ("yes", "Yes, no", False),
        ("yes", "True", True),
        ("yes", "yesterday", False),
        ("Yes", "YES!", True),
        ("yes", "", False),
    ],
)
def test_yes_no(value, text, right):
    assert grade(Answer(value, kind="yes_no"), text).correct is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("upper right", True),
        ("Upper-right.", True),
        ("B", True),
        ("(b)", True),
        ("b) upper right", True),
        ("B. Upper right", True),
        ("Option B", True),
        ("B: lower left", False),
        ("A", False),
        ("E", False),
        ("upper left or upper right", False),
        ("upper left, upper right, lower left, lower right", False),
        ("A, B, C, D", False),
        ("not upper right", False),
        ("right", False),
        ("", False),
        ("é", False),
    ],
)
def test_choice(text, right):
    assert grade(Answer("upper right", kind="choice"), text, options=OPTIONS).correct is right
    assert grade(Answer("B", kind="choice"), text, options=OPTIONS).correct is right


def test_choice_without_options_is_exact():
    assert grade(Answer("fat", kind="choice"), "fat").correct


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        (Answer("3", kind="number"), "3", True),
        (Answer("3", kind="number"), "three", True),
        (Answer("3", kind="number"), "3.0", True),
        (Answer("3", kind="number"), "3 nodules", True),
        (Answer("3", kind="number"), "3 or 4", False),
        (Answer("3", kind="number"), "2-3", False),
        (Answer("3", kind="number"), "not 3", False),
        (Answer("3", kind="number"), "33", False),
        (Answer("3", kind="number"), "", False),
        (Answer("3", kind="number"), "many", False),
        (Answer("0.3", kind="number", tolerance=0.1), "0.4", True),
        (Answer("0.3", kind="number", tolerance=0.1), "0.41", False),
        (Answer("12", kind="number", unit="mm", tolerance=1), "12.9", True),
        (Answer("12", kind="number", unit="mm", tolerance=1), "about 1.25 cm", True),
        (Answer("12", kind="number", unit="mm", tolerance=1), "1.25", False),
        (Answer("12", kind="number", unit="mm", tolerance=1), "12 ml", False),
        (Answer("12", kind="number", unit="mm", tolerance=1), "12 apples", False),
        (Answer("12 mm", kind="number", tolerance=1), "1.2 centimetres.", True),
        (Answer("-40", kind="number", unit="HU", tolerance=5), "−42 hu", True),
        (Answer("-40", kind="number", unit="HU", tolerance=5), "40 HU", False),
        (Answer("1200", kind="number", unit="mm3"), "1,200 mm³", True),
        (Answer("1200", kind="number", unit="mm3"), "1.2 mL", True),
        (Answer("12.5", kind="number"), "12,5", True),
        (Answer("40", kind="number", unit="%"), "40 percent", True),
        (Answer("1e3", kind="number"), "1000", True),
        (Answer("1", kind="number"), "1e999", False),
        (Answer("1", kind="number"), "nan", False),
        (Answer("25", kind="number", unit="mm2"), "0.25 cm^2", True),
    ],
)
def test_number(answer, text, right):
    assert grade(answer, text).correct is right


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


@pytest.mark.parametrize(
    ("text", "credit"),
    [
        ("[100, 100, 300, 300]", 1.0),
        ("100 100 300 300", 1.0),
        ("The bounding box is (100, 100, 300, 300).", 1.0),
        ("[100, 100, 300, 200]", 0.5),
        ("[200, 100, 400, 300]", 1 / 3),
        ("[100.0, 100.0, 300.0, 250.5]", 0.7525),
        ("[300, 300, 400, 400]", 0.0),
        ("[0, 0, 1000, 1000]", 0.04),
        ("[300, 300, 100, 100]", 0.0),
        ("[100, 100, 300]", 0.0),
        ("[100, 100, 300, 300] or [500, 500, 600, 600]", 0.0),
        ("[100, 100, 300, 300, 400]", 0.0),
        ("[100, 100, 300, 300)", 0.0),
        ("[-100, 100, 300, 300]", 0.0),
        ("[100, 100, 300, 3000]", 0.0),
        ("[100, 100, 300, nan]", 0.0),
        ("upper left", 0.0),
        ("", 0.0),
    ],
)
def test_box(text, credit):
    graded = grade(Answer("[100, 100, 300, 300]", kind="box"), text)
    assert graded.credit == pytest.approx(credit)
    assert graded.correct is (credit >= 0.5)


def test_the_threshold_of_a_box_can_be_another():
    text = "[100, 100, 300, 200]"
    assert not grade(Answer("[100, 100, 300, 300]", kind="box", threshold=0.75), text).correct
    assert grade(Answer("[500, 500, 600, 600]", kind="box", aliases=("[100, 100, 300, 200]",)), text).correct
    with pytest.raises(ValueError, match="threshold"):
        grade(Answer("[100, 100, 300, 300]", kind="box", threshold=0), text)
    with pytest.raises(ValueError, match="within 0 to 1000"):
        grade(Answer("upper left", kind="box"), text)


@pytest.mark.parametrize(
    ("value", "text", "right"),
    [
        ("a small nodule in the left lung", "Small nodule in left lung.", True),
        ("a small nodule in the left lung", "There is a small nodule in the left lung", True),
        ("small round nodule in left upper lobe", "a small nodule in the left upper lobe", True),
        ("small round nodule in left upper lobe", "small round nodule in right upper lobe", False),
        ("small round nodule in left upper lobe", "no small round nodule in left upper lobe", False),
        ("no pleural effusion is seen", "pleural effusion is seen", False),
        ("no pleural effusion is seen", "no pleural effusion seen", True),
        ("nodule", "nodule nodule nodule nodule", False),
        ("nodule", "", False),
        ("left upper lobe", "left or right upper or lower lobe or segment", False),
    ],
)
def test_free_text(value, text, right):
    assert grade(Answer(value, kind="text"), text).correct is right


def test_credit_is_that_of_the_words():
    assert grade(Answer("bone marrow edema", kind="text"), "bone edema").credit == pytest.approx(0.8)
    assert grade(Answer("fat"), "fat").credit == 1.0
    assert grade(Answer("fat"), "fluid").credit == 0.0
    assert grade(Answer("not clear", kind="text"), "unclear", abstention="unclear").abstained
    with pytest.raises(ValueError, match="no words"):
        grade(Answer("", kind="text"), "x")
