"""Small pictures, and ways in which published files carry them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq


def picture(seed: int, mode: str = "L") -> PIL.Image.Image:
    """20 x 12 pixels of random values."""
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        return PIL.Image.fromarray(rng.integers(0, 60000, (12, 20), np.uint16))
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    values = rng.integers(0, 255, (12, 20, channels), np.uint8)
    return PIL.Image.fromarray(values[..., 0]) if channels == 1 else PIL.Image.fromarray(values, mode)


def picture_bytes(seed: int, mode: str = "L", form: str = "png") -> bytes:
    file = io.BytesIO()
    picture(seed, mode).save(file, form)
    return file.getvalue()


def save(path: Path, seed: int, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    form = "jpeg" if path.suffix in (".jpg", ".jpeg") else "png"
    path.write_bytes(picture_bytes(seed, mode, form))


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def embedded(seed: int | None, mode: str = "L", form: str = "png") -> dict[str, Any] | None:
    """A cell of the Hub's picture columns."""
    return None if seed is None else {"bytes": picture_bytes(seed, mode, form), "path": f"{seed}.{form}"}


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}), path)
