"""The published policy is the one in force."""

import re
from pathlib import Path

from medvistagym_core.testing import RULES
from medvistagym_core.testing._rules import RULESET_VERSION

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def table() -> str:
    rows = [f"| `{rule.id}` | {rule.scope} | {rule.severity} | {rule.asks} | {rule.remedy} |" for rule in RULES]
    head = [
        "| check | made of each | a failure | what must hold | what to do when it does not |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows])


def test_the_page_shows_every_rule() -> None:
    text = PAGE.read_text("utf-8")
    shown = re.search(r"<!-- policy -->\n(.*?)\n?<!-- /policy -->", text, re.DOTALL)
    assert shown is not None
    assert shown[1] == table()
    assert f"## Policy {RULESET_VERSION}" in text


def test_what_a_check_needs_comes_before_it() -> None:
    names = [rule.id for rule in RULES]
    for rule in RULES:
        assert all(names.index(need) < names.index(rule.id) for need in rule.needs)
