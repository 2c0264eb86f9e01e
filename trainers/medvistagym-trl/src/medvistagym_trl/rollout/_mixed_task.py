"""Several tasks as one: their cases in turn."""

from __future__ import annotations

from collections.abc import Sequence

from medvistagym_core.environment import Case, HasPerceptionItems, PerceptionItem, Task


class MixedTask:
    """Deals the cases of several tasks in turn; each case keeps its own task, index and id.

    Attributes:
        parts: The tasks.
    """

    def __init__(self, parts: Sequence[Task]) -> None:
        self.parts = tuple(parts)
        self.name = ",".join(part.name for part in self.parts)
        self.description = "; ".join(part.description for part in self.parts)
        self.families = tuple(dict.fromkeys(family for part in self.parts for family in part.families))
        self.splits = tuple(split for split in self.parts[0].splits if all(split in p.splits for p in self.parts))
        self.tools = tuple(dict.fromkeys(tool for part in self.parts for tool in part.tools))
        abstentions = {part.abstention for part in self.parts}
        self.abstention = abstentions.pop() if len(abstentions) == 1 else None

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """The case at a position of the mix. See `Task.case`.

        Args:
            split: A split that every part has.
            index: Position in the mix, from 0.
            seed: Seed of the cases.
        """
        return self.parts[index % len(self.parts)].case(split, index // len(self.parts), seed)

    def vocabulary(self) -> tuple[str, ...]:
        """The words of all tasks."""
        return tuple(dict.fromkeys(word for part in self.parts for word in part.vocabulary()))


class MixedTaskWithItems(MixedTask):
    """A mix of which some tasks have perception items: theirs come in turn."""

    def look(self, split: str, index: int, seed: int = 0) -> PerceptionItem:
        """The perception item at a position of the mix."""
        able = [part for part in self.parts if isinstance(part, HasPerceptionItems)]
        return able[index % len(able)].look(split, index // len(able), seed)


def mix_tasks(parts: Sequence[Task]) -> Task:
    """One task of several; a single one is itself."""
    if len(parts) == 1:
        return parts[0]
    return (MixedTaskWithItems if any(isinstance(part, HasPerceptionItems) for part in parts) else MixedTask)(parts)
