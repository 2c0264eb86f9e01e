"""The processes in which a plugin is inspected, seen from inside.

`python -c CODE importing|tools` reads one request as JSON from stdin and writes one event a line to stdout, which the plugin
cannot reach: its own stdout is stderr.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.plugins import LoadedPlugin, contribution_name, discover
from medvistagym_core.testing._finding import Check, Finding
from medvistagym_core.testing._processor_speed import measure_slowness
from medvistagym_core.testing._repeat_process import ANSWER_S, read_author_pictures, repeat_elsewhere
from medvistagym_core.testing._rules import HEAVY, IMPORT_LIMIT_S, RULES, SCOPES
from medvistagym_core.testing._target import PluginUnderTest

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image
    from medvistagym_core.testing._call_checks import ToolTrials

NEEDED: Final = ("hypothesis", "hypothesis_jsonschema", "jsonschema")
# The kit's own libraries read the entry points of every installed distribution, of which one may be malformed.
CODE: Final = (
    "from medvistagym_core.plugins import tolerate_broken_metadata; tolerate_broken_metadata(); "
    "from medvistagym_core.testing._inspector import main; main()"
)


def main() -> None:
    """Serve one request."""
    import warnings

    warnings.simplefilter("ignore")
    request = json.loads(sys.stdin.read())
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as events:
        os.dup2(2, 1)
        sys.stdout = sys.stderr

        def tell(**event: Any) -> None:
            print(json.dumps(event), file=events, flush=True)

        {"importing": _inspect_import, "tools": _tools}[sys.argv[1]](request, tell)


EmitEvent = Callable[..., None]


def _inspect_import(request: dict[str, Any], tell: EmitEvent) -> None:
    """What loading the plugin costs and leaves behind, in an interpreter that has only the core."""
    began, worked = time.perf_counter(), time.process_time()
    import docstring_parser
    import pydantic.fields

    from medvistagym_core.plugins import Registry

    docstring_parser.parse("The core reads docstrings."), Registry, pydantic.fields
    # How much longer than its work a process takes on this machine just now, where others want the processor too.
    busy = max(1.0, (time.perf_counter() - began) / max(time.process_time() - worked, 1e-3))
    subject = PluginUnderTest.model_validate(request["subject"])
    before = (set(sys.modules), os.getcwd(), dict(os.environ), set(threading.enumerate()))  # noqa: PTH109
    began, worked = time.perf_counter(), time.process_time()
    offer = subject.load()
    seconds = max((time.perf_counter() - began) / busy, time.process_time() - worked)
    if seconds > IMPORT_LIMIT_S:
        seconds /= measure_slowness()
    heavy = sorted(name for name in set(sys.modules) - before[0] if name in HEAVY)
    threads = sorted(t.name for t in threading.enumerate() if t not in before[3] and t.name != "medvistagym-load")
    changed = ["the working folder"] if os.getcwd() != before[1] else []  # noqa: PTH109
    changed += [f"the environment variable {name}" for name in sorted(before[2].keys() ^ os.environ.keys())]
    changed += [
        f"the environment variable {name}" for name, value in before[2].items() if os.environ.get(name, value) != value
    ]
    tell(report=dataclasses.asdict(offer.report), seconds=seconds, heavy=heavy, threads=threads, changed=changed)


def _name_conflicts(subject: PluginUnderTest, offer: LoadedPlugin) -> list[str]:
    from medvistagym_core.plugins import load_catalog

    mine = set(offer.report.tools)
    conflicts = []
    for other in discover():
        if other.report.distribution != (subject.distribution or subject.name) and other.report.name != subject.name:
            conflicts += [
                f"{name} is a tool of {other.report.distribution}" for name in other.report.tools if name in mine
            ]
    for entry in load_catalog().entries:
        if entry.distribution != subject.distribution:
            conflicts += [f"{tool.name} is a tool of {entry.distribution}" for tool in entry.tools if tool.name in mine]
    return sorted(set(conflicts))


def _tools(request: dict[str, Any], tell: EmitEvent) -> None:
    """The checks of each tool, but for those that a process before this one ended in."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        tell(missing=missing)
        return
    os.environ.setdefault("HYPOTHESIS_NO_PLUGINS", "1")  # such as those for pytest and trio, which take half a second
    subject = PluginUnderTest.model_validate(request["subject"])
    offer = subject.load()
    if not request["done"]:
        tell(rivals=_name_conflicts(subject, offer))
    try:
        author_pictures = read_author_pictures(request["images"], offer)
    except (ValueError, OSError) as error:
        tell(unreadable=str(error))
        return
    done = [tuple(one) for one in request["done"]]
    for scope, kind in SCOPES.items():
        for name, thing in _name_contributions(offer.contributions.get(kind, ())):
            if (scope, name) in done:
                continue
            tell(subject=[scope, name])
            if scope == "tool":
                checks = _ToolChecks(thing, subject, request, tell, author_pictures).by_rule()
            else:
                checks = _contract_check(scope, kind, name, thing, offer, tell)
            for rule in RULES:
                if rule.id in checks:
                    tell(check=rule.id, limit_s=request["limit_s"])
                    began = time.monotonic()
                    finding = _run_check(checks[rule.id])
                    tell(found=list(finding), seconds=time.monotonic() - began)
    tell(end=True)


def _name_contributions(contributions: Any) -> list[tuple[str, Any]]:
    if isinstance(contributions, Mapping):
        return [(str(name), contribution) for name, contribution in contributions.items()]
    return [(contribution_name(contribution), contribution) for contribution in contributions]


def _contract_check(
    scope: str, kind: str, name: str, thing: Any, offer: LoadedPlugin, tell: EmitEvent
) -> dict[str, Check]:
    from medvistagym_core.testing._contract_checks import contract_check

    def say(at: str, limit_s: float) -> None:
        tell(at=at, limit_s=limit_s)

    (rule,) = (rule.id for rule in RULES if rule.scope == scope)
    return {rule: lambda: contract_check(kind, name, thing, offer, say)}


def _run_check(check: Check) -> Finding:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 a check that fails to check is an ERROR, not the plugin's fault
        line = traceback.extract_tb(error.__traceback__)[-1]
        location = f"{os.path.basename(line.filename)}:{line.lineno}"  # noqa: PTH119
        message = " ".join(str(error).split())[:300]
        return Finding(
            "ERROR", f"{type(error).__name__}: {message} ({location})", "Please report it to medvistagym-core."
        )


class _ToolChecks:
    """The checks of a tool; what several of them need is found out once, when the first asks for it.

    Args:
        tool: The tool.
        subject: The plugin that it is from.
        request: What was asked: examples and the time limit.
        tell: Writes an event.
        author_pictures: The pictures that the author gave, by name.
    """

    def __init__(
        self,
        tool: Any,
        subject: PluginUnderTest,
        request: dict[str, Any],
        tell: EmitEvent,
        author_pictures: Mapping[str, Image],
    ) -> None:
        self._tool, self._subject, self._request, self._tell = tool, subject, request, tell
        self._author_pictures = author_pictures

    def by_rule(self) -> dict[str, Check]:
        """The checks by the rule that each decides."""
        from medvistagym_core.testing import _schema_checks as schema_checks

        tool = self._tool
        alone: dict[str, Check] = {
            "schema-valid": lambda: schema_checks.schema_valid(tool),
            "arguments-described": lambda: schema_checks.arguments_described(tool),
            "constraints-kept": lambda: schema_checks.constraints_kept(tool),
            "schema-same": lambda: schema_checks.schema_same(tool),
        }
        after_schema: dict[str, Check] = {
            "invalid-arguments": lambda: schema_checks.invalid_arguments(tool, self._valid_arguments()),
            "valid-calls": lambda: self._trials.valid_calls(),
            "input-unchanged": lambda: self._trials.judge_faults("input"),
            "declared-output": lambda: self._trials.judge_faults("output"),
            "lineage-inside": lambda: self._trials.judge_faults("lineage"),
            "deterministic": self._deterministic,
            "batch-equals-loop": lambda: self._trials.batch_equals_loop(),
            "pickles": lambda: self._elsewhere["pickles"],
        }
        return alone | {rule: functools.partial(self._after_schema, check) for rule, check in after_schema.items()}

    def _after_schema(self, check: Check) -> Finding:
        return check() if self._has_valid_schema else Finding("SKIP", "its schema is not valid")

    @functools.cached_property
    def _has_valid_schema(self) -> bool:
        from medvistagym_core.testing import _schema_checks as schema_checks

        return schema_checks.schema_valid(self._tool).status == "PASS"

    @functools.cached_property
    def _trials(self) -> ToolTrials:
        from medvistagym_core.testing._call_checks import ToolTrials
        from medvistagym_core.testing._sample_images import sample_pictures

        return ToolTrials(
            self._tool, self._tell_progress, examples=self._request["examples"], limit_s=self._request["limit_s"],
            pictures=sample_pictures(self._tool.spec.modalities, self._author_pictures),
            author_pictures=tuple(self._author_pictures),
        )  # fmt: skip

    @functools.cached_property
    def _elsewhere(self) -> dict[str, Finding]:
        """The findings of another process."""
        self._tell_progress("the same calls in another process", ANSWER_S)
        return repeat_elsewhere(self._subject, self._request["images"], self._tool, self._trials.chosen())

    def _tell_progress(self, at: str, limit_s: float) -> None:
        self._tell(at=at, limit_s=limit_s)

    def _valid_arguments(self) -> dict[str, Any]:
        """Arguments that the tool takes, as many as were drawn."""
        from medvistagym_core.testing._strategies import argument_strategy, with_images

        spec = self._tool.spec
        drawn: list[dict[str, Any]] = []

        def keep_valid(arguments: dict[str, Any]) -> None:
            full = with_images(spec, arguments)
            with contextlib.suppress(Exception):  # what it refuses is not kept; other checks judge its errors
                self._tool.validate(full)
                drawn.append(full)

        argument_strategy(spec, 20, keep_valid)
        return max(drawn, key=len) if drawn else with_images(spec, {})

    def _deterministic(self) -> Finding:
        if not self._tool.spec.deterministic:
            return Finding("SKIP", "it is declared not deterministic")
        if not self._trials.samples:
            return Finding("SKIP", "no call succeeded")
        here = self._trials.repeated()
        return here if here.status != "PASS" else self._elsewhere["repeats"]
