"""The page of a run beside pandas' table of it: how long until 10,000 episodes can be looked at, and how smoothly they scroll.

`python benchmarks/view.py` samples some hundred episodes of ScoutVQA with their pictures, writes them as one run of 10,000 (ids
of their own, pictures shared), and lets the contestants show it in turn in one headless Chromium. It prints rows and merges
them into benchmarks/results.json. Without Chromium it says so and measures nothing. Python and its libraries use one thread;
Chromium uses what it likes, for both alike.

- `view.open`: ms from the start of the command until the first screen of episodes, one of them opened with its picture, can be
  used (ours), or until the table can be (pandas: `read_json(lines=True)`, the columns of our list, `to_html`, without
  pictures).
- `view.complete`: the same until all episodes can be filtered and searched; for pandas nothing remains to be done. Its peer
  `limit` is the 3 s that we set ourselves.
- `view.scroll`: ms between frames while the list is scrolled through; a screen of 60 Hz gives 16.7 at best.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rows import compare, merge

EPISODES = 10_000
LIMIT_MS = 3000.0
COLUMNS = ["id", "task", "family", "policy", "answer", "expected", "correct", "reward", "turns", "calls", "errors"]
TABLE = """
import sys, pandas
frame = pandas.read_json(sys.argv[1], lines=True)
calls = frame.turns.map(lambda turns: [call for turn in turns for call in turn["calls"]])
frame["policy"] = frame.policy.map(lambda policy: policy["name"])
for name in ("answer", "expected", "correct"):
    frame[name] = frame.outcome.map(lambda outcome: outcome[name])
frame["calls"] = calls.map(lambda calls: ", ".join(call["name"] for call in calls))
frame["errors"] = calls.map(lambda calls: ", ".join(call["error"]["code"] for call in calls if call["error"]))
frame["turns"] = frame.turns.map(len)
frame[sys.argv[3].split(",")].to_html(sys.argv[2])
"""
SCROLL = """
const [box, done] = [arguments[0], arguments[1]], times = [], end = box.scrollHeight - box.clientHeight;
let last = performance.now();
function step(now) {
  times.push(now - last);
  last = now;
  if (times.length > 120) { times.sort((a, b) => a - b); done(times[60]); return; }
  box.scrollTop = end * times.length / 120;
  requestAnimationFrame(step);
}
requestAnimationFrame(step);
"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1300,900",
        ):
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


def sampled(folder: Path, cases: int) -> Path:
    """A run of `EPISODES` episodes made of `cases` real ones."""
    for policy in ("random", "demonstration"):
        command = [sys.executable, "-m", "medvistagym_core.cli", "sample", "--task", "scoutvqa", "--policy", policy]
        command += ["--cases", str(cases // 2), "--out", str(folder / policy)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        file = folder / policy / "trajectories.jsonl"
        lines = file.read_text("utf-8").splitlines()
        with file.open("w", encoding="utf-8") as out:
            for k in range(EPISODES // 2):
                out.write(lines[k % len(lines)].replace('"id":"', f'"id":"{k}-', 1) + "\n")
    return folder


def until(driver: Any, condition: str) -> None:
    while not driver.execute_script(f"return Boolean({condition})"):
        time.sleep(0.01)


@contextlib.contextmanager
def viewed(driver: Any, run: Path) -> Iterator[None]:
    """Our page of the run, from the command on."""
    command = [sys.executable, "-m", "medvistagym_core.cli", "view", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            driver.get(process.stdout.readline().strip())  # type: ignore[union-attr]
            yield
        finally:
            process.terminate()


def opened(driver: Any, run: Path, condition: str) -> Callable[[], float]:
    def once() -> float:
        driver.get("about:blank")
        began = time.perf_counter()
        with viewed(driver, run):
            until(driver, condition)
            return 1e3 * (time.perf_counter() - began)

    return once


def tabled(driver: Any, run: Path, page: Path) -> Callable[[], float]:
    """The run's files, one after another, as pandas' table."""
    whole = page.with_suffix(".jsonl")
    whole.write_bytes(b"".join(file.read_bytes() for file in sorted(run.glob("*/*.jsonl"))))

    def once() -> float:
        driver.get("about:blank")
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", TABLE, str(whole), str(page), ",".join(COLUMNS)], check=True)
        driver.get(page.as_uri())
        until(driver, f"document.querySelectorAll('tbody tr').length === {EPISODES}")
        return 1e3 * (time.perf_counter() - began)

    return once


def scrolled(driver: Any, box: str) -> float:
    return float(driver.execute_async_script(SCROLL, driver.execute_script(f"return {box}")))


def measure(driver: Any, folder: Path, cases: int, rounds: int) -> list[dict[str, Any]]:
    run, page = sampled(folder / "run", cases), folder / "table.html"
    table = tabled(driver, run, page)
    usable = "document.querySelector('.row img[src]') && document.querySelector('.sources img')?.naturalWidth"
    whole = f"data.done && data.rows.length === {EPISODES} && list.shown.length === {EPISODES}"
    rows = compare("view.open", EPISODES, "ms", opened(driver, run, usable), {"pandas.to_html": table}, rounds)
    limit = {"pandas.to_html": table, "limit": lambda: LIMIT_MS}
    rows += compare("view.complete", EPISODES, "ms", opened(driver, run, whole), limit, rounds)
    driver.get(page.as_uri())
    until(driver, f"document.querySelectorAll('tbody tr').length === {EPISODES}")
    theirs = [scrolled(driver, "document.scrollingElement") for _ in range(rounds)]
    with viewed(driver, run):
        until(driver, whole)
        ours = [scrolled(driver, "document.getElementById('list')") for _ in range(rounds)]
    return rows + compare(
        "view.scroll",
        EPISODES,
        "ms",
        lambda: statistics.median(ours),
        {"pandas.to_html": lambda: statistics.median(theirs)},
        1,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=400, help="real episodes that the run is made of")
    options = parser.parse_args()
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        print("chromium and chromedriver are not installed (Debian: chromium, chromium-driver): nothing is measured")
        return
    with tempfile.TemporaryDirectory() as folder, chromium() as driver:
        merge(measure(driver, Path(folder), options.cases, options.rounds))


if __name__ == "__main__":
    main()
