"""Counterfactual tool results: what a policy answers when a tool had returned something else.

A recorded episode is played again up to its last successful call. That call's result is replaced, and the policy goes on from
there. A policy that reads what its tools return changes its answer; one that does not, has not looked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Literal, get_args

from medvistagym_core.environment import Case, Episode, EpisodeConfig, Task
from medvistagym_core.execution import Executor, ImageStore
from medvistagym_core.rollouts._image_control import blank_image
from medvistagym_core.rollouts._policy import ConcurrentPolicy, Policy
from medvistagym_core.rollouts._stepping import ConcurrentStepper, LockstepStepper, Stepper
from medvistagym_core.tools import ToolResult
from medvistagym_core.trajectories import PolicyRecord, Trajectory

ResultReplacement = Literal["blank", "shuffled", "swapped"]
"""blank: images of 0 everywhere, "?" for each number. shuffled: what the same tool returned in another episode. swapped: the
same, of an episode whose right answer differs, of the same family where there is one."""

RESULT_REPLACEMENTS: Final[tuple[ResultReplacement, ...]] = get_args(ResultReplacement)
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")


@dataclasses.dataclass(frozen=True)
class ReplacedEpisode:
    """An episode that went on from a replaced result.

    Attributes:
        before: Its record.
        after: The record of the episode with the replaced result.
        tool: Name of the tool whose result was replaced.
        donor: The case that the result came from; None when it is blank.
    """

    before: Trajectory
    after: Trajectory
    tool: str
    donor: Case | None


@dataclasses.dataclass
class _Prepared:
    """An episode that waits for the results of its last successful calls, and what they are."""

    episode: Episode
    results: Sequence[ToolResult]
    images: Sequence[tuple[Any, ...]]


def replace_results(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    task: Callable[[Trajectory], Task],
    executor: Executor,
    settings: EpisodeConfig,
    replacement: ResultReplacement,
    *,
    batch: int = 64,
) -> Iterator[ReplacedEpisode]:
    """Let a policy go on from replaced results. Episodes without a successful call before their last turn are passed over.

    A policy that samples from no model may remember what it did, and is asked about the recorded turns as well.

    Args:
        policy: Who acts; the one that played the episodes.
        trajectories: The records, of one toolbox.
        task: Gives the task of a record, as `recorded_task` does.
        executor: Runs the calls.
        settings: How the episodes were played.
        replacement: What takes the place of the results.
        batch: Most episodes at once.

    Raises:
        ValueError: There is no such replacement.
        PolicyUnavailableError: The policy cannot act at all.
    """
    if replacement not in RESULT_REPLACEMENTS:
        raise ValueError(f"results are {', '.join(RESULT_REPLACEMENTS)}, not {replacement!r}")
    calling = [(t, turn) for t in trajectories if (turn := _last_call(t)) is not None]
    donors: dict[str, list[tuple[Trajectory, int]]] = defaultdict(list)
    for trajectory, turn in calling:
        donors[_tool(trajectory, turn)].append((trajectory, turn))
    record = PolicyRecord(name=policy.name, sampling=dict(policy.sampling))
    remembering = policy if policy.sampling.get("temperature") is None else None
    with _open_stepper(policy, executor, batch) as stepper:
        waiting = iter(calling)
        while group := list(islice(waiting, batch)):
            continued: list[tuple[Trajectory, int, Episode, Case | None]] = []
            for trajectory, turn in group:
                prepared = _prepare(trajectory, turn, task(trajectory), executor, settings, remembering)
                if prepared is None:
                    continue
                donor: Case | None = None
                results: list[ToolResult] = []
                if replacement != "blank":
                    tool = _tool(trajectory, turn)
                    source = _find_donor(trajectory, donors[tool], replacement)
                    other = None if source is None else _prepare(*source, task(source[0]), executor, settings, None)
                    if other is None:
                        continue
                    donor, results = other.episode.case, _results_of(other, tool)
                _continue_with(prepared, results)
                continued.append((trajectory, turn, prepared.episode, donor))
            _play_to_the_end(stepper, [episode for _, _, episode, _ in continued])
            for trajectory, turn, episode, donor in continued:
                yield ReplacedEpisode(trajectory, episode.to_trajectory(record), _tool(trajectory, turn), donor)


@contextlib.contextmanager
def _open_stepper(policy: Policy, executor: Executor, batch: int) -> Iterator[Stepper]:
    if isinstance(policy, ConcurrentPolicy):
        with ConcurrentStepper(policy, executor, batch) as stepper:
            yield stepper
    else:
        yield LockstepStepper(policy, executor)


def _play_to_the_end(stepper: Stepper, episodes: Sequence[Episode]) -> None:
    while live := [episode for episode in episodes if not episode.done]:
        stepper.step(live)


def _last_call(trajectory: Trajectory) -> int | None:
    """The last turn with a successful call after which the policy wrote another turn; None when there is none."""
    turns = range(len(trajectory.turns) - 1)
    return next((k for k in reversed(turns) if any(call.error is None for call in trajectory.turns[k].calls)), None)


def _tool(trajectory: Trajectory, turn: int) -> str:
    return next(call.name for call in trajectory.turns[turn].calls if call.error is None)


def _find_donor(
    trajectory: Trajectory, donors: Sequence[tuple[Trajectory, int]], replacement: ResultReplacement
) -> tuple[Trajectory, int] | None:
    """The next episode that called the tool, of another case; when swapped, with another right answer."""
    place = next(k for k, (one, _) in enumerate(donors) if one.id == trajectory.id)
    order = [*donors[place + 1 :], *donors[:place]]
    others = [donor for donor in order if donor[0].case != trajectory.case]
    if replacement == "swapped":
        others = [donor for donor in others if donor[0].outcome.expected != trajectory.outcome.expected]
        others.sort(key=lambda donor: donor[0].family != trajectory.family)
    return others[0] if others else None


def _prepare(
    trajectory: Trajectory,
    turn: int,
    task: Task,
    executor: Executor,
    settings: EpisodeConfig,
    remembering: Policy | None,
) -> _Prepared | None:
    """Play a record again up to the calls of a turn, whose results the episode is not given; None where that cannot be done."""
    try:
        episode = Episode.from_task(
            task,
            trajectory.split,
            trajectory.index,
            executor.toolbox,
            settings,
            seed=trajectory.seed,
            sample=trajectory.sample,
        )
    except ValueError:  # such as a picture that is gone
        return None
    for number in range(turn + 1):
        if remembering is not None:
            remembering.act([episode.observation()])
        calls = episode.submit_turn(trajectory.turns[number].text)
        if number == turn:
            if not calls or episode.done:
                return None
            scratch = ImageStore(episode.store.images)
            results = executor.run([(scratch, calls)])[0]
            return _Prepared(
                episode, results, [tuple(scratch[handle] for handle in result.handles) for result in results]
            )
        episode.apply_results(executor.run([(episode.store, calls)])[0] if calls else [])
        if episode.done:
            return None
    return None


def _results_of(prepared: _Prepared, tool: str) -> list[ToolResult]:
    """What a tool returned in the last turn, with its images."""
    calls = prepared.episode.pending
    return [
        dataclasses.replace(result, images=images)
        for call, result, images in zip(calls, prepared.results, prepared.images, strict=True)
        if call.name == tool and result.ok
    ]


def _continue_with(prepared: _Prepared, others: Sequence[ToolResult]) -> None:
    """Give an episode other results in place of those that succeeded; blank ones when there are no others."""
    episode = prepared.episode
    given = []
    for position, (call, result, images) in enumerate(
        zip(episode.pending, prepared.results, prepared.images, strict=True)
    ):
        if not result.ok:
            given.append(result)
            continue
        if others:
            new = others[position % len(others)]
        else:
            blank = tuple(blank_image(image) for image in images)
            data = None if result.data is None else _blank_data(result.data)
            new = ToolResult(images=blank, text=_NUMBER.sub("?", result.text), data=data)
        given.append(new.with_handles(tuple(episode.store.add(image, None, call) for image in new.images)))
    episode.apply_results(given)


def _blank_data(value: Any) -> Any:
    """Facts without what they say: 0 for numbers, "" for texts."""
    if isinstance(value, dict):
        return {name: _blank_data(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_blank_data(part) for part in value]
    return type(value)() if isinstance(value, bool | int | float | str) else None
