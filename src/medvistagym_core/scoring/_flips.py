"""The episodes of questions that two runs scored differently, as a run of its own that the viewer opens."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from medvistagym_core.scoring._run import RunComparison, find_run_files
from medvistagym_core.storage import write_folder_atomically
from medvistagym_core.trajectories import Trajectory, TrajectoryReader


def write_flips(first: str | Path, second: str | Path, comparisons: Sequence[RunComparison], folder: Path) -> int:
    """Write the episodes of flipped questions of two runs, in folders `first` and `second`.

    Args:
        first: The first run.
        second: The second one.
        comparisons: What `compare_runs` found of them.
        folder: Where to; it must not exist, or be empty. It is whole, or as it was.

    Returns:
        How many episodes there are; nothing is written where there are none.

    Raises:
        ValueError: The folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and is not empty; name another folder")
    folder = folder.absolute()
    selected = _select_flipped(first, second, comparisons)
    if selected:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with write_folder_atomically(folder) as part:
            for file, copy, episodes in selected:
                _copy(file, part / copy, episodes)
    return sum(len(episodes) for _, _, episodes in selected)


def _select_flipped(
    first: str | Path, second: str | Path, comparisons: Sequence[RunComparison]
) -> list[tuple[Path, Path, list[Trajectory]]]:
    """Each file that holds flipped questions, the path of its copy in the folder, and their episodes."""
    flipped = {(each.task, each.split, change.case) for each in comparisons for change in each.changes}
    selected = []
    for name, run, conditions in (
        ("first", first, {each.first for each in comparisons}),
        ("second", second, {each.second for each in comparisons}),
    ):
        for file in find_run_files(run):
            if file.condition not in conditions:
                continue
            episodes = [
                each
                for each in TrajectoryReader(file.path)
                if (each.task, each.split, each.id.partition("#")[0]) in flipped
            ]
            if episodes:
                selected.append((file.path, Path(name, file.name), episodes))
    return selected


def _copy(file: Path, copy: Path, episodes: Sequence[Trajectory]) -> None:
    """Write episodes of a file, the lock of their tools, and their pictures."""
    images = copy.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    lock = file.with_suffix(".lock.json")
    if lock.is_file():
        shutil.copyfile(lock, copy.with_name(lock.name))
    with copy.open("w", encoding="utf-8") as out:
        out.writelines(f"{episode.model_dump_json(round_trip=True)}\n" for episode in episodes)
    for picture in {image.picture for episode in episodes for image in episode.images}:
        source = file.parent / "images" / f"{picture}.png"
        if source.is_file():
            shutil.copyfile(source, images / source.name)
