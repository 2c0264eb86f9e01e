"""Reads mutated DICOM files, one after the other, under limits of time and memory, and tells what came of each.

Run as a script: `fuzz_worker.py SEEDS FIRST COUNT OUT [DESIGN]`. SEEDS is a folder of files; the mutation with number k is
always the same. The design "bytes" changes the bytes of a file, "elements" the elements of its data set, so that it is written
well and says something else. The mutation's number is in OUT/progress while it is read, so that a crash or a hang can be
traced; OUT/report.json is written at the end.
"""

from __future__ import annotations

import collections
import faulthandler
import io
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
from typing import Any

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


SYNTAXES = [
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.100",
]  # fmt: skip
SAYINGS: dict[str, list[Any]] = {
    "SamplesPerPixel": [0, 1, 2, 3, 4, 65535], "BitsAllocated": [0, 1, 8, 12, 16, 24, 32, 64],
    "BitsStored": [0, 1, 7, 12, 17, 65],
    "HighBit": [0, 6, 11, 15, 31], "PixelRepresentation": [0, 1, 2], "PlanarConfiguration": [0, 1, 2],
    "Rows": [0, 1, 5, 64, 4096, 65535], "Columns": [0, 1, 5, 64, 4096, 65535],
    "NumberOfFrames": ["0", "1", "2", "7", "99999", "-3"],
    "PhotometricInterpretation": [
        "MONOCHROME1", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR", "ARGB", "", "monochrome2 ",
    ],
    "RescaleSlope": ["0", "1e300", "-1", "nan", ""], "RescaleIntercept": ["1e300", "-1024", "inf", ""],
    "WindowCenter": [["40", "50"], "1e300", ""], "WindowWidth": ["0", "-5", ["400"], "1e-300"],
    "PixelSpacing": [["0", "0"], ["1e-9", "1e9"], ["1"], ["-1", "1"]], "ImagerPixelSpacing": [["0.1", "0.2"], ["0", "1"]],
    "PixelAspectRatio": [["0", "1"], ["1", "65535"], ["-1", "1"]], "PixelPaddingValue": [0, 65535],
    "ImageOrientationPatient": [["1", "0", "0", "1", "0", "0"], ["nan"] * 6, ["0"] * 6, ["1", "0"]],
    "ImagePositionPatient": [["1e308"] * 3, ["a", "b", "c"], ["0"]],
    "SpecificCharacterSet": ["ISO_IR 192", "ISO 2022 IR 87", "nonsense"],
    "Modality": ["CT", "US", "SEG", "RTDOSE", "", "ZZ"], "VOILUTFunction": ["SIGMOID", "LINEAR_EXACT", "?"],
    "EstimatedRadiographicMagnificationFactor": ["0", "2", "-1"], "LossyImageCompression": ["01"],
}  # fmt: skip


def change_elements(ds: Any, rng: random.Random) -> None:
    """Leave elements out, empty them, give them other values or another's, or move items between sequences."""
    from pydicom.dataset import Dataset

    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        places = [ds, *(item for element in ds if element.VR == "SQ" for item in element.value)]
        place = rng.choice(places)
        tags = list(place.keys())
        if not tags:
            continue
        tag = rng.choice(tags)
        match rng.randrange(8):
            case 0:
                del place[tag]
            case 1:
                place[tag].value = place[tag].value[:0] if place[tag].VR == "SQ" else None
            case 2 | 3 | 4:
                name = rng.choice(list(SAYINGS))
                setattr(place if rng.random() < 0.3 else ds, name, rng.choice(SAYINGS[name]))
            case 5:
                ds.file_meta.TransferSyntaxUID = rng.choice(SYNTAXES)
            case 6:
                inner = Dataset()
                inner.add(place[tag])
                ds.SharedFunctionalGroupsSequence = [inner] * rng.choice((1, 3))
            case _:
                data = bytes(ds.get("PixelData", b"") or b"")
                ds.PixelData = data[: rng.randrange(len(data) + 1)] + data[: rng.choice((0, 8, 1000))]


def changed_elements(seeds: list[tuple[str, bytes]], k: int) -> tuple[str, bytes]:
    """The k-th mutation of another design: a data set that is written well."""
    import pydicom
    from pydicom.filewriter import dcmwrite

    rng = random.Random(-1 - k)
    name, whole = seeds[k % len(seeds)]
    for _ in range(20):  # some changes cannot be written
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(io.BytesIO(whole))
            written = io.BytesIO()
            try:
                change_elements(ds, rng)
                if ds.file_meta.TransferSyntaxUID == SYNTAXES[3]:
                    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(SYNTAXES[1])
                dcmwrite(written, ds, implicit_vr=None, little_endian=None, enforce_file_format=False)
            except Exception:  # noqa: BLE001 whatever pydicom says of it
                continue
        return name, written.getvalue()
    return name, whole


OPERATIONS: list[Callable[[bytearray, random.Random], None]] = [
    flip_bits, flip_bits, cut_off, lose_a_piece, repeat_a_piece, false_length, swap_tags, other_kind,
    other_geometry, other_geometry, other_table, huge,
]  # fmt: skip


DESIGNS = {"bytes": mutated, "elements": changed_elements}


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


def main(seeds_folder: str, first: str, count: str, out: str, design: str = "bytes") -> None:
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
        name, data = DESIGNS[design](seeds, k)
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
