import pytest

from medvistagym_core.scoring import PROTOCOLS, score

from .items import choice, item, value_of

REPAIRED, PUBLISHED = PROTOCOLS["mmmu-official"], PROTOCOLS["mmmu-official@as-published"]


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("(A) or (B)", "B"),
        ("B.", "B"),
        ("I choose B because", "B"),
        ("A is wrong and B is right", "B"),
        ("CTA shows it", ""),
        ("It is the focal uptake pattern.", "B"),
        ("no idea", ""),
        ("", ""),
    ],
)
def test_letters(response, letter):
    row = REPAIRED.score_item(choice(response, benchmark="mmmu"))
    assert row.answer == letter
    assert (row.verdict == "right") is (letter == "B")


def test_a_response_without_an_option_is_wrong_and_as_published_drawn():
    asked = choice("no idea", benchmark="mmmu")
    assert REPAIRED.score_item(asked).verdict == "wrong"
    assert (PUBLISHED.score_item(asked).verdict, PUBLISHED.score_item(asked).score) == ("drawn", 0.25)


@pytest.mark.parametrize(
    ("gold", "response", "right"),
    [
        ("42", "The answer is 42.", True),
        ("42", "42", True),
        ("42", "It is 42.004", True),
        ("42", "It is 420", False),
        ("1200", "so the result is 1,200", True),
        ("0.5", "x = 1/2 = 0.5", True),
        ("vitamin k", "Therefore it could be vitamin K", True),
        ("vitamin k", "vitamin C", False),
        ("vitamin k", "Vitamin K was considered. So the answer is vitamin C", False),
        ("['aorta', 'the aorta']", "This is the aorta", True),
        ("k", "it is vitamin k", True),
        ("k", "it is a book", False),
        ("vitamin k", "", False),
    ],
)
def test_open_questions(gold, response, right):
    assert (REPAIRED.score_item(item(response, gold, "open", "mmmu")).score == 1) is right


def test_subjects_and_the_published_count():
    items = [choice("B", benchmark="mmmu", split="validation", category=name) for name in ("Pharmacy", "Public_Health")]
    scores = score(items, ["mmmu-official"])["mmmu-official"]
    assert [each.name for each in scores.denominators] == ["accuracy", "accuracy, Pharmacy", "accuracy, Public_Health"]
    assert value_of(scores, "accuracy").expected == 150
    assert "mmmu-official: mmmu accuracy counts 2 questions; the published figures count 150." in scores.notes
