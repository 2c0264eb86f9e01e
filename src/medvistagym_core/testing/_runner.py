"""The conformance check of a plugin: processes are started, watched, and what they found is judged by the policy."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

from medvistagym_core.plugins import load_limit
from medvistagym_core.testing._inspector import CODE
from medvistagym_core.testing._report import CheckResult, ConformanceReport
from medvistagym_core.testing._rules import IMPORT_LIMIT_S, RULES, SCOPES, Rule, Scope, Status
from medvistagym_core.testing._target import PluginUnderTest, SubjectError, locate_plugin
from medvistagym_core.tools import core_version

DEFAULT_EXAMPLES: Final = 8
LIMIT_S: Final = 30.0
_START_S: Final = 60.0
_EXIT_S: Final = 10.0
_TRIES: Final = 5
_PLUGIN: Final = [rule for rule in RULES if rule.scope == "plugin"]
_Item = tuple[Scope, str]
"""Something that a plugin offers: what it is, and its name."""


def check_plugin(
    target: str | Path,
    *,
    examples: int = DEFAULT_EXAMPLES,
    limit_s: float = LIMIT_S,
    images: Sequence[str | Path] = (),
) -> ConformanceReport:
    """Check a plugin; nothing of it is imported into this process.

    Args:
        target: Name of an installed plugin or of its distribution, or the path of a plugin's folder or file. A file without
            hooks is checked for the tools that it defines.
        examples: About how many arguments are drawn for each tool and picture.
        limit_s: Seconds that one call may take, where the tool itself does not declare fewer.
        images: Files with pictures of the kind that the tools are made for, tried before the kit's own.

    Raises:
        SubjectError: `target` leads to no plugin, or a picture cannot be read.
    """
    subject = locate_plugin(target)
    for file in images:
        if not Path(file).exists():
            raise SubjectError(f"{file}: there is no such file")
    loaded, outcomes = _check_import(subject)
    items: list[_Item] = [(scope, name) for scope, kind in SCOPES.items() for name in loaded.get(kind, ())]
    request = {
        "subject": subject.model_dump(mode="json"),
        "examples": examples,
        "limit_s": limit_s,
        "images": [str(Path(file).resolve()) for file in images],
    }
    results = _inspect(request, items, limit_s) if items else {}
    if loaded:
        outcomes.append(results.get((("plugin", ""), "names-free"), CheckResult.from_rule("names-free", "PASS")))
    for item in items:
        outcomes += [results[item, rule.id] for rule in _rules_of(item)]
    return ConformanceReport(
        plugin=subject.name,
        distribution=subject.distribution,
        version=subject.version,
        core=core_version(),
        tools=tuple(loaded.get("tools", ())),
        offers={scope: tuple(loaded[kind]) for scope, kind in SCOPES.items() if loaded.get(kind)},
        outcomes=tuple(outcomes),
    )


# -- importing


def _check_import(subject: PluginUnderTest) -> tuple[dict[str, Any], list[CheckResult]]:
    """The plugin's report, and the outcomes of the checks that are made once."""
    request = {"subject": subject.model_dump(mode="json")}
    limit_s = load_limit() + _START_S
    first, process = _only_event("importing", request, limit_s)
    if first is None:
        return {}, [
            CheckResult.from_rule("loads", "FAIL", f"importing it {process.fate}{process.last_words}"),
            *(CheckResult.from_rule(rule.id, "SKIP", "it does not load") for rule in _PLUGIN[1:]),
        ]
    report = first["report"]
    if report["state"] != "loaded":
        location = f" at {report['location']}" if report["location"] else ""
        failed = CheckResult.from_rule(
            "loads", "FAIL", f"{report['reason']}{location}", remedy=f"{_sentence(report['fix'])}"
        )
        return {}, [failed, *(CheckResult.from_rule(rule.id, "SKIP", "it does not load") for rule in _PLUGIN[1:])]
    offered = [name for kind in SCOPES.values() for name in report[kind]]
    if not offered and not report["faults"]:
        nothing = "it offers nothing: no hook of it gives anything, and it defines no tool"
        remedy = "Mark a function `medvistagym_tools` (or another hook) with @hookimpl that returns what is offered."
        return {}, [
            CheckResult.from_rule("loads", "FAIL", nothing, remedy=remedy),
            *(CheckResult.from_rule(rule.id, "SKIP", "it offers nothing") for rule in _PLUGIN[1:]),
        ]
    seconds = [first["seconds"]]
    while min(seconds) > IMPORT_LIMIT_S and len(seconds) < _TRIES and not first["heavy"]:
        again, _ = _only_event("importing", request, limit_s)
        seconds.append(again["seconds"] if again else float("inf"))
    return report, [
        CheckResult.from_rule("loads", "PASS"),
        CheckResult.from_rule("contracts", "FAIL" if report["faults"] else "PASS", "; ".join(report["faults"])),
        _import_weight(first["heavy"], min(seconds)),
        _import_side_effects(first, process),
    ]


def _import_weight(heavy: list[str], seconds: float) -> CheckResult:
    if heavy:
        return CheckResult.from_rule("imports-light", "FAIL", f"importing it imports {', '.join(heavy)}")
    status: Status = "FAIL" if seconds > IMPORT_LIMIT_S else "PASS"
    return CheckResult.from_rule("imports-light", status, f"{seconds * 1000:.0f} ms")


def _import_side_effects(event: dict[str, Any], process: _InspectorProcess) -> CheckResult:
    faults = [f"prints {process.last_words.removeprefix(': ')!r}"] if process.last_words else []
    faults += [f"starts the thread {name}" for name in event["threads"]]
    faults += [f"changes {what}" for what in event["changed"]]
    if process.fate != "ended":
        faults.append(f"keeps the interpreter from ending within {_EXIT_S:g} s")
    return CheckResult.from_rule("imports-cleanly", "FAIL" if faults else "PASS", "; ".join(faults))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


# -- what it offers


def _rules_of(item: _Item) -> list[Rule]:
    return [rule for rule in RULES if rule.scope == item[0]]


def _inspect(request: dict[str, Any], items: list[_Item], limit_s: float) -> dict[tuple[_Item, str], CheckResult]:
    results: dict[tuple[_Item, str], CheckResult] = {}
    done: list[_Item] = []
    while len(done) < len(items):
        watch = _Progress(limit_s)
        with _InspectorProcess("tools", {**request, "done": done}) as process:
            for event in process.events(watch):
                watch.take(event, results)
        if watch.ended:
            break
        if watch.unreadable:
            raise SubjectError(watch.unreadable)
        item = watch.item or next(one for one in items if one not in done)
        if watch.missing:
            remedy = "pip install 'medvistagym-core[testing]'"
            watch.fill(results, items, "ERROR", f"{', '.join(watch.missing)} is not installed", remedy)
            break
        if watch.check:
            trying = f" while it tried {watch.at}" if watch.at else ""
            results[item, watch.check] = CheckResult.from_rule(
                watch.check, "FAIL", f"the process {process.fate}{trying}{process.last_words}", tool=item[1]
            )
            watch.fill(results, [item], "SKIP", f"not tried, since {watch.check} ended the process")
        else:
            watch.fill(results, [item], "ERROR", f"the process {process.fate}{process.last_words}", "Run it again.")
        done = [one for one in items if (one, _rules_of(one)[0].id) in results]
    return results


@dataclasses.dataclass
class _Progress:
    """Where the process is."""

    limit_s: float
    item: _Item | None = None
    check: str = ""
    at: str = ""
    step_s: float = _START_S
    ended: bool = False
    unreadable: str = ""
    missing: list[str] = dataclasses.field(default_factory=list)

    def take(self, event: dict[str, Any], results: dict[tuple[_Item, str], CheckResult]) -> None:
        self.step_s = event.get("limit_s", self.limit_s) + 2.0
        self.missing = event.get("missing", self.missing)
        self.unreadable = event.get("unreadable", self.unreadable)
        self.ended = event.get("end", False)
        if event.get("rivals"):
            results[("plugin", ""), "names-free"] = CheckResult.from_rule(
                "names-free", "FAIL", "; ".join(event["rivals"])
            )
        if "subject" in event:
            scope, name = event["subject"]
            self.item, self.check, self.at, self.step_s = (scope, name), "", "", _START_S
        elif "check" in event:
            self.check, self.at, self.step_s = event["check"], "", _START_S
        elif "at" in event:
            self.at = event["at"]
        elif "found" in event and self.item is not None:
            status, detail, remedy = [*event["found"], "", ""][:3]
            results[self.item, self.check] = CheckResult.from_rule(
                self.check, status, detail, tool=self.item[1], remedy=remedy
            )
            self.check, self.at, self.step_s = "", "", _START_S

    def fill(
        self,
        results: dict[tuple[_Item, str], CheckResult],
        items: Sequence[_Item],
        status: Status,
        detail: str,
        remedy: str = "",
    ) -> None:
        for item in items:
            for rule in _rules_of(item):
                results.setdefault(
                    (item, rule.id), CheckResult.from_rule(rule.id, status, detail, tool=item[1], remedy=remedy)
                )


# -- processes


class _InspectorProcess:
    """An interpreter that inspects: `events` until it ends or is ended.

    It is no `execution.ChildProcess`, which answers in pickles: an interpreter that a plugin under test may have changed must
    not hand those to this one. And how it ends and what it writes to stderr by then is part of what is found.
    """

    def __init__(self, what: str, request: dict[str, Any]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed by __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-P", "-c", CODE, what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        self._request = json.dumps(request)
        self.fate = "ended"
        self.last_words = ""

    def __enter__(self) -> Self:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(self._request)
            self._process.stdin.close()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._errors.close()
        word = next((line for line in lines if line.startswith("Fatal Python error")), lines[-1] if lines else "")
        self.last_words = f": {word.strip()[:200]}" if word else ""

    def events(self, watch: _Progress) -> Iterator[dict[str, Any]]:
        """The events in turn; `fate` says afterwards how it ended."""
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        assert self._process.stdout
        threading.Thread(target=_pass_on, args=(self._process.stdout, lines), daemon=True).start()
        while True:
            limit_s = watch.step_s
            try:
                line = lines.get(timeout=limit_s)
            except queue.Empty:
                self._process.kill()
                self.fate = f"hung for more than {limit_s:g} s"
                return
            if line is None:
                break
            yield json.loads(line)
        try:
            code = self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.fate = f"did not end within {_EXIT_S:g} s"
            return
        if code:
            self.fate = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _pass_on(stream: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    with contextlib.suppress(ValueError):  # closed under us
        for line in stream:
            lines.put(line)
    lines.put(None)


def _only_event(what: str, request: dict[str, Any], limit_s: float) -> tuple[dict[str, Any] | None, _InspectorProcess]:
    watch = _Progress(limit_s, step_s=limit_s)
    events = []
    with _InspectorProcess(what, request) as process:
        events = list(process.events(watch))
    return (events[0] if events else None), process
