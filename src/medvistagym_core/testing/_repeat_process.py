"""Calls made again in another process, with another hash seed; asked by the inspector."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.execution import ChildEndedError, ChildProcess, answer_requests
from medvistagym_core.plugins import LoadedPlugin
from medvistagym_core.testing._finding import PASS, Finding
from medvistagym_core.testing._target import PluginUnderTest

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image
    from medvistagym_core.testing._call_checks import TrialCall

ANSWER_S: Final = 120.0
"""Seconds that the calls of one tool may take there."""


@dataclasses.dataclass(frozen=True)
class _Request:
    """Calls of a tool that succeeded, and the tool as it was pickled; empty where it cannot be."""

    subject: PluginUnderTest
    images: tuple[str, ...]
    tool: str
    packed: bytes
    calls: tuple[TrialCall, ...]


class RepeatProcess:
    """An interpreter that loads the plugin as well. It starts with the first request, and anew after one that ended it.

    Args:
        subject: The plugin.
        images: Files with the author's pictures.
    """

    def __init__(self, subject: PluginUnderTest, images: Sequence[str]) -> None:
        self._subject, self._images = subject, tuple(images)
        self._process: ChildProcess | None = None

    def repeat(self, tool: Any, calls: Sequence[TrialCall]) -> dict[str, Finding]:
        """Whether the calls give the same there ("repeats"), and whether the tool works after pickling ("pickles").

        Args:
            tool: The tool.
            calls: Some of it that succeeded, with what they gave.
        """
        try:
            packed, unpicklable = pickle.dumps(tool), None
        except Exception as error:  # noqa: BLE001 whatever stops it from being pickled
            packed, unpicklable = b"", Finding("FAIL", f"it cannot be pickled: {_describe(error)}")
        request = _Request(self._subject, self._images, tool.name, packed, tuple(calls))
        if self._process is None or not self._process.alive:
            seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
            self._process = ChildProcess(__name__, variables={"PYTHONHASHSEED": seed})
        try:
            findings: dict[str, Finding] = self._process.ask(request, ANSWER_S)
        except ChildEndedError as error:
            remedy = (
                "Find what differs there: the hash seed, and whatever was set up in the first process before the call."
            )
            findings = dict.fromkeys(("repeats", "pickles"), Finding("FAIL", f"the other process {error}", remedy))
        return findings if unpicklable is None else {**findings, "pickles": unpicklable}


def read_author_pictures(files: Sequence[str], offer: LoadedPlugin) -> dict[str, Image]:
    """The pictures that the author gave, by name, read by the plugin's own readers first.

    Args:
        files: Their paths.
        offer: The plugin.

    Raises:
        ValueError: One cannot be read, also as OSError.
    """
    if not files:
        return {}
    from medvistagym_core.plugins import Registry
    from medvistagym_core.testing._sample_images import read_pictures

    readers = [*offer.contributions.get("readers", ()), *Registry.discover().readers]
    return read_pictures([Path(file) for file in files], readers)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


# -- in the other process


def _answer(request: _Request) -> dict[str, Finding]:
    findings: dict[str, Finding] = {}
    for name, check, failing in (
        ("repeats", _repeat_calls, "it raises"),
        ("pickles", _try_unpacked, "it cannot be unpickled:"),
    ):
        try:
            findings[name] = check(request)
        except Exception as error:  # noqa: BLE001 whatever a plugin raises is what was found
            findings[name] = Finding("FAIL", f"in another process {failing} {_describe(error)}")
    return findings


@functools.cache
def _load(subject: PluginUnderTest, images: tuple[str, ...]) -> tuple[Mapping[str, Any], Mapping[str, Image]]:
    """The plugin's tools, and the author's pictures."""
    offer = subject.load()
    return {tool.name: tool for tool in offer.contributions.get("tools", ())}, read_author_pictures(images, offer)


def _sample_pictures(request: _Request, tool: Any) -> Mapping[str, Callable[[], Image]]:
    from medvistagym_core.testing._sample_images import sample_pictures

    return sample_pictures(tool.spec.modalities, _load(request.subject, request.images)[1])


def _repeat_calls(request: _Request) -> Finding:
    from medvistagym_core.testing._call_checks import digest, run

    tool = _load(request.subject, request.images)[0][request.tool]
    pictures = _sample_pictures(request, tool)
    for call in request.calls:
        if digest(run(tool, call, pictures)) != call.digest:
            shown = f"{json.dumps(call.arguments)} on {call.picture}"
            return Finding("FAIL", f"{shown} gives something else in another process")
    return PASS


def _try_unpacked(request: _Request) -> Finding:
    from medvistagym_core.testing._call_checks import run

    own = _load(request.subject, request.images)[0][request.tool]
    tool = pickle.loads(request.packed) if request.packed else own
    if tool.id != own.id:
        return Finding("FAIL", f"it comes back from pickling as {tool.id} instead of {own.id}")
    for call in request.calls[:1]:
        result = run(tool, call, _sample_pictures(request, own))
        if result.error is not None:
            return Finding("FAIL", f"it does not work after pickling: {result.error.message}")
    return PASS


if __name__ == "__main__":
    answer_requests(_answer, sys.argv[1:])
