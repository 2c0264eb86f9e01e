"""Volumes, tables, archives, configurations and templates that are small and ask for much: little is spent on each.

Pictures and DICOM files have tests of their own; a file that is read well costs no more than one that is refused.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import costs
import PIL.Image
import pytest

MIB = 1 << 20
Write = Callable[[Path], None]


def stream(pattern: bytes, count: int, *, end: bytes = b"", start: bytes = b"", window: int = 31) -> bytes:
    """A compressed file of a pattern that is repeated to so many bytes; gzip unless told otherwise."""
    packer = zlib.compressobj(1, zlib.DEFLATED, window)
    block = pattern * (MIB // len(pattern))
    parts = [packer.compress(start), *(packer.compress(block) for _ in range(count // len(block)))]
    return b"".join([*parts, packer.compress(end), packer.flush()])


def nifti(sides: tuple[int, ...], *, code: int = 4, bits: int = 16, slope: float = 0, offset: float = 352) -> bytes:
    dim = [len(sides), *sides, *[1] * (7 - len(sides))]
    head = struct.pack("<i36x8h14x2h2x8f3f", 348, *dim, code, bits, 1, *[1.0] * 7, offset, slope, 0)
    return head.ljust(344, b"\0") + b"n+1\0" + bytes(4)


def nrrd(sizes: str, *, encoding: str = "gzip", more: str = "", kind: str = "int16") -> bytes:
    axes = len(sizes.split())
    lines = [
        "NRRD0004",
        f"type: {kind}",
        f"dimension: {axes}",
        f"sizes: {sizes}",
        f"encoding: {encoding}",
        "endian: little",
    ]
    return ("\n".join([*lines, *([more] if more else [])]) + "\n\n").encode()


def metaimage(sizes: str, *, more: str = "", kind: str = "MET_SHORT") -> bytes:
    return (
        f"ObjectType = Image\nNDims = {len(sizes.split())}\nDimSize = {sizes}\n{more}ElementType = {kind}\n"
        "ElementDataFile = LOCAL\n"
    ).encode()


def jpeg_2000(width: int, height: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("L", (16, 16)).save(file, "jpeg2000")
    data = bytearray(file.getvalue())
    head, size = data.find(b"ihdr"), data.find(b"\xff\x4f\xff\x51")
    struct.pack_into(">II", data, head + 4, height, width)
    for at, pair in ((8, (width, height)), (24, (width, height))):
        struct.pack_into(">II", data, size + at, *pair)
    return bytes(data)


def png(side: int = 2) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("L", (side, side)).save(file, "png")
    return file.getvalue()


def npy(shape: str, dtype: str = "<i2", size: int = 64) -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(size)


def archive(members: dict[str, bytes | int], claims: dict[str, int] | None = None) -> bytes:
    """A ZIP archive; a number stands for so many zeros, and some members may claim to be smaller than they are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as written:
        for name, content in members.items():
            with written.open(name, "w", force_zip64=True) as member:
                if isinstance(content, int):
                    for _ in range(content // MIB):
                        member.write(bytes(MIB))
                else:
                    member.write(content)
        for name, size in (claims or {}).items():
            written.getinfo(name).file_size = size
    return file.getvalue()


def parquet(table: Callable[[Any], Any], **options: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(table(pa), file, compression="zstd", **options)
    return file.getvalue()


def lying_parquet(table: Callable[[Any], Any], **options: Any) -> bytes:
    """A parquet file whose footer says of its columns that they have 100 bytes."""
    import pyarrow.parquet as pq

    data = parquet(table, **options)
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    for number in range(metadata.num_columns):
        stated = metadata.row_group(0).column(number).total_uncompressed_size
        if stated < MIB:
            continue
        size = varint(stated)
        at = data.rfind(size)
        assert at >= 0
        data = data[:at] + varint(100, len(size)) + data[at + len(size) :]
    return data


def varint(number: int, length: int = 0) -> bytes:
    """A number in Thrift's compact protocol, in as many bytes as are asked for or needed."""
    zigzag = 2 * number
    groups: list[int] = []
    while zigzag or len(groups) < max(1, length):
        groups.append(zigzag & 127)
        zigzag >>= 7
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def one_text(pa: Any, size: int) -> Any:
    return pa.table({"question": ["a" * size], "answer": ["yes"]})


def same_text(pa: Any, size: int, rows: int) -> Any:
    """A long text that is stored once, as the dictionary of a column."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * size]))
    return pa.table({"question": texts, "answer": pa.array(["yes"] * rows)})


def many_columns(pa: Any, count: int) -> Any:
    return pa.table({f"c{number}": ["a"] for number in range(count)})


def same_picture(pa: Any, size: int, rows: int) -> Any:
    """A picture that is stored once, as the dictionary of a column."""
    pictures = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([bytes(size)], pa.binary()))
    return pa.table({"question": ["a"] * rows, "answer": ["a"] * rows, "image": pictures})


def deep_column(pa: Any, depth: int) -> Any:
    value, kind = [], pa.int32()
    for _ in range(depth):
        value, kind = [value] if value else [], pa.list_(kind)
    return pa.table({"question": ["a"], "answer": ["a"], "options": pa.array([value], kind)})


def cells(pa: Any, size: int) -> Any:
    return pa.table({"question": ["a"], "answer": ["a"], "image": pa.array([bytes(size)], pa.binary())})


BUNDLE_METADATA = {
    "version": "0.1.0", "monai_version": "1.6.1", "task": "a",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1}},
        "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "bright"}}},
    },
}  # fmt: skip
NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
}


def bundle(
    metadata: str | None = None, config: str | None = None, weights: bytes | None = b"", **sections: Any
) -> Write:
    """What writes a MONAI bundle, with some sections of its configuration in place of healthy ones."""
    whole = {
        "channels": [2], "network_def": NETWORK,
        "preprocessing": {"_target_": "Compose", "transforms": []},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "softmax": True}]},
    }  # fmt: skip

    def write(folder: Path) -> None:
        for name in ("configs", "models"):
            (folder / name).mkdir(parents=True)
        (folder / "configs" / "metadata.json").write_text(metadata or json.dumps(BUNDLE_METADATA))
        (folder / "configs" / "inference.json").write_text(config or json.dumps({**whole, **sections}))
        if weights is None:
            import torch

            torch.save({"a": torch.zeros(1_000_000)}, folder / "models" / "model.pt")
        else:
            (folder / "models" / "model.pt").write_bytes(weights)

    return write


def doubling(levels: int) -> dict[str, Any]:
    """References of which each holds the one before twice."""
    sections = {f"s{level}": [f"@s{level - 1}", f"@s{level - 1}"] for level in range(1, levels)}
    return {"s0": [1, 2], **sections, "network_def": {**NETWORK, "channels": f"@s{levels - 1}"}}


def checkpoint(config: str, **others: str) -> Write:
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text(config)
        for name, text in others.items():
            (folder / f"{name}.json").write_text(text)
        (folder / "model.safetensors").write_bytes(bytes(8))

    return write


def folder_of(**files: bytes) -> Write:
    def write(folder: Path) -> None:
        folder.mkdir()
        for name, content in files.items():
            place = folder / name.replace("__", ".").replace("-", "/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    return write


def text(content: str) -> bytes:
    return content.encode()


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@functools.cache
def many_zeros() -> bytes:
    return stream(b"\0", 300 * MIB)


# Made when its test runs: bytes, or what writes a folder.
BOMBS: dict[str, dict[str, Callable[[], bytes | Write]]] = {
    "volume": {
        "cube.nii.gz": lambda: stream(b"\0", 320 * MIB, start=nifti((640, 640, 640))),
        "claimed.nii.gz": lambda: gzip.compress(nifti((640, 640, 640))),
        "largest.nii.gz": lambda: stream(b"\0", 256 * MIB, start=nifti((512, 512, 511))),
        "scaled.nii.gz": lambda: stream(b"\0", 128 * MIB, start=nifti((512, 512, 250), slope=0.5)),
        "bytes-to-float.nii.gz": lambda: stream(b"\0", 70 * MIB, start=nifti((512, 512, 255), code=2, bits=8, slope=0.5)),
        "offset.nii.gz": lambda: stream(b"\0", 256 * MIB, start=nifti((4, 4, 4), offset=2.0**28)),
        "extension.nii.gz": lambda: stream(
            b"\0", 256 * MIB, start=nifti((4, 4, 4), offset=2.0**26)[:-4] + struct.pack("<4B2i", 1, 0, 0, 0, 2**31 - 16, 0)
        ),
        "times.nii.gz": lambda: stream(b"\0", 64 * MIB, start=nifti((1, 1, 2, 32_000))),
        "seven-axes.nii": lambda: nifti((32767,) * 7) + bytes(64),
        "plain.nii": lambda: nifti((32767, 32767, 1)) + bytes(64),
        "line.nii.gz": lambda: stream(b"\0", 128 * MIB, start=nifti((32767, 1, 1800))),
        "cube.nrrd": lambda: nrrd("640 640 640") + many_zeros(),
        "claimed.nrrd": lambda: nrrd("100000 100000 100000") + gzip.compress(b""),
        "longer.nrrd": lambda: nrrd("8 8 8") + many_zeros(),
        "skip.nrrd": lambda: nrrd("8 8 8", more="byte skip: 2000000000") + many_zeros(),
        "fields.nrrd": lambda: nrrd("8 8 8", more="\n".join(f"a{n}:={n}" for n in range(200_000))) + bytes(1024),
        "line.nrrd": lambda: nrrd("8 8 8", encoding="raw", more="# " + "a" * 64 * MIB),
        "text.nrrd": lambda: nrrd("4000 4000 4", encoding="ascii") + b"1 " * 4 * MIB,
        "axes.nrrd": lambda: nrrd(" ".join(["2"] * 200_000)),
        "colours.nrrd": lambda: nrrd("3 1048576 100", kind="uchar", more="kinds: RGB-color domain domain") + many_zeros(),
        "cube-bz2.nrrd": lambda: nrrd("640 640 640", encoding="bzip2") + bz2.compress(bytes(64 * MIB)),
        "cube.mha": lambda: metaimage("640 640 640", more="CompressedData = True\n") + stream(b"\0", 320 * MIB, window=15),
        "claimed.mha": lambda: metaimage("1048576 1048576 1048576") + bytes(64),
        "header.mha": lambda: metaimage("8 8 8", more="Comment = " + "a" * 64 * MIB + "\n") + bytes(1024),
        "digits.mha": lambda: metaimage("9" * 60_000 + " 2 2") + bytes(64),
        "skip.mha": lambda: metaimage("8 8 8", more="CompressedData = True\nHeaderSize = 99999999999\n") + bytes(64),
    },
    "picture": {
        "claimed.jp2": lambda: jpeg_2000(60_000, 60_000),
        "wide.jp2": lambda: jpeg_2000(2**32 - 1, 1),
        "claimed.npy": lambda: npy("(99999, 99999, 999)"),
        "overflow.npy": lambda: npy("(4294967296, 4294967296, 4294967296, 4294967296)"),
        "nested.npy": lambda: npy("(" * 9000 + ")" * 9000),
        "objects.npy": lambda: npy("(9,)", "|O"),
    },
    "questions": {
        "line.jsonl": lambda: b'{"question": "' + b"a" * 20 * MIB + b'", "answer": "yes"}\n',
        "deep.jsonl": lambda: b'{"question": "a", "answer": ' + b"[" * 4 * MIB + b"\n",
        "digits.jsonl": lambda: b'{"question": "a", "answer": ' + b"9" * 4 * MIB + b"}\n",
        "keys.jsonl": lambda: text(json.dumps({**{f"k{n}": 0 for n in range(400_000)}, "question": "a"})),
        "lines.jsonl": lambda: b"\n" * 20 * MIB,
        "rows.jsonl": lambda: b'{"question":"a","answer":"yes"}\n' * 1_100_000,
        "empty-rows.jsonl": lambda: b"{}\n" * 100_000,
        "lists.jsonl": lambda: b'{"question": "a", "answer": [' + b"[]," * 8 * MIB + b"[]]}\n",
        "list.json": lambda: b"[" + b"[]," * 8 * MIB + b"[]]",
        "objects.json": lambda: b"[" + b"{}," * 3 * MIB + b"{}]",
        "deep.json": lambda: b"[" * 2 * MIB,
        "text.json": lambda: b'[{"question": "' + b"a" * 24 * MIB + b'"}]',
        "wide-text.json": lambda: text('[{"question": "\U0001f600' + "a" * 16 * MIB + '"}]'),
        "quote.csv": lambda: b'question,answer\n"' + b"a\n" * 15 * MIB,
        "commas.csv": lambda: b"question,answer\n" + b"," * 20 * MIB,
        "columns.csv": lambda: b"," * 8 * MIB + b"\n" + b"," * 8 * MIB,
        "cells.csv": lambda: b"question,answer\n" + b"a," * 8 * MIB + b"\n",
        "rows.csv": lambda: b"question,answer\n" + b"a,b\n" * 1_100_000,
        "quotes.tsv": lambda: b"question\tanswer\n" + b'""' * 16 * MIB,
        "text.parquet": lambda: parquet(lambda pa: one_text(pa, 300 * MIB)),
        "dictionary.parquet": lambda: parquet(lambda pa: same_text(pa, MIB, 20_000)),
        "rows.parquet": lambda: parquet(lambda pa: pa.table({"question": pa.nulls(20_000_000, pa.int8())})),
        "columns.parquet": lambda: parquet(lambda pa: many_columns(pa, 20_000)),
        "deep.parquet": lambda: parquet(lambda pa: deep_column(pa, 60)),
        "picture.parquet": lambda: parquet(lambda pa: cells(pa, 300 * MIB)),
        "pictures.parquet": lambda: parquet(lambda pa: same_picture(pa, 30 * MIB, 5_000)),
        "large-dictionary.parquet": lambda: parquet(lambda pa: same_text(pa, 50 * MIB, 5_000)),
        "dictionaries.parquet": lambda: parquet(lambda pa: same_text(pa, 7 * MIB, 5_000)),
        "lying-text.parquet": lambda: lying_parquet(lambda pa: one_text(pa, 300 * MIB)),
        "lying-picture.parquet": lambda: lying_parquet(lambda pa: cells(pa, 300 * MIB)),
        "lying-columns.parquet": lambda: lying_parquet(lambda pa: pa.table({f"c{n}": ["a" * 20 * MIB] for n in range(30)})),
        "footer.parquet": lambda: b"PAR1" + bytes(64) + struct.pack("<I", 2**31 - 1) + b"PAR1",
        "thrift.parquet": lambda: b"PAR1" + b"\x15\x02\x19\xfc\xff\xff\xff\xff\x07" * 8 + struct.pack("<I", 72) + b"PAR1",
    },
    "pictures": {
        "zeros.zip": lambda: archive({"a.png": 400 * MIB}),
        "lies.zip": lambda: archive({"a.png": 400 * MIB}, claims={"a.png": 100}),
        "picture.zip": lambda: archive({"a.png": png()[:8] + struct.pack(">I", 13) + b"IHDR" + struct.pack(
            ">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0) + bytes(64)}),
        "members.zip": lambda: archive({**{f"{number}": b"" for number in range(60_000)}, "a.png": png()}),
        "names.zip": lambda: archive({**{f"{number}{'a' * 60_000}": b"" for number in range(1_000)}, "a.png": png()}),
        "damaged.zip": lambda: archive({"a.png": png()})[:-22] + b"PK\5\6" + b"\xff" * 18,
    },
    "benchmark": {
        "slake-deep": lambda: folder_of(train__json=b"[" * 2 * MIB),
        "slake-lists": lambda: folder_of(train__json=b"[" + b"[]," * 8 * MIB + b"[]]"),
        "omnimedvqa-zip": lambda: folder_of(
            a__zip=archive({"Images/a.png": b"", "QA_information/Open-access/a.json": 400 * MIB})
        ),
        "omnimedvqa-lies": lambda: folder_of(
            a__zip=archive({"QA_information/Open-access/a.json": 400 * MIB}, claims={
                "QA_information/Open-access/a.json": 100})
        ),
        "omnimedvqa-many": lambda: folder_of(
            a__zip=archive({f"QA_information/Open-access/{n}.json": 40 * MIB for n in range(8)})
        ),
        "omnimedvqa-deep": lambda: folder_of(**{"QA_information-Open-access-a__json": b"[" * 2 * MIB}),
        "path_vqa-pickle": lambda: folder_of(train_qa__pkl=b"\x80\x04X\xff\xff\xff\x7fa."),
        "path_vqa-lists": lambda: folder_of(train_qa__pkl=b"\x80\x04(" + b"]" * 30 * MIB + b"l."),
        "path_vqa-memo": lambda: folder_of(train_qa__pkl=b"\x80\x04K\1r\xff\xff\xff\x0fl."),
    },
    "trajectories": {
        "deep.jsonl": lambda: b'{"id":' + b"[" * 4 * MIB + b"\n",
        "many.jsonl": lambda: b"x\n" * 200_000,
    },
    "results": {
        "rows.json": lambda: b'{"version": 1, "rows": [' + b"{}," * 2 * MIB + b"{}]}",
        "deep.json": lambda: b"[" * 2 * MIB,
        "text.json": lambda: b'{"task": "' + b"a" * 24 * MIB + b'"}',
    },
    "recipe": {
        "laughs.yaml": lambda: text(LAUGHS),
        "deep.yaml": lambda: b"[" * 190_000,
        "long.yaml": lambda: b"a: " + b"b" * 64 * MIB,
        "keys.yaml": lambda: text("".join(f"k{number}: 0\n" for number in range(20_000))),
        "merge.yaml": lambda: text("a: {b: 1}\n<<: " + "[" * 5000 + "{}" + "]" * 5000),
        "digits.yaml": lambda: b"a: " + b"9" * 190_000,
        "sexagesimal.yaml": lambda: b"a: 1" + b":59" * 60_000,
        "keys-of-keys.yaml": lambda: b"? " * 90_000,
        "quotes.yaml": lambda: b"'" * 199_999,
    },
    "models": {
        "deep.toml": lambda: b"a = " + b"[" * 8 * MIB,
        "dotted.toml": lambda: b"[" + b"a." * 200_000 + b"a]\n",
        "long.toml": lambda: b"a = '" + b"b" * 24 * MIB + b"'",
        "tables.toml": lambda: text("".join(f"[t{number}]\n" for number in range(200_000))),
        "dots.toml": lambda: text("".join(f"{'a.' * 400}k{number} = 1\n" for number in range(2_000))),
        "digits.toml": lambda: b"a = " + b"9" * MIB,
    },
    "servers": {
        "deep.json": lambda: b'{"mcpServers": ' + b"[" * 2 * MIB,
        "long.toml": lambda: b"[servers.a]\ncommand = '" + b"b" * 24 * MIB + b"'",
        "lists.json": lambda: b'{"mcpServers": {"a": {"args": [' + b"[]," * 8 * MIB + b"[]]}}}",
        "many.toml": lambda: text("".join(f"[servers.s{number}]\ncommand = 'a'\n" for number in range(100_000))),
    },
    "checkpoint": {
        "deep": lambda: checkpoint("[" * 2 * MIB),
        "labels": lambda: checkpoint(json.dumps({"id2label": {str(number): "a" for number in range(2_000_000)}})),
        "lists": lambda: checkpoint('{"a": [' + "[]," * 4 * MIB + "[]]}"),
        "digits": lambda: checkpoint('{"num_labels": "' + "9" * 8 * MIB + '"}'),
        "processor": lambda: checkpoint("{}", preprocessor_config="[" * 2 * MIB),
    },
    "bundle": {
        "deep-metadata": lambda: bundle(metadata="[" * 2 * MIB),
        "deep-config": lambda: bundle(config='{"network_def": ' + "[" * 2 * MIB),
        "long-config": lambda: bundle(config='{"a": "' + "b" * 24 * MIB + '"}'),
        "doubling": lambda: bundle(**doubling(60)),
        "circle": lambda: bundle(a="@b", b="@a", network_def="@a"),
        "wide": lambda: bundle(network_def={**NETWORK, "channels": [8192, 8192]}),
        "layers": lambda: bundle(network_def={**NETWORK, "channels": [64] * 60, "strides": [1] * 59, "num_res_units": 8000},
                         weights=None),
        "units": lambda: bundle(network_def={**NETWORK, "num_res_units": 8192}, weights=None),
        "window": lambda: bundle(inferer={"_target_": "SlidingWindowInferer", "roi_size": [8192] * 3, "overlap": 0.999}),
        "weights": lambda: bundle(weights=archive({"a/data.pkl": 300 * MIB, "a/version": b"3\n"})),
        "weights-claimed": lambda: bundle(weights=b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." * 4),
    },
    "template": {
        "loops.jinja": lambda: b"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "text.jinja": lambda: b"{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxx{% endfor %}{% endfor %}",
        "doubling.jinja": lambda: b"{% set n = namespace(s='x' * 1000) %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}"
        b"{% endfor %}",
        "times.jinja": lambda: b"{{ 'x' * 9999999999 }}",
        "format.jinja": lambda: b"{{ '%9999999999d' % 1 }}",
        "power.jinja": lambda: b"{{ 9 ** 9 ** 9 }}",
        "macro.jinja": lambda: b"{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "tools.jinja": lambda: b"{% if tools %}{{ 'x' * 9999999999 }}{% endif %}",
        "long.jinja": lambda: b"{# " + b"x" * 2 * MIB + b" #}",
        "deep.jinja": lambda: b"{{ " + b"(" * 100_000 + b" }}",
        "blocks.jinja": lambda: b"{% if a %}" * 90_000,
        "list.jinja": lambda: b"{% set l = [0] * 999999999 %}",
        "sort.jinja": lambda: b"{% for a in range(99999) %}{{ range(99999) | sort | length }}{% endfor %}",
        "number.jinja": lambda: b"{% set n = namespace(i=7) %}{% for a in range(99) %}{% set n.i = n.i * n.i %}{% endfor %}",
        "join.jinja": lambda: b"{{ (['x' * 100000] * 99999) | join(',') }}",
    },
}  # fmt: skip
FEW = {
    ("volume", "largest.nii.gz"), ("volume", "axes.nrrd"), ("volume", "cube.mha"), ("questions", "keys.jsonl"),
    ("questions", "dictionary.parquet"), ("questions", "commas.csv"), ("pictures", "zeros.zip"), ("pictures", "lies.zip"),
    ("benchmark", "path_vqa-memo"), ("recipe", "laughs.yaml"), ("models", "dotted.toml"), ("checkpoint", "lists"),
    ("template", "doubling.jinja"), ("results", "rows.json"), ("servers", "deep.json"),
}  # fmt: skip
CASES = [
    pytest.param(kind, name, id=f"{kind}-{name}", marks=[] if (kind, name) in FEW else pytest.mark.attack)
    for kind, files in BOMBS.items()
    for name in files
]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A healthy file of each kind: what is imported to read it is imported before a bomb is."""
    folder = tmp_path_factory.mktemp("healthy")
    files: dict[str, bytes] = {
        "picture": png(), "trajectories": b"", "results": b"{}", "recipe": b"name: a", "models": b"", "template": b"a",
        "volume": gzip.compress(nifti((2, 2, 2)) + bytes(16)), "pictures": archive({"a.png": png()}),
        "servers": b"[servers.a]\ncommand = 'a'", "questions": parquet(lambda pa: cells(pa, 4)),
    }  # fmt: skip
    endings = {"picture": ".png", "recipe": ".yaml", "volume": ".nii.gz", "questions": ".parquet", "servers": ".toml"}
    for kind, content in files.items():
        (folder / f"{kind}{endings.get(kind, '')}").write_bytes(content)
    found = {kind: folder / f"{kind}{endings.get(kind, '')}" for kind in files}
    for kind, write in {
        "bundle": bundle(),
        "checkpoint": checkpoint("{}"),
        "slake": folder_of(train__json=b"[]"),
    }.items():
        write(folder / kind)
        found[kind] = folder / kind
    return {**found, "benchmark": found["slake"]}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_bomb_costs_little(
    kind: str, name: str, tmp_path: Path, healthy: dict[str, Path], record_property: Callable[[str, object], None]
) -> None:
    made, file = BOMBS[kind][name](), tmp_path / name
    if isinstance(made, bytes):
        file.write_bytes(made)
    else:
        made(file)
    costs.assert_cheap(record_property, kind, name, file, healthy[kind])


def test_there_are_many_bombs_of_every_kind() -> None:
    from cost_worker import READERS

    assert BOMBS.keys() | {"dicom"} == READERS.keys()
    assert len(CASES) > 60
