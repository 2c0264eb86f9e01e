"""Metrics of a training step, and the trends that are warned of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medvistagym_core.environment import step_episodes
from medvistagym_trl._recipe import GrpoRecipe, ValidationRecipe, WatchRecipe
from medvistagym_trl.run import DriftDetector, GrpoLogCallback, episode_metrics

TURNS = (
    '<tool_call>{"name": "shade", "arguments": {"image": 0, "box": [250, 250, 500, 500]}}</tool_call>',
    '<tool_call>{"name": "mirror", "arguments": {"image": 9}}</tool_call>',
    "<answer>bright</answer>",
    "<answer>unclear</answer>",
)


def play(context: Any, n: int) -> list[Any]:
    """Episodes whose turns are written in advance, some with calls that fail."""
    episodes = [context.make_episode(index) for index in range(n)]
    for turn in range(3):
        live = [episode for episode in episodes if not episode.done]
        texts = [TURNS[(episode.case.index + turn) % len(TURNS)] for episode in live]
        step_episodes(context.executor, live, texts)
    for episode in episodes:
        episode.stop()
    return episodes


def test_episodes_are_counted_whole_by_family_by_tool_and_by_error(context: Any) -> None:
    seen = play(context, 16)
    metrics = episode_metrics(seen)
    n = len(seen)
    kinds = {"accuracy", "abstained", "calls"}  # the toy task does not know who is informed
    assert {name for name in metrics if "/" not in name} == kinds | {"lost_results", "repeats"}
    assert {name.split("/")[1] for name in metrics if name.startswith(("hidden/", "plain/"))} == kinds
    assert metrics["accuracy"] == (metrics["hidden/accuracy"] + metrics["plain/accuracy"]) / 2
    calls = [call.name for episode in seen for step in episode.steps for call in step.turn.calls]
    assert metrics["calls"] == len(calls) / n
    assert metrics["tool/mirror"] == calls.count("mirror") / n > 0
    assert metrics["tool/shade"] == calls.count("shade") / n > 0
    assert metrics["error/bad_value"] > 0
    assert metrics["error/timeout"] == 0
    assert episode_metrics([]) == {}


def test_groups_from_which_nothing_is_learnt_are_counted_from_their_rewards(context: Any) -> None:
    groups = (("<answer>bright</answer>",) * 2, ("<answer>bright</answer>", "<answer>unclear</answer>"))
    seen = []
    for index, answers in enumerate(groups):
        for answer in answers:
            episode = context.make_episode(index)
            episode.submit_turn(answer)
            seen.append(episode)
    assert episode_metrics(seen)["groups/zero_variance"] == 0.5


def test_results_that_did_not_fit_are_counted_and_said(context: Any) -> None:
    seen = play(context, 8)
    for index in range(2):
        lost = context.make_episode(index)
        lost.stop("tokens", "did not fit")
        seen.append(lost)
    assert episode_metrics(seen)["lost_results"] == 0.2
    (warning,) = DriftDetector().update({"completions/mean_length": 9.0, "calls": 1.0, "lost_results": 0.2})
    assert "20% of the episodes ended when a result did not fit" in warning


@pytest.mark.parametrize("trend", ["repeats", "abstained"])
def test_repeats_and_abstentions_are_counted_and_penalised(context: Any, trend: str) -> None:
    look = '<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>'
    again = '<tool_call> {"arguments": {"image": 0}, "name": "mirror"} </tool_call>'
    seen = [context.make_episode(index) for index in range(2)]
    for texts in ((look, look), (again, "<answer>bright</answer>"), ("<answer>unclear</answer>",)):
        step_episodes(context.executor, seen[: len(texts)], texts)
    metrics = episode_metrics(seen)
    assert metrics["repeats"] == metrics["abstained"] == 0.5
    drift = DriftDetector(WatchRecipe(action="penalise", penalty=0.5))
    steps = [{"completions/mean_length": 6.0, "calls": 1.0, trend: value} for value in [0.1] * 12 + [0.9] * 20]
    assert [text for step in steps for text in drift.update(step)]
    assert [drift.penalty(episode) for episode in seen] == [0.5, 0]


def drifted(lengths: list[float], calls: list[float]) -> list[str]:
    drift = DriftDetector()
    steps = [{"completions/mean_length": a, "calls": b} for a, b in zip(lengths, calls, strict=True)]
    return [sentence for step in steps for sentence in drift.update(step)]


def test_a_policy_that_learns_to_call_is_no_drift() -> None:
    assert drifted([6.0] * 10 + [10.5] * 40, [0.2] * 10 + [0.75] * 40) == []


def test_turns_that_grow_are_said_once() -> None:
    (said,) = drifted([6.0] * 10 + [14.0] * 40, [0.0] * 50)
    assert "turns have grown from 6 to " in said


def test_tools_that_fall_out_of_use_are_said_once() -> None:
    (said,) = drifted([6.0] * 50, [0.7] * 20 + [0.01] * 30)
    assert "tools fall out of use, from 0.70 calls an episode to " in said


@pytest.mark.parametrize(
    ("metric", "before", "after", "sentence"),
    [
        ("error/malformed_call", 0.0, 0.8, "turns an episode cannot be read"),
        ("repeats", 0.1, 1.5, "calls an episode were made before"),
        ("abstained", 0.4, 0.8, "of the answers say 'I cannot tell'"),
        ("groups/zero_variance", 0.5, 0.95, "of the groups earn the same reward"),
        ("entropy", 1.0, 0.02, "sampling becomes certain, its entropy fell from 1 to "),
        ("clip_ratio/region_mean", 0.01, 0.5, "of the tokens are clipped"),
    ],
)
def test_each_trend_is_said_once_and_by_its_threshold(metric: str, before: float, after: float, sentence: str) -> None:
    steps = [{"completions/mean_length": 6.0, "calls": 0.5, metric: value} for value in [before] * 12 + [after] * 20]
    drift = DriftDetector()
    said = [text for step in steps for text in drift.update(step)]
    assert len(said) == 1
    assert sentence in said[0]
    tolerant = DriftDetector(
        WatchRecipe(max_malformed=1, max_zero_variance=1, min_entropy=0, max_clipped=1, max_repeats=2, max_abstained=1)
    )
    assert [text for step in steps for text in tolerant.update(step)] == []


@pytest.mark.parametrize(
    ("action", "rate", "stops"), [("warn", 0.4, False), ("lower_rate", 0.2, False), ("stop", 0.4, True)]
)
def test_what_follows_a_report(action: Any, rate: float, stops: bool) -> None:
    progress: list[str] = []
    run: Any = SimpleNamespace(log=lambda *_: None, print_progress=progress.append)
    callback = GrpoLogCallback(
        run,
        "grpo",
        GrpoRecipe(watch=WatchRecipe(action=action)),
        SimpleNamespace(write=lambda *_: None),  # type: ignore[arg-type]
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    control = SimpleNamespace(should_training_stop=False)
    logs = {"loss": 0.1, "completions/mean_length": 9.0, "calls": 1.0, "lost_results": 0.5}
    state = SimpleNamespace(global_step=3, max_steps=10)
    for _ in range(2):  # reported once, acted on once
        callback.on_log(None, state, control, logs, lr_scheduler=scheduler)
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
    assert control.should_training_stop is stops
    assert any("did not fit" in line for line in progress)


@pytest.mark.parametrize("found", [4, None])
def test_the_best_weights_come_back_with_a_fresh_optimiser(found: int | None) -> None:
    progress: list[str] = []
    run: Any = SimpleNamespace(log=lambda *_: None, print_progress=progress.append)
    watch = WatchRecipe(action="restore_best")
    recipe = GrpoRecipe(watch=watch, validation=ValidationRecipe(every=2))
    log: Any = SimpleNamespace(write=lambda *_: None)
    callback = GrpoLogCallback(run, "grpo", recipe, log, restore=lambda: found)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones(1)
    optimizer.step()
    logs = {"loss": 0.1, "completions/mean_length": 9.0, "calls": 1.0, "lost_results": 0.5}
    state = SimpleNamespace(global_step=3, max_steps=10)
    callback.on_log(None, state, SimpleNamespace(), logs, optimizer=optimizer)
    assert (len(optimizer.state) == 0) is (found is not None)
    assert any("the weights of step 4 are restored" in line for line in progress) is (found is not None)


def test_restoring_the_best_needs_validations() -> None:
    with pytest.raises(ValueError, match=r"restore_best needs validations that keep the best: set validation\.every"):
        GrpoRecipe(watch=WatchRecipe(action="restore_best"))


def test_an_episode_that_shows_what_was_reported_is_penalised(context: Any) -> None:
    seen = play(context, 4)
    idle, busy = context.make_episode(0), next(episode for episode in seen if episode.calls)
    idle.submit_turn("<answer>dark</answer>")
    steps = [{"completions/mean_length": 6.0, "calls": calls} for calls in [0.7] * 20 + [0.01] * 30]
    drift = DriftDetector(WatchRecipe(action="penalise", penalty=0.5))
    assert drift.penalty(idle) == 0
    for step in steps:
        drift.update(step)
    assert (drift.penalty(idle), drift.penalty(busy)) == (0.5, 0)
    again = GrpoLogCallback(
        SimpleNamespace(),
        "grpo",
        GrpoRecipe(watch=WatchRecipe(action="penalise")),
        SimpleNamespace(),
        before=steps,  # type: ignore[arg-type]
    )  # a run that goes on knows what was reported
    assert again.penalty(idle) == 0.25
    warned = DriftDetector()
    for step in steps:
        warned.update(step)
    assert warned.penalty(idle) == 0
