"""Several tasks as one: whose perception items a mix deals."""

from __future__ import annotations

from typing import Any

from medvistagym_core.environment import HasPerceptionItems
from medvistagym_trl.rollout import mix_tasks


class Other:
    """A task without perception items."""

    name = description = "other"
    families = ("any",)
    splits = ("train", "test")
    tools = ("mirror",)
    abstention = "unclear"

    def case(self, split: str, index: int, seed: int = 0) -> Any:
        raise NotImplementedError

    def vocabulary(self) -> tuple[str, ...]:
        return ("left", "right")


def test_a_mix_deals_the_perception_items_of_its_tasks_in_turn(task: Any) -> None:
    mix = mix_tasks([Other(), task, task])
    assert isinstance(mix, HasPerceptionItems)
    items = [mix.look("train", index) for index in range(4)]
    assert [item.image.digest for item in items if item.image is not None] == [
        task.look("train", index).image.digest for index in (0, 0, 1, 1)
    ]


def test_a_mix_of_tasks_without_perception_items_has_none() -> None:
    assert not isinstance(mix_tasks([Other(), Other()]), HasPerceptionItems)
