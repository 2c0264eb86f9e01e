"""Where SFT gets conversations from: recorded trajectories, or demonstrations that are played when they are needed."""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

from medvistagym_core.environment import Episode, Task
from medvistagym_core.trajectories import PolicyRecord, Trajectory
from medvistagym_trl._recipe import RecipeError
from medvistagym_trl.rollout._context import RolloutContext
from medvistagym_trl.rollout._demonstrations import DemonstrationFactory, run_demonstration
from medvistagym_trl.rollout._trajectory_data import TrajectoryData
from medvistagym_trl.rollout._trajectory_files import PictureLoader

Message = dict[str, Any]
_IMAGE_LABEL: Final = re.compile(r"image \d+:")
_DEMONSTRATOR: Final = PolicyRecord(name="demonstration", sampling={})


class ConversationSource(Protocol):
    """Conversations by number, ready to be rendered; the same number gives the same conversation."""

    def conversation(self, index: int) -> list[Message]: ...


class DemonstrationSource:
    """Training cases played after a script, as trajectories.

    Args:
        context: Cases, rules and tools.
        factory: Gives the scripts.
        offset: Index of the first case.
        seed: Of the scripts' choices.
    """

    def __init__(self, context: RolloutContext, factory: DemonstrationFactory, offset: int, seed: int) -> None:
        self._context, self._factory, self._offset, self._seed = context, factory, offset, seed

    def conversation(self, index: int) -> list[Message]:
        """The demonstration of case number `offset + index`."""
        episode = run_demonstration(self._context, self._offset + index, self._factory, self._seed)
        return _messages_of(episode)


class RecordedSource:
    """Recorded trajectories, in the form in which the policy will read its own episodes.

    A trajectory that was recorded under the same sizes and wording is read as it is, under this context's prompt; another one
    is replayed: its turns are taken again, its calls made again.

    Args:
        context: Prompt, rules and tools.
        data: The trajectories.
        observations: "recorded", "replayed", or "auto" for whatever each needs.
    """

    def __init__(self, context: RolloutContext, data: TrajectoryData, observations: str = "auto") -> None:
        self._context, self._data, self._observations = context, data, observations

    def conversation(self, index: int) -> list[Message]:
        """The conversation of trajectory number `index` of the data."""
        trajectory, load = self._data.read(index)
        return conversation_of(self._context, trajectory, load, self._observations)


def conversation_of(
    context: RolloutContext, trajectory: Trajectory, load: PictureLoader, observations: str = "auto"
) -> list[Message]:
    """A trajectory as messages of the context's prompt, format and sizes.

    Args:
        context: The rules that the messages follow.
        trajectory: The record.
        load: Loads a picture of the record by its SHA-256.
        observations: "recorded" for what the policy was shown then, "replayed" for calls that are made again under the
            context's
            rules, "auto" for the first where it would be the same.

    Raises:
        RecipeError: It has to be replayed, and its case is not what it was.
    """
    replayed = observations == "replayed" or (observations == "auto" and not is_recorded_alike(context, trajectory))
    if replayed:
        return _messages_of(replay_turns(context, trajectory))
    messages = trajectory.to_messages(load, context.config.style)
    prompt = context.config.prompt
    opening = [{"role": "system", "content": [{"type": "text", "text": prompt}]}] if prompt else []
    return [*opening, *(message for message in messages if message["role"] != "system")]


def is_recorded_alike(context: RolloutContext, trajectory: Trajectory) -> bool:
    """Whether a policy of this context would have been shown what was recorded."""
    labelled = any(block.type == "text" and _IMAGE_LABEL.fullmatch(block.text or "") for block in trajectory.opening)
    has_images = any(block.type == "image" for block in trajectory.opening)
    same_wording = not has_images or labelled != context.config.compact
    return same_wording and trajectory.view_side == context.config.view_side


def replay_turns(context: RolloutContext, trajectory: Trajectory) -> Episode:
    """The episode of a trajectory's case and turns under the rules of a context; its calls are made again.

    Args:
        context: The rules, and the executor.
        trajectory: The record.

    Raises:
        RecipeError: The case is not the one that was recorded.
    """
    task = task_of(context.task, trajectory.task)
    if task is None:
        raise RecipeError(f"the trajectory {trajectory.id} is of the task {trajectory.task}, which this recipe has not")
    episode = Episode.from_task(
        task, trajectory.split, trajectory.index, context.toolbox, context.config, seed=trajectory.seed
    )
    if episode.case.id != trajectory.case:
        raise RecipeError(
            f"the trajectory {trajectory.id} cannot be replayed: the task {trajectory.task} deals another case now "
            f"({episode.case.id}, not {trajectory.case})"
        )
    for turn in trajectory.turns:
        if episode.done:
            break
        calls = episode.submit_turn(turn.text)
        if calls:
            episode.submit_results(context.executor.run([(episode.store, calls)])[0])
    episode.stop()
    return episode


def refusal_of(context: RolloutContext, trajectory: Trajectory, observations: str, *, well_formed: bool) -> str | None:
    """Why a trajectory cannot be learnt from in a context, or None.

    Args:
        context: Prompt, rules and tools.
        trajectory: The trajectory.
        observations: As for `RecordedSource`.
        well_formed: Whether every turn has to be written exactly as the context wants it.
    """
    protocol = context.config.protocol
    if well_formed:
        turns = [protocol.parse(turn.text) for turn in trajectory.turns]
        if not all(turn.well_formed and turn.error is None for turn in turns):
            return "with a turn that is not well-formed"
    missing = {call.name for turn in trajectory.turns for call in turn.calls} - set(context.toolbox)
    if missing:
        return f"that call {', '.join(sorted(missing))}, which the toolbox lacks"
    limits = context.config.limits
    if trajectory.calls > limits.max_calls or len(trajectory.turns) > limits.max_turns:
        return f"with more calls than episode.max_calls {limits.max_calls}"
    alike = is_recorded_alike(context, trajectory)
    if observations != "recorded" and not alike and task_of(context.task, trajectory.task) is None:
        return f"of the task {trajectory.task}, recorded in another form"
    return None


def task_of(task: Task, name: str) -> Task | None:
    """The task of a name: the task itself, or one that it mixes; None where it is neither."""
    parts: tuple[Task, ...] = getattr(task, "parts", (task,))
    return next((part for part in parts if part.name == name), None)


def _messages_of(episode: Episode) -> list[Message]:
    """The conversation of a finished episode, by way of its trajectory."""
    trajectory, pictures = episode.to_trajectory(_DEMONSTRATOR), episode.rendered_images()
    return trajectory.to_messages(lambda sha256: pictures[sha256].pil)
