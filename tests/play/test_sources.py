"""What there is to open below a path."""

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.play import find_sources
from medvistagym_core.play._sources import read_source


@pytest.fixture
def folder(tmp_path):
    Image(pixels=np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("")
    series = tmp_path / "head" / "series"
    series.mkdir(parents=True)
    for number in range(5):
        (series / f"{number}.dcm").write_bytes(b"")
    (tmp_path / "head" / "brain.nii.gz").write_bytes(b"")
    return tmp_path


def test_pictures_and_volumes_are_opened_alone_and_slices_together(folder):
    found = {source.name: source for source in find_sources(folder)}
    assert list(found) == ["a.png", "head/brain.nii.gz", "head/series/"]
    series = found["head/series/"]
    assert (len(series.files), series.preview_path) == (5, folder / "head" / "series" / "2.dcm")
    assert found["a.png"].preview_path is None


def test_a_single_file_is_what_there_is(folder):
    assert [source.name for source in find_sources(folder / "notes.txt")] == ["notes.txt"]


def test_an_empty_or_missing_folder_is_told(tmp_path):
    with pytest.raises(ValueError, match="no file that may hold images"):
        find_sources(tmp_path)
    with pytest.raises(ValueError, match="there is no such file or folder"):
        find_sources(tmp_path / "nowhere")


def test_a_reader_is_asked_before_the_file_is_taken_for_a_picture(folder):
    made = Image(pixels=np.zeros((2, 2), np.uint8))
    assert read_source(folder / "a.png", [lambda path: None, lambda path: [made]]) == [made]
    assert read_source(folder / "a.png", [lambda path: None])[0].shape == (4, 4)
    with pytest.raises(ValueError, match="no installed plugin reads"):
        read_source(folder / "head", [])
