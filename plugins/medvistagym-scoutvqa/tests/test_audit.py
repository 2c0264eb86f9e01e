"""The audit passes for the benchmark, and fails for a benchmark that leaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from medvistagym_core.environment import (
    AuditCheck,
    HasAudit,
    HasDemonstrations,
    HasExpert,
    HasInformativeCalls,
    HasPerceptionItems,
    Task,
)
from medvistagym_core.imaging import Image
from medvistagym_scoutvqa import CHAIN, SCOUTVQA, ScoutVQA
from medvistagym_scoutvqa._audit import run_audit
from medvistagym_scoutvqa._leak_classifier import classify_by_network
from medvistagym_scoutvqa._scenes import ANSWERS, SceneGroundTruth


@pytest.fixture(autouse=True)
def _without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network takes a minute and is tested on its own."""
    monkeypatch.setattr("medvistagym_scoutvqa._audit.has_network", lambda: False)


def audit_rows(task: ScoutVQA) -> dict[str, AuditCheck]:
    return {row.name: row for row in run_audit(task, 12, min_test_cases=120)}


@pytest.mark.parametrize("task", [SCOUTVQA, CHAIN], ids=lambda task: task.name)
def test_the_tasks_have_every_capability(task: ScoutVQA) -> None:
    for protocol in (Task, HasExpert, HasDemonstrations, HasPerceptionItems, HasInformativeCalls, HasAudit):
        assert isinstance(task, protocol)


def test_the_benchmark_is_honest() -> None:
    rows = audit_rows(SCOUTVQA)
    exact = [row for name, row in rows.items() if any(word in name for word in ("changes", "expert", "shared", "says"))]
    assert len(exact) == 1 + 4 + 3 + 2 + 1
    assert all(row.passed for row in exact)
    assert rows["direct: scout alone, linear"].value > 0.8
    for family in ("window", "zoom", "measure"):
        assert rows[f"{family}: scout alone, linear"].value < 1 / len(ANSWERS[family]) + 0.12


def test_the_chain_is_honest() -> None:
    rows = audit_rows(CHAIN)
    assert all(row.passed for name, row in rows.items() if "changes" in name or "expert" in name)


class Leaking(ScoutVQA):
    """Writes the answer into the spacing, and a trace of it into the picture."""

    def scene(
        self, split: str, index: int, seed: int, family: str, answer: str | None = None
    ) -> tuple[Image, SceneGroundTruth]:
        image, truth = super().scene(split, index, seed, family, answer)
        number = ANSWERS[family].index(truth.answer)
        pixels = image.pixels.copy()
        pixels[:16, 16 * number : 16 * number + 16] = 2000
        return dataclasses.replace(image, pixels=pixels, spacing=(1.0 + number, 1.0)), truth


def test_an_audit_finds_what_leaks() -> None:
    rows = audit_rows(Leaking("scoutvqa", "leaks", ("zoom",)))
    for name in ("zoom: scouts that another answer changes", "zoom: metadata alone", "zoom: scout alone, linear"):
        assert not rows[name].passed


def test_the_network_can_read_what_is_there() -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 100, (300, 64, 64)).astype(np.uint8)
    answers = rng.integers(0, 4, 300)
    for picture, answer in zip(pictures, answers, strict=True):
        picture[10:20, 15 * answer : 15 * answer + 10] = 255
    predicted = classify_by_network(pictures[:200], answers[:200], pictures[200:], epochs=3)
    assert (predicted == answers[200:]).mean() > 0.9
