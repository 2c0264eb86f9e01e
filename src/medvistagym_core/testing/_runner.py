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
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Self

from medvistagym_core.plugins import load_limit
from medvistagym_core.testing._inspector import CODE
from medvistagym_core.testing._report import CheckResult, ConformanceReport
from medvistagym_core.testing._rules import IMPORT_LIMIT_S, RULES, Status
from medvistagym_core.testing._target import PluginUnderTest, locate_plugin
from medvistagym_core.tools import core_version

DEFAULT_EXAMPLES: Final = 8
LIMIT_S: Final = 30.0
_START_S: Final = 60.0
_EXIT_S: Final = 10.0
_TRIES: Final = 5
_PLUGIN: Final = [rule for rule in RULES if rule.scope == "plugin"]
_TOOL: Final = [rule for rule in RULES if rule.scope == "tool"]


def check_plugin(
    target: str | Path, *, examples: int = DEFAULT_EXAMPLES, limit_s: float = LIMIT_S
) -> ConformanceReport:
    """Check a plugin; nothing of it is imported into this process.

    Args:
        target: Name of an installed plugin or of its distribution, or the path of a plugin's folder or file.
        examples: About how many arguments are drawn for each tool and picture.
        limit_s: Seconds that one call may take, where the tool itself does not declare fewer.

    Raises:
        SubjectError: `target` leads to no plugin.
    """
    subject = locate_plugin(target)
    loaded, outcomes = _imported(subject)
    names: tuple[str, ...] = tuple(loaded.get("tools", ()))
    found = _inspected(subject, names, examples, limit_s) if names else {}
    if loaded:
        outcomes.append(found.get(("", "names-free"), CheckResult.from_rule("names-free", "PASS")))
    for name in names:
        outcomes += [found[name, rule.id] for rule in _TOOL]
    return ConformanceReport(
        plugin=subject.name,
        distribution=subject.distribution,
        version=subject.version,
        core=core_version(),
        tools=names,
        outcomes=tuple(outcomes),
    )


# -- importing


def _imported(subject: PluginUnderTest) -> tuple[dict[str, Any], list[CheckResult]]:
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
        where = f" at {report['location']}" if report["location"] else ""
        failed = CheckResult.from_rule(
            "loads", "FAIL", f"{report['reason']}{where}", remedy=f"{_sentence(report['fix'])}"
        )
        return {}, [failed, *(CheckResult.from_rule(rule.id, "SKIP", "it does not load") for rule in _PLUGIN[1:])]
    seconds = [first["seconds"]]
    while min(seconds) > IMPORT_LIMIT_S and len(seconds) < _TRIES and not first["heavy"]:
        again, _ = _only_event("importing", request, limit_s)
        seconds.append(again["seconds"] if again else float("inf"))
    return report, [
        CheckResult.from_rule("loads", "PASS"),
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


# -- tools


def _inspected(
    subject: PluginUnderTest, names: tuple[str, ...], examples: int, limit_s: float
) -> dict[tuple[str, str], CheckResult]:
    found: dict[tuple[str, str], CheckResult] = {}
    done: list[str] = []
    while len(done) < len(names):
        request = {"subject": subject.model_dump(mode="json"), "done": done, "examples": examples, "limit_s": limit_s}
        watch = _Progress(limit_s)
        with _InspectorProcess("tools", request) as process:
            for event in process.events(watch):
                watch.take(event, found)
        if watch.ended:
            break
        tool = watch.tool or next(name for name in names if name not in done)
        if watch.missing:
            remedy = "pip install 'medvistagym-core[testing]'"
            watch.fill(found, names, "ERROR", f"{', '.join(watch.missing)} is not installed", remedy)
            break
        if watch.check:
            trying = f" while it tried {watch.at}" if watch.at else ""
            found[tool, watch.check] = CheckResult.from_rule(
                watch.check, "FAIL", f"the process {process.fate}{trying}{process.last_words}", tool=tool
            )
            watch.fill(found, (tool,), "SKIP", f"not tried, since {watch.check} ended the process")
        else:
            watch.fill(found, (tool,), "ERROR", f"the process {process.fate}{process.last_words}", "Run it again.")
        done = [name for name in names if (name, _TOOL[0].id) in found]
    return found


@dataclasses.dataclass
class _Progress:
    """Where the process is."""

    limit_s: float
    tool: str = ""
    check: str = ""
    at: str = ""
    step_s: float = _START_S
    ended: bool = False
    missing: list[str] = dataclasses.field(default_factory=list)

    def take(self, event: dict[str, Any], found: dict[tuple[str, str], CheckResult]) -> None:
        self.step_s = event.get("limit_s", self.limit_s) + 2.0
        self.missing = event.get("missing", self.missing)
        self.ended = event.get("end", False)
        if event.get("rivals"):
            found["", "names-free"] = CheckResult.from_rule("names-free", "FAIL", "; ".join(event["rivals"]))
        if "tool" in event:
            self.tool, self.check, self.at, self.step_s = event["tool"], "", "", _START_S
        elif "check" in event:
            self.check, self.at, self.step_s = event["check"], "", _START_S
        elif "at" in event:
            self.at = event["at"]
        elif "found" in event:
            status, detail, remedy = [*event["found"], "", ""][:3]
            found[self.tool, self.check] = CheckResult.from_rule(
                self.check, status, detail, tool=self.tool, remedy=remedy
            )
            self.check, self.at, self.step_s = "", "", _START_S

    def fill(
        self,
        found: dict[tuple[str, str], CheckResult],
        names: tuple[str, ...],
        status: Status,
        detail: str,
        remedy: str = "",
    ) -> None:
        for name in names:
            for rule in _TOOL:
                found.setdefault(
                    (name, rule.id), CheckResult.from_rule(rule.id, status, detail, tool=name, remedy=remedy)
                )


# -- processes


class _InspectorProcess:
    """An interpreter that inspects: `events` until it ends or is ended."""

    def __init__(self, what: str, request: dict[str, Any]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed by __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", CODE, what],
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
        threading.Thread(target=_passed_on, args=(self._process.stdout, lines), daemon=True).start()
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


def _passed_on(stream: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
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
