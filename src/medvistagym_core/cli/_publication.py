"""What of a run folder would be published: card, weights, lock, scores and trajectories, and whether its pictures may be."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from medvistagym_core.environment import Task
    from medvistagym_core.plugins import Registry
    from medvistagym_core.trajectories import Trajectory

CARD: Final = "README.md"
SHAREABLE: Final = frozenset(
    {
        "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0",
        "MIT", "ODC-By-1.0", "PDDL-1.0",
    }
)  # fmt: skip
"""Licences under which anyone may hand pictures on."""
_RECORDS: Final = ("recipe.yaml", "toolbox.lock.json", "metrics.jsonl")
_SCORES: Final = ("results.json", "results.txt", "results.png", "scores.json", "scores.md")
_PHASES: Final = {
    "grpo": ("grpo_tail", "grpo"),
    "sft": ("self_sampling_*", "sft"),
    "untrained": ("untrained",),
    "no_tools": ("no_tools",),
}
"""Which phases leave the policy of a row, the last one first; the rows of a table in reverse order."""
_WEIGHTS: Final = ("config.json", "adapter_config.json")
_PICTURES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".dcm", ".nii", ".gz", ".nrrd"}
)
_DRAWN: Final = frozenset({"results.png"})


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file of a publication.

    Attributes:
        kind: card, weights, record, scores, trajectories or picture.
        path: Its path there.
        source: Where it lies now.
        size: In bytes.
    """

    kind: str
    path: str
    source: Path
    size: int


@dataclasses.dataclass(frozen=True)
class PictureTask:
    """A task whose pictures the trajectories hold.

    Attributes:
        name: The task.
        licence: Of its pictures, as the task says; empty where it does not.
        pictures: How many of them there are.
        problem: Why the task cannot say, such as that it is not installed; empty where it can.
    """

    name: str
    licence: str
    pictures: int
    problem: str = ""

    @property
    def shareable(self) -> bool:
        """Whether anyone may hand its pictures on."""
        return self.licence in SHAREABLE


@dataclasses.dataclass(frozen=True)
class Publication:
    """What would be published of a run.

    Attributes:
        files: In the order of their kinds.
        tasks: Whose pictures are among them.
        notes: What a person should look at before, a sentence each.
    """

    files: tuple[PublishedFile, ...]
    tasks: tuple[PictureTask, ...]
    notes: tuple[str, ...]


def plan_publication(
    run: Path, registry: Registry, *, checkpoint: str | None = None, with_pictures: bool = True
) -> Publication:
    """List what would be published of a run; nothing is written.

    Args:
        run: The run folder.
        registry: Knows the tasks, and what they say of their licences.
        checkpoint: Which one; that of the policy which the table ends with when None.
        with_pictures: Whether pictures of trajectories go with them.

    Raises:
        ValueError: It is no run folder, it has no card yet, or no such checkpoint.
    """
    for name in ("recipe.yaml", "toolbox.lock.json"):  # a study's folder holds a recipe, too
        if not (run / name).is_file():
            raise ValueError(f"{run} is no run folder of a training: it holds no {name}")
    if not (run / CARD).is_file():
        again = shlex.join(["medvistagym", "train", "--run", str(run), "--resume"])
        raise ValueError(f"{run} has no model card yet; finish the run: {again}")
    files = [_file("card", run / CARD, CARD)]
    weights, notes = _weights(run, checkpoint)
    files += weights
    files += [_file("record", run / name, name) for name in _RECORDS if (run / name).is_file()]
    scores = [run / name for name in _SCORES] + sorted((run / "evaluation").glob("*.json"))
    files += [_file("scores", path, str(path.relative_to(run))) for path in scores if path.is_file()]
    folder = run / "trajectories"
    played = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    texts = [path for path in played if path.suffix.lower() not in _PICTURES]
    files += [_file("trajectories", path, str(path.relative_to(run))) for path in texts]
    tasks: tuple[PictureTask, ...] = ()
    pictures = [path for path in played if path.suffix.lower() in _PICTURES]
    if with_pictures and pictures:
        tasks, named = _picture_tasks(texts, {path.stem for path in pictures}, registry)
        recorded = [path for path in pictures if path.stem in named]
        files += [_file("picture", path, str(path.relative_to(run))) for path in recorded]
        if left := len(pictures) - len(recorded):
            notes.append(f"pictures that no record names are left out: {left}")
    stray = [
        each.path for each in files
        if each.kind != "picture" and Path(each.path).suffix.lower() in _PICTURES and each.path not in _DRAWN
    ]  # fmt: skip
    if stray:
        raise ValueError(f"{', '.join(stray)} may be pictures of patients, and do not belong there; move them away")
    return Publication(tuple(files), tasks, (*notes, *_machine_paths(files)))


def refusal(publication: Publication) -> str | None:
    """Why the pictures of a publication may not be shared, in one sentence; None where they may."""
    refused = [task for task in publication.tasks if not task.shareable]
    if not refused:
        return None
    what = "; ".join(f"{task.pictures} pictures of {task.name}, {_reason(task)}" for task in refused)
    return (
        f"the trajectories hold {what}: nobody said that they may be shared; leave them out with --without-pictures, or say "
        "--pictures-may-be-shared if you know that they may"
    )


def _reason(task: PictureTask) -> str:
    if task.problem:
        return f"whose licence cannot be asked for ({task.problem})"
    return f"whose licence is {task.licence}" if task.licence else "which does not say under which licence"


def _file(kind: str, source: Path, path: str) -> PublishedFile:
    return PublishedFile(kind, path, source, source.stat().st_size)


def _weights(run: Path, checkpoint: str | None) -> tuple[list[PublishedFile], list[str]]:
    """The files of a checkpoint, for the top of the publication, and what is to be said of it."""
    there = {
        path.name: path
        for path in sorted((run / "checkpoints").glob("*"))
        if not path.name.startswith(".") and not path.name.endswith("_steps") and path.is_dir()
    }
    own = [name for name, path in there.items() if any((path / name).is_file() for name in _WEIGHTS)]
    if checkpoint is None and not own:
        return [], ["no checkpoint of this run holds weights of its own, so none are published"]
    name = checkpoint or _reported(run, own)
    if name not in own:
        raise ValueError(
            f"{run} has no weights of {name}; there are those of {', '.join(own) or 'none'} (--checkpoint)"
        )
    files = [path for path in sorted(there[name].rglob("*")) if path.is_file() and not path.name.startswith(".")]
    taken = [
        _file("weights", path, str(path.relative_to(there[name])))
        for path in files
        if path.name not in (CARD, *_RECORDS)
    ]
    return taken, [f"the weights are those of the phase {name}"]


def _reported(run: Path, own: Sequence[str]) -> str:
    """The phase whose policy the table ends with, as the card does; the last phase where there is no table."""
    evaluated = [policy for policy in _PHASES if any((run / "evaluation").glob(f"{policy}-*.json"))]
    for policy in evaluated[:1] or _PHASES:
        for pattern in _PHASES[policy]:
            found = sorted(fnmatch.filter(own, pattern), key=lambda name: (len(name), name))
            if found:
                return found[-1]
    return evaluated[0] if evaluated else "grpo"


def _picture_tasks(
    records: Sequence[Path], there: set[str], registry: Registry
) -> tuple[tuple[PictureTask, ...], set[str]]:
    """Tasks whose pictures are there, each picture counted once, and the pictures that records name."""
    from medvistagym_core.rollouts import recorded_task
    from medvistagym_core.trajectories import TrajectoryReader

    find, pictures, licences = recorded_task(registry), dict[str, set[str]](), dict[str, tuple[str, str]]()
    for path in records:
        if path.suffix != ".jsonl":
            continue
        for trajectory in TrajectoryReader(path):
            of_record = {image.picture for image in trajectory.images} & there
            pictures.setdefault(trajectory.task, set()).update(of_record)
            if trajectory.task not in licences:
                licences[trajectory.task] = _licence(find, trajectory)
    tasks = []
    for name, of_task in sorted(pictures.items()):
        licence, problem = licences[name]
        if of_task:
            tasks.append(PictureTask(name, licence, len(of_task), problem))
    return tuple(tasks), set[str]().union(*pictures.values())


def _licence(find: Callable[[Trajectory], Task], trajectory: Trajectory) -> tuple[str, str]:
    """What the task of a record says of its licence, or why it cannot."""
    from medvistagym_core.environment import HasProvenance

    try:
        task = find(trajectory)
        return (task.provenance(trajectory.split).licence if isinstance(task, HasProvenance) else ""), ""
    except Exception as error:  # noqa: BLE001 a task may fail in any way; that it is not installed is no answer
        return "", str(error) or type(error).__name__


_MACHINE_PATH: Final = re.compile(r"(?<![\w:/.])/(?:home|Users|root|mnt|data|scratch|tmp|srv|opt|var)/[^\s\"',]+")
_ABSOLUTE_PATH: Final = re.compile(r"(?<![\w:/.<])/[^\s\"',/<>]+/[^\s\"',<>]+")
"""Any path of two parts: in a recipe there are no others, in texts there may be."""


def _machine_paths(files: Sequence[PublishedFile]) -> list[str]:
    """Which small text files name folders of this machine."""
    texts = [each for each in files if each.kind in ("card", "record") or each.path.endswith("config.json")]
    notes = []
    for each in texts:
        pattern = _ABSOLUTE_PATH if each.path == "recipe.yaml" else _MACHINE_PATH
        match = pattern.search(each.source.read_text("utf-8", "replace"))
        if match:
            notes.append(f"{each.path} names a folder of this machine, {match[0]}")
    return notes


def dump(publication: Publication) -> dict[str, object]:
    """A publication as JSON."""
    return {
        "files": [{**dataclasses.asdict(each), "source": str(each.source)} for each in publication.files],
        "pictures": [{**dataclasses.asdict(task), "shareable": task.shareable} for task in publication.tasks],
        "notes": list(publication.notes),
    }
