import dataclasses
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvistagym_core.scoring import (
    PROTOCOLS,
    Denominator,
    ItemScore,
    benchmark_key,
    final_answer,
    find_protocol,
    measure_text,
    score,
    summarize,
    validity_notes,
)

from .items import choice, item, judge_by_equality, value_of


def test_one_answers_file_has_one_number_under_each_protocol():
    items = [
        item("Yes, there is an abnormality", "yes"),
        item("left", "left", "closed"),
        item("a nodule in the right lobe", "nodule in the right upper lobe", "open"),
        choice("I think it is B"),
        choice("", benchmark="mmmu"),
    ]
    scores = score(items, list(PROTOCOLS))
    assert list(scores) == list(PROTOCOLS)
    closed = {name: [row.score for row in each.rows][:2] for name, each in scores.items()}
    assert closed["strict"] == [1, 1]
    assert closed["llava-med"] == [1, 1]
    assert closed["llava-med@as-published"] == [1, 0]
    assert closed["medevalkit@as-published"] == [0, None]
    for each in scores.values():
        assert each.rules.endswith(".")
        assert [row.item for row in each.rows] == items


def test_overlap_is_reported_and_never_right():
    asked = item("nodule in the left upper lobe", "nodule in the right upper lobe", "open")
    scores = score([asked], ["strict"])["strict"]
    assert scores.rows[0].verdict == "wrong"
    means = {each.name: each.value for each in scores.mean_measures()}
    assert means["open f1"] == pytest.approx(0.8)
    assert means["open exact_match"] == 0


def test_strict_uses_kind_unit_tolerance_and_aliases():
    measured = item("about 1.2 cm", "12", "open", answer_kind="number", unit="mm", tolerance=1)
    named = item("lung", "pulmonary", "closed", aliases=("lung",))
    assert [PROTOCOLS["strict"].score_item(each).verdict for each in (measured, named)] == ["right", "right"]
    odd = PROTOCOLS["strict"].score_item(item("yes", "perhaps"))
    assert (odd.verdict, odd.score) == ("error", None)
    assert "is not yes or no" in odd.reason
    assert PROTOCOLS["strict"].score_item(item(None)).verdict == "wrong"


def test_an_error_is_in_no_value_and_is_said():
    scores = score([item("yes"), item("yes", "perhaps")], ["strict"])["strict"]
    accuracy = value_of(scores, "accuracy")
    assert (accuracy.value, accuracy.total, accuracy.scored, accuracy.errors) == (1, 2, 1, 1)
    assert "1 of 2 questions of vqa_rad could not be scored" in scores.notes[0]


def test_breakdowns():
    items = [item("yes", modality="CT"), item("no", modality="CT"), item("yes", modality="MRI")]
    scores = score(items, ["strict"])["strict"]
    assert {each.name: each.value for each in scores.breakdown("modality")} == {"modality CT": 0.5, "modality MRI": 1}
    with pytest.raises(AttributeError):
        scores.breakdown("colour")


def test_a_protocol_of_ones_own():
    class Length:
        name, rules, source, faults, unverified = "length", "Longer is better.", "here", (), ()

        def exclusion(self, item):
            return None

        def needs_judge(self, item):
            return False

        def score_item(self, item, judge=None):
            return ItemScore(item, "measured", min(1.0, len(item.text) / 10))

        def aggregate(self, rows):
            return (summarize("all", "mean length", rows),)

    scores = score([item("yes"), item("yes, certainly")], [Length(), "strict"])
    assert value_of(scores["length"], "mean length").value == pytest.approx(0.65)


def test_a_name_that_is_none_gets_the_nearest():
    with pytest.raises(ValueError, match="the nearest is 'llava-med'"):
        find_protocol("llava_med")
    with pytest.raises(ValueError, match="use 'strict'"):
        find_protocol("strict@as-published")
    with pytest.raises(ValueError, match="named twice"):
        score([], ["strict", "strict"])


def test_every_fault_has_a_repaired_rule_and_every_protocol_its_source():
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.source
        assert bool(protocol.faults) is (f"{name.partition('@')[0]}@as-published" in PROTOCOLS)
        if name.endswith("@as-published"):
            assert protocol.rules != PROTOCOLS[name.partition("@")[0]].rules


@pytest.mark.parametrize(
    ("gold", "answer", "f1", "precision", "recall", "bleu1"),
    [
        ("the right lung", "right lung", 1, 1, 1, 1),
        ("right upper lobe", "right lobe", 0.8, 1, 2 / 3, 0.6065),
        ("right lobe", "right upper lobe", 0.8, 2 / 3, 1, 2 / 3),
        ("lung", "lung lung", 2 / 3, 0.5, 1, 0.5),
        ("lung", "", 0, 0, 0, 0),
        ("", "", 0, 0, 0, 0),
    ],
)
def test_measures(gold, answer, f1, precision, recall, bleu1):
    measures = measure_text(gold, answer)
    assert (measures.f1, measures.precision, measures.recall) == pytest.approx((f1, precision, recall))
    assert measures.bleu1 == pytest.approx(bleu1, abs=1e-4)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>no</think><answer> yes </answer>", "yes"),
        ("<answer>a</answer> or <answer>b</answer>", "b"),
        ("<answer>cut off", "cut off"),
        ("I think.</think>\nyes", "yes"),
        ("yes", "yes"),
    ],
)
def test_final_answer(response, answer):
    assert final_answer(response) == answer


def test_benchmarks_are_known_by_any_spelling():
    assert {benchmark_key(name) for name in ("VQA-RAD", "vqa_rad", "VQA RAD")} == {"vqarad"}
    assert benchmark_key("MedXpertQA-MM") == "medxpertqa"
    assert benchmark_key("my own") == "myown"
    assert "blank images" in validity_notes("vqa-rad")[0]
    assert validity_notes("my own") == ()


def test_results_are_plain_values():
    (accuracy,) = score([item("yes")], ["strict"])["strict"].denominators
    assert Denominator(**dataclasses.asdict(accuracy)) == accuracy


FRAGMENTS = (
    "yes",
    "no",
    "A",
    "B",
    "(",
    ")",
    ":",
    ".",
    "\n\n",
    "answer is",
    r"\boxed{",
    "}",
    "<answer>",
    "</answer>",
    "=",
    "5",
    ",",
    "[",
    "]",
    "'",
    " ",
)


@settings(deadline=None)
@given(st.text(max_size=50) | st.lists(st.sampled_from(FRAGMENTS), max_size=10).map("".join))
def test_no_response_is_too_odd_to_be_scored(response):
    items = [
        item(response), item(response, "left", "closed", "slake"), item(response, "lung", "open"), choice(response),
        choice(response, benchmark="mmmu"), item(response, "['5', 'five']", "open", "mmmu"), item(response, response, "open"),
        choice(response, response, options=(response, "x")),
    ]  # fmt: skip
    for each in score(items, list(PROTOCOLS), judge=lambda prompt: "<judge>0</judge>").values():
        assert all(row.score is None or 0 <= row.score <= 1 for row in each.rows)


@pytest.mark.parametrize(
    "unit", ["(", "A ", "yes ", "answer is ", r"\boxed{", "<answer>", ". ", "1,", "a b ", "[", "is ", "\n\n", "（", "="]
)
def test_long_responses_take_time_in_proportion(unit):
    response = unit * (200_000 // len(unit))
    items = [item(response), item(response, "lung", "open"), item(response, "lung", "open", "slake"), choice(response)]
    items += [item(response, "5", "open", "mmmu"), choice(response, benchmark="mmmu")]
    start = time.process_time()
    score(items, list(PROTOCOLS), judge=lambda prompt: "<judge>1</judge>")
    assert time.process_time() - start < 60  # some 100 ms; whatever grows with the square takes many minutes


def test_a_judge_may_be_asked_at_once_and_the_rows_keep_their_order():
    both = threading.Barrier(2)

    def judge(prompt):
        both.wait(timeout=20)
        return judge_by_equality(prompt)

    items = [item("nodule" if k % 3 else "mass", "nodule", "open") for k in range(8)]
    together = score(items, ["medevalkit"], judge=judge, judge_calls=2)["medevalkit"]
    alone = score(items, ["medevalkit"], judge=judge_by_equality)["medevalkit"]
    assert [row.score for row in together.rows] == [row.score for row in alone.rows]
    assert [row.item.id for row in together.rows] == [one.id for one in items]
    with pytest.raises(ValueError, match="judge_calls is at least 1, not 0"):
        score(items, ["medevalkit"], judge=judge, judge_calls=0)
