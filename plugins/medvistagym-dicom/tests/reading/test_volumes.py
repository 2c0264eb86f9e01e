"""Which slices and frames make up a volume: by direction, place, echo, phase and time, never by names or the order of files."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    NuclearMedicineImageStorage,
    RTDoseStorage,
    SegmentationStorage,
    generate_uid,
)

from medvistagym_core.imaging import Image
from medvistagym_dicom import acquisition, read, read_one, read_study, reformat
from medvistagym_dicom.reading._dataset import DicomDataset

Write = Callable[..., Path]
AXIAL = [1, 0, 0, 0, 1, 0]


def values_of(image: Image) -> list[int]:
    """The value of each slice; all of its pixels have one."""
    assert all(np.ptp(pixels) == 0 for pixels in image.pixels)
    return [int(pixels.flat[0]) for pixels in (image.pixels if image.is_stack else image.pixels[None])]


def put(write: Write, slices: Sequence[dict[str, Any]], seed: int = 0) -> None:
    """Slices of one series, written in an order of chance; `value` fills a slice, `z` is its height."""
    order = list(slices)
    random.Random(seed).shuffle(order)
    for one in order:
        one = {"InstanceNumber": 1, **one}
        value, z = one.pop("value"), one.pop("z")
        write(
            np.full((16, 16), value, np.int16), **{
                "SeriesInstanceUID": "1.2.3", "ImagePositionPatient": [0, 0, z], "ImageOrientationPatient": AXIAL,
                "PixelSpacing": [1, 1], "RescaleSlope": 1, "RescaleIntercept": 0, **one,
            },
        )  # fmt: skip


def told(image: Image) -> str:
    return acquisition.run({"image": image}).text


HEIGHTS = [0.0, 5.0, 10.0, 15.0]


@pytest.mark.parametrize(
    ("first", "second", "told_by"),
    [
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, "acquisition number"),
        ({"EchoTime": 4.6}, {"EchoTime": 9.2}, "echo time"),
        ({"EchoNumbers": 1}, {"EchoNumbers": 2}, "echo time"),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, "time point"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "image type"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, {"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "image type"),
        ({"FrameReferenceTime": 0}, {"FrameReferenceTime": 5000}, "frame reference time"),
        ({"KVP": 80}, {"KVP": 140}, "tube voltage"),
        ({"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}, "kernel"),
        ({"InversionTime": 100}, {"InversionTime": 500}, "inversion time"),
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}, "diffusion weighting"),
        ({"TriggerTime": 10}, {"TriggerTime": 400}, "trigger time"),
        ({"AcquisitionTime": "100000.10"}, {"AcquisitionTime": "100000.90"}, "acquisition time"),
        (
            {"AcquisitionDate": "20200101", "AcquisitionTime": "235959"},
            {"AcquisitionDate": "20200102", "AcquisitionTime": "000010"}, "acquisition time",
        ),
        ({"AcquisitionDateTime": "20200101100000"}, {"AcquisitionDateTime": "20200101100130"}, "acquisition time"),
        ({"ContentTime": "100000"}, {"ContentTime": "110000"}, "content time"),
    ],
)  # fmt: skip
def test_two_volumes_at_the_same_places_come_apart(
    first: dict[str, Any], second: dict[str, Any], told_by: str, write: Write, tmp_path: Path
) -> None:
    put(write, [{"value": 100 + k, "z": z, **first} for k, z in enumerate(HEIGHTS)]
        + [{"value": 900 + k, "z": z, **second} for k, z in enumerate(HEIGHTS)])  # fmt: skip
    one, two = read(tmp_path)
    assert sorted([values_of(one), values_of(two)]) == [[100, 101, 102, 103], [900, 901, 902, 903]]
    assert one.spacing == two.spacing == (5.0, 1.0, 1.0)
    assert f"volume 1 of 2 of its series; told apart by {told_by}" in told(one)


def test_echoes_and_times_together(write: Write, tmp_path: Path) -> None:
    put(
        write,
        [
            {"value": 1000 * echo + 100 * time + k, "z": z, "EchoTime": 5.0 * echo, "TemporalPositionIdentifier": time}
            for echo in (1, 2) for time in (1, 2, 3) for k, z in enumerate(HEIGHTS)
        ],
    )  # fmt: skip
    images = read(tmp_path)
    assert [values_of(image)[0] for image in images] == [1100, 1200, 1300, 2100, 2200, 2300]
    assert all(values_of(image) == [values_of(image)[0] + k for k in range(4)] for image in images)
    assert images[0].attributes["told_apart_by"] == "echo time, time point"


def test_phases_of_a_beating_heart_belong_together_by_their_order_at_each_place(write: Write, tmp_path: Path) -> None:
    # each place is seen in all phases before the next one, and trigger times differ a little from place to place
    put(
        write,
        [
            {
                "value": 100 * phase + k, "z": z, "TriggerTime": 30.0 * phase + 0.4 * k,
                "AcquisitionTime": f"10{k:02d}{phase:02d}",
            }
            for phase in range(5) for k, z in enumerate(HEIGHTS)
        ],
    )  # fmt: skip
    assert [values_of(image) for image in read(tmp_path)] == [[100 * p + k for k in range(4)] for p in range(5)]


def test_a_dynamic_study_is_cut_where_places_come_again(write: Write, tmp_path: Path) -> None:
    slices = [
        {"value": 100 * time + k, "z": z, "AcquisitionTime": f"1000{time * 10 + k:02d}"}
        for time in range(3) for k, z in enumerate(HEIGHTS)
    ]  # fmt: skip
    put(write, slices[:-1])  # the last one is missing
    images = read(tmp_path)
    assert [values_of(image) for image in images] == [[0, 1, 2, 3], [100, 101, 102, 103], [200, 201, 202]]
    assert [image.attributes.get("missing_slices") for image in images] == [None, None, "1 of 4"]
    assert "1 of 4 slices missing" in told(images[2])


def test_an_incomplete_time_point_is_said_to_be(write: Write, tmp_path: Path) -> None:
    put(
        write,
        [
            {"value": 100 * time + k, "z": z, "TemporalPositionIdentifier": time}
            for time in (1, 2) for k, z in enumerate(HEIGHTS) if (time, k) != (1, 2)
        ],
    )  # fmt: skip
    first, second = read(tmp_path)
    assert values_of(first) == [100, 101, 103]
    assert (first.attributes["missing_slices"], first.attributes["slice_spacing"]) == ("1 of 4", "irregular")
    assert "missing_slices" not in second.attributes


def test_echoes_at_places_between_each_other_come_apart(write: Write, tmp_path: Path) -> None:
    put(
        write,
        [{"value": 100 * e + k, "z": 5.0 * k + 2.5 * e, "EchoTime": 5.0 + e} for e in (0, 1) for k in range(4)],
    )
    assert [values_of(image) for image in read(tmp_path)] == [[0, 1, 2, 3], [100, 101, 102, 103]]


def test_phases_whose_places_do_not_quite_meet_come_apart(write: Write, tmp_path: Path) -> None:
    put(
        write,
        [
            {"value": 100 * phase + k, "z": 5.0 * k + 0.7 * phase, "AcquisitionNumber": phase}
            for phase in (1, 2) for k in range(5)
        ],
    )  # fmt: skip
    one, two = read(tmp_path)
    assert [values_of(one), values_of(two)] == [[100 + k for k in range(5)], [200 + k for k in range(5)]]


def test_slices_of_a_scan_in_steps_stay_together(write: Write, tmp_path: Path) -> None:
    # a new acquisition for each turn of the tube; interleaved, so that each has every second place
    put(write, [{"value": k, "z": 5.0 * k, "AcquisitionNumber": 1 + k % 2} for k in range(8)])
    put(write, [{"value": k, "z": 5.0 * k, "AcquisitionNumber": k, "SeriesInstanceUID": "1.2.4"} for k in range(8)])
    assert [values_of(image) for image in read(tmp_path)] == [list(range(8))] * 2


def test_nothing_that_tells_slices_apart_makes_no_volume(write: Write, tmp_path: Path) -> None:
    put(write, [{"value": 1, "z": z, "InstanceNumber": 7} for z in HEIGHTS * 2])
    (pile,) = read(tmp_path)
    assert pile.pixels.shape == (8, 16, 16)
    assert pile.spacing == (1.0, 1.0)
    assert "the order of slices unknown" in told(pile)
    error = reformat.run({"image": pile, "plane": "coronal"}).error
    assert error is not None
    assert "the distance between the slices is not known" in error.message


def test_slices_of_one_place_are_a_clip_in_the_order_of_time(write: Write, tmp_path: Path) -> None:
    put(write, [{"value": k, "z": 0.0, "TriggerTime": 30 * k, "InstanceNumber": 9 - k} for k in range(6)])
    (clip,) = read(tmp_path)
    assert values_of(clip) == [0, 1, 2, 3, 4, 5]
    assert clip.spacing == (1.0, 1.0)


@pytest.mark.parametrize("copies", [{3}, set(range(4))])
def test_a_copy_of_a_file_is_one_slice(copies: set[int], write: Write, tmp_path: Path) -> None:
    put(write, [{"value": 100 * k, "z": z} for k, z in enumerate(HEIGHTS)])
    for k in copies:
        shutil.copy(tmp_path / f"{k}.dcm", tmp_path / f"{k}(1).dcm")
    (volume,) = read(tmp_path)
    assert values_of(volume) == [0, 100, 200, 300]
    assert volume.spacing == (5.0, 1.0, 1.0)


def test_of_a_slice_and_its_copy_that_was_cut_off_the_whole_one_counts(write: Write, tmp_path: Path) -> None:
    put(write, [{"value": 100 * k, "z": z} for k, z in enumerate(HEIGHTS)])
    for k in range(4):
        shutil.copy(tmp_path / f"{k}.dcm", tmp_path / f"a copy of {k}.dcm")
        cut = tmp_path / (f"{k}.dcm" if k % 2 else f"a copy of {k}.dcm")
        cut.write_bytes(cut.read_bytes()[:-50])
    study = read_study(tmp_path)
    (volume,) = study.images
    assert values_of(volume) == [0, 100, 200, 300]
    assert study.left_out == []


def test_a_mosaic_is_said_to_be_one_and_has_no_position(write: Write) -> None:
    mosaic = read_one(
        write(
            np.zeros((8, 8), np.int16), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], ImagePositionPatient=[0, 0, 5],
            ImageOrientationPatient=AXIAL, PixelSpacing=[1, 1],
        )
    )  # fmt: skip
    assert "a mosaic of slices, whose places are not told" in told(mosaic)
    assert "position_mm" not in mosaic.attributes


def test_equal_instance_numbers_of_other_pixels_are_no_copies(write: Write, tmp_path: Path) -> None:
    put(write, [{"value": k, "z": z, "SOPInstanceUID": "1.2.3.4"} for k, z in enumerate(HEIGHTS)])
    assert values_of(read_one(tmp_path)) == [0, 1, 2, 3]


@pytest.mark.parametrize("noise", [1e-7, 4e-4])
def test_directions_and_places_are_compared_in_millimetres(noise: float, write: Write, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    put(
        write,
        [
            {
                "value": 100 * time + k, "z": 5.0 * k + 10 * noise * rng.uniform(-1, 1), "AcquisitionNumber": time,
                "ImageOrientationPatient": [f"{v:.9f}" for v in np.array([0.9995, 0.0316, 0, -0.0316, 0.9995, 0])
                                            + noise * rng.uniform(-1, 1, 6)],
            }
            for time in (1, 2) for k in range(4)
        ],
    )  # fmt: skip
    images = read(tmp_path)
    assert [values_of(image) for image in images] == [[100, 101, 102, 103], [200, 201, 202, 203]]
    assert all(image.spacing == pytest.approx((5, 1, 1), abs=0.02) for image in images)


def test_directions_that_differ_by_millimetres_are_two_volumes(write: Write, tmp_path: Path) -> None:
    tilted = [1, 0, 0, 0, float(np.cos(0.08)), float(np.sin(0.08))]
    put(write, [{"value": k, "z": z} for k, z in enumerate(HEIGHTS)])
    put(write, [{"value": 10 + k, "z": z, "ImageOrientationPatient": tilted} for k, z in enumerate(HEIGHTS)])
    assert sorted(map(values_of, read(tmp_path))) == [[0, 1, 2, 3], [10, 11, 12, 13]]


def test_stacks_side_by_side_are_two_volumes(write: Write, tmp_path: Path) -> None:
    for x, first in ((0.0, 0), (200.0, 10)):
        put(write, [{"value": first + k, "z": z, "ImagePositionPatient": [x, 0, z]} for k, z in enumerate(HEIGHTS)])
    assert sorted(map(values_of, read(tmp_path))) == [[0, 1, 2, 3], [10, 11, 12, 13]]


def test_a_scout_in_a_series_of_slices_is_an_image_of_its_own(write: Write, tmp_path: Path) -> None:
    put(write, [{"value": k, "z": z} for k, z in enumerate(HEIGHTS)])
    put(write, [{"value": 99, "z": 2.5, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}])
    assert sorted(map(values_of, read(tmp_path)), key=len) == [[99], [0, 1, 2, 3]]


def test_slices_of_another_frame_of_reference_or_spacing_are_others(write: Write, tmp_path: Path) -> None:
    put(write, [{"value": k, "z": z} for k, z in enumerate(HEIGHTS)])
    put(write, [{"value": 10 + k, "z": z, "FrameOfReferenceUID": generate_uid()} for k, z in enumerate(HEIGHTS[:1])])
    put(write, [{"value": 20 + k, "z": z, "PixelSpacing": [2, 2]} for k, z in enumerate(HEIGHTS[:2])])
    assert sorted(map(values_of, read(tmp_path)), key=len) == [[10], [20, 21], [0, 1, 2, 3]]


# -- frames of one object


def enhanced(write: Write, frames: Sequence[dict[str, Any]], **elements: Any) -> Path:
    """An object whose frames have a value, a height `z` and macros of their own."""
    groups = []
    for one in frames:
        position, direction, group = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient, direction.ImageOrientationPatient = [0, 0, one["z"]], AXIAL
        group.PlanePositionSequence, group.PlaneOrientationSequence = [position], [direction]
        for macro, attributes in one.get("macros", {}).items():
            item = Dataset()
            for keyword, value in attributes.items():
                setattr(item, keyword, value)
            setattr(group, macro, [item])
        groups.append(group)
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [1, 1]
    shared.PixelMeasuresSequence = [measures]
    stored = np.stack([np.full((8, 8), one["value"], np.int16) for one in frames])
    return write(
        stored, **{
            "SOPClassUID": EnhancedMRImageStorage, "Modality": "MR", "PerFrameFunctionalGroupsSequence": groups,
            "SharedFunctionalGroupsSequence": [shared], **elements,
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("macro", "keyword", "values", "told_by"),
    [
        ("MREchoSequence", "EffectiveEchoTime", (4.6, 9.2), "echo time"),
        ("FrameContentSequence", "TemporalPositionIndex", (1, 2), "time point"),
        ("FrameContentSequence", "StackID", ("A", "B"), "stack"),
        ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase", (40.0, 75.0), "cardiac phase"),
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", (100.0, 300.0), "cardiac delay"),
        ("CardiacSynchronizationSequence", "ActualCardiacTriggerDelayTime", (100.0, 300.0), "cardiac delay"),
        ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase", (0.0, 50.0), "respiratory phase"),
        ("MRDiffusionSequence", "DiffusionBValue", (0.0, 800.0), "diffusion weighting"),
        ("MRImageFrameTypeSequence", "ComplexImageComponent", ("MAGNITUDE", "PHASE"), "image type"),
        ("CTImageFrameTypeSequence", "FrameType", (["ORIGINAL", "A"], ["DERIVED", "B"]), "image type"),
        ("PETFrameTypeSequence", "FrameType", (["ORIGINAL", "A"], ["DERIVED", "B"]), "image type"),
        ("MRTimingAndRelatedParametersSequence", "FlipAngle", (5.0, 20.0), "flip angle"),
        ("FrameContentSequence", "FrameAcquisitionNumber", (1, 2), "acquisition number"),
        ("FrameContentSequence", "DimensionIndexValues", ([1, 1], [1, 2]), "dimension"),
        ("TemporalPositionSequence", "TemporalPositionTimeOffset", (0.0, 5.0), "time point"),
        ("MRModifierSequence", "InversionTimes", ([100.0], [900.0]), "inversion time"),
        ("MRVelocityEncodingSequence", "VelocityEncodingDirection", ([1.0, 0, 0], [0, 1.0, 0]), "velocity encoding"),
        ("MRArterialSpinLabelingSequence", "ASLContext", ("CONTROL", "LABEL"), "spin label"),
        ("CTReconstructionSequence", "ConvolutionKernel", ("B30f", "B70f"), "kernel"),
        ("ContrastBolusUsageSequence", "ContrastBolusAgentAdministered", ("NO", "YES"), "contrast"),
        ("ContrastBolusUsageSequence", "ContrastBolusAgentPhase", ("PRE_CONTRAST", "POST_CONTRAST"), "contrast"),
        ("CTXRayDetailsSequence", "KVP", (80.0, 140.0), "tube voltage"),
        ("FrameContentSequence", "FrameAcquisitionDateTime", ("20200101100000", "20200101100500"), "acquisition time"),
        ("FrameContentSequence", "FrameReferenceDateTime", ("20200101100000", "20200101100500"), "acquisition time"),
    ],
)
def test_frames_come_apart_by_their_functional_groups(
    macro: str, keyword: str, values: tuple[Any, Any], told_by: str, write: Write
) -> None:
    frames = [
        {"value": 100 * side + k, "z": z, "macros": {macro: {keyword: value}}}
        for k, z in enumerate(HEIGHTS) for side, value in enumerate(values)
    ]  # fmt: skip
    one, two = read(enhanced(write, frames))
    assert sorted([values_of(one), values_of(two)]) == [[0, 1, 2, 3], [100, 101, 102, 103]]
    assert one.spacing == (5.0, 1.0, 1.0)
    assert one.attributes["told_apart_by"] == told_by


def test_parts_of_one_object_are_one_volume(write: Write, tmp_path: Path) -> None:
    for part in (1, 0):  # whichever is found first
        frames = [{"value": 2 * part + k, "z": 5 * (2 * part + k)} for k in range(2)]
        stored_apart = {
            "SeriesInstanceUID": "1.2",
            "ConcatenationUID": "1.3",
            "ConcatenationFrameOffsetNumber": 2 * part,
        }
        enhanced(write, frames, **stored_apart)
    (image,) = read(tmp_path)
    assert values_of(image) == [0, 1, 2, 3]
    assert image.spacing == (5.0, 1.0, 1.0)


def test_frames_that_are_stored_out_of_order_are_put_in_order(write: Write) -> None:
    frames = [{"value": k, "z": 5.0 * k} for k in (0, 2, 4, 1, 3)]
    volume = read_one(enhanced(write, frames))
    assert values_of(volume) == [0, 1, 2, 3, 4]
    assert volume.spacing == (5.0, 1.0, 1.0)


def test_segments_are_volumes_of_their_own(write: Write) -> None:
    frames = [
        {"value": segment, "z": z, "macros": {"SegmentIdentificationSequence": {"ReferencedSegmentNumber": segment}}}
        for segment in (1, 2) for z in HEIGHTS[: 2 + segment]
    ]  # fmt: skip
    one, two = read(enhanced(write, frames, SOPClassUID=SegmentationStorage, Modality="SEG"))
    assert [values_of(one), values_of(two)] == [[1, 1, 1], [2, 2, 2, 2]]
    assert (one.unit, one.attributes["segment"], two.attributes["segment"]) == ("label", "1", "2")
    assert "segment 2" in told(two)


@pytest.mark.parametrize(
    ("offsets", "direction", "positions"),
    [
        ([0, 3, 6], AXIAL, [30, 33, 36]),
        ([0, -3, -6], AXIAL, [30, 27, 24]),
        ([30, 27, 24], AXIAL, [30, 27, 24]),  # absolute (PS3.3 C.8.8.3.2)
        ([0, 3, 6], [-1, 0, 0, 0, 1, 0], [30, 27, 24]),  # along the normal, which points down
    ],
)
def test_planes_of_a_dose_lie_where_their_offsets_say(
    offsets: list[float], direction: list[float], positions: list[float], write: Write
) -> None:
    stored = np.arange(3, dtype=np.uint16)[:, None, None] * np.ones((1, 6, 6), np.uint16)
    dose = read_one(
        write(
            stored, SOPClassUID=RTDoseStorage, Modality="RTDOSE", DoseGridScaling=1, DoseUnits="GY", PixelSpacing=[2, 2],
            GridFrameOffsetVector=offsets, ImagePositionPatient=[0, 0, 30], ImageOrientationPatient=direction,
        )
    )  # fmt: skip
    assert dose.spacing == (3.0, 2.0, 2.0)
    view = reformat.run({"image": dose, "plane": "axial", "index": 0}).images[0]
    assert view.pixels.max() == int(np.argmin(positions))  # the slice nearest to the feet


def test_gated_nuclear_medicine_is_a_volume_for_each_time(write: Write) -> None:
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [0, 0, 10], AXIAL
    stored = np.stack([np.full((6, 6), 10 * time + k, np.uint16) for time in range(2) for k in range(3)])
    images = read(
        write(
            stored, SOPClassUID=NuclearMedicineImageStorage, Modality="NM", PixelSpacing=[4, 4], SpacingBetweenSlices=4,
            TimeSlotVector=[1, 1, 1, 2, 2, 2], SliceVector=[1, 2, 3, 1, 2, 3], DetectorInformationSequence=[detector],
        )
    )  # fmt: skip
    assert [values_of(image) for image in images] == [[0, 1, 2], [10, 11, 12]]
    assert [image.spacing for image in images] == [(4.0, 4.0, 4.0)] * 2


def test_a_clip_without_places_stays_one(write: Write) -> None:
    stored = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 6, 6), np.uint8)
    clip = read_one(write(stored, Modality="US", FrameTime=33.3))
    assert values_of(clip) == [0, 1, 2, 3, 4]
    assert "33.3 ms a frame" in told(clip)


@pytest.mark.parametrize("frames", [4, 40])
def test_what_is_said_of_all_frames_is_parsed_as_often_for_many_as_for_few(
    frames: int, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: Counter[str] = Counter()
    parse = DicomDataset.components

    def count(self: DicomDataset, keyword: str) -> tuple[float | None, ...]:
        parsed[keyword] += 1
        return parse(self, keyword)

    monkeypatch.setattr(DicomDataset, "components", count)
    path = write(
        np.arange(frames * 16, dtype=np.int16).reshape(frames, 4, 4),
        NumberOfFrames=frames, SliceVector=list(range(1, frames + 1)), SpacingBetweenSlices=2.0,
        ImagePositionPatient=[1, 2, 3], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )  # fmt: skip
    image = read_one(path)
    assert image.shape == (4, 4)
    assert image.frames == frames
    assert parsed["ImagePositionPatient"] == 1
    assert parsed["ImageOrientationPatient"] == 1
