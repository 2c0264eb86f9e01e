"""Questions of a table: how soon the first is there, what reading them all keeps in memory, what scoring stored answers
costs, and what an evaluation adds to a model's own time.

`python benchmarks/questions.py` writes tables, plays and scores them with the commands that users have, each in a process of
its own, and writes medians into benchmarks/results.json. Times are processor time, on one thread; "limit" is what was asked
for.

- `questions.first`: from an interpreter that has loaded nothing to the picture of one question from the middle of a parquet
  table of 6,719 questions, as many as PathVQA's test split has, with 400 MB of pictures in one row group.
- `questions.memory`: the most memory that the process had taken after all 6,719 questions, in an order by seed, beside what
  it had taken after the first.
- `questions.score`: `medvistagym score` of 100,000 stored answers, yes/no, open and with options, under every protocol, the
  ones as published included.
- `questions.eval`: what `medvistagym eval` takes of a core for an episode, with 64 in flight against an endpoint that answers
  after 50 ms, in a process of its own; the limit is 5 % of the model's 50 ms. The difference of a long and a short run, so
  that starting is in neither; playing, the record with its pictures, scoring and the report are in both. A picture is
  decoded, and encoded once, for the endpoint and for the record. Runs are deleted when all are measured: for some minutes
  ext4 passes over the inodes of files that were deleted, one by one, whenever a file is created beside them, which took 0.5 ms
  a picture after the thousands of an earlier run. So begin when nothing has deleted many files in that file system just before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rows import compare, merge

QUESTIONS: Final = 6719
ANSWERS: Final = 100_000
DISTINCT: Final = 1000  # episodes that are really played; the file to score repeats them
IN_FLIGHT: Final = 64
LATENCY_S: Final = 0.05
MAX_SHARE: Final = 0.05  # of the model's own time
SHORT, LONG = 10 * IN_FLIGHT, 50 * IN_FLIGHT
CLI: Final = (sys.executable, "-m", "medvistagym_core.cli")


def spend(*arguments: str) -> float:
    """Run a command of ours to its end; the seconds that it took of a core."""
    process = subprocess.Popen([*CLI, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"`medvistagym {' '.join(arguments)}` ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def picture(side: int, seed: int) -> bytes:
    """A PNG file of smooth grey values, which is compressed about as far as a radiograph."""
    import numpy as np
    import PIL.Image

    rows, columns = np.mgrid[:side, :side] / side
    noise = np.random.default_rng(seed).integers(0, 4, (side, side))
    values = 120 + 80 * np.sin(3 * rows + seed) * np.cos(4 * columns) + noise
    file = io.BytesIO()
    PIL.Image.fromarray(values.astype(np.uint8)).save(file, "png")
    return file.getvalue()


def write_parquet(path: Path) -> Path:
    """As many questions and bytes of pictures as PathVQA's test split has."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    image, filler = picture(64, 0), np.random.default_rng(0).integers(0, 255, 60_000, np.uint8).tobytes()
    table = pa.table(
        {
            "image": [{"bytes": image + filler + str(k).encode(), "path": f"{k}.png"} for k in range(QUESTIONS)],
            "question": [f"Is there a finding in picture {k}?" for k in range(QUESTIONS)],
            "answer": ["yes", "no"] * (QUESTIONS // 2) + ["yes"],
        }
    )
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=QUESTIONS)
    return path


def write_questions(folder: Path, count: int, side: int = 0) -> Path:
    """Questions of every kind, each with a picture of its own where `side` is above 0."""
    kinds: list[dict[str, Any]] = [
        {"question": "Is there a pleural effusion?", "answer": "no"},
        {"question": "What is the abnormality in the left lower lobe?", "answer": "consolidation"},
        {"question": "Which organ is it?", "answer": "liver", "options": ["spleen", "liver", "kidney", "pancreas"]},
        {"question": "Where is the mass?", "answer": "right upper lobe of the lung"},
    ]
    path = folder / f"questions-{count}-{side}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for k in range(count):
            row = {**kinds[k % len(kinds)], "id": f"question-{k}"}
            if side:
                row["image"] = f"{side}-{k}.png"
                with contextlib.suppress(FileExistsError), (folder / row["image"]).open("xb") as image:
                    image.write(picture(side, k))
            file.write(json.dumps(row) + "\n")
    return path


def first_question(table: Path) -> None:
    """Print what a fresh process took for one question, and for all."""
    from medvistagym_core.environment import QuestionTask

    task = QuestionTask("large", "Many questions.", table)
    task.case("test", QUESTIONS // 2)
    first = time.process_time()
    before = peak_mib()
    for index in range(QUESTIONS):
        task.case("test", index, seed=1)
    print(json.dumps({"first_ms": 1e3 * first, "before": before, "after": peak_mib()}))


def peak_mib() -> float:
    """The most memory that this process had taken; `getrusage` counts that of whoever started it, too."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def table_rows(folder: Path, rounds: int) -> list[dict[str, Any]]:
    path = write_parquet(folder / "large.parquet")
    command = [sys.executable, __file__, "--first-question", str(path)]
    measured: list[dict[str, float]] = []

    def ours() -> float:
        measured.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
        return measured[-1]["first_ms"]

    rows = compare("questions.first", QUESTIONS, "ms", ours, {"limit": lambda: 5000.0}, rounds)
    after, before = (iter([one[when] for one in measured]) for when in ("after", "before"))
    peers = {"after the first question": lambda: next(before)}
    return rows + compare("questions.memory", QUESTIONS, "MiB", lambda: next(after), peers, rounds)


def score_rows(folder: Path, rounds: int) -> list[dict[str, Any]]:
    from medvistagym_core.scoring import PROTOCOLS

    table = write_questions(folder, DISTINCT)
    run = folder / "answers"
    with endpoint() as url:
        spend("eval", "--task-file", str(table), *served(url), "--run", str(run))
    (file,) = run.glob("trajectories/*.jsonl")
    lines = file.read_text("utf-8").splitlines()
    with file.open("w", encoding="utf-8") as out:
        for k in range(ANSWERS):
            out.write(lines[k % len(lines)].replace('"id":"', f'"id":"{k}-', 1) + "\n")

    def ours() -> float:
        return 1e3 * spend("score", str(file), "--protocol", ",".join(PROTOCOLS))

    return compare("questions.score", ANSWERS, "ms", ours, {"limit": lambda: 60_000.0}, rounds)


def eval_rows(folder: Path, rounds: int) -> list[dict[str, Any]]:
    rows = []
    for side, peer in ((0, "limit"), (224, "limit, pictures of 224 x 224")):
        table = write_questions(folder, LONG, side)

        def ours(table: Path = table) -> float:
            spent = []
            for count in (SHORT, LONG):
                run = tempfile.mkdtemp(dir=folder)
                with endpoint() as url:
                    cases = ("--task-file", str(table), "--cases", str(count))
                    spent.append(spend("eval", *cases, *served(url), "--run", f"{run}/run"))
            return 1e3 * (spent[1] - spent[0]) / (LONG - SHORT)

        rows += compare("questions.eval", IN_FLIGHT, "ms", ours, {peer: lambda: 1e3 * MAX_SHARE * LATENCY_S}, rounds)
    return rows


def served(url: str) -> tuple[str, ...]:
    """Options of `medvistagym eval`."""
    at_once = ("--concurrency", str(IN_FLIGHT), "--batch", str(IN_FLIGHT))
    return ("--endpoint", url, "--endpoint-model", "fake", *at_once)


@contextlib.contextmanager
def endpoint() -> Iterator[str]:
    """The URL of an endpoint in a process of its own."""
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()  # type: ignore[union-attr]
        finally:
            process.terminate()


class ChatCompletions(asyncio.Protocol):
    """Answers every request after `LATENCY_S` with the next of a few answers."""

    ANSWERS = ("yes", "no", "B", "B. liver", "consolidation", "the right upper lobe", "pneumothorax", "unclear")
    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if end and len(body) >= length:
            self.received = b""
            asyncio.get_running_loop().call_later(LATENCY_S, self.answer)

    def answer(self) -> None:
        answer = self.ANSWERS[ChatCompletions.count % len(self.ANSWERS)]
        ChatCompletions.count += 1
        message = {"role": "assistant", "content": f"<think>I look at it.</think><answer>{answer}</answer>"}
        body = json.dumps({"choices": [{"message": message}], "usage": {"total_tokens": 300}}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)  # type: ignore[attr-defined]


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(ChatCompletions, "127.0.0.1", 0, backlog=256)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


BENCHES: Final = {"table": table_rows, "score": score_rows, "eval": eval_rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benches", nargs="*", default=list(BENCHES), help="which of them (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="how often (default: 3)")
    parser.add_argument("--first-question", metavar="TABLE", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_question is not None:
        first_question(options.first_question)
    elif options.serve:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())
    else:
        with tempfile.TemporaryDirectory() as folder:
            for name in options.benches:
                merge(BENCHES[name](Path(folder), options.rounds))


if __name__ == "__main__":
    main()
