"""Reads mutated DICOM files, one after the other, under limits of time and memory, and tells what came of each.

Run as a script: `fuzz_worker.py SEEDS FIRST COUNT OUT`. SEEDS is a folder of files; the mutation with number k is always the
same. Its number is in OUT/progress while it is read, so that a crash or a hang can be traced; OUT/report.json is written at
the end.
"""

from __future__ import annotations

import collections
import faulthandler
import json
import os
import random
import re
import resource
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medvistagym_dicom import DicomError, read
from medvistagym_dicom.reading import REASONS

SECONDS = 20.0  # for one file; generous, since the machine may be busy
MEMORY = 1 << 30  # address space above what the imports took
LIMIT = 64 << 20  # bytes of pixels that the reader may decode
MARKS = ("ZQX", "zqx", "Plantagenet")  # planted in every text element of the seeds

EXPLICIT = re.compile(
    rb"[\x02-\x7f]\x00..(?:AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OW|PN|SH|SL|SQ|SS|ST|TM|UI|UL|UN|US|UT)", re.DOTALL
)
NUMBERS = [
    b"-1", b"0", b"nan", b"NaN", b"inf", b"-inf", b"1e999", b"1e-320", b"-0.5\\-0.5", b"nan\\nan", b"0\\0", b"99999999999",
    b"1\\2\\3\\4\\5", b"", b"\\\\\\", b"0x10", b"1_000", b"\xff\xfe",
]  # fmt: skip
# Elements whose values decide about memory and geometry: frames, rows, columns, bits, spacing, rescaling, windows, positions.
GEOMETRY = [
    (0x28, 0x08), (0x28, 0x10), (0x28, 0x11), (0x28, 0x02), (0x28, 0x06), (0x28, 0x30), (0x28, 0x100), (0x28, 0x101),
    (0x28, 0x102), (0x28, 0x103), (0x28, 0x120), (0x28, 0x1050), (0x28, 0x1051), (0x28, 0x1052), (0x28, 0x1053), (0x20, 0x32),
    (0x20, 0x37), (0x18, 0x1164), (0x3004, 0xC), (0x3004, 0xE),
]  # fmt: skip


def flip_bits(data: bytearray, rng: random.Random) -> None:
    reach = len(data) if rng.random() < 0.4 else min(len(data), 3000)
    for _ in range(rng.choice((1, 1, 3, 20))):
        data[rng.randrange(reach)] ^= 1 << rng.randrange(8)


def cut_off(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def lose_a_piece(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 7, 100, 2000))]


def repeat_a_piece(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 8, 64, 1000))
    data[at:at] = data[at : at + size] * rng.choice((1, 2, 30))


def elements(data: bytearray) -> list[int]:
    """Where explicit elements seem to start, outside the pixels."""
    return [match.start() for match in EXPLICIT.finditer(data, 132, min(len(data), 8000))]


def false_length(data: bytearray, rng: random.Random) -> None:
    places = elements(data) or [rng.randrange(max(1, len(data) - 12))]
    at = rng.choice(places)
    long = bytes(data[at + 4 : at + 6]) in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    length = rng.choice(
        (0, 1, 3, 0x7FFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFE, 0x80000000, len(data), rng.randrange(1 << 16))
    )
    if long and at + 12 <= len(data):
        struct.pack_into("<I", data, at + 8, length)
    elif at + 8 <= len(data):
        struct.pack_into("<H", data, at + 6, length & 0xFFFF)


def swap_tags(data: bytearray, rng: random.Random) -> None:
    places = elements(data)
    if len(places) > 1:
        a, b = rng.sample(places, 2)
        data[a : a + 4], data[b : b + 4] = data[b : b + 4], data[a : a + 4]


def other_kind(data: bytearray, rng: random.Random) -> None:
    places = elements(data)
    if places:
        at = rng.choice(places)
        data[at + 4 : at + 6] = rng.choice((b"SQ", b"UN", b"OB", b"DS", b"IS", b"US", b"FD", b"LO", b"ZZ", b"\0\0"))


def other_geometry(data: bytearray, rng: random.Random) -> None:
    """Huge, zero, negative or nonsensical rows, columns, frames, bits, spacing, rescaling, windows."""
    for group, number in rng.sample(GEOMETRY, rng.choice((1, 2, 5))):
        at = data.find(struct.pack("<HH", group, number), 132)
        if at < 0 or at + 8 > len(data):
            at = data.find(b"\x28\x00\x10\x00", 132)  # not there: put it before the rows
            if at < 0:
                return
            value = rng.choice(NUMBERS)
            value += b" " * (len(value) % 2)
            data[at:at] = struct.pack("<HH2sH", group, number, rng.choice((b"DS", b"IS", b"US")), len(value)) + value
            continue
        length = struct.unpack_from("<H", data, at + 6)[0]
        if bytes(data[at + 4 : at + 6]) == b"US" and length == 2 and at + 10 <= len(data):
            struct.pack_into("<H", data, at + 8, rng.choice((0, 1, 2, 3, 7, 8, 17, 31, 32, 64, 1000, 32768, 65535)))
        elif bytes(data[at + 4 : at + 6]) in (b"DS", b"IS"):
            value = rng.choice(NUMBERS)
            value += b" " * (len(value) % 2)
            data[at + 6 : at + 8 + length] = struct.pack("<H", len(value)) + value


def other_table(data: bytearray, rng: random.Random) -> None:
    """Another number of entries, first value or number of bits of a lookup table, or more or fewer entries than it says."""
    at = data.find(b"\x28\x00\x02\x30", 132)
    if at < 0 or at + 14 > len(data):
        return
    if rng.random() < 0.7:
        number = rng.choice((0, 1, 2, 8, 16, 17, 255, 256, 257, 4096, 32768, 65535))
        struct.pack_into("<H", data, at + 8 + rng.choice((0, 2, 4)), number)
        data[at + 4 : at + 6] = rng.choice((b"US", b"SS", bytes(data[at + 4 : at + 6])))
        return
    entries = data.find(b"\x28\x00\x06\x30", at)
    if entries >= 0:
        del data[entries + 12 : entries + 12 + rng.choice((1, 2, 256))]


def huge(data: bytearray, rng: random.Random) -> None:
    """100,000 x 100,000 and more, as unsigned longs or as the most that two bytes hold."""
    for number in (0x10, 0x11):
        at = data.find(struct.pack("<HH", 0x28, number), 132)
        if at < 0 or at + 10 > len(data):
            return
        if rng.random() < 0.5:
            data[at + 4 : at + 10] = b"UL" + struct.pack("<HI", 4, rng.choice((100_000, 0xFFFFFFFF)))
        else:
            data[at + 4 : at + 10] = b"US" + struct.pack("<HH", 2, 65535)


def mutated(seeds: list[tuple[str, bytes]], k: int) -> tuple[str, bytes]:
    """The k-th mutation: the name of its seed, and its bytes."""
    rng = random.Random(k)
    name, whole = seeds[k % len(seeds)]
    data = bytearray(whole)
    if rng.random() < 0.1:  # the head of one, the tail of another
        other = rng.choice(seeds)[1]
        data = data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    for change in rng.choices(OPERATIONS, k=rng.choice((1, 1, 1, 2, 4))):
        if len(data) > 200:
            change(data, rng)
    return name, bytes(data)


OPERATIONS: list[Callable[[bytearray, random.Random], None]] = [
    flip_bits, flip_bits, cut_off, lose_a_piece, repeat_a_piece, false_length, swap_tags, other_kind,
    other_geometry, other_geometry, other_table, huge,
]  # fmt: skip


def outcome(file: Path) -> tuple[str, str]:
    """What reading gave, "image" or the reason of the error; and what is wrong with that, or nothing."""
    try:
        (image,) = read(file, overlays=True, max_bytes=LIMIT)
        picture = image.view(32)
    except DicomError as error:
        said = " ".join([str(error), repr(error), repr(vars(error)), repr(error.__cause__), repr(error.__context__)])
        trace = "".join(traceback.format_exception(error))
        if error.reason not in REASONS or "\n" in str(error) or len(str(error)) > 300:
            return "error", f"no proper error: {error.reason} {error}"
        if any(mark in part for mark in MARKS for part in (said, trace)) or str(file.parent) in said:
            return "error", f"an identifier is in the error: {said}"
        return error.reason, ""
    except BaseException as error:  # noqa: BLE001 this is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "error", f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}: {error}"
    name = image.window.name if image.window else None
    facts = (image, dict(image.attributes), image.windows, image.window, name, image.unit, image.modality)
    said = " ".join(map(repr, facts))
    if any(mark in said for mark in MARKS):
        return "image", f"an identifier is in the image: {said}"
    return "image", "" if picture.dtype == np.uint8 else "its picture is no picture"


def main(seeds_folder: str, first: str, count: str, out: str) -> None:
    seeds = [(path.name, path.read_bytes()) for path in sorted(Path(seeds_folder).iterdir())]
    file = Path(out, "scan.dcm")
    for _, whole in seeds:  # what is loaded on first use is loaded before memory is limited
        file.write_bytes(whole)
        outcome(file)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    warnings.simplefilter("error")
    counts: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    slowest = 0.0
    progress = os.open(Path(out, "progress"), os.O_CREAT | os.O_WRONLY)
    for k in range(int(first), int(first) + int(count)):
        name, data = mutated(seeds, k)
        os.pwrite(progress, f"mutation {k:9} of {name:60}".encode(), 0)
        file.write_bytes(data)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        began = time.process_time()
        kind, complaint = outcome(file)
        slowest = max(slowest, time.process_time() - began)
        faulthandler.cancel_dump_traceback_later()
        counts[kind] += 1
        if complaint:
            wrong.append(f"mutation {k} of {name}: {complaint}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    report = {"counts": counts, "wrong": wrong, "slowest_s": slowest, "grown_mib": grown}
    Path(out, "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
