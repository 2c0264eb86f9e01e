"""Child processes: asked, ended, waited for, and gone with their parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medvistagym_core.execution import ChildEndedError, ChildProcess

PROGRAM = """
import os, sys, time
from medvistagym_core.execution import answer_requests

def answer(request):
    if request == "hang":
        time.sleep(600)
    if request == "crash":
        os.abort()
    return os.getpid() if request == "pid" else os.environ.get(request)

if __name__ == "__main__":
    if sys.argv[3:] == ["ends"]:
        sys.exit(7)
    answer_requests(answer, sys.argv[1:])
"""

BUSY_PROGRAM = """
import sys
from medvistagym_core.execution import RequestChannel

if __name__ == "__main__":
    channel, turns = RequestChannel(sys.argv[1:3]), []
    while True:
        channel.answer_next(lambda request: len(turns), 0.05)
        turns.append("something else")
"""


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asked_program.py").write_text(PROGRAM)
    (tmp_path / "busy_program.py").write_text(BUSY_PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)


def test_variables_are_added_to_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "kept")
    child = ChildProcess("asked_program", variables={"MORE": "2"})
    assert [child.ask(name, 30) for name in ("OURS", "MORE")] == ["kept", "2"]
    assert child.stop() == -signal.SIGTERM
    assert not child.alive


def test_one_that_ends_by_itself_is_waited_for_and_can_be_stopped_after() -> None:
    child = ChildProcess("asked_program", "ends")
    assert child.wait() == 7
    assert child.stop() == 7


def test_a_crash_and_a_hang_are_said() -> None:
    with pytest.raises(ChildEndedError, match=r"crashed \(SIGABRT\)"):
        ChildProcess("asked_program").ask("crash", 30)
    child = ChildProcess("asked_program")
    assert child.ask("MISSING", 30) is None
    with pytest.raises(ChildEndedError, match=r"took more than 0\.2 s"):
        child.ask("hang", 0.2)
    assert not child.alive


def test_it_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from medvistagym_core.execution import ChildProcess\n"
        "child = ChildProcess('asked_program')\n"
        "print(child.ask('pid', 30), flush=True)\n"
        "child.ask('hang', 600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        stat = Path(f"/proc/{int(parent.stdout.readline())}/stat")
        parent.kill()
    deadline = time.monotonic() + 10
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert parent.returncode == -signal.SIGKILL


def test_one_that_does_something_else_between_requests_waits_for_one_no_longer_than_it_says() -> None:
    child = ChildProcess("busy_program")
    before = child.ask("how often", 30)
    time.sleep(0.5)
    assert before + 3 <= child.ask("how often", 30) <= before + 30
    child.stop()
