"""The same picture in two places: exact copies, copies that were changed, and pictures that only look alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter

from medvistagym_core.environment import QuestionTask
from medvistagym_core.environment.questions import find_overlaps, hash_pictures

from .tables import write_jsonl


def scene(seed: int) -> PIL.Image.Image:
    rng = np.random.default_rng(seed)
    return PIL.Image.fromarray(rng.integers(0, 255, (9, 9), np.uint8)).resize((200, 160), PIL.Image.Resampling.BICUBIC)


def task(folder: Path, name: str, pictures: dict[str, PIL.Image.Image]) -> QuestionTask:
    (folder / name).mkdir()
    for file, picture in pictures.items():
        picture.save(folder / name / file)
    rows = [{"id": file, "image": file, "question": "q", "answer": "yes"} for file in pictures]
    return QuestionTask(name, "Pictures.", write_jsonl(folder / name / "q.jsonl", rows))


def test_copies_are_found_across_tasks_and_others_are_not(tmp_path: Path) -> None:
    one = task(tmp_path, "one", {f"{k}.png": scene(k) for k in range(6)})
    changed = {
        "copy.png": scene(0),
        "small.png": scene(1).resize((100, 80)),
        "lossy.jpg": scene(2),
        "window.png": scene(3).point(lambda value: min(255, int(value * 0.8 + 30))),
        "other.png": scene(77),
        "flat.png": PIL.Image.new("L", (64, 64), 128),
    }
    other = task(tmp_path, "other", changed)
    sets = [hash_pictures(one, "test", 6), hash_pictures(other, "test", 6)]
    found = {(o.first[1], o.second[1]): o.distance for o in find_overlaps(sets)}
    assert found.keys() == {
        ("0.png", "copy.png"),
        ("1.png", "small.png"),
        ("2.png", "lossy.jpg"),
        ("3.png", "window.png"),
    }
    assert found["0.png", "copy.png"] is None
    assert all(
        0 <= distance <= 4 for pair, distance in found.items() if pair != ("0.png", "copy.png") and distance is not None
    )
    assert {name for overlap in find_overlaps(sets) for name in (overlap.first[0], overlap.second[0])} == {
        "one test",
        "other test",
    }


def test_pictures_without_a_pattern_are_only_the_same_when_they_are_equal(tmp_path: Path) -> None:
    one = task(
        tmp_path, "one", {"black.png": PIL.Image.new("L", (64, 64), 0), "grey.png": PIL.Image.new("L", (64, 64), 99)}
    )
    other = task(tmp_path, "other", {"black.png": PIL.Image.new("L", (64, 64), 0)})
    (overlap,) = find_overlaps([hash_pictures(one, "test", 2), hash_pictures(other, "test", 1)])
    assert (overlap.first, overlap.second, overlap.distance) == (
        ("one test", "black.png"),
        ("other test", "black.png"),
        None,
    )
