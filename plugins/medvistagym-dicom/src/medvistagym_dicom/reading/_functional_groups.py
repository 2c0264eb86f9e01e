"""Functional groups of multi-frame objects: what one frame, or all of them, say (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Sequence

from medvistagym_dicom.reading._dataset import DicomDataset


def functional_group(dataset: DicomDataset, frame: int, keyword: str) -> DicomDataset | None:
    """First item of a functional group macro for one frame, its own or the shared one; None when there is none."""
    return next(iter(functional_group_items(dataset, frame, keyword)), None)


def functional_group_items(dataset: DicomDataset, frame: int, keyword: str) -> Sequence[DicomDataset]:
    """Items of a functional group macro for one frame, its own or the shared ones."""
    own = dataset.items("PerFrameFunctionalGroupsSequence")
    for group in (*own[frame : frame + 1], *dataset.items("SharedFunctionalGroupsSequence")[:1]):
        if items := group.items(keyword):
            return items
    return ()


def frame_numbers(dataset: DicomDataset, frame: int, macro: str, keyword: str, count: int) -> tuple[float, ...] | None:
    """Numbers of an attribute that must have this many, of a frame's functional group or of the object itself; else None."""
    item = functional_group(dataset, frame, macro)
    for source in (item, dataset):
        if source is not None and len(numbers := source.numbers(keyword)) == count:
            return numbers
    return None


def frame_number(dataset: DicomDataset, frame: int, macro: str, keyword: str) -> float | None:
    """First number of an attribute, of a frame's functional group or of the object itself; None where neither has one."""
    item = functional_group(dataset, frame, macro)
    own = None if item is None else item.number(keyword)
    return dataset.number(keyword) if own is None else own
