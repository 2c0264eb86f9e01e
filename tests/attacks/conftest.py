"""The table of what hostile files cost."""

from __future__ import annotations

from typing import Any

import costs
import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the memory and time of each file that asks for much, where a run was made to show what it finds (`-rP`)."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    rows: list[Any] = [row for each in reports for name, row in each.user_properties if name == costs.PROPERTY]
    if not rows or "P" not in terminalreporter.config.getoption("reportchars"):
        return
    write = terminalreporter.write_line
    terminalreporter.section("what hostile files cost")
    write(f"{'kind':14}{'file':48}{'MiB':>6}{'s':>7}  said")
    for kind, name, mib, seconds, said in sorted(rows):
        write(f"{kind:14}{name[:47]:48}{mib:6.0f}{seconds:7.2f}  {said}")
    most, longest = max(row[2] for row in rows), max(row[3] for row in rows)
    limits = f"limits {costs.MAX_MIB} MiB and {costs.MAX_SECONDS} s"
    write(f"{len(rows)} files; at most {most:.0f} MiB beyond the idle process and {longest:.2f} s ({limits})")
