"""Pictures and tables for the tests of this folder, written as users have them."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

ROWS: list[dict[str, Any]] = [
    {"image": "chest.png", "question": "Is there a nodule?", "answer": "no", "split": "train", "modality": "X-ray"},
    {"image": "head.png", "question": "Which plane is it?", "answer": "axial", "split": "train", "modality": "CT"},
    {
        "image": "head.png",
        "question": "How wide is it?",
        "answer": "12",
        "unit": "mm",
        "split": "test",
        "modality": "CT",
    },
    {"image": "chest.png", "question": "Is it frontal?", "answer": "Yes", "split": "test", "modality": "X-ray"},
]


def picture(seed: int, mode: str = "L", size: tuple[int, int] = (24, 16)) -> PIL.Image.Image:
    """A picture of random values: `size` is width and height."""
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        return PIL.Image.fromarray(rng.integers(0, 60000, size[::-1], np.uint16))
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    values = rng.integers(0, 255, (*size[::-1], channels), np.uint8)
    return PIL.Image.fromarray(values[..., 0] if channels == 1 else values, mode=None if channels != 4 else "CMYK")


def picture_bytes(seed: int, form: str = "png", mode: str = "L") -> bytes:
    file = io.BytesIO()
    picture(seed, mode).save(file, form)
    return file.getvalue()


def write_pictures(folder: Path, names: Sequence[str] = ("chest.png", "head.png")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(folder / name)
    return folder


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """CSV, or TSV by the file's ending."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> Path:
    """Parquet as the Hub has it: a picture is a struct of its bytes and its path."""
    seeds = {"chest.png": 0, "head.png": 1}
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in columns}
    table["image"] = [
        None if name is None else {"bytes": picture_bytes(seeds[name]), "path": name} for name in table["image"]
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path, **options)
    return path


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()
