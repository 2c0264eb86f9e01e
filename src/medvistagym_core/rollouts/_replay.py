"""Replay: every call of a trajectory made again on fresh images, and every result that differs.

The case is dealt again by its task, split, index and seed; its images must be those of the record. Then each turn's calls run
again, in their order, on a new store. A result of a deterministic tool must be the same bit for bit: error, text, facts, and
images with all that a tool can read from them and the picture a policy saw. A tool that is not deterministic, and whatever is
made from its images, must fail or succeed alike and give as many images. Calls that never ran (their budget was used, or the
episode was stopped before) and calls that timed out then are not made again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from medvistagym_core.environment import Case, Task, deal_case, make_task
from medvistagym_core.execution import Executor, ImageStore
from medvistagym_core.imaging import RenderedImage
from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_core.protocol import truncate
from medvistagym_core.rollouts._image_control import IMAGE_CONTROLS, image_control
from medvistagym_core.tools import Tool, Toolbox, ToolboxLock, ToolCall, ToolError, ToolResult
from medvistagym_core.trajectories import (
    CallRecord,
    ImageRecord,
    Trajectory,
    TrajectoryReader,
    call_record,
    image_record,
)

__all__ = ["Difference", "ReplayReport", "ReplayedEpisode", "locked_toolbox", "recorded_task", "replay", "verify"]

Kind = Literal["case", "lock", "picture", "error", "text", "data", "images", "image", "line"]


class Difference(BaseModel):
    """Something that is not as it was recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    episode: str = Field(description="Name of the episode.")
    turn: int | None = Field(default=None, description="Turn, from 0; null for the case.")
    call: int | None = Field(default=None, description="Call in the turn, from 0.")
    tool: str | None = Field(default=None, description="Name of the tool.")
    what: Kind = Field(description="What differs.")
    recorded: str = Field(description="As it was.")
    replayed: str = Field(description="As it is now.")

    def __str__(self) -> str:
        place = "" if self.turn is None else f", turn {self.turn}"
        place += "" if self.call is None else f", call {self.call}"
        place += f" ({self.tool})" if self.tool else ""
        return f"{self.episode}{place}: {self.what} was {self.recorded}, is {self.replayed}"


class ReplayReport(BaseModel):
    """What a replay found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(description="Name of the trajectory file.")
    same: bool = Field(description="Whether the calls were made again and nothing differs.")
    lock: tuple[str, ...] = Field(description="How the installed tools differ from the recorded ones, a sentence each.")
    replayed: bool = Field(description="Whether calls were made; not when the tools differ and it was not forced.")
    episodes: int = Field(default=0, ge=0, description="Episodes read.")
    calls: int = Field(default=0, ge=0, description="Calls recorded.")
    exact: int = Field(default=0, ge=0, description="Calls made again and compared bit for bit.")
    loose: int = Field(
        default=0, ge=0, description="Calls made again that need not give the same: tools that are not deterministic."
    )
    skipped: int = Field(
        default=0, ge=0, description="Calls not made again: they never ran, timed out, or follow a loss."
    )
    differences: tuple[Difference, ...] = Field(default=(), description="What differs.")


@dataclasses.dataclass(eq=False)
class ReplayedEpisode:
    """An episode played again.

    Attributes:
        trajectory: Its record.
        store: Its images, made anew.
        differences: What is not as recorded.
        exact: Number of calls compared bit for bit.
        loose: Number of calls made again that need not give the same.
        skipped: Number of calls not made again.
        nondeterministic_handles: Handles of images that need not be the same.
        diverged: Whether handles no longer mean what they meant.
    """

    trajectory: Trajectory
    store: ImageStore
    differences: list[Difference] = dataclasses.field(default_factory=list)
    exact: int = 0
    loose: int = 0
    skipped: int = 0
    nondeterministic_handles: set[int] = dataclasses.field(
        default_factory=set
    )  # handles of images that need not be the same
    diverged: bool = False  # handles no longer mean what they meant

    def differs(
        self, what: Kind, recorded: object, replayed: object, turn: int | None = None, k: int | None = None
    ) -> None:
        """Note a difference.

        Args:
            what: What differs.
            recorded: As it was; cut to 300 characters.
            replayed: As it is now; cut to 300 characters.
            turn: Number of the turn, from 0; None for the episode as a whole.
            k: Number of the call in the turn, from 0; None for the turn as a whole.
        """
        tool = None if turn is None or k is None else self.trajectory.turns[turn].calls[k].name
        self.differences.append(
            Difference(
                episode=self.trajectory.id,
                turn=turn,
                call=k,
                tool=tool,
                what=what,
                recorded=truncate(str(recorded), 300),
                replayed=truncate(str(replayed), 300),
            )
        )


def replay(
    trajectories: Iterable[Trajectory], executor: Executor, task: Callable[[Trajectory], Task], *, batch: int = 64
) -> Iterator[ReplayedEpisode]:
    """Play episodes again, `batch` at a time, all calls of a turn together.

    Args:
        trajectories: The records.
        executor: Runs the calls; one without a cache, if every call is to be made.
        task: Gives the task of a record, as `recorded_task` does.
        batch: How many episodes at a time.

    Raises:
        SelectionError: `task` does not know a task (or whatever else it raises).
    """
    source = iter(trajectories)
    while group := list(islice(source, batch)):
        played = [_reload_case(trajectory, task(trajectory)) for trajectory in group]
        for turn in range(max(len(trajectory.turns) for trajectory in group)):
            _play(turn, [p for p in played if len(p.trajectory.turns) > turn], executor)
        yield from played


def verify(
    path: str | Path, registry: Registry, executor: Callable[[Toolbox], Executor], *, force: bool = False,
    seen: Callable[[Iterator[ReplayedEpisode]], Iterator[ReplayedEpisode]] = iter,
) -> ReplayReport:  # fmt: skip
    """Replay a trajectory file with the installed tools.

    Args:
        path: The file; its lock and its pictures lie beside it.
        registry: What is installed.
        executor: Makes an executor for a toolbox; it is closed.
        force: Replay even when the tools are not those of the lock.
        seen: Is handed the episodes on their way, to show progress.

    Raises:
        ValueError: The file cannot be read.
        SelectionError: A task is not installed.
    """
    reader = TrajectoryReader(path)
    lock = reader.lock()
    toolbox = locked_toolbox(lock, registry)
    lock_differences = tuple(lock.differences(toolbox))
    if lock_differences and not force:
        return ReplayReport(file=reader.path.name, same=False, lock=lock_differences, replayed=False)
    counts = {"episodes": 0, "calls": 0, "exact": 0, "loose": 0, "skipped": 0}
    differences: list[Difference] = []
    sha256 = lock.sha256
    pictures = _Pictures(reader)
    runner = executor(toolbox)
    try:
        for played in seen(replay(reader, runner, recorded_task(registry))):
            if played.trajectory.toolbox != sha256:
                played.differs("lock", played.trajectory.toolbox, sha256)
            pictures.check(played)
            counts["episodes"] += 1
            counts["calls"] += played.trajectory.calls
            for name in ("exact", "loose", "skipped"):
                counts[name] += getattr(played, name)
            differences += played.differences
    finally:
        runner.close()
    differences += [
        Difference(episode=f"line {bad.number}", what="line", recorded="a record", replayed=truncate(bad.reason, 300))
        for bad in reader.bad_lines
    ]
    return ReplayReport(
        file=reader.path.name,
        same=not differences,
        lock=lock_differences,
        replayed=True,
        differences=tuple(differences),
        **counts,
    )


_OF_FILES: Final = frozenset(("ask", "play"))
"""Tasks of commands that play on files of the user's, which no plugin deals again."""


def recorded_task(registry: Registry) -> Callable[[Trajectory], Task]:
    """Gives the task of a record, made once for each way in which tasks were named."""
    tasks: dict[str, Task] = {}

    def task(trajectory: Trajectory) -> Task:
        reference = trajectory.task_reference
        key = trajectory.task if reference is None else reference.model_dump_json()
        if (
            key not in tasks
            and reference is None
            and trajectory.task in _OF_FILES
            and trajectory.task not in registry.tasks
        ):
            raise SelectionError(
                f"the episode {trajectory.id} was played on files (`medvistagym {trajectory.task}`), whose values no record "
                "holds; it can be looked at, with `medvistagym view`, and not replayed"
            )
        if key not in tasks:
            tasks[key] = registry.task(trajectory.task) if reference is None else make_task(registry, reference)
        return tasks[key]

    return task


def locked_toolbox(lock: ToolboxLock, registry: Registry) -> Toolbox:
    """The tools of a lock that are installed, under the names they had.

    Args:
        lock: The lock of the record.
        registry: What is installed.
    """
    return registry.toolbox("", {tool.name: tool.id for tool in lock.tools if tool.id in registry.tools})


def _reload_case(trajectory: Trajectory, task: Task) -> ReplayedEpisode:
    """The case dealt again, and compared."""
    try:
        case = deal_case(task, trajectory.split, trajectory.index, trajectory.seed)
        control = trajectory.facets.get("images")
        if control in IMAGE_CONTROLS:
            case = image_control(control, task, seed=trajectory.seed)(case)
    except Exception as error:  # noqa: BLE001 a case that cannot be dealt is a finding, not the end
        lost = ReplayedEpisode(trajectory, ImageStore(), diverged=True)
        lost.differs("case", trajectory.case, f"{type(error).__name__}: {error}")
        return lost
    played = ReplayedEpisode(trajectory, ImageStore(case.images))
    _compare_case(played, case)
    return played


def _compare_case(played: ReplayedEpisode, case: Case) -> None:
    record = played.trajectory
    sources = [image for image in record.images if image.turn is None]
    asked = " ".join(block.text or "" for block in record.opening)
    facts = [
        (record.case, case.id),
        (record.family, case.family),
        (record.outcome.expected, case.answer.value),
        (asked, asked if case.question in asked else case.question),
        (f"{len(sources)} images", f"{len(case.images)} images"),
    ]
    for recorded, now in facts:
        if recorded != now:
            played.differs("case", recorded, now)
    for handle in range(min(len(sources), len(case.images))):
        _compare_image(played, handle, None, None)
    played.diverged = len(sources) != len(case.images)


def _play(turn: int, episodes: Sequence[ReplayedEpisode], executor: Executor) -> None:
    """Make the calls of one turn of several episodes again."""
    jobs: list[tuple[ImageStore, list[ToolCall]]] = []
    repeated: list[tuple[ReplayedEpisode, list[int]]] = []
    for played in episodes:
        calls = played.trajectory.turns[turn].calls
        again = (
            []
            if played.diverged
            else [k for k, call in enumerate(calls) if _was_executed(played.trajectory, turn, call)]
        )
        played.skipped += len(calls) - len(again)
        if again:
            repeated.append((played, again))
            jobs.append((played.store, [_call(calls[k]) for k in again]))
    for (played, again), results in zip(repeated, executor.run(jobs) if jobs else [], strict=True):
        for position, (k, result) in enumerate(zip(again, results, strict=True)):
            _compare(played, turn, k, result, executor.toolbox)
            if played.diverged:
                played.skipped += len(again) - position - 1
                break


def _was_executed(trajectory: Trajectory, turn: int, call: CallRecord) -> bool:
    """Whether a call was made, and came back."""
    code = call.error.code if call.error else None
    last = turn == len(trajectory.turns) - 1
    stopped = last and trajectory.outcome.ended in ("stopped", "policy_failed")
    return not (code in ("budget_exhausted", "timeout") or (code == "tool_failed" and stopped and call.seconds == 0))


def _compare(played: ReplayedEpisode, turn: int, k: int, result: ToolResult, toolbox: Toolbox) -> None:
    then = played.trajectory.turns[turn].calls[k]
    now = call_record(_call(then), result, ())
    tool = toolbox.get(then.name)
    free = tool is not None and (
        not tool.spec.deterministic or any(handle in played.nondeterministic_handles for handle in _handles(tool, then))
    )
    played.loose += free
    played.exact += not free
    before, after = (None if r.error is None else f"{r.error.code}: {r.error.message}" for r in (then, now))
    if (before is None) != (after is None) if free else before != after:
        played.differs("error", before or "none", after or "none", turn, k)
    elif not free and then.text != now.text:
        played.differs("text", repr(then.text), repr(now.text), turn, k)
    elif not free and _canonical_json(then.data) != _canonical_json(now.data):
        played.differs("data", then.data, now.data, turn, k)
    if then.handles != now.handles:
        played.differs("images", list(then.handles), list(now.handles), turn, k)
        played.diverged = True
    elif free:
        played.nondeterministic_handles.update(now.handles)
    else:
        for handle in now.handles:
            _compare_image(played, handle, turn, k)


def _canonical_json(data: object) -> str:
    """Facts as JSON text: 1 and 1.0 differ, the order of names says nothing."""
    return json.dumps(data, sort_keys=True)


def _compare_image(played: ReplayedEpisode, handle: int, turn: int | None, k: int | None) -> None:
    then: ImageRecord = played.trajectory.images[handle]
    stored = list(played.store)[handle]
    now = image_record(stored, stored.image.rendered(played.trajectory.view_side), turn, k)
    if then == now:
        return
    names = [name for name in type(then).model_fields if getattr(then, name) != getattr(now, name)]
    fields = [name for name in names if name not in ("digest", "picture")] or names
    before, after = (", ".join(f"{name} {_short(getattr(r, name))}" for name in fields) for r in (then, now))
    what: Kind = "case" if turn is None else "image"
    played.differs(what, f"image {handle} with {before}", after, turn, k)


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text


def _call(record: CallRecord) -> ToolCall:
    return ToolCall(name=record.name, arguments=record.arguments, id=record.id)


def _handles(tool: Tool, call: CallRecord) -> list[int]:
    """The handles that a call names."""
    try:
        arguments = tool.validate(call.arguments)
    except ToolError:
        return []
    named = [arguments[name] for name in tool.image_arguments]
    return [
        handle for value in named for handle in (value if isinstance(value, list) else [value]) if handle is not None
    ]


class _Pictures:
    """Checks that the pictures beside a file are those that their names say, each once."""

    def __init__(self, reader: TrajectoryReader) -> None:
        self._folder = reader.path.parent / "images"
        self._hashes: dict[str, str] = {}

    def check(self, played: ReplayedEpisode) -> None:
        for sha in dict.fromkeys(image.picture for image in played.trajectory.images):
            if sha not in self._hashes:
                self._hashes[sha] = self._read(sha)
                if self._hashes[sha] != sha:
                    played.differs("picture", sha, self._hashes[sha])

    def _read(self, sha: str) -> str:
        import numpy as np
        import PIL.Image

        path = self._folder / f"{sha}.png"
        try:
            with PIL.Image.open(path) as picture:
                return RenderedImage(np.asarray(picture)).sha256
        except FileNotFoundError:
            return "missing"
        except (OSError, SyntaxError, PIL.Image.DecompressionBombError):
            return "broken"
