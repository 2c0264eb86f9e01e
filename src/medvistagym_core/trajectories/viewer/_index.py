"""The episodes of a run, for a page: one short row each, kept in memory, and the whole record from the file when asked for.

`EpisodeIndex.poll` reads what was appended to the files since it was last called, so a run may be looked at while it goes on.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from pydantic import ValidationError

from medvistagym_core.tools import first_fault
from medvistagym_core.trajectories import Results, Trajectory, open_regular, parse_line, read_line, read_lines
from medvistagym_core.trajectories.viewer._lineage import box_annotations, source_handle

COLUMNS: Final = (
    "file", "id", "task", "split", "family", "policy", "question", "answer", "expected", "outcome", "ended", "informed",
    "reward", "turns", "tools", "errors", "needed", "seconds",
)  # fmt: skip
OUTCOMES: Final = ("right", "wrong", "abstained", "no answer", "answered")  # the last: nobody has said what is right
MAX_PROBLEMS: Final = 100
RESCAN_INTERVAL_S: Final = 2.0
Row = list[Any]


class EpisodeIndex:
    """Trajectory files, and the figures of the training beside them.

    Rows hold texts by their number in `strings`, so that a text that many episodes share is kept, and sent, once.

    Args:
        path: A trajectory file, or a folder with any number of them at any depth.

    Raises:
        ValueError: There is nothing to look at.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().name
        self.rows: list[Row] = []
        self.strings: list[str] = []
        self.problems: list[str] = []
        self._numbers: dict[str, int] = {}
        self._files: list[Path] = []
        self._ends: list[int] = []
        self._lines: list[int] = []
        self._begin, self._length = array("Q"), array("Q")
        self._states: list[tuple[int, int]] = []  # inode and time of each file when it was last read
        self._last: list[tuple[int, int]] = []  # length and hash of the line read last of each
        self._again_at: list[dict[str, int]] = []  # where the episodes stand of a file that is read again
        self._thumbs: list[str | None] = []
        self._lock = threading.Lock()
        self._again = 0.0
        self._find()
        if not self._files and not self._beside("metrics.jsonl"):
            what = (
                "no trajectory file (.jsonl, its .lock.json beside it)"
                if self.path.exists()
                else "no such file or folder"
            )
            raise ValueError(f"{self.path}: there is {what}")

    # -- reading

    def poll(self, max_episodes: int | None = None) -> int:
        """Take up new episodes; how many there were.

        Args:
            max_episodes: Episodes to take up at most, so that others are not kept waiting; all there are when None.
        """
        with self._lock:
            self._find()
            count = 0
            for number, path in enumerate(self._files):
                try:
                    count += self._read_file(number, path, None if max_episodes is None else max_episodes - count)
                except OSError as error:
                    self._problem(f"{self._label(path)}: {error.strerror}")
                if max_episodes is not None and count >= max_episodes:
                    break
            return count

    def _find(self) -> None:
        """Look for trajectory files, at most once in a while."""
        if time.monotonic() < self._again:
            return
        if self.path.is_file():
            paths = [self.path]
        else:
            paths = [p for p in self._walk() if p.suffix == ".jsonl" and p.with_suffix(".lock.json").is_file()]
            paths = [path for path in paths if path.is_file()]
        self._again = time.monotonic() + RESCAN_INTERVAL_S
        indexed = set(self._files)
        for path in paths:
            if path not in indexed:
                self._files.append(path)
                self._ends.append(0)
                self._lines.append(0)
                self._states.append((0, 0))
                self._last.append((0, hash(b"")))
                self._again_at.append({})

    def _read_file(self, number: int, path: Path, max_episodes: int | None) -> int:
        count = 0
        status = path.stat()
        if (status.st_ino, status.st_mtime_ns) == self._states[number] and status.st_size == self._ends[number]:
            return 0
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._states[number][0] or not self._stands(number, file):
                self._restart(number)
            self._states[number] = status.st_ino, status.st_mtime_ns
            file.seek(self._ends[number])
            while max_episodes is None or count < max_episodes:
                begin = self._ends[number]
                line, length = read_line(file)
                if not line:
                    break
                self._ends[number] += length
                self._lines[number] += 1
                self._last[number] = (length, hash(line)) if length == len(line) else (0, hash(b""))
                try:
                    trajectory = parse_line(line)
                except ValueError as error:
                    self._problem(f"{self._label(path)}, line {self._lines[number]}: {error}")
                    continue
                try:
                    row = self._row(number, trajectory)
                except Exception as error:  # noqa: BLE001 one record that cannot be shown must not hide the others
                    message = f"it cannot be shown ({type(error).__name__}: {error})"
                    self._problem(f"{self._label(path)}, line {self._lines[number]}: {message}")
                    continue
                thumb = trajectory.images[0].picture if trajectory.images else None
                at = self._again_at[number].pop(trajectory.id, None)
                if at is None:
                    self._begin.append(begin)
                    self._length.append(len(line))
                    self._thumbs.append(thumb)
                    self.rows.append(row)
                else:
                    self._begin[at], self._length[at], self._thumbs[at], self.rows[at] = begin, len(line), thumb, row
                count += 1
        return count

    def _stands(self, number: int, file: IO[bytes]) -> bool:
        """Whether what was read last still stands in a file; another file may have been given the inode of one that is gone."""
        length, content = self._last[number]
        file.seek(self._ends[number] - length)
        return hash(file.read(length)) == content

    def _restart(self, number: int) -> None:
        """Read a file from its begin, which was replaced since a resumed run plays some of its episodes again.

        Episodes keep their places, each until a line of its name is met.
        """
        if self._ends[number]:
            self._again_at[number] = {self.strings[row[1]]: k for k, row in enumerate(self.rows) if row[0] == number}
        self._ends[number], self._lines[number], self._last[number] = 0, 0, (0, hash(b""))

    def _row(self, number: int, t: Trajectory) -> Row:
        text, outcome = self._number, t.outcome
        texts = [block.text for block in t.opening if block.text]
        kind = 0 if outcome.correct else 2 if outcome.abstained else 3 if outcome.answer is None else 1
        if kind in (0, 1) and not outcome.expected:
            kind = 4
        errors = [(e.code, "") for turn in t.turns if (e := turn.error)]
        errors += [(c.error.code, c.name) for turn in t.turns for c in turn.calls if c.error]
        needed = getattr(outcome, "needed", None)
        return [
            number,
            text(t.id),
            text(t.task),
            text(t.split),
            text(t.family),
            text(t.policy.name),
            text((texts[-1] if texts else "")[:200]),
            text((outcome.answer or "")[:80]),
            text(outcome.expected[:80]),
            kind,
            text(outcome.ended),
            None if outcome.informed is None else int(outcome.informed),
            round(t.reward, 6) if math.isfinite(t.reward) else None,
            len(t.turns),
            [text(call.name[:64]) for turn in t.turns for call in turn.calls],
            [[text(code), text(tool[:64])] for code, tool in errors],
            None if needed is None else text(needed),
            round(sum(turn.policy_seconds + turn.tool_seconds for turn in t.turns), 4),
        ]

    def _number(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.strings)
            self.strings.append(text)
        return number

    def _problem(self, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS and text not in self.problems:
            self.problems.append(text)

    def _label(self, path: Path) -> str:
        return path.name if path == self.path else path.relative_to(self.path).as_posix()

    # -- what a page asks for

    @property
    def files(self) -> list[str]:
        """Names of the trajectory files, from the run's folder."""
        return [self._label(path) for path in self._files]

    def table(self, rows: int = 0, strings: int = 0) -> dict[str, Any]:
        """The rows and strings from these numbers on, and what else there is to say of the run.

        Args:
            rows: Number of the first row wanted, from 0.
            strings: Number of the first string wanted, from 0.
        """
        upto = len(self.rows)  # the strings of these rows are there before them
        return {
            "name": self.name,
            "columns": COLUMNS,
            "outcomes": OUTCOMES,
            "files": self.files,
            "problems": list(self.problems),
            "strings": self.strings[strings:],
            "rows": self.rows[rows:upto],
        }

    def trajectory(self, number: int) -> Trajectory:
        """The record of episode `number`, from its file.

        Raises:
            IndexError: There is no such episode.
            ValueError: The file has changed.
        """
        if not 0 <= number < len(self.rows):
            raise IndexError(f"there is no episode {number}")
        with open_regular(self._files[self.rows[number][0]]) as file:
            file.seek(self._begin[number])
            trajectory = Trajectory.model_validate_json(file.read(self._length[number]))
        if trajectory.id != self.strings[self.rows[number][1]]:
            raise ValueError("the file has changed")
        return trajectory

    def episode(self, number: int) -> dict[str, Any]:
        """The record of an episode as JSON values, with what a page needs beside it: `file`, `marks`, `roots`, `parts`.

        Raises:
            IndexError: There is no such episode.
            ValueError: The file has changed.
        """
        trajectory = self.trajectory(number)
        images = trajectory.images
        return {
            **trajectory.model_dump(mode="json"),
            "number": number,
            "file": self.rows[number][0],
            "marks": box_annotations(trajectory),
            "roots": [source_handle(images, handle) for handle in range(len(images))],
            "parts": {name: trajectory.weights.get(name, 0.0) * value for name, value in trajectory.terms.items()},
        }

    def thumbnail(self, number: int) -> Path | None:
        """The file of the first picture of an episode."""
        sha = self._thumbs[number] if 0 <= number < len(self._thumbs) else None
        return None if sha is None else self.picture(self.rows[number][0], sha)

    def file(self, number: int) -> Path:
        """The trajectory file of an episode."""
        return self._files[self.rows[number][0]]

    def picture(self, file: int, sha256: str) -> Path | None:
        """The picture of a hash beside trajectory file number `file`; None when there is none.

        Args:
            file: Number of the trajectory file, from 0.
            sha256: The hash, as 64 hexadecimal digits.
        """
        if not 0 <= file < len(self._files):
            return None
        path = self._files[file].parent / "images" / f"{sha256}.png"
        return path if path.is_file() and not path.is_symlink() else None

    def charts(self) -> dict[str, Any]:
        """What a training logged and reached.

        Returns:
            `curves`, from every `metrics.jsonl`: its `name` and `series`, (step, value) in order by phase and name; `results`,
            from every `results.json`: its `name` and document; `problems`, a sentence for each of these that is damaged.
        """
        results, problems = [], []
        for path in self._beside("results.json"):
            name = self._short(path)
            try:
                results.append({"name": name, **Results.load(path).model_dump(mode="json")})
            except (ValueError, OSError, RecursionError) as error:
                fault = (
                    ": ".join(filter(None, first_fault(error))) if isinstance(error, ValidationError) else str(error)
                )
                problems.append(f"{name}: its results cannot be read ({fault})")
        return {"curves": self._curves(), "results": results, "problems": problems}

    def _curves(self) -> list[dict[str, Any]]:
        found = []
        for path in self._beside("metrics.jsonl"):
            series: dict[str, dict[str, dict[float, float]]] = {}
            for position, line in enumerate(_objects(path)):
                step = line.get("step", position)
                phase = str(line.get("phase", line.get("stage", "")))
                if not _is_number(step):
                    continue
                for name, value in line.items():
                    if name not in ("step", "time", "seconds") and _is_number(value):
                        # A training that was resumed logs some steps again; the later figure counts.
                        series.setdefault(phase, {}).setdefault(name, {})[step] = value
            if series:
                curves = {phase: {n: sorted(v.items()) for n, v in named.items()} for phase, named in series.items()}
                found.append({"name": self._short(path), "series": curves})
        return found

    @property
    def _folder(self) -> Path:
        return self.path.parent if self.path.is_file() else self.path

    def _short(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _beside(self, name: str) -> list[Path]:
        if self.path.is_file():
            return [path for path in (self.path.parent / name,) if path.is_file()]
        return [path for path in self._walk() if path.name == name and path.is_file()]

    def _walk(self) -> list[Path]:
        """The files of the run, pictures left out: there may be very many."""
        paths = []
        for folder, below, names in os.walk(self.path):
            below[:] = sorted(name for name in below if name != "images")
            paths += [Path(folder, name) for name in sorted(names)]
        return paths


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with open_regular(path) as file:
        for line in read_lines(file):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
