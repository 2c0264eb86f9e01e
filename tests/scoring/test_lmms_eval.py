import pytest

from medvistagym_core.scoring import PROTOCOLS, score

from .items import choice, item

REPAIRED, PUBLISHED = PROTOCOLS["lmms-eval"], PROTOCOLS["lmms-eval@as-published"]


@pytest.mark.parametrize(
    ("gold", "response", "repaired", "published"),
    [
        ("Yes", "yes.", True, True),
        ("Yes", "True", True, True),
        ("No", "nope", True, True),
        ("X-Ray", "x ray", True, True),
        ("Transverse Plane", "transverse  plane", True, True),
        ("Lung", "lung (left)", True, True),
        ("Lung", "the lung", False, False),
        ("Liver, Heart", "Heart, Liver", False, False),
        ("有", "是的", True, True),
        ("没有", "无。", True, True),
        ("正常", "是", False, True),
        ("异常", "不是", False, True),
        ("正常", "正常", True, True),
        ("肝脏", "肝脏。", True, True),
        ("Yes", "", False, False),
    ],
)
def test_slake(gold, response, repaired, published):
    asked = item(response, gold, "closed", "slake")
    assert (REPAIRED.score_item(asked).score == 1) is repaired
    assert (PUBLISHED.score_item(asked).score == 1) is published


@pytest.mark.parametrize(
    ("response", "repaired", "published"),
    [
        ("(B)", "B", "B"),
        ("The answer is B.", "B", "B"),
        ("(A) is wrong, so it is (B)", "B", "B"),
        ("CTA shows it", "", "A"),  # "A " inside a word
        ("The pattern seen here is the Focal uptake pattern", "B", "B"),
        ("Focal uptake pattern", "B", ""),  # text only counts in a long response
        ("no idea", "", ""),
    ],
)
def test_mmmu_letters(response, repaired, published):
    asked = choice(response, benchmark="mmmu", letter="B")
    assert REPAIRED.score_item(asked).answer == repaired
    row = PUBLISHED.score_item(asked)
    assert row.answer == published
    assert (row.verdict == "drawn") is (published == "")


def test_mmmu_open_questions_are_never_right_as_published():
    asked = item("The answer is 42", "42", "open", "mmmu")
    assert (REPAIRED.score_item(asked).score, PUBLISHED.score_item(asked).score) == (1, 0)


def test_slake_is_reported_by_language_question_modality_and_content():
    items = [
        item("yes", "Yes", "yes_no", "slake", modality="CT", category="Abnormality"),
        item("lung", "Liver", "open", "slake", modality="MRI", category="Organ"),
        item("有", "有", "yes_no", "slake", language="zh", modality="CT"),
        item("yes", "yes", benchmark="vqa_rad"),
    ]
    scores = score(items, ["lmms-eval"])["lmms-eval"]
    assert {each.name: each.value for each in scores.denominators} == {
        "overall (en)": 0.5, "open (en)": 0, "closed (en)": 1, "modality CT (en)": 1, "modality MRI (en)": 0,
        "category Abnormality (en)": 1, "category Organ (en)": 0,
        "overall (zh)": 1, "closed (zh)": 1, "modality CT (zh)": 1,
    }  # fmt: skip
    assert "lmms-eval scores SLAKE and MMMU" in scores.notes[0]
