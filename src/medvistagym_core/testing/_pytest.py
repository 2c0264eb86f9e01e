"""The conformance kit as test cases of pytest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from medvistagym_core.testing._report import CheckResult, ConformanceReport
from medvistagym_core.testing._rules import RULES
from medvistagym_core.testing._runner import DEFAULT_EXAMPLES, LIMIT_S, check_plugin


def conformance(
    target: str | Path,
    *,
    examples: int = DEFAULT_EXAMPLES,
    limit_s: float = LIMIT_S,
    images: Sequence[str | Path] = (),
) -> Callable[[str], None]:
    """A test function with one case for each check; assign it to a name that starts with `test`.

    A blocking failure fails its case, advice is reported as an expected failure, and what does not apply is skipped.

    Args:
        target: Name of an installed plugin or of its distribution, or the path of a plugin's folder or file.
        examples: As for `check_plugin`.
        limit_s: As for `check_plugin`.
        images: As for `check_plugin`.
    """
    import pytest

    @pytest.mark.parametrize("check", [rule.id for rule in RULES])
    def test_conformance(check: str) -> None:
        outcomes = [
            outcome for outcome in _report(target, examples, limit_s, tuple(images)).outcomes if outcome.check == check
        ]
        bad = [outcome for outcome in outcomes if outcome.blocks or outcome.status == "ERROR"]
        if bad:
            pytest.fail(_format_results(bad), pytrace=False)
        advice = [outcome for outcome in outcomes if outcome.status == "FAIL"]
        if advice:
            pytest.xfail(_format_results(advice))
        if not any(outcome.status == "PASS" for outcome in outcomes):
            pytest.skip(outcomes[0].detail if outcomes else "the plugin offers nothing that this is made of")

    return test_conformance


@cache
def _report(target: str | Path, examples: int, limit_s: float, images: tuple[str | Path, ...]) -> ConformanceReport:
    return check_plugin(target, examples=examples, limit_s=limit_s, images=images)


def _format_results(outcomes: list[CheckResult]) -> str:
    return "\n".join(f"{o.tool}{': ' if o.tool else ''}{o.detail} {o.remedy}" for o in outcomes)
