"""The audit passes for the benchmark, and fails for a benchmark that leaks."""

import dataclasses

import numpy as np
import pytest

from medvistagym_core.environment import (
    HasAudit,
    HasDemonstrations,
    HasExpert,
    HasInformativeCalls,
    HasPerceptionItems,
    Task,
)
from medvistagym_scoutvqa import CHAIN, SCOUTVQA, ScoutVQA, audit, classifier
from medvistagym_scoutvqa.scene import ANSWERS


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(audit, "TESTED", 120)
    monkeypatch.setattr(classifier, "has_network", lambda: False)


def rows(task, n=12):
    return {row.name: row for row in audit.audit(task, n)}


@pytest.mark.parametrize("task", [SCOUTVQA, CHAIN], ids=lambda task: task.name)
def test_the_tasks_have_every_capability(task):
    for protocol in (Task, HasExpert, HasDemonstrations, HasPerceptionItems, HasInformativeCalls, HasAudit):
        assert isinstance(task, protocol)


def test_the_benchmark_is_honest():
    found = rows(SCOUTVQA)
    exact = [
        row
        for name, row in found.items()
        if "changes" in name or "expert" in name or "shared" in name or "says" in name
    ]
    assert len(exact) == 1 + 4 + 3 + 2 + 1
    assert all(row.passed for row in exact)
    assert found["direct: scout alone, linear"].value > 0.8
    for family in ("window", "zoom", "measure"):
        assert found[f"{family}: scout alone, linear"].value < 1 / len(ANSWERS[family]) + 0.12


def test_the_chain_is_honest():
    found = rows(CHAIN)
    assert all(row.passed for name, row in found.items() if "changes" in name or "expert" in name)


class Leaking(ScoutVQA):
    """Writes the answer into the spacing, and a trace of it into the picture."""

    def scene(self, split, index, seed, family, answer=None, kind="case"):
        image, truth = super().scene(split, index, seed, family, answer, kind)
        number = ANSWERS[family].index(truth.answer)
        pixels = image.pixels.copy()
        pixels[:16, 16 * number : 16 * number + 16] = 2000
        return dataclasses.replace(image, pixels=pixels, spacing=(1.0 + number, 1.0)), truth


def test_an_audit_finds_what_leaks():
    found = rows(Leaking("scoutvqa", "leaks", ("zoom",)))
    for name in ("zoom: scouts that another answer changes", "zoom: metadata alone", "zoom: scout alone, linear"):
        assert not found[name].passed


def test_the_network_can_read_what_is_there():
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 100, (300, 64, 64)).astype(np.uint8)
    answers = rng.integers(0, 4, 300)
    for picture, answer in zip(pictures, answers, strict=True):
        picture[10:20, 15 * answer : 15 * answer + 10] = 255
    said = classifier.network(pictures[:200], answers[:200], pictures[200:], epochs=3)
    assert (said == answers[200:]).mean() > 0.9
