"""The trajectories that a training keeps of some steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medvistagym_core.execution import LocalExecutor
from medvistagym_core.rollouts import verify
from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl.rollout import BatchedToolCalls, EpisodeAdapter
from medvistagym_trl.run import TrainingTrajectoryLog


def play_group(context: Any, index: int, size: int) -> list[Any]:
    """Finished episodes of one case, as TRL's loop plays them: a call, and then an answer."""
    adapters = [EpisodeAdapter(context) for _ in range(size)]
    call = {"function": {"name": "shade", "arguments": {"image": 0, "box": [250, 250, 500, 500]}}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    for adapter in adapters:
        adapter.reset(index)
        adapter.generation_seconds = [0.1, 0.2]
    batch = BatchedToolCalls(adapters, [[dict(message)] for _ in adapters], context.executor.run)
    for adapter in adapters:
        batch.result(adapter, "shade", call["function"]["arguments"])
    chat = [message, {"role": "tool"}, {"role": "assistant", "content": "<answer>bright</answer>"}]
    return [adapter.finish(chat) for adapter in adapters]


def test_episodes_of_training_are_kept_once_and_can_be_replayed(context: Any, registry: Any, tmp_path: Path) -> None:
    context.executor.close()  # forgets results of other tests
    seen = [episode for index in range(4) for episode in play_group(context, index, 4)]
    path = tmp_path / "training.jsonl"
    for _ in range(2):  # a run that goes on may come by a step again
        TrainingTrajectoryLog(path, {"temperature": 0.5, "seed": 0}).write(1, seen)
    records = list(TrajectoryReader(path))
    assert [record.sample for record in records] == [0, 1, 2, 3] * 4
    assert len({record.id for record in records}) == len(records) == 16
    assert records[0].policy.sampling == {"temperature": 0.5, "seed": 0, "step": 1}
    assert all(turn.policy_seconds > 0 for record in records for turn in record.turns)
    assert any(call.seconds > 0 and not call.cached for r in records for t in r.turns for call in t.calls)
    report = verify(path, registry, LocalExecutor)
    assert report.same
    assert report.exact > 0
