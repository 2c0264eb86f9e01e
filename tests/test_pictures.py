"""The before and after pictures of the plugins' READMEs are what their tools make today, by the commands printed there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medvistagym_core import Registry

ROOT = Path(__file__).resolve().parents[1]
for needed in (
    "medvistagym_dicom",
    "medvistagym_kornia",
    "medvistagym_monai",
    "medvistagym_ocr",
    "medvistagym_segment",
):
    pytest.importorskip(needed)
pytest.importorskip("pydicom.data")


def script() -> Any:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


pictures = script()


@pytest.mark.parametrize("picture", pictures.PICTURES, ids=lambda p: f"{p.plugin}-{p.name}")
def test_the_tools_still_make_it(picture: Any) -> None:
    committed = PIL.Image.open(ROOT / picture.file)
    assert committed.width <= 640
    again = pictures.made(picture)
    assert again.size == committed.size
    new, old = (np.asarray(p.convert("RGB")).astype(int) for p in (again, committed))
    assert np.abs(new - old).mean() < 1  # of 255; another build of a library may round otherwise
    left, right = (old[:, part].mean(-1) for part in (slice(pictures.SIDE), slice(-pictures.SIDE, None)))
    assert (np.abs(left - right) > 8).sum() > 200, "nobody would see what the tool does"


def test_they_are_small() -> None:
    sizes = {picture.file: (ROOT / picture.file).stat().st_size for picture in pictures.PICTURES}
    assert {file: size for file, size in sizes.items() if size > 60_000} == {}
    assert sum(sizes.values()) < 1_000_000


def test_the_readmes_show_them_all_and_nothing_else() -> None:
    for file, section in pictures.sections():
        assert section in (ROOT / file).read_text(), f"run docs/pictures.py: {file} shows something else"
    shown = {picture.file for picture in pictures.PICTURES}
    assert {file.relative_to(ROOT) for file in ROOT.glob("plugins/*/pictures/*")} == shown


def test_every_picture_in_a_readme_is_there_and_described() -> None:
    found = 0
    for readme in ROOT.glob("plugins/*/README.md"):
        for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", readme.read_text()):
            assert len(alt.split()) > 3, f"{readme.parent.name}: {target} needs a description"
            assert (readme.parent / target).is_file(), f"{readme.parent.name}: there is no {target}"
            found += 1
    assert found >= len(pictures.PICTURES)


def test_every_tool_of_the_plugins_with_pictures_is_in_one() -> None:
    shown = {picture.plugin.removeprefix("medvistagym-") for picture in pictures.PICTURES}
    toolbox = Registry.discover(shown).toolbox()
    called = {command.split()[0] for picture in pictures.PICTURES for command in picture.commands}
    assert {tool.spec.name for tool in toolbox.values()} - {
        "segment_bundle"
    } <= called  # a bundle brings its own network


def test_every_caption_says_what_is_seen() -> None:
    captions = [picture.caption for picture in pictures.PICTURES]
    assert len(set(captions)) == len(captions)
    assert all(", and " in caption and caption.endswith(".") for caption in captions)


def test_a_section_is_replaced_where_it_stands() -> None:
    readme = "# It\n\n## Tools\n\nthese\n\n## More\n\nend\n"
    once = pictures.with_section(readme, f"{pictures.BEGIN}\none\n{pictures.END}\n")
    assert once.index("these") < once.index("one") < once.index("## More")
    twice = pictures.with_section(once, f"{pictures.BEGIN}\ntwo\n{pictures.END}\n")
    assert twice == once.replace("\none\n", "\ntwo\n")
