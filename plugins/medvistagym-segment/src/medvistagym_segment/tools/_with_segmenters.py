"""The tools that segment, with the segmenters of other plugins among their methods."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from medvistagym_core.imaging import Segmenter
from medvistagym_core.tools import Tool, tool
from medvistagym_segment._catalog import offer_segmenters, segmenter_names
from medvistagym_segment.tools._arguments import TIMEOUT_S, Method
from medvistagym_segment.tools._segment import Segment
from medvistagym_segment.tools._segment_crop import SegmentCrop


def with_segmenters(segmenters: Mapping[str, Segmenter]) -> list[Tool]:
    """`segment` and `segment_crop` whose argument `method` offers these segmenters, too.

    Args:
        segmenters: Segmenters of plugins, by name; one whose name is taken is left out.
    """
    names = sorted({*segmenter_names(), *offer_segmenters(segmenters)})
    method: Any = Annotated[(Literal[tuple(names)], *get_args(Method)[1:])]
    return [_with_method(one, method) for one in (Segment, SegmentCrop)]


def _with_method(original: Any, method: Any) -> Tool:
    """The tool of a class, its argument `method` annotated otherwise."""
    origin: type = original.function
    run = origin.run  # type: ignore[attr-defined]
    signature = inspect.signature(run, eval_str=True)
    parameters = [p.replace(annotation=method) if p.name == "method" else p for p in signature.parameters.values()]

    @functools.wraps(run)
    def run_with_method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return run(self, *args, **kwargs)

    run_with_method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    names = {"run": run_with_method, "__doc__": origin.__doc__, "__module__": origin.__module__}
    derived = type(origin.__name__, (origin,), {**names, "__qualname__": origin.__qualname__})
    offered: Tool = tool(timeout_s=TIMEOUT_S)(derived)
    return offered
