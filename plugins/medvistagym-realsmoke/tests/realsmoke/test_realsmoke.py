"""`realsmoke` as a policy meets it: all of its test questions, with real pictures and real tools."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_checkpoint import checkpoint

from medvistagym_core.cli import main
from medvistagym_core.environment import EpisodeConfig, HasAudit, HasExpert, HasProvenance, HasSize, Limits
from medvistagym_core.plugins import Registry
from medvistagym_core.rollouts import ExpertPolicy, TransformersPolicy, image_control, rollout
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import Trajectory
from medvistagym_realsmoke import REALSMOKE, REALSMOKE_MASKS, _pieces
from medvistagym_realsmoke._audit import check_secrecy
from medvistagym_realsmoke._studies import BONE_SCAN, read_study
from realsmoke.blind import Blind


def toolbox() -> Toolbox:
    return Registry.discover().toolbox(",".join(REALSMOKE.tools))


def accuracy(episodes: Sequence[Trajectory]) -> dict[str, float]:
    verdicts = defaultdict(list)
    for episode in episodes:
        verdicts[episode.family].append(bool(episode.outcome.correct))
    return {family: sum(right) / len(right) for family, right in verdicts.items()}


def test_a_scripted_expert_that_reads_views_and_results_solves_every_kind() -> None:
    episodes = list(rollout(ExpertPolicy(REALSMOKE), REALSMOKE, toolbox(), "test", range(REALSMOKE.size("test"))))
    assert len(episodes) >= 120
    by_family = accuracy(episodes)
    assert len(by_family) >= 10
    assert min(by_family.values()) >= 0.95, by_family
    called = {name for episode in episodes for turn in episode.turns for name in [call.name for call in turn.calls]}
    assert {"measure", "distance", "area", "acquisition", "read_text", "reformat"} <= called
    without = [episode for episode in episodes if episode.family == "marker_side"]
    assert not any(episode.calls for episode in without)


def test_who_does_not_look_is_at_chance() -> None:
    chance = sum(REALSMOKE.family(name).chance for name in REALSMOKE.families) / len(REALSMOKE.families)
    indices = range(REALSMOKE.size("test"))
    control = image_control("none", REALSMOKE)
    blind = list(rollout(Blind(), REALSMOKE, Toolbox({}), "test", indices, change_case=control))
    assert sum(bool(episode.outcome.correct) for episode in blind) / len(blind) < chance + 0.1


def test_a_small_local_model_plays_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    tools = Registry.discover().toolbox("measure,distance")
    policy = TransformersPolicy.load(checkpoint(tmp_path / "tiny"), tools, temperature=1.0, max_new_tokens=8, batch=12)
    settings = EpisodeConfig(limits=Limits(max_turns=1), view_side=16)
    episodes = list(rollout(policy, REALSMOKE, tools, "test", range(12), settings))
    assert {episode.family for episode in episodes} == set(REALSMOKE.families)
    assert all(episode.turns and episode.outcome.ended in ("turns", "answered") for episode in episodes)
    assert not any(episode.outcome.correct for episode in episodes)  # random weights write random letters


def test_nothing_but_pictures_and_tools_tells_an_answer() -> None:
    checks = list(check_secrecy(REALSMOKE, 40))
    assert len(checks) == 2 * len(REALSMOKE.families) + 3
    assert [check for check in checks if not check.passed] == []


def test_cases_are_the_same_again_and_balanced() -> None:
    first, again = (REALSMOKE.case("test", 7, seed=3) for _ in range(2))
    assert (first.question, first.answer, first.images[0].digest) == (
        again.question,
        again.answer,
        again.images[0].digest,
    )
    assert first.question != REALSMOKE.case("test", 7).question
    tissues = Counter(REALSMOKE.draft("train", k, 0, "tissue").answer.value for k in range(60))
    assert len(tissues) == 4
    assert max(tissues.values()) < 30


def test_it_is_a_task_with_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    for task in (REALSMOKE, REALSMOKE_MASKS):
        for capability in (HasExpert, HasSize, HasAudit, HasProvenance):
            assert isinstance(task, capability), (task.name, capability)
    with pytest.raises(ValueError, match="has 144 questions in test, 0 to 143; not 144"):
        REALSMOKE.case("test", 144)
    with pytest.raises(ValueError, match="has no split 'validation'; it has train, test"):
        REALSMOKE.size("validation")
    assert main(["tasks", "show", "realsmoke", "--split", "test"]) == 0
    out, err = capsys.readouterr()
    assert "case 0 of 144 in test" in out
    assert "pydicom-data 1.0.0" in err


def test_importing_it_is_light() -> None:
    heavy = "('numpy', 'pydicom', 'torch', 'cv2', 'nibabel', 'onnxruntime')"
    code = f"import sys, medvistagym_realsmoke as r; r.medvistagym_tasks(); print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() in ("[]", "['numpy']")


def test_train_and_test_have_other_halves_of_the_bone_scan() -> None:
    scan = read_study(BONE_SCAN).pixels
    halves = {"train": scan[: len(scan) // 2], "test": scan[len(scan) // 2 :]}
    for split in ("train", "test"):
        places = [
            (split == half)
            for family in ("modality", "area", "width", "distance", "wider")
            for k in range(40)
            for image in REALSMOKE.draft(split, k, 0, family).images
            for half, pixels in halves.items()
            if contains(pixels, image.pixels)
        ]
        assert len(places) > 3
        assert all(places)


def contains(whole: np.ndarray, part: np.ndarray) -> bool:
    """Whether a picture is a piece of another."""
    h, w = part.shape[:2]
    if part.dtype != whole.dtype or h > whole.shape[0] or w > whole.shape[1]:
        return False
    rows = np.lib.stride_tricks.sliding_window_view(whole, w, axis=1)
    starts = np.argwhere((rows[: len(whole) - h + 1] == part[0]).all(-1))
    return any(np.array_equal(whole[y : y + h, x : x + w], part) for y, x in starts)


def test_a_question_that_cannot_be_drawn_is_an_error_and_not_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pieces, "_MAX_TRIES", 0)
    for family in ("distance", "wider", "brightest", "frame", "tissue"):
        with pytest.raises(RuntimeError, match="after 0 tries"):
            REALSMOKE.draft("train", 0, 99, family)


@pytest.mark.slow
def test_the_audit_passes() -> None:
    assert [check for check in REALSMOKE.audit(120) if not check.passed] == []
