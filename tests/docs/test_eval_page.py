"""docs/eval.md and docs/questions.md: their commands are commands, and the example runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from medvistagym_core.cli import SUBCOMMANDS, build_parser

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "eval.md").read_text("utf-8")


def commands(page: str) -> list[str]:
    """The command lines of a page's shell blocks, continued lines joined."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL))
    return [line for line in blocks.replace("\\\n", " ").splitlines() if line.startswith("medvistagym ")]


@pytest.mark.parametrize("line", [*commands("eval.md"), *commands("questions.md")])
def test_every_command_can_be_typed(line: str) -> None:
    _, group, *arguments = shlex.split(line, comments=True)
    if arguments and f"{group} {arguments[0]}" in SUBCOMMANDS:
        group, arguments = f"{group} {arguments[0]}", arguments[1:]
    options = build_parser(group).parse_args(arguments)
    assert callable(options.execute)


def test_every_option_of_the_table_is_one_of_eval() -> None:
    written = build_parser("eval").format_help()
    options = re.findall(r"--[a-z-]+", "\n".join(line for line in PAGE.splitlines() if line.startswith("| `--")))
    assert {"--protocol", "--images", "--tool-results", "--samples"} <= set(options)
    assert all(option in written for option in options)


def test_the_example_says_what_stays_of_the_score(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(snippet, "docs/eval.md", "exec"), {})
    share = re.fullmatch(r"(0\.\d\d) of the score stays \(0\.\d\d to 0\.\d\d\)\n", capsys.readouterr().out)
    assert share is not None
    assert float(share[1]) < 0.5
