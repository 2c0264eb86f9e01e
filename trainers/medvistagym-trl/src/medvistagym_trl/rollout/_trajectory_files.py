"""Recorded trajectories on disk: files of JSON lines, folders of them, and folders saved by `datasets`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import ValidationError

from medvistagym_core.trajectories import Trajectory, TrajectoryReader
from medvistagym_trl._recipe import RecipeError

_DATASET_MARKS: Final = ("dataset_info.json", "state.json")
"""Files by which a folder saved by `datasets.Dataset.save_to_disk` is recognised."""
_OTHER_LINES: Final = frozenset({"metrics.jsonl"})
"""Files of a run folder that hold other lines than trajectories."""


_GLANCE: Final = 64
"""Trajectories of a file that a glance reads."""


class TrajectoryFile(Protocol):
    """Trajectories that can be scanned once, and then read one by one at the positions that the scan gave.

    Attributes:
        path: The file or folder.
    """

    path: Path

    def scan(self) -> Iterator[tuple[int, Trajectory]]: ...
    def read(self, position: int) -> Trajectory: ...
    def picture(self, sha256: str) -> Any: ...
    def rejected(self) -> list[str]:
        """Ids of episodes that were played and not kept, where the sampler noted them."""
        ...


class JsonLinesFile:
    """A trajectory file; positions are byte offsets, so that nothing of it stays in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def scan(self) -> Iterator[tuple[int, Trajectory]]:
        """Positions and trajectories, in order; a last line that was never finished is left out.

        Raises:
            RecipeError: A line is no trajectory.
        """
        position = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                yield position, self._parse(line, f"{self.path}, line {number}")
                position += len(line)

    def read(self, position: int) -> Trajectory:
        """The trajectory at a position."""
        with self.path.open("rb") as file:
            file.seek(position)
            return self._parse(file.readline(), f"{self.path}, byte {position}")

    def picture(self, sha256: str) -> Any:
        """An image by its hash, in RGB."""
        return TrajectoryReader(self.path).load_image(sha256)

    def rejected(self) -> list[str]:
        """Ids that `medvistagym sample --keep correct` noted beside the file."""
        path = self.path.with_suffix(".rejected")
        return [line for line in path.read_text("utf-8").split("\n") if line] if path.is_file() else []

    def _parse(self, line: bytes, location: str) -> Trajectory:
        try:
            return Trajectory.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the line"
            raise RecipeError(f"{location} is no trajectory ({field}: {first['msg']})") from None


class DatasetFolder:
    """A table of trajectories saved by `datasets`, read from its memory map; positions are row numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: Any = None

    @property
    def rows(self) -> Any:
        """The table, opened on first use."""
        if self._rows is None:
            import datasets

            self._rows = datasets.load_from_disk(str(self.path))
        return self._rows

    def scan(self) -> Iterator[tuple[int, Trajectory]]:
        """Row numbers and trajectories, in order.

        Raises:
            RecipeError: A row is no trajectory.
        """
        for position in range(len(self.rows)):
            yield position, self.read(position)

    def read(self, position: int) -> Trajectory:
        """The trajectory of a row."""
        try:
            return Trajectory.model_validate(self.rows[position])
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the row"
            raise RecipeError(f"{self.path}, row {position} is no trajectory ({field}: {first['msg']})") from None

    def picture(self, sha256: str) -> Any:
        """An image by its hash, in RGB, from `images/` in the folder or beside it."""
        for folder in (self.path, self.path.parent):
            if (folder / "images" / f"{sha256}.png").is_file():
                return TrajectoryReader(folder / "trajectories.jsonl").load_image(sha256)
        raise ValueError(f"{sha256}.png is missing from images/, in {self.path} or beside it")

    def rejected(self) -> list[str]:
        """None: a table does not say."""
        return []


def find_trajectory_files(paths: tuple[str, ...]) -> list[TrajectoryFile]:
    """The trajectory files that a recipe names, in order.

    Raises:
        RecipeError: A path does not exist, or holds no trajectories.
    """
    files: list[TrajectoryFile] = []
    for name in paths:
        path = Path(name)
        if path.is_file():
            files.append(JsonLinesFile(path))
        elif path.is_dir() and all((path / mark).is_file() for mark in _DATASET_MARKS):
            files.append(DatasetFolder(path))
        elif path.is_dir():
            inside = [file for file in sorted(path.rglob("*.jsonl")) if file.name not in _OTHER_LINES]
            if not inside:
                raise RecipeError(
                    f"sft.data: {path} holds no trajectories: neither .jsonl files nor a folder saved by `datasets`"
                )
            files += [JsonLinesFile(file) for file in inside]
        else:
            raise RecipeError(f"sft.data: {path}: there is no such file or folder")
    return files


PictureLoader = Callable[[str], Any]


def tools_called(paths: tuple[str, ...]) -> set[str]:
    """Names of the tools that are called in the first trajectories of each file.

    Raises:
        RecipeError: There is no such file, or a line of it is no trajectory.
    """
    first = (trajectory for file in find_trajectory_files(paths) for _, trajectory in islice(file.scan(), _GLANCE))
    return {call.name for trajectory in first for turn in trajectory.turns for call in turn.calls}
