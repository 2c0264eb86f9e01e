"""The results of a step, given one at a time to a trainer that calls tools one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medvistagym_core.environment._step import Step
from medvistagym_core.protocol import Block


class ReadyResults:
    """What the calls of a step gave, until it is taken.

    Args:
        step: The step; it has no results while its calls run.
        with_pictures: Gives blocks with pictures in place of handles.
    """

    def __init__(self, step: Step, with_pictures: Callable[[Sequence[Block]], list[Block]]) -> None:
        self._results = [
            (_call_key(call.name, call.arguments), with_pictures(blocks))
            for call, blocks in zip(step.calls, step.result_blocks, strict=False)
        ]

    def take(self, name: str, arguments: Mapping[str, Any]) -> list[Block] | None:
        """The content blocks of the first result of an equal call, once; None where there is none."""
        key = _call_key(name, arguments)
        for position, (ready, blocks) in enumerate(self._results):
            if ready == key:
                del self._results[position]
                return blocks
        return None

    def take_first(self) -> list[Block]:
        """The content blocks of the first result.

        Raises:
            IndexError: There is none.
        """
        return self._results.pop(0)[1]


def _call_key(name: str, arguments: Mapping[str, Any]) -> str:
    return name + json.dumps(arguments, sort_keys=True, default=str)
