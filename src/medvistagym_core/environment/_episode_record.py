"""The record of an episode: its trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from medvistagym_core.environment._config import EpisodeConfig
from medvistagym_core.environment._reward import RewardBreakdown
from medvistagym_core.environment._reward_terms import EpisodeOutcome
from medvistagym_core.environment._step import Step
from medvistagym_core.environment._task import Case
from medvistagym_core.execution import ImageStore
from medvistagym_core.imaging import RenderedImage
from medvistagym_core.protocol import Block
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import (
    AnswerRecord,
    ImageRecord,
    OutcomeRecord,
    PolicyRecord,
    TerminationReason,
    Trajectory,
    block_records,
    image_record,
)

UNKNOWN_POLICY_RECORD: Final = PolicyRecord(name="unknown")


def build_trajectory(
    *,
    episode_id: str,
    case: Case,
    seed: int,
    sample: int,
    config: EpisodeConfig,
    toolbox: Toolbox,
    policy: PolicyRecord,
    opening: Sequence[Block],
    steps: Sequence[Step],
    store: ImageStore,
    rendered: Mapping[int, RenderedImage],
    outcome: EpisodeOutcome,
    reward: RewardBreakdown,
    termination: TerminationReason,
    reason: str | None,
    required_tool: str | None,
) -> Trajectory:
    """The record of an episode that is over.

    Args:
        episode_id: Name of the episode.
        case: The case that was played.
        seed: Seed it was dealt with.
        sample: Number of the episode among those of the case.
        config: How it was played.
        toolbox: The tools that could be called.
        policy: Who acted.
        opening: The content blocks of the first observation.
        steps: The turns and what came of them.
        store: The images by handle.
        rendered: What the policy saw of each image, by handle.
        outcome: What the reward looked at.
        reward: What it gave.
        termination: Why the episode is over.
        reason: More about that, where the policy failed.
        required_tool: The tool that the case needs, where the task knows.
    """
    return Trajectory(
        id=episode_id,
        task=case.task,
        case=case.id,
        split=case.split,
        index=case.index,
        family=case.family,
        seed=seed,
        sample=sample,
        policy=policy,
        toolbox=toolbox.lock_hash,
        think=config.protocol.think,
        style=config.style,
        max_turns=config.limits.max_turns,
        max_calls=config.limits.max_calls,
        max_tokens=config.limits.max_tokens,
        max_calls_per_turn=config.protocol.max_calls_per_turn,
        view_side=config.view_side,
        prompt=config.prompt,
        opening=block_records(opening),
        turns=tuple(step.record(toolbox) for step in steps),
        images=_image_records(steps, store, rendered),
        outcome=OutcomeRecord(
            ended=termination,
            answer=steps[-1].answer if steps else None,
            expected=case.answer.value,
            key=_answer_record(case),
            correct=outcome.grade.correct,
            abstained=outcome.grade.abstained,
            informed=outcome.had_required_information,
            needed=required_tool,
            reason=reason,
        ),
        question=case.question,
        options=case.options,
        facets=dict(case.facets),
        task_reference=case.reference,
        reward=reward.total,
        terms=dict(reward.terms),
        weights=dict(config.reward.weights),
    )


def _answer_record(case: Case) -> AnswerRecord:
    answer = case.answer
    return AnswerRecord(
        value=answer.value,
        kind=answer.kind,
        aliases=answer.aliases,
        tolerance=answer.tolerance,
        unit=answer.unit,
        threshold=answer.threshold,
    )


def _image_records(
    steps: Sequence[Step], store: ImageStore, rendered: Mapping[int, RenderedImage]
) -> tuple[ImageRecord, ...]:
    places = {
        handle: (turn, call)
        for turn, step in enumerate(steps)
        for call, result in enumerate(step.results)
        for handle in result.handles
    }
    return tuple(
        image_record(stored, rendered[handle], *places.get(handle, (None, None))) for handle, stored in enumerate(store)
    )
