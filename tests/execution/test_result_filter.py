"""Results that are changed before they are handed on, and batches of images of different shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from medvistagym_core import (
    Image,
    ImageStore,
    LocalExecutor,
    ProcessExecutor,
    Registry,
    Tool,
    ToolCall,
    ToolResult,
    tool,
)
from medvistagym_core.trajectories import CallRecord, call_record


@tool
def count(image: Image) -> list[Any]:
    """Count the pixels.

    Args:
        image: Any.
    """
    return [f"{image.pixels.size} pixels", image]


@tool(ragged=True)
def together(image: Image) -> str:
    """Say how many are looked at together.

    Args:
        image: Any.
    """
    return "1 alone"


@together.batch
def _together(calls: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{len(calls)} together"] * len(calls)


def drop(tool_: Tool, arguments: Mapping[str, Any], result: ToolResult) -> ToolResult:
    if arguments["image"].pixels.size == 4:
        return ToolResult(text="nothing", perturbation="dropped")
    return dataclasses.replace(result, text=f"{tool_.name}: {result.text}")


@pytest.mark.parametrize("make", [LocalExecutor, ProcessExecutor])
def test_a_result_is_changed_before_it_is_stored_and_kept(make: type) -> None:
    registry = Registry()
    registry.add_tool(count)
    small, large = (Image(pixels=np.zeros((side, side), np.uint8)) for side in (2, 3))
    requests = [(ImageStore([one]), [ToolCall(name="count", arguments={"image": 0})]) for one in (small, large, small)]
    with make(registry.toolbox(), result_filter=drop) as executor:
        for _ in range(2):  # the second time they come out of the cache
            results = [row[0] for row in executor.run(requests)]
            assert [result.text for result in results] == ["nothing", "count: 9 pixels", "nothing"]
            assert [result.perturbation for result in results] == ["dropped", None, "dropped"]
    assert [len(store) for store, _ in requests] == [1, 3, 1]
    record = call_record(requests[0][1][0], results[0], [])
    assert record.perturbation == "dropped"
    assert CallRecord.model_validate_json(record.model_dump_json(round_trip=True)) == record


def test_a_kernel_that_takes_different_shapes_gets_them_together() -> None:
    registry = Registry()
    registry.add_tool(together)
    images = [Image(pixels=np.zeros((2 + k, 3), np.uint8 if k % 2 else np.float32)) for k in range(5)]
    requests = [(ImageStore([one]), [ToolCall(name="together", arguments={"image": 0})]) for one in images]
    with LocalExecutor(registry.toolbox()) as executor:
        assert [row[0].text for row in executor.run(requests)] == ["5 together"] * 5
