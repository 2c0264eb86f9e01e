"""Reads DICOM files that libFuzzer changes, guided by which lines of the reader and of pydicom each of them reaches.

Run as a script: `guided_worker.py SEEDS COUNT OUT`. What is wrong with a file is written to OUT/wrong with the file itself in
OUT/wrong.dcm, and ends the run; OUT/report.json holds what came of the others.
"""

from __future__ import annotations

import collections
import json
import random
import resource
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["medvistagym_dicom", "pydicom"]):
    from fuzz_worker import OPERATIONS, outcome

SAVE_EVERY = 1000
MEMORY = 3 << 30


def main(seeds: str, count: str, out: str) -> None:
    file = Path(out, "scan.dcm")
    # Kept open: a file that is emptied and written again goes to the disk each time.
    scan = file.open("wb", buffering=0)
    counts: collections.Counter[str] = collections.Counter()
    slowest = 0.0

    def read_one(data: bytes) -> None:
        nonlocal slowest
        scan.seek(0)
        scan.write(data)
        scan.truncate()
        began = time.process_time()
        kind, complaint = outcome(file)
        slowest = max(slowest, time.process_time() - began)
        counts[kind] += 1
        if complaint:
            Path(out, "wrong").write_text(complaint)
            Path(out, "wrong.dcm").write_bytes(data)
            raise AssertionError(complaint)
        if sum(counts.values()) % SAVE_EVERY == 0:
            Path(out, "report.json").write_text(json.dumps({"counts": counts, "slowest_s": slowest}))

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5 or len(data) <= 200:
            return bytes(atheris.Mutate(data, max_size))
        changed = bytearray(data)
        for operation in rng.choices(OPERATIONS, k=rng.choice((1, 1, 2))):
            if len(changed) > 200:
                operation(changed, rng)
        return bytes(changed[:max_size])

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    corpus = Path(out, "corpus")
    corpus.mkdir()
    options = [
        f"-runs={count}",
        "-seed=1",
        "-timeout=60",
        "-rss_limit_mb=0",  # it counts the peak of what started this process; see MEMORY
        "-max_len=60000",
        "-verbosity=0",
        "-print_final_stats=0",
    ]
    atheris.Setup(
        [sys.argv[0], *options, f"-artifact_prefix={out}/", str(corpus), seeds], read_one, custom_mutator=change
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
