"""Identifiers planted in every text element of real files appear in nothing that leaves the reader or the tools."""

from __future__ import annotations

import contextlib
import io
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from medvistagym_core.imaging import Box, Image
from medvistagym_dicom import (
    DicomError,
    acquisition,
    area,
    auto_window,
    distance,
    measure,
    project,
    read,
    read_one,
    reformat,
    window,
    zoom,
)

Files = Callable[[str], Path]
Write = Callable[..., Path]

# One planted value for each kind of text element, as long as the kind allows, each with a mark of its own.
PLANTED = {
    "AE": "ZQXAETITLE", "AS": "077Y", "CS": "ZQXCODE", "DA": "19370911", "DT": "19370911081527", "LO": "ZQX^Long^Name",
    "LT": "ZQX long text", "PN": "ZQX^Plantagenet^Eleanor", "SH": "ZQXSHORT", "ST": "ZQX short text", "TM": "081527",
    "UC": "ZQX unlimited", "UI": "1.2.840.99.19370911.4711", "UR": "http://zqx.example/4711", "UT": "ZQX unlimited text",
    "IS": "918273645", "DS": "918273.645",
}  # fmt: skip
MARKS = (b"ZQX", b"zqx", b"19370911", b"081527", b"918273", b"077Y", b"Plantagenet")
# Text elements without which the pixels could not be read or would mean something else.
KEPT = {
    "PhotometricInterpretation", "NumberOfFrames", "SpecificCharacterSet", "RescaleSlope", "RescaleIntercept", "WindowCenter",
    "WindowWidth",
}  # fmt: skip
NAMES = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "693_J2KR.dcm", "US1_UNCR.dcm",
    "MR-SIEMENS-DICOM-WithOverlays.dcm", "JPEG-LL.dcm", "eCT_Supplemental.dcm", "emri_small_RLE.dcm", "rtdose.dcm",
    "liver_1frame.dcm", "examples_palette.dcm", "vlut_04.dcm", "mlut_18.dcm", "image_dfl.dcm", "RG3_UNCR.dcm",
]  # fmt: skip


def plant(ds: Dataset) -> None:
    """Overwrite every text element of a data set and of its sequences, and add some that are not there."""
    for element in list(ds):
        if element.VR == "SQ":
            for item in element.value:
                plant(item)
        elif element.VR in PLANTED and element.keyword not in KEPT:
            element.value = PLANTED[element.VR]
    ds.PatientName, ds.PatientID, ds.PatientComments = PLANTED["PN"], PLANTED["LO"], PLANTED["LT"]
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition, ds.ImageLaterality = [PLANTED["CS"]] * 4
    ds.WindowCenter, ds.WindowWidth, ds.WindowCenterWidthExplanation = 40, 400, PLANTED["LO"]
    ds.VOILUTFunction = ds.BurnedInAnnotation = PLANTED["CS"]
    ds.RescaleType, ds.SeriesInstanceUID = PLANTED["LO"], PLANTED["UI"]
    ds.SliceThickness, ds.KVP = PLANTED["DS"], PLANTED["DS"]
    ds.ConvolutionKernel, ds.PatientPosition, ds.ScanningSequence = PLANTED["SH"], PLANTED["CS"], PLANTED["CS"]
    ds.GantryDetectorTilt, ds.RepetitionTime, ds.Exposure = PLANTED["DS"], PLANTED["DS"], PLANTED["IS"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [PLANTED["DS"]] * 3, [PLANTED["DS"]] * 6
    block = ds.private_block(0x0011, "ZQX PRIVATE", create=True)
    block.add_new(0x01, "LO", PLANTED["LO"])


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[Path], Path]:
    def planted_copy(source: Path) -> Path:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(source)
            plant(ds)
            ds.save_as(tmp_path / "planted.dcm")
        return tmp_path / "planted.dcm"

    return planted_copy


def told(image: Image) -> Iterator[bytes]:
    """Everything that an image and the tools' results on it hold or say."""
    results = [
        zoom.run({"image": image, "box": Box(100, 100, 700, 700)}),
        measure.run({"image": image, "box": Box(0, 0, 500, 500)}),
        window.run({"image": image, "center": 10.0, "width": 20.0}),
        window.run({"image": image, "preset": "lung"}),
        auto_window.run({"image": image}),
        distance.run({"image": image, "from_point": [0, 0], "to_point": [500, 500]}),
        area.run({"image": image, "ellipse": Box(100, 100, 700, 700)}),
        reformat.run({"image": image, "plane": "coronal"}),
        project.run({"image": image, "method": "maximum"}),
        acquisition.run({"image": image}),
    ]
    for result in results:
        yield repr((result.text, result.data, result.error)).encode()
    for shown in (image, *[made for result in results for made in result.images]):
        for name in (
            "unit",
            "spacing",
            "modality",
            "photometric",
            "window",
            "windows",
            "to_source",
            "source_shape",
            "frame",
            "attributes",
        ):
            yield repr(getattr(shown, name)).encode()
        yield repr(shown).encode()
        yield pickle.dumps(shown)


def marks_in(parts: Iterator[bytes]) -> set[bytes]:
    return {mark for part in parts for mark in MARKS if mark in part}


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", NAMES)
def test_nothing_planted_leaves_with_an_image(
    name: str, path: Files, planted: Callable[[Path], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    file = planted(path(name))
    assert any(mark in file.read_bytes() for mark in MARKS) or name == "image_dfl.dcm"
    for image in read(file, overlays=True):
        assert marks_in(told(image)) == set()
    captured = capfd.readouterr()
    assert marks_in(iter([captured.out.encode(), captured.err.encode()])) == set()


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "693_J2KR.dcm", "MR_small_RLE.dcm", "eCT_Supplemental.dcm", "US1_UNCR.dcm"]
)
def test_nothing_planted_leaves_with_an_error(
    name: str, path: Files, planted: Callable[[Path], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = planted(path(name)).read_bytes()
    broken = tmp_path / "broken.dcm"
    texts = []
    for k in range(1, 40):
        rotten = bytearray(whole[: len(whole) * k // 40] if k % 2 else whole)
        for place in range(132 + k, min(len(rotten), 4000), 97):
            rotten[place] ^= k
        broken.write_bytes(rotten)
        try:
            read(broken)
        except DicomError as error:
            texts += [
                repr(error),
                "".join(traceback.format_exception(error)),
                repr(error.__context__),
                repr(error.__cause__),
            ]
            texts.append(repr(vars(error)))
    assert texts
    captured = capfd.readouterr()
    assert marks_in(text.encode() for text in [*texts, captured.out, captured.err]) == set()
    assert not any(str(tmp_path.parent) in text.split('File "')[0] for text in texts if text.startswith("DicomError"))


def test_known_words_and_plausible_numbers_do_leave(write: Write) -> None:
    import numpy as np

    file = write(
        np.zeros((4, 4), np.int16), BodyPartExamined="CHEST", ViewPosition="PA", ImageLaterality="L", KVP=120, SliceThickness=5,
        BurnedInAnnotation="NO", LossyImageCompression="01", PatientAge="042Y", PatientSex="F", StudyDate="20200102",
        PatientPosition="HFS", ConvolutionKernel="B30f", GantryDetectorTilt=-12, ScanningSequence=["GR", "EP"], EchoTime=4.2,
        RepetitionTime=0, ImagePositionPatient=[1, -2.5, 3], ImageOrientationPatient=[1, 0, 0, 0, 0, -1], RescaleSlope=1,
        RescaleIntercept=-1024, PixelPaddingValue=-2000,
    )  # fmt: skip
    assert dict(read_one(file).attributes) == {
        "body_part": "chest",
        "view_position": "PA",
        "laterality": "left",
        "kvp": "120",
        "slice_thickness_mm": "5",
        "burned_in_annotation": "no",
        "lossy": "yes",
        "patient_position": "HFS",
        "kernel": "B30f",
        "gantry_tilt_deg": "-12",
        "sequence": "GR/EP",
        "echo_time_ms": "4.2",
        "rescale": "1 -1024",
        "padding": "-3024 -3024",
        "position_mm": "1 -2.5 3",
        "direction": "1 0 0 0 0 -1",
    }


def test_an_error_names_the_file_and_not_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "ZQX^Plantagenet"
    folder.mkdir()
    (folder / "scan.dcm").write_text("no DICOM " * 30)
    for path in (folder / "scan.dcm", folder / "none.dcm"):
        with pytest.raises(DicomError, match=rf"^{path.name}: ") as caught:
            read(path)
        assert "Plantagenet" not in str(caught.value)
