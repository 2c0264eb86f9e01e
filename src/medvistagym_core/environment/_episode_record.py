"""The account of an episode: its record as a trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medvistagym_core.trajectories import (
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


def build_trajectory(episode: Episode, policy: PolicyRecord = UNKNOWN_POLICY_RECORD) -> Trajectory:
    """The record of an episode that is over."""
    outcome, score = episode.final
    case, settings, steps = episode.case, episode.settings, episode.steps
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
        think=settings.protocol.think,
        style=settings.style,
        max_turns=settings.limits.max_turns,
        max_calls=settings.limits.max_calls,
        max_tokens=settings.limits.max_tokens,
        max_calls_per_turn=settings.protocol.max_calls_per_turn,
        view_side=settings.view_side,
        prompt=settings.prompt,
        opening=block_records(episode.initial_blocks),
        turns=tuple(step.record(episode.toolbox) for step in steps),
        images=_images(episode),
        outcome=OutcomeRecord(
            ended=episode.termination or "stopped",
            answer=steps[-1].answer if steps else None,
            expected=case.answer.value,
            correct=outcome.grade.correct,
            abstained=outcome.grade.abstained,
            informed=outcome.had_required_information,
            needed=episode.needed,
            reason=episode.reason,
        ),
        reward=score.total,
        terms=dict(score.terms),
        weights=dict(settings.reward.weights),
    )


def _images(episode: Episode) -> tuple[ImageRecord, ...]:
    made = {
        handle: (t, c)
        for t, step in enumerate(episode.steps)
        for c, result in enumerate(step.results)
        for handle in result.handles
    }
    return tuple(
        image_record(stored, episode.rendered(handle), *made.get(handle, (None, None)))
        for handle, stored in enumerate(episode.store)
    )
