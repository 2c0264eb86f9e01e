"""Scripts played against real tools, all at once: each round, the next call of every script goes into one grouped run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from medvistagym_core.environment import Case, ToolScript
from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core.tools import Toolbox, ToolCall, ToolResult


@dataclasses.dataclass
class Played:
    """What came of a script: its calls, their results, and its answer."""

    answer: str | None = None
    calls: list[ToolCall] = dataclasses.field(default_factory=list)
    results: list[ToolResult] = dataclasses.field(default_factory=list)


def toolbox() -> Toolbox:
    """The tools that the task is meant to be solved with."""
    from medvistagym_dicom import measure, window, zoom

    return Toolbox({tool.name: tool for tool in (window, zoom, measure)})


def play(cases: Sequence[Case], scripts: Sequence[ToolScript], most: int = 12) -> list[Played]:
    """Play one script a case until each has answered; one that has made `most` calls is stopped without an answer."""
    records = [Played() for _ in cases]
    stores = [ImageStore(case.images) for case in cases]
    live: list[int] = []
    with LocalExecutor(toolbox(), workers=1, cache_bytes=0) as executor:
        for k, script in enumerate(scripts):
            try:
                records[k].calls.append(next(script))
                live.append(k)
            except StopIteration as stop:
                records[k].answer = stop.value
        while live:
            outcomes = executor.run([(stores[k], [records[k].calls[-1]]) for k in live])
            going = []
            for k, (result,) in zip(live, outcomes, strict=True):
                records[k].results.append(result)
                try:
                    call = scripts[k].send(result)
                except StopIteration as stop:
                    records[k].answer = stop.value
                    continue
                if len(records[k].calls) < most:
                    records[k].calls.append(call)
                    going.append(k)
            live = going
    return records
