"""Trajectories: the record of an episode, and the file it is kept in.

A record holds what is needed to read, check and replay an episode: the case by name and seed, the toolbox's lock by hash, the
policy and its sampling, every turn as written and as read, every call with its arguments and what came back, every image by
content and by its place in the source, the reward's terms and the timings. What a policy saw is in `opening`, `turns` and
`images`; the right answer is in `outcome` and nowhere else.

A file is JSON lines, appended one finished episode at a time by one writer at a time; only episodes in which the policy failed
are ever taken out again, to be played once more. Pictures lie beside it in `images/`, once
each, named by the hash of their pixels; the toolbox's lock lies beside it too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import Field, ValidationError

from medvistagym_core import conversation
from medvistagym_core.conversation import Message, Picture, Style
from medvistagym_core.png import encoded
from medvistagym_core.record import BlockRecord, ImageRecord, Record, TurnRecord, blocks
from medvistagym_core.record import turn as turn_of
from medvistagym_core.registry import Toolbox, ToolboxLock

if TYPE_CHECKING:
    import PIL.Image

Ended = Literal["answered", "turns", "tokens", "stopped", "policy_failed"]
Sampling = dict[str, str | int | float | bool | None]


class PolicyRecord(Record):
    """Who acted."""

    name: str = Field(description="The policy.")
    sampling: Sampling = Field(
        default_factory=dict, description="Sampling settings, such as the temperature and the seed."
    )


class OutcomeRecord(Record):
    """How it ended. The only place of the right answer."""

    ended: Ended = Field(description="Why the episode is over.")
    answer: str | None = Field(default=None, description="The policy's answer.")
    expected: str = Field(description="The right answer.")
    correct: bool = Field(description="Whether the answer is right.")
    abstained: bool = Field(description="Whether the policy said that it cannot tell.")
    informed: bool | None = Field(
        default=None, description="Whether it made a call that tells something, where the task knows."
    )
    needed: str | None = Field(
        default=None,
        description="Name of the tool that the case needs, where the task knows; empty when it needs none.",
    )
    reason: str | None = Field(default=None, description="What went wrong with the policy, if anything.")


class Trajectory(Record):
    """The record of one episode."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    id: str = Field(description="Name of the episode: case, and number of the sample of it.")
    task: str = Field(description="Name of the task.")
    case: str = Field(description="Name of the case.")
    split: str = Field(description="Split of the case.")
    index: int = Field(description="Position of the case in its split.")
    family: str = Field(description="Kind of question.")
    seed: int = Field(description="Seed of the case.")
    sample: int = Field(default=0, description="Number of this sample of the case.")
    policy: PolicyRecord = Field(description="Who acted.")
    toolbox: str = Field(description="SHA-256 of the toolbox's lock, which lies beside the file.")
    think: Literal["required", "optional", "off"] = Field(description="The protocol's rule for reasoning.")
    style: Style = Field(description="How calls and results stand in messages.")
    max_turns: int = Field(description="Most turns allowed.")
    max_calls: int = Field(description="Most calls allowed.")
    max_tokens: int | None = Field(default=None, description="Most tokens that the policy might write; null for any.")
    max_calls_per_turn: int = Field(description="Most calls allowed in a turn.")
    view_side: int | None = Field(
        description="Longer side of the pictures shown, in pixels; null for the images' own size."
    )
    prompt: str | None = Field(description="The system prompt.")
    opening: tuple[BlockRecord, ...] = Field(description="The first observation.")
    turns: tuple[TurnRecord, ...] = Field(description="The turns, in order.")
    images: tuple[ImageRecord, ...] = Field(description="The images by handle.")
    outcome: OutcomeRecord = Field(description="How it ended.")
    reward: float = Field(description="The reward.")
    terms: dict[str, float] = Field(description="Its terms, before their weights.")
    weights: dict[str, float] = Field(description="The weights of the terms.")

    @property
    def calls(self) -> int:
        """Number of calls made."""
        return sum(len(turn.calls) for turn in self.turns)

    def to_messages(self, load: Callable[[str], Any], style: Style | None = None) -> list[Message]:
        """The conversation as chat messages, for supervised fine-tuning.

        Args:
            load: Gives the picture of a hash, such as `TrajectoryReader.picture`.
            style: How calls and results stand in messages; as the episode was played unless given.
        """
        style = style or self.style
        messages = conversation.opening(self.prompt, blocks(self.opening))
        for record in self.turns:
            turn = turn_of(record)
            messages.append(conversation.assistant(turn, style))
            shown = [blocks(call.shown) for call in record.calls]
            messages += conversation.replies(turn, shown, blocks(record.feedback), style)
        named = {b["image"] for m in messages for b in m["content"] if b["type"] == "image"}
        return conversation.with_images(messages, {h: load(self.images[h].picture) for h in sorted(named)})

    def to_sft(self, load: Callable[[str], Any], style: Style = "text") -> dict[str, Any]:
        """A row in TRL's conversational format: `messages` with a place for each image, and the `images` in their order.

        Args:
            load: Gives the picture of a hash, such as `TrajectoryReader.picture`.
            style: "text" writes calls as text and results as a user's messages, which TRL's own `SFTTrainer` can take; it takes
                no images in the messages of tools.
        """
        messages = self.to_messages(load, style)
        images = [block.pop("image") for m in messages for block in m["content"] if block["type"] == "image"]
        return {"messages": messages, "images": images}


def lock_hash(toolbox: Toolbox) -> str:
    """SHA-256 of a toolbox's lock, as hexadecimal text; computed once for each of the last few toolboxes."""
    for known, sha256 in _LOCKS:
        if known is toolbox:
            return sha256
    _LOCKS[:] = [(toolbox, hashlib.sha256(toolbox.lock().model_dump_json().encode()).hexdigest()), *_LOCKS[:3]]
    return _LOCKS[0][1]


_FAILED: Final = b'"policy_failed"'
_LOCKS: Final[list[tuple[Toolbox, str]]] = []


class FileInUseError(ValueError):
    """A trajectory file that another run is writing."""


class TrajectoryWriter:
    """Appends trajectories to a file; what another run left there stays.

    A line that a killed run left unfinished is dropped when the file is opened. Whatever happens later, every line but the last
    is whole.

    Args:
        path: The file, ending in `.jsonl`; its folder is made.
        toolbox: The toolbox of the run; its lock is written beside a new file.

    Raises:
        LockMismatchError: The file was begun with another toolbox.
        FileInUseError: Another writer has the file.
    """

    def __init__(self, path: str | Path, toolbox: Toolbox) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.images = self.path.parent / "images"
        self.images.mkdir(exist_ok=True)
        self._folder = os.path.join(self.images, "")  # noqa: PTH118
        self._have = {entry.stem for entry in self.images.glob("*.png")}
        self._rejected_path = self.path.with_suffix(".rejected")
        self._file = _claimed(self.path)
        try:
            _write_lock(self.path.with_suffix(".lock.json"), toolbox)
            _mend(self.path)
            _mend(self._rejected_path)
            _sweep(self.images)
            self.path.resolve().with_suffix(".part").unlink(missing_ok=True)
        except BaseException:
            self._file.close()
            raise

    @property
    def seen(self) -> set[str]:
        """Ids of the episodes that are in the file, or were rejected."""
        rejected = self._rejected_path.read_text().split("\n") if self._rejected_path.exists() else []
        return {t.id for t in TrajectoryReader(self.path)} | {line for line in rejected if line}

    def write(self, trajectory: Trajectory, pictures: Mapping[str, Picture]) -> None:
        """Append an episode; its pictures first, so that no line names a picture that is not there.

        Raises:
            OSError: There is no room, or no more right; nothing of the line is left.
        """
        for sha, picture in pictures.items():
            if sha not in self._have:
                _save(picture, f"{self._folder}{sha}.png")
                self._have.add(sha)
        line = memoryview(trajectory.model_dump_json(round_trip=True).encode() + b"\n")
        begin = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
        except BaseException:
            self._file.truncate(begin)
            raise

    def reject(self, trajectory: Trajectory) -> None:
        """Note that an episode was run and is not kept, so that a resumed run does not repeat it."""
        with self._rejected_path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(trajectory.id + "\n")

    def withdraw(self, unwanted: Callable[[Trajectory], bool]) -> int:
        """Take episodes in which the policy failed out of the file, so that they can be played again; how many there were.

        The file is written anew aside and renamed: killed on the way, it is as it was.

        Args:
            unwanted: Says of an episode in which the policy failed whether it goes.

        Raises:
            OSError: There is no room for a second file; nothing was changed.
        """
        path, going = self.path.resolve(), set[int]()
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if _FAILED in line and (t := _parsed(line)) and t.outcome.ended == "policy_failed" and unwanted(t):
                    going.add(number)
        if not going:
            return 0
        part = path.with_suffix(".part")
        with contextlib.ExitStack() as undo:
            undo.callback(part.unlink, missing_ok=True)
            with path.open("rb") as file, part.open("wb") as new:
                new.writelines(line for number, line in enumerate(file) if number not in going)
                new.flush()
                os.fsync(new.fileno())
            shutil.copymode(path, part)
            kept = undo.enter_context(part.open("ab", buffering=0))
            _claim(kept, path)
            part.replace(path)
            undo.pop_all()
        self._file.close()
        self._file = kept
        return len(going)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TrajectoryReader:
    """Reads the trajectories of a file, one at a time; a last line that was never finished is left out.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __iter__(self) -> Iterator[Trajectory]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield Trajectory.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors(include_url=False, include_input=False)[0]
                    where = ".".join(str(part) for part in first["loc"])
                    raise ValueError(
                        f"{self.path.name}, line {number}: {where or 'the line'}: {first['msg']}"
                    ) from None

    def picture(self, sha256: str) -> PIL.Image.Image:
        """A picture by its hash, in RGB.

        Raises:
            ValueError: Its file is missing.
        """
        import PIL.Image

        path = self.path.parent / "images" / f"{sha256}.png"
        try:
            with PIL.Image.open(path) as image:
                return image.convert("RGB")
        except FileNotFoundError:
            raise ValueError(f"{path.name} is missing from {path.parent.name}/ beside {self.path.name}") from None

    def lock(self) -> ToolboxLock:
        """The lock of the toolbox that the file was made with."""
        return ToolboxLock.model_validate_json(self.path.with_suffix(".lock.json").read_bytes())


def _parsed(line: bytes) -> Trajectory | None:
    try:
        return Trajectory.model_validate_json(line)
    except ValidationError:  # which a reader will name
        return None


def _write_lock(path: Path, toolbox: Toolbox) -> None:
    if path.exists():
        ToolboxLock.model_validate_json(path.read_bytes()).check(toolbox)
        return
    part = path.with_suffix(".part")
    try:
        part.write_text(toolbox.lock().model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _claimed(path: Path) -> IO[bytes]:
    """A file to append to that nobody else writes."""
    while True:
        with contextlib.ExitStack() as undo:
            file = undo.enter_context(path.open("ab", buffering=0))
            _claim(file, path)
            # A run that had the file may have put another in its place before it let go of this one.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    undo.pop_all()
                    return file


def _claim(file: IO[bytes], path: Path) -> None:
    """Let no other process, and no other writer of this one, write the file until it is closed; a killed run lets go of it."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileInUseError(
            f"{path.name} is being written by another run; wait for it, or write to another folder"
        ) from None


def _mend(path: Path) -> None:
    """Drop a last line without its end."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        at = end
        while at > 0:
            begin = max(0, at - 65536)
            file.seek(begin)
            found = file.read(at - begin).rfind(b"\n")
            if found >= 0:
                at = begin + found + 1
                break
            at = begin
        if at != end:
            file.truncate(at)


def _save(picture: Picture, path: str) -> None:
    part = f"{path}.{os.getpid()}.part"  # another file's run may be saving the same picture
    try:
        with open(part, "wb") as file:  # noqa: PTH123 - a path object takes a third of the time of writing
            file.write(encoded(picture.pixels))
        os.replace(part, path)  # noqa: PTH105
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _sweep(images: Path) -> None:
    """Remove what runs that were killed had begun to save."""
    for part in images.glob("*.part"):
        try:
            os.kill(int(part.name.split(".")[-2]), 0)
        except ProcessLookupError:
            part.unlink(missing_ok=True)
        except (ValueError, IndexError, OSError):  # not ours, or another user's run
            continue
