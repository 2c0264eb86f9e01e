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

from medvistagym_core.execution import ChildProcess, answer_requests
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


def repeat_elsewhere(
    subject: PluginUnderTest, images: Sequence[str], tool: Any, calls: Sequence[TrialCall]
) -> dict[str, Finding]:
    """Whether calls give the same in another process ("repeats"), and whether the tool works after pickling ("pickles").

    The process is this tool's alone: nothing in it comes from the calls of other tools.

    Args:
        subject: The plugin.
        images: Files with the author's pictures.
        tool: The tool.
        calls: Some of it that succeeded, with what they gave.
    """
    try:
        packed, unpicklable = pickle.dumps(tool), None
    except Exception as error:  # noqa: BLE001 whatever stops it from being pickled
        packed, unpicklable = b"", Finding("FAIL", f"it cannot be pickled: {_describe(error)}")
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    process = ChildProcess(__name__, variables={"PYTHONHASHSEED": seed})
    findings: dict[str, Finding]
    try:
        process.send(_Request(subject, tuple(images), tool.name, packed, tuple(calls)))
        findings = process.receive(ANSWER_S)
    except TimeoutError:
        late = f"the same {len(calls)} calls and one more took over {ANSWER_S:g} s in another process"
        findings = _of_both(
            Finding("ERROR", late, "Let the tool take less on the kit's pictures, or give smaller ones.")
        )
    except (EOFError, OSError):
        code = process.end()
        fate = (
            "was ended"
            if code is None
            else f"was ended by signal {-code}"
            if code < 0
            else f"ended with exit code {code}"
        )
        remedy = "Find what differs there: the hash seed, and whatever was set up in the first process before the call."
        findings = _of_both(Finding("FAIL", f"the other process {fate}", remedy))
    finally:
        process.end(0)
    return findings if unpicklable is None else {**findings, "pickles": unpicklable}


def _of_both(finding: Finding) -> dict[str, Finding]:
    return dict.fromkeys(("repeats", "pickles"), finding)


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

    if not request.packed:
        return PASS  # whoever asked knows that it cannot be pickled
    own = _load(request.subject, request.images)[0][request.tool]
    tool = pickle.loads(request.packed)
    if tool.id != own.id:
        return Finding("FAIL", f"it comes back from pickling as {tool.id} instead of {own.id}")
    for call in request.calls[:1]:
        result = run(tool, call, _sample_pictures(request, own))
        if result.error is not None:
            return Finding("FAIL", f"it does not work after pickling: {result.error.message}")
    return PASS


if __name__ == "__main__":
    answer_requests(_answer, sys.argv[1:])
