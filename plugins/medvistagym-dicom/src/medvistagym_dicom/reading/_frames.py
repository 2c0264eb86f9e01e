"""The frames of objects, and the attributes by which those of one series or object are told apart.

A classic object is one frame; an enhanced one has many. What belongs to a volume is decided alike for both (`_volumes`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable
from typing import Final, NamedTuple

from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._functional_groups import frame_number, functional_group, functional_group_items
from medvistagym_dicom.reading._patient_geometry import Vector, image_orientation, image_position
from medvistagym_dicom.reading._pixel_format import PixelFormat
from medvistagym_dicom.reading._tag_allowlist import MODULES

_OF_FRAMES: Final = (
    "PerFrameFunctionalGroupsSequence", "GridFrameOffsetVector",
    *(keyword for keyword in MODULES["NM Multi-frame"] if keyword.endswith("Vector")),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One frame of an object.

    Attributes:
        dataset: The object.
        pixel_format: Its format.
        index: Which frame of it.
        position: Centre of its first pixel in patient coordinates, in mm; None where the object does not tell.
        orientation: Direction cosines of its rows and columns; None where the object does not tell.
    """

    dataset: DicomDataset
    pixel_format: PixelFormat
    index: int
    position: Vector | None
    orientation: Vector | None


def tells_frames_apart(dataset: DicomDataset) -> bool:
    """Whether an object says anything of single frames."""
    return any(keyword in dataset for keyword in _OF_FRAMES)


def frames_of(dataset: DicomDataset, pixel_format: PixelFormat) -> list[Frame]:
    """The frames of an object, in the order in which they are stored."""
    if not tells_frames_apart(dataset):
        position, orientation = image_position(dataset, 0), image_orientation(dataset, 0)
        return [Frame(dataset, pixel_format, k, position, orientation) for k in range(pixel_format.frames)]
    return [
        Frame(dataset, pixel_format, k, image_position(dataset, k), image_orientation(dataset, k))
        for k in range(pixel_format.frames)
    ]


class Distinction(NamedTuple):
    """An attribute whose values tell volumes apart.

    Attributes:
        name: In words, for texts.
        sources: Attributes or functional group macros that hold it.
        value: Its value of a frame; None where it has none.
        tolerance: Difference up to which numbers are the same.
        is_time: Whether frames of one place that differ in it are one clip and no volumes of their own.
        is_lasting: Whether it is the same for a whole volume by its definition, so that it tells volumes apart even where
            their slices do not lie at the same places.
    """

    name: str
    sources: tuple[str, ...]
    value: Callable[[Frame], Hashable]
    tolerance: float = 0.0
    is_time: bool = False
    is_lasting: bool = True


def _echo(frame: Frame) -> Hashable:
    for macro, keyword in (("MREchoSequence", "EffectiveEchoTime"), ("MREchoSequence", "EchoTime")):
        if (value := frame_number(frame.dataset, frame.index, macro, keyword)) is not None:
            return value
    return frame.dataset.number("EchoNumbers")


def _image_type(frame: Frame) -> Hashable:
    for macro in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"):
        item = functional_group(frame.dataset, frame.index, macro)
        if item is not None:
            return (*item.strings("FrameType"), item.string("ComplexImageComponent"))
    return (*frame.dataset.strings("ImageType"), frame.dataset.string("ComplexImageComponent"))


def _diffusion(frame: Frame) -> Hashable:
    b_value = frame_number(frame.dataset, frame.index, "MRDiffusionSequence", "DiffusionBValue")
    item = functional_group(frame.dataset, frame.index, "MRDiffusionSequence")
    gradients = [] if item is None else item.items("DiffusionGradientDirectionSequence")[:1]
    source = gradients[0] if gradients else frame.dataset
    gradient = source.numbers("DiffusionGradientOrientation")
    return None if b_value is None else (b_value, tuple(round(v, 4) for v in gradient))


def _time_point(frame: Frame) -> Hashable:
    index = frame_number(frame.dataset, frame.index, "FrameContentSequence", "TemporalPositionIndex")
    return frame.dataset.number("TemporalPositionIdentifier") if index is None else index


def _stack(frame: Frame) -> Hashable:
    item = functional_group(frame.dataset, frame.index, "FrameContentSequence")
    return None if item is None else item.string("StackID") or None


def _inversion(frame: Frame) -> Hashable:
    item = functional_group(frame.dataset, frame.index, "MRModifierSequence")
    times = () if item is None else item.numbers("InversionTimes")
    return times[0] if times else frame.dataset.number("InversionTime")


def _velocity_encoding(frame: Frame) -> Hashable:
    item = functional_group(frame.dataset, frame.index, "MRVelocityEncodingSequence")
    return None if item is None else tuple(round(v, 4) for v in item.numbers("VelocityEncodingDirection"))


def _spin_label(frame: Frame) -> Hashable:
    item = functional_group(frame.dataset, frame.index, "MRArterialSpinLabelingSequence")
    return None if item is None else item.string("ASLContext") or None


def _kernel(frame: Frame) -> Hashable:
    item = functional_group(frame.dataset, frame.index, "CTReconstructionSequence")
    return (item.string("ConvolutionKernel") if item else "") or frame.dataset.string("ConvolutionKernel") or None


def _contrast(frame: Frame) -> Hashable:
    """Which agents were given and show, and in which phase (PS3.3 C.7.6.16.2.12)."""
    agents = functional_group_items(frame.dataset, frame.index, "ContrastBolusUsageSequence")
    usage = ("Administered", "Detected", "Phase")
    return (
        tuple(
            (agent.number("ContrastBolusAgentNumber"), *(agent.string(f"ContrastBolusAgent{what}") for what in usage))
            for agent in agents
        )
        or None
    )


def _dimension(number: int) -> Distinction:
    """An entry of the index that enhanced objects give each frame; of those that no other attribute explains."""

    def entry(frame: Frame) -> Hashable:
        item = functional_group(frame.dataset, frame.index, "FrameContentSequence")
        numbers = () if item is None else item.numbers("DimensionIndexValues")
        return numbers[number] if number < len(numbers) else None

    return Distinction("dimension", ("FrameContentSequence",), entry, is_lasting=False)


def _of_object(name: str, keyword: str, tolerance: float = 0.0, **more: bool) -> Distinction:
    return Distinction(name, (keyword,), lambda frame: frame.dataset.number(keyword), tolerance, **more)


def _of_macro(name: str, macro: str, keyword: str, tolerance: float = 0.0, **more: bool) -> Distinction:
    """Of a functional group, or of the object itself where classic objects have the same attribute."""

    def value(frame: Frame) -> Hashable:
        return frame_number(frame.dataset, frame.index, macro, keyword)

    return Distinction(name, (macro, keyword), value, tolerance, **more)


def _of_vector(name: str, keyword: str, **more: bool) -> Distinction:
    """An entry of an attribute that has one for each frame (nuclear medicine, PS3.3 C.8.4.8)."""

    def entry(frame: Frame) -> Hashable:
        numbers = frame.dataset.numbers(keyword)
        return numbers[frame.index] if frame.index < len(numbers) else None

    return Distinction(name, (keyword,), entry, **more)


_MAX_DIMENSIONS: Final = 8
_FRAME_TYPES: Final = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
_CARDIAC: Final = "CardiacSynchronizationSequence"
_RESPIRATORY: Final = "RespiratorySynchronizationSequence"
_TIMING: Final = "MRTimingAndRelatedParametersSequence"
DISTINCTIONS: Final = (
    _of_macro("segment", "SegmentIdentificationSequence", "ReferencedSegmentNumber"),
    Distinction("stack", ("FrameContentSequence",), _stack),
    _of_vector("energy window", "EnergyWindowVector"),
    _of_vector("detector", "DetectorVector"),
    Distinction("image type", ("ImageType", "ComplexImageComponent", *_FRAME_TYPES), _image_type),
    Distinction("echo time", ("EchoTime", "EchoNumbers", "MREchoSequence"), _echo, 0.01),
    Distinction("inversion time", ("InversionTime", "MRModifierSequence"), _inversion, 0.1),
    _of_macro("flip angle", _TIMING, "FlipAngle", 0.01),
    _of_macro("repetition time", _TIMING, "RepetitionTime", 0.1, is_lasting=False),
    _of_macro("tube voltage", "CTXRayDetailsSequence", "KVP", 0.1),
    Distinction("kernel", ("ConvolutionKernel", "CTReconstructionSequence"), _kernel),
    Distinction("velocity encoding", ("MRVelocityEncodingSequence",), _velocity_encoding),
    Distinction("contrast", ("ContrastBolusUsageSequence",), _contrast),
    Distinction("spin label", ("MRArterialSpinLabelingSequence",), _spin_label),
    Distinction("diffusion weighting", ("DiffusionBValue", "MRDiffusionSequence"), _diffusion),
    _of_vector("rotation", "RotationVector", is_time=True),
    _of_vector("phase", "PhaseVector", is_time=True),
    _of_vector("heart interval", "RRIntervalVector", is_time=True),
    _of_vector("time slot", "TimeSlotVector", is_time=True),
    _of_vector("time slice", "TimeSliceVector", is_time=True),
    _of_vector("view", "AngularViewVector", is_time=True),
    Distinction("time point", ("TemporalPositionIdentifier", "FrameContentSequence"), _time_point, is_time=True),
    _of_macro(
        "time point", "TemporalPositionSequence", "TemporalPositionTimeOffset", 0.001, is_time=True, is_lasting=False
    ),
    _of_macro("cardiac phase", _CARDIAC, "NominalPercentageOfCardiacPhase", 0.5, is_time=True),
    _of_macro("cardiac delay", _CARDIAC, "NominalCardiacTriggerDelayTime", 0.5, is_time=True, is_lasting=False),
    _of_macro("respiratory phase", _RESPIRATORY, "NominalPercentageOfRespiratoryPhase", 0.5, is_time=True),
    _of_object("frame reference time", "FrameReferenceTime", 0.5, is_time=True, is_lasting=False),
    _of_object("acquisition number", "AcquisitionNumber", is_time=True, is_lasting=False),
    _of_macro("acquisition number", "FrameContentSequence", "FrameAcquisitionNumber", is_time=True, is_lasting=False),
    *(_dimension(number) for number in range(_MAX_DIMENSIONS)),
)


def keywords_in(frames: Iterable[Frame]) -> set[str]:
    """Attributes and functional group macros that frames have."""
    keywords: set[str] = set()
    seen: set[int] = set()
    for frame in frames:
        if id(frame.dataset) not in seen:
            seen.add(id(frame.dataset))
            keywords.update(frame.dataset.elements)
            for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
                for group in frame.dataset.items(sequence):
                    keywords.update(group.elements)
    return keywords


def _clock(date_keyword: str, time_keyword: str) -> Callable[[Frame], Hashable]:
    """Seconds within a day, or since a day where dates are told; only compared, never told."""

    def seconds(frame: Frame) -> Hashable:
        text = frame.dataset.string(time_keyword)
        if not text[:6].isdigit() or len(text) < 6:
            return None
        fraction = text[6:] if text[6:7] == "." and text[7:].isdigit() else "0"
        day = frame.dataset.string(date_keyword)
        within = int(text[:2]) * 3600 + int(text[2:4]) * 60 + int(text[4:6]) + float(fraction)
        return (int(day) if day.isdigit() else 0, within)

    return seconds


def _date_time(macro: str, keyword: str) -> Callable[[Frame], Hashable]:
    def text(frame: Frame) -> Hashable:
        item = functional_group(frame.dataset, frame.index, macro) if macro else frame.dataset
        value = "" if item is None else item.string(keyword)
        return value if value[:14].isdigit() else None

    return text


# The order of slices that have no positions, before that of their numbers; it tells of no distance, since it has no direction.
SLICE_LOCATION: Final = _of_object("", "SliceLocation").value
# By which frames at one place follow each other, the surest first.
TIMES: Final[tuple[tuple[str, Callable[[Frame], Hashable]], ...]] = (
    ("cardiac delay", _of_macro("", _CARDIAC, "ActualCardiacTriggerDelayTime").value),
    ("trigger time", _of_object("", "TriggerTime").value),
    ("frame reference time", _of_object("", "FrameReferenceTime").value),
    ("acquisition time", _date_time("FrameContentSequence", "FrameAcquisitionDateTime")),
    ("acquisition time", _date_time("FrameContentSequence", "FrameReferenceDateTime")),
    ("acquisition time", _date_time("", "AcquisitionDateTime")),
    ("acquisition time", _clock("AcquisitionDate", "AcquisitionTime")),
    ("content time", _clock("ContentDate", "ContentTime")),
    ("instance number", _of_object("", "InstanceNumber").value),
)  # fmt: skip
