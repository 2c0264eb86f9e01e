"""Segmenters that the environment names: what is taken, what is refused, and that their names are choices of the tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medvistagym_core.imaging import Image, SegmentationPrompt, Segmenter
from medvistagym_segment import (
    SEGMENTERS_ENV_VAR,
    load_bundle,
    load_segmenter,
    segmenter_names,
)

Load = Callable[[object], Segmenter]


class Dark:
    """A segmenter as an object."""

    def segment(self, image: Image, prompt: SegmentationPrompt) -> np.ndarray:
        dark: np.ndarray = image.pixels < 10
        return dark


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module named of_mine, with segmenters of a user's own."""
    module = types.ModuleType("of_mine")
    vars(module).update(Dark=Dark, an_object=Dark(), a_function=lambda image, prompt: image.pixels < 10, no_segmenter=7)
    monkeypatch.setitem(sys.modules, "of_mine", module)
    return module


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize("name", ["an_object", "a_function"])
def test_segmenters_in_python_are_objects_or_functions(load: Load, name: str) -> None:
    mask = load(f"of_mine:{name}").segment(Image(pixels=np.arange(20).reshape(4, 5)), SegmentationPrompt())
    assert mask.sum() == 10


def test_the_segmenter_of_the_readme_is_one(load: Load, own_module: types.ModuleType) -> None:
    readme = Path(__file__).parents[1] / "README.md"
    (snippet,) = re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    exec(compile(snippet, readme.name, "exec"), vars(own_module))
    mask = load("of_mine:segmenter").segment(
        Image(pixels=np.array([[100, 300]], np.int16), unit="HU"), SegmentationPrompt()
    )
    assert mask.tolist() == [[False, True]]


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("of_mine:absent", "has no attribute 'absent'"),
        ("of_yours:dark", "No module named 'of_yours'"),
        ("of_mine:Dark", "name an instance of it"),
        ("of_mine:no_segmenter", "no function and has no method segment"),
        ("/models/other", "no configs/metadata.json"),
    ],
)
def test_what_is_no_segmenter_is_refused(load: Load, target: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"the segmenter mine.*{reason}"):
        load(target)


def test_names_are_sorted_and_known_by_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEGMENTERS_ENV_VAR, " dark = of_mine:dark ; other=/models/other")
    names = segmenter_names()
    assert list(names) == sorted(names)
    assert {"dark", "other", "lung", "region"} <= set(names)
    with pytest.raises(ValueError, match="there is no segmenter spleen; the segmenters are "):
        load_segmenter("spleen", "cpu")
    with pytest.raises(ValueError, match="lung is no MONAI bundle; the bundles are none"):
        load_bundle("lung", "cpu")


@pytest.mark.parametrize("text", ["spleen", "=x", "Spleen=x", "lung=x", "a=x;a=y", "a="])
def test_a_wrong_environment_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(SEGMENTERS_ENV_VAR, text)
    with pytest.raises(ValueError, match=SEGMENTERS_ENV_VAR):
        segmenter_names()


@pytest.mark.parametrize(("text", "name"), [("spleen=x", "'spleen'"), ("", "'lung'")])
def test_names_of_the_environment_are_choices_of_the_tools(text: str, name: str) -> None:
    code = "import medvistagym_segment as m; print(m.Segment.spec.parameters['properties']['method']['enum'])"
    environment = {**os.environ, SEGMENTERS_ENV_VAR: text}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert name in ran.stdout
