"""The page to try tools on a CT of 500 slices: how soon a slice is shown, how soon the next ones, and in how much memory.

`python benchmarks/play.py` writes a series of 500 slices of 512 x 512 as DICOM files, serves the page from them, and asks as a
browser does: for a slice as soon as the series is chosen, for all of it, and then for one slice after another, each for the
first time. It prints milliseconds and MiB; nothing is compared, since there is no peer that serves DICOM to tools.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medvistagym_core.execution import LocalExecutor
from medvistagym_core.play import PlayServer, PlaySession, find_sources
from medvistagym_core.plugins import Registry

SLICES = 500
SIDE = 512


def write_series(folder: Path) -> None:
    """A noisy sphere with a lung inside, one file a slice."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    noise = rng.normal(0, 15, (SIDE, SIDE))
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(SLICES):
        height = (number - SLICES / 2) / (SLICES / 2)
        distance = (x / 200) ** 2 + (y / 150) ** 2 + height**2
        values = np.where(distance < 1, 40 + np.roll(noise, number * 17, 0), -1000)
        values = np.where(distance < 0.2, -850, values)
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = CTImageStorage
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
        file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = study, series, frame
        file.Modality, file.Rows, file.Columns, file.SamplesPerPixel = "CT", SIDE, SIDE, 1
        file.PixelSpacing, file.SliceThickness, file.InstanceNumber = [0.7, 0.7], 1.0, number + 1
        file.ImagePositionPatient = [-179.2, -179.2, float(number)]
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation, file.PhotometricInterpretation = 15, 1, "MONOCHROME2"
        file.RescaleSlope, file.RescaleIntercept, file.RescaleType = 1, 0, "HU"
        file.WindowCenter, file.WindowWidth = 40, 400
        file.PixelData = values.astype("<i2").tobytes()
        file.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)


def ask(page: PlayServer, path: str, body: dict[str, Any] | None = None) -> tuple[float, bytes]:
    """The milliseconds of a request, and its answer."""
    start = time.perf_counter()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=120)) as connection:
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        connection.request(method, f"/{page.secret}/{path}", data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:200]!r}")
    return 1000 * (time.perf_counter() - start), content


def main() -> None:
    """Measure and print."""
    registry = Registry.discover()
    toolbox = registry.toolbox("*")
    with tempfile.TemporaryDirectory() as name, LocalExecutor(toolbox) as executor:
        write_series(Path(name))
        with PlayServer(PlaySession(toolbox, executor), find_sources(Path(name)), registry.readers) as page:
            first, _ = ask(page, "preview/0.png?side=1024")
            whole, _ = ask(page, "open", {"source": 0})
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            next_ones = sorted(ask(page, f"slice/0/{frame}.png?side=1024")[0] for frame in range(SLICES))
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"first slice            {first:8.0f} ms")
            print(f"all {SLICES} read          {whole:8.0f} ms")
            print(f"next slice, median     {statistics.median(next_ones):8.1f} ms")
            print(f"next slice, 99 of 100  {next_ones[int(0.99 * len(next_ones))]:8.1f} ms")
            print(f"memory, series open    {before:8.0f} MiB")
            print(f"memory, all seen       {after:8.0f} MiB, of them pictures {page.slices.kept_bytes / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
