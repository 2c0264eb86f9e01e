"""The record of an episode: its trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medvistagym_core.environment._task import Case
from medvistagym_core.trajectories import (
    AnswerRecord,
    ImageRecord,
    OutcomeRecord,
    PolicyRecord,
    Trajectory,
    block_records,
    image_record,
)

if TYPE_CHECKING:
    from medvistagym_core.environment._episode import Episode

UNKNOWN_POLICY_RECORD: Final = PolicyRecord(name="unknown")


def build_trajectory(episode: Episode, policy: PolicyRecord) -> Trajectory:
    """The record of an episode that is over."""
    case, config = episode.case, episode.settings
    outcome, reward = episode.final
    return Trajectory(
        id=episode.id,
        task=case.task,
        case=case.id,
        split=case.split,
        index=case.index,
        family=case.family,
        seed=episode.seed,
        sample=episode.sample,
        policy=policy,
        toolbox=episode.toolbox.lock_hash,
        think=config.protocol.think,
        style=config.style,
        max_turns=config.limits.max_turns,
        max_calls=config.limits.max_calls,
        max_tokens=config.limits.max_tokens,
        max_calls_per_turn=config.protocol.max_calls_per_turn,
        view_side=config.view_side,
        prompt=config.prompt,
        opening=block_records(episode.initial_blocks),
        turns=tuple(step.record(episode.toolbox) for step in episode.steps),
        images=_image_records(episode),
        outcome=OutcomeRecord(
            ended=episode.termination or "stopped",
            answer=episode.steps[-1].answer if episode.steps else None,
            expected=case.answer.value,
            key=_answer_record(case),
            correct=outcome.grade.correct,
            abstained=outcome.grade.abstained,
            informed=outcome.had_required_information,
            needed=episode.needed,
            reason=episode.reason,
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


def _image_records(episode: Episode) -> tuple[ImageRecord, ...]:
    places = {
        handle: (turn, call)
        for turn, step in enumerate(episode.steps)
        for call, result in enumerate(step.results)
        for handle in result.handles
    }
    return tuple(
        image_record(stored, episode.rendered(handle), *places.get(handle, (None, None)))
        for handle, stored in enumerate(episode.store)
    )
