"""GAZE's rule for VQA-RAD, and the answers that its example stores."""

import json

import pytest

from medvistagym_core.scoring import PROTOCOLS, evaluate_answers, read_answers, score

from .items import choice, item, value_of

PROTOCOL = PROTOCOLS["gaze"]
SAMPLES = [
    ("Is a nodule seen?", "Yes, on the left.", "yes", "closed"),
    ("Is the heart large?", "It is not.", "no", "closed"),
    ("Which side?", "the right side", "right side", "open"),
    ("What is seen?", "fluid of the right lung", "right lung", "open"),
]


def record(number, question, prediction, gold, kind):
    return {
        "sample_id": number, "question": question, "prediction": prediction, "ground_truth": gold, "answer_type": kind,
        "response": {"answer": prediction, "continue": False}, "num_turns": 2, "tools_used": ["zoom"],
        "confidence": 0.7, "total_tokens": 900,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """What GAZE's example leaves in its output folder, ten and more samples sorted as numbers."""
    for number, sample in zip((0, 1, 2, 10), SAMPLES, strict=True):
        (tmp_path / f"sample_{number}.json").write_text(json.dumps(record(number, *sample), indent=2), "utf-8")
    summary = {"config": {"model": "some-model", "split": "test"}, "num_samples": 4, "num_failures": 0}
    (tmp_path / "summary.json").write_text(json.dumps(summary), "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("gold", "response", "right"),
    [
        ("yes", "Yes, a nodule.", True),
        ("yes", "y", True),
        ("yes", "true", True),
        ("no", "0", True),
        ("no", "No evidence of it", True),
        ("no", "the no", True),  # articles go first
        ("yes", "possibly", False),
        ("yes", "There is, yes", False),  # the first word is neither
        ("yes", "", False),
    ],
)
def test_closed_by_the_first_word(gold, response, right):
    row = PROTOCOL.score_item(item(response, gold))
    assert (row.group, row.score == 1) == ("closed", right)


@pytest.mark.parametrize(
    ("gold", "response", "right", "f1"),
    [
        ("left lung", "The left lung.", True, 1),
        ("left lung", "lung", False, 2 / 3),
        ("left lung", "lung left", False, 1),  # sets of words
        ("x-ray", "X ray", True, 1),
        ("ct", "computed tomography", True, 1),
        ("abdominal", "abdomen", True, 1),
        ("fracture", "bone", False, 2 / 3),  # "broken bone" has two words
        ("the", "a", True, 0),  # nothing is left of either
        ("effusion", "no effusion", False, 2 / 3),
    ],
)
def test_open_by_exact_match_and_f1(gold, response, right, f1):
    result = score([item(response, gold, "open")], ["gaze"])["gaze"]
    assert value_of(result, "open accuracy").value == right
    assert value_of(result, "open F1").value == pytest.approx(f1)


def test_what_it_does_not_score():
    assert PROTOCOL.score_item(choice("A")).verdict == "excluded"
    assert PROTOCOL.score_item(item("是", "是", language="zh")).verdict == "excluded"


def test_the_answers_of_a_folder_are_scored_under_any_protocol(folder):
    (scored,) = evaluate_answers(folder, ["gaze", "llava-med"])
    assert (scored.report.task, scored.report.policy, scored.report.questions) == ("vqa_rad", "some-model", 4)
    gaze, llava = scored.report.protocols
    values = {number.name: (number.value, number.scored) for number in gaze.numbers}
    assert values["closed accuracy"] == (0.5, 2)
    assert values["open accuracy"] == (0.5, 2)
    assert values["open F1"] == (pytest.approx((1 + 2 * 2 / 6) / 2), 2)
    assert values["exact match"] == (0.25, 4)
    assert {number.name: number.value for number in llava.numbers} == {"closed accuracy": 0.5, "open recall": 1.0}


def test_one_file_of_records_is_the_same_as_the_folder(folder, tmp_path):
    file = tmp_path / "answers.json"
    file.write_text(json.dumps([record(k, *sample) for k, sample in zip((0, 1, 2, 10), SAMPLES, strict=True)]), "utf-8")
    assert read_answers(file) == read_answers(folder)
    assert [episode.index for episode in read_answers(file)] == [0, 1, 2, 10]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "answers.json: it is no JSON"),
        ("[]", "there is no answer in it"),
        ("[3]", "answer 1: input should be"),
        (
            '{"sample_id": 0, "question": "?", "ground_truth": "yes", "answer_type": "closed"}',
            "prediction: field required",
        ),
        (json.dumps([record(7, *SAMPLES[0])] * 2), "sample_id 7 is there twice"),
    ],
)
def test_answers_that_cannot_be_read_are_one_sentence(content, said, tmp_path):
    file = tmp_path / "answers.json"
    file.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=said):
        read_answers(file)
    with pytest.raises(ValueError, match="there is no such file or folder"):
        read_answers(tmp_path / "none")
