"""`docs/dicom.md` names each attribute that is read, and each does what is said of it there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_dicom import DicomError, acquisition, distance, read, read_study
from medvistagym_dicom.reading import ATTRIBUTES_BY_MODULE

from .attribute_examples import EXAMPLES, RAMP, Elements

Write = Callable[..., Path]
DOCUMENT = Path(__file__).parents[4] / "docs" / "dicom.md"
SAID_OF = {"used", "told", "refused"}


def documented() -> dict[str, dict[str, set[str]]]:
    """Module -> attribute -> what is said to be done with it."""
    modules: dict[str, dict[str, set[str]]] = {}
    for section in DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]:
        name = re.sub(r" \(.*\)$", "", section.split("\n")[0])
        rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+?) \|", section, re.MULTILINE)
        if rows:
            modules[name] = {keyword: set(said.split(", ")) for keyword, said in rows}
    return modules


TABLES = documented()
SAID = {keyword: said for table in TABLES.values() for keyword, said in table.items()}


def test_the_tables_hold_exactly_the_attributes_that_are_read() -> None:
    assert {module: set(table) for module, table in TABLES.items()} == {
        module: set(keywords) for module, keywords in ATTRIBUTES_BY_MODULE.items()
    }
    assert sum(map(len, TABLES.values())) == len(SAID) == len(EXAMPLES)
    assert set().union(*SAID.values()) == SAID_OF


def put(write: Write, objects: list[Elements]) -> Path:
    """Objects in a folder, or a single one."""
    for elements in objects:
        elements = {key: value for key, value in elements.items() if key != "overlays"}
        file = write(elements.pop("stored", RAMP), **elements)
    return file if len(objects) == 1 else file.parent


PLACES = ("direction", "position_mm", "slice_offsets_mm", "padding")


def meaning(images: list[Image] | str) -> list[Any]:
    """What images are: all but what is told of them in words."""
    described = []
    for image in images if isinstance(images, list) else []:
        lines = [distance.run({"image": image, "from_point": [0, 0], "to_point": [v, v]}).text for v in (200, 800)]
        geometry = {key: value for key, value in image.attributes.items() if key in PLACES}
        windows = [(window.center, window.width, window.function) for window in image.windows]
        greys = image.window.apply(np.arange(64.0)).tolist() if image.window is not None else None
        overlay = None if image.overlay is None else image.overlay.tolist()
        values = (image.pixels.tolist(), image.unit, image.photometric, image.modality)
        described.append((values, image.spacing, windows, greys, overlay, lines, geometry))
    return described


def told(images: list[Image] | str) -> list[str]:
    return [acquisition.run({"image": image}).text for image in images if isinstance(image, Image)]


def images_or_reason(place: Path, *, overlays: bool) -> list[Image] | str:
    try:
        return read_study(place, overlays=overlays).images
    except DicomError as error:
        return error.reason


@pytest.mark.parametrize("keyword", EXAMPLES)
def test_an_attribute_does_what_is_said_of_it(keyword: str, write: Write, tmp_path: Path) -> None:
    said, example = SAID[keyword], EXAMPLES[keyword]
    overlays = any("overlays" in elements for elements in example.having)
    (tmp_path / "without").mkdir()
    (tmp_path / "having").mkdir()
    images = []
    for folder, objects in (("without", example.without), ("having", example.having)):
        place = put(lambda *a, folder=folder, **k: write(*a, **k, inside=tmp_path / folder), objects)
        images.append(images_or_reason(place, overlays=overlays))
    assert images[0] != "corrupt"
    before, after = (repr(meaning(one)) for one in images)
    assert (before != after) == ("used" in said), "its use is not as documented"
    assert (told(images[0]) != told(images[1])) or "told" not in said, "it is not told as documented"
    assert (example.refused is not None) == ("refused" in said)
    if example.refused is not None:
        with pytest.raises(DicomError):
            read(put(write, [example.refused]))
