"""Thousands of mutations of real files, read in a process of their own: an image or a typed error, and nothing else.

Each seed carries planted identifiers in all its text. What is looked for: a crash, a hang, an exception of another type, a
warning, output on the streams, memory out of proportion, and a planted identifier in anything that comes back.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

WORKER = Path(__file__).with_name("fuzz_worker.py")
GUIDED = Path(__file__).with_name("guided_worker.py")
SEEDS = [
    "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "JPEG-LL.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_small_odd.dcm", "CT_small.dcm", "emri_small_jpeg_2k_lossless.dcm", "rtdose.dcm", "rtdose_rle.dcm", "image_dfl.dcm",
    "liver_1frame.dcm", "693_J2KI.dcm", "SC_ybr_full_422_uncompressed.dcm", "vlut_04.dcm", "mlut_18.dcm",
    "examples_palette.dcm",
]  # fmt: skip
FIRST_ROWS = {
    "vlut_04.dcm",
    "mlut_18.dcm",
    "examples_palette.dcm",
}  # of large files with tables the first eight rows will do
KEPT = {"PhotometricInterpretation", "NumberOfFrames", "SpecificCharacterSet"}


def plant(ds: Dataset) -> None:
    for element in list(ds):
        if element.VR == "SQ":
            for item in element.value:
                plant(item)
        elif element.VR in ("PN", "LO", "SH", "LT", "ST", "UT", "CS") and element.keyword not in KEPT:
            element.value = "ZQX^Plantagenet" if element.VR != "CS" else "ZQXCODE"
    ds.PatientName = "ZQX^Plantagenet^Eleanor"
    ds.BodyPartExamined, ds.ViewPosition, ds.ConvolutionKernel = "ZQXPART", "ZQXVIEW", "ZQXKERNEL"
    ds.WindowCenter, ds.WindowWidth, ds.WindowCenterWidthExplanation = 40, 400, "ZQX^Window"
    ds.private_block(0x0011, "ZQX PRIVATE", create=True).add_new(0x01, "LO", "zqx")


@pytest.fixture(scope="module")
def seeds(path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    for name in SEEDS:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path(name))
            plant(ds)
            if "VOILUTSequence" in ds:  # then the table is what is shown
                del ds.WindowCenter
            if name in FIRST_ROWS:
                ds.PixelData, ds.Rows = ds.PixelData[: len(ds.PixelData) // ds.Rows * 8], 8
            ds.save_as(folder / name)
        assert b"Plantagenet" in (folder / name).read_bytes() or name == "image_dfl.dcm"  # which is deflated
    return folder


def check(seeds: Path, first: int, count: int, out: Path, design: str = "bytes") -> None:
    # The limit is far above what is needed; a single file that hangs is ended by the worker itself.
    ran = subprocess.run(
        [sys.executable, str(WORKER), str(seeds), str(first), str(count), str(out), design],
        capture_output=True, text=True, timeout=120 + count / 10, check=False,
    )  # fmt: skip
    last = (out / "progress").read_text() if (out / "progress").exists() else "before the first mutation"
    assert ran.returncode == 0, f"the reader crashed or hung at {last}: {ran.stderr[-2000:]}"
    assert (ran.stdout, ran.stderr) == ("", "")
    report = json.loads((out / "report.json").read_text())
    assert report["wrong"] == []
    assert report["grown_mib"] < 600
    assert report["slowest_s"] < 5
    counts = report["counts"]
    assert sum(counts.values()) == count
    assert counts["image"] > count / 20  # mutations reach past the header
    reasons = {"truncated", "corrupt", "unsupported", "too_large", "no_pixels"}
    assert reasons | ({"not_an_image"} if design == "bytes" else set()) <= counts.keys()
    print(f"{count} files with other {design}, the slowest {report['slowest_s']:.1f} s: {counts}")


def test_mutated_files_give_an_image_or_a_sentence(seeds: Path, tmp_path: Path) -> None:
    check(seeds, 0, 1_000, tmp_path)


@pytest.mark.slow
def test_many_more_mutated_files_do_too(seeds: Path, tmp_path: Path) -> None:
    check(seeds, 1_000, 10_000, tmp_path)


def test_data_sets_that_say_something_else_give_an_image_or_a_sentence(seeds: Path, tmp_path: Path) -> None:
    check(seeds, 0, 330, tmp_path, "elements")


@pytest.mark.attack
def test_many_more_data_sets_do_too(seeds: Path, tmp_path: Path) -> None:
    check(seeds, 330, 4_670, tmp_path, "elements")


@pytest.mark.attack
def test_files_that_reach_every_line_do_too(seeds: Path, tmp_path: Path) -> None:
    """As many as ATTACK_MUTATIONS says, each made from one that reached lines that none before it had."""
    count = int(os.environ.get("ATTACK_MUTATIONS", "100000"))
    small = tmp_path / "small"
    small.mkdir()
    for path in seeds.iterdir():
        if path.stat().st_size < 60_000:
            (small / path.name).write_bytes(path.read_bytes())
    ran = subprocess.run(
        [sys.executable, str(GUIDED), str(small), str(count), str(tmp_path)],
        capture_output=True, text=True, timeout=300 + count / 10, check=False,
    )  # fmt: skip
    wrong = (tmp_path / "wrong").read_text() if (tmp_path / "wrong").exists() else ""
    assert wrong == ""
    assert ran.returncode == 0, ran.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    print(f"{sum(report['counts'].values())} files, the slowest {report['slowest_s']:.1f} s: {report['counts']}")
    assert sum(report["counts"].values()) >= count - 1000  # it is written every thousand
    assert report["slowest_s"] < 20
    assert len(list((tmp_path / "corpus").iterdir())) > 50  # it found its way
