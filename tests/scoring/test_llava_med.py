import pytest

from medvistagym_core.scoring import PROTOCOLS, score

from .items import choice, item, value_of

REPAIRED, PUBLISHED = PROTOCOLS["llava-med"], PROTOCOLS["llava-med@as-published"]


@pytest.mark.parametrize(
    ("gold", "response", "repaired", "published"),
    [
        ("yes", "Yes, there is a nodule.", True, True),
        ("no", "No", True, True),
        ("yes", "No", False, False),
        ("yes", "a nodule", False, False),
        ("no", "I do not know", False, True),  # the letters "no"
        ("no", "a nodule is seen", False, True),
        ("yes", "yes and no", False, True),
        ("no", "yes and no", False, True),
        ("left", "left", True, False),  # no "yes" and no "no" in it
        ("lung", "The lung.", True, False),
        ("left", "the right side", False, False),
        ("left lung", "left upper lung", False, False),
        ("T2", "T2-weighted", True, False),
        ("yes", "", False, False),
    ],
)
def test_closed(gold, response, repaired, published):
    asked = item(response, gold, "yes_no" if gold in ("yes", "no") else "closed")
    assert (REPAIRED.score_item(asked).score == 1) is repaired
    assert (PUBLISHED.score_item(asked).score == 1) is published


@pytest.mark.parametrize(
    ("gold", "response", "repaired", "published"),
    [
        ("right upper lobe", "right upper lobe", 1, 1),
        ("right upper lobe", "The mass is in the right lobe of the lung", 2 / 3, 2 / 3),
        ("right upper lobe", "right right right", 1 / 3, 3 / 5),  # counted in the prediction
        ("x-ray", "X ray", 1, 1),
        ("two masses", "2 masses", 1, 1),
        ("none", "0", 1, 1),
        ("5.5 cm", "5.5 cm.", 1, 1),
        ("effusion", "no effusion", 1, 1),  # a measure, not a verdict
        ("effusion", "", 0, 0),
    ],
)
def test_open_recall(gold, response, repaired, published):
    asked = item(response, gold, "open")
    for protocol, recall in ((REPAIRED, repaired), (PUBLISHED, published)):
        row = protocol.score_item(asked)
        assert row.score == pytest.approx(recall)
        assert row.verdict == "measured"


def test_a_correct_model_cannot_exceed_the_ceiling_of_slake():
    # 416 closed English questions, of which 61 are answered by something else than yes or no
    answers = ["Yes"] * 175 + ["No"] * 180 + ["Lung"] * 61
    items = [item(gold, gold, "closed" if gold == "Lung" else "yes_no", "slake") for gold in answers]
    scores = score(items, ["llava-med", "llava-med@as-published"])
    assert value_of(scores["llava-med"], "closed accuracy").value == 1
    assert value_of(scores["llava-med@as-published"], "closed accuracy").value == pytest.approx(0.8534, abs=5e-5)
    assert value_of(scores["llava-med"], "closed accuracy").expected == 416


def test_what_it_does_not_score():
    assert PROTOCOLS["llava-med"].score_item(choice("B")).verdict == "excluded"
    assert PROTOCOLS["llava-med"].score_item(item("有", "有", language="zh", benchmark="slake")).verdict == "excluded"
