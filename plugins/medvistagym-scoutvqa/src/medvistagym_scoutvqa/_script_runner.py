"""Scripts played against real tools, all at once: each round, the next call of every script goes into one grouped run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from medvistagym_core.environment import Case, ToolScript
from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core.tools import Toolbox, ToolCall, ToolResult


@dataclasses.dataclass
class ScriptRecord:
    """What came of a script: its calls, their results, and its answer."""

    answer: str | None = None
    calls: list[ToolCall] = dataclasses.field(default_factory=list)
    results: list[ToolResult] = dataclasses.field(default_factory=list)


def build_toolbox() -> Toolbox:
    """The tools that the task is meant to be solved with."""
    from medvistagym_dicom import measure, window, zoom

    return Toolbox({tool.name: tool for tool in (window, zoom, measure)})


def run_scripts(cases: Sequence[Case], scripts: Sequence[ToolScript], max_calls: int = 12) -> list[ScriptRecord]:
    """Play one script a case until each has answered; one that has made `max_calls` is stopped without an answer."""
    records = [ScriptRecord() for _ in cases]
    stores = [ImageStore(case.images) for case in cases]
    running: list[int] = []
    with LocalExecutor(build_toolbox(), workers=1, cache_bytes=0) as executor:
        for k, script in enumerate(scripts):
            try:
                records[k].calls.append(next(script))
                running.append(k)
            except StopIteration as stop:
                records[k].answer = stop.value
        while running:
            rounds = executor.run([(stores[k], [records[k].calls[-1]]) for k in running])
            still_running = []
            for k, (result,) in zip(running, rounds, strict=True):
                records[k].results.append(result)
                try:
                    call = scripts[k].send(result)
                except StopIteration as stop:
                    records[k].answer = stop.value
                    continue
                if len(records[k].calls) < max_calls:
                    records[k].calls.append(call)
                    still_running.append(k)
            running = still_running
    return records
