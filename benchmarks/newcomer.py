"""How long a newcomer takes, from a clone: to a windowed picture, to a plugin that passes its checks, to a trained table.

    python benchmarks/newcomer.py            the first two roads
    python benchmarks/newcomer.py --train    all three; the last takes twenty minutes on two idle cores

Each road is the commands of a page, run as they are printed there in a clone of what is committed, with pip's cache as it is.
`make bench` leaves this out: it installs everything anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_TIMEOUT_S: Final = 3600  # of commands that hang; the slowest road may take a third of it


@dataclasses.dataclass(frozen=True)
class Road:
    """Commands of the pages, and what is there when they have run.

    Attributes:
        name: What is timed.
        limit_s: The most seconds that it may take.
        blocks: Page, heading and number of each block of commands, in order.
        until: The last command that counts; None for all.
        check: A command that fails where the road has not led to its end.
    """

    name: str
    limit_s: float
    blocks: tuple[tuple[str, str, int], ...]
    until: str | None
    check: str

    @property
    def script(self) -> str:
        """The commands, as printed."""
        lines = [line for page, heading, number in self.blocks for line in _block(page, heading, number).splitlines()]
        if self.until is not None:
            lines = lines[: 1 + next(k for k, line in enumerate(lines) if line.startswith(self.until))]
        return "\n".join(lines)


INSTALL: Final = ("README.md", "Tools in one minute", 0)
ROADS: Final = (
    Road("the first windowed picture", 120, (INSTALL,), "medvistagym tools call window", "test -s bone.png"),
    Road(
        "a plugin that passes its checks", 600, (INSTALL, ("docs/publish.md", "Ten minutes", 0)), None,
        "medvistagym plugins check ./invert | grep conforms && python -m pytest -q invert",
    ),
    Road("a trained table", 1200, (("README.md", "Train in twenty minutes", 0),), None, "test -s runs/*/results.json"),
)  # fmt: skip


def _block(page: str, heading: str, number: int) -> str:
    text = (ROOT / page).read_text("utf-8")
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        raise ValueError(f"{page} has no section {heading!r}")
    found = re.findall(r"^```sh\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
    return str(found[number])


def walk(road: Road) -> float:
    """Seconds from the clone to the end of the road; what the commands print goes to stderr.

    Raises:
        subprocess.CalledProcessError: A command failed, or the road does not lead to its end.
    """
    hidden = ("VIRTUAL_ENV", "PYTHONPATH", "PIP_FIND_LINKS", "MAKEFLAGS", "MAKELEVEL", "MEDVISTAGYM_PLUGINS")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        _run(f"git clone --quiet {ROOT} clone", folder, environment)
        timed = f"{road.script}\ndate +%s.%N >.done\n{road.check}"
        started = time.time()
        before = time.monotonic() - begin
        _run(timed, f"{folder}/clone", environment)
        return before + float(Path(folder, "clone", ".done").read_text()) - started


def _run(script: str, folder: str, environment: dict[str, str]) -> None:
    command = ["bash", "-euo", "pipefail", "-c", script]
    subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=True, timeout=_TIMEOUT_S)


def main() -> int:
    """Walk them, print a line each, and end with 1 where one took too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="train as well")
    parser.add_argument("--only", metavar="N", type=int, choices=range(1, len(ROADS) + 1), help="this road alone")
    options = parser.parse_args()
    late = 0
    roads = [ROADS[options.only - 1]] if options.only else ROADS if options.train else ROADS[:2]
    for road in roads:
        taken = walk(road)
        late += taken > road.limit_s
        print(f"{road.name}: {taken:.0f} s of {road.limit_s:.0f}", flush=True)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
