"""A run folder: all that a training run is, in files, so that it can be read, compared and resumed.

    recipe.yaml           every setting
    toolbox.lock.json     names, versions and schema hashes of the tools
    phases/PHASE.json     one file for each phase that is done, with its wall time
    metrics.jsonl         a line for each logged step
    checkpoints/PHASE/    model.safetensors, tokenizer, processor
    trajectories/         what policies did: JSON lines, and images by content
    evaluation/           rows of each policy and decoding
    results.json          the table; results.png, drawn
    README.md             the model card

A file is written aside and renamed, so it is whole or not there; a phase that was interrupted is begun again. Of the ranks of a
training, the first alone writes.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from medvistagym_core.plugins import SelectionError
from medvistagym_core.storage import write_atomically, write_folder_atomically
from medvistagym_core.tools import Toolbox, ToolboxLock
from medvistagym_trl._recipe import ConversationFormat, Recipe, dump_recipe, load_recipe, write_conversation_format
from medvistagym_trl.model import (
    LoadedModel,
    is_reference,
    load_model,
    save_model,
    save_reference,
)

_MAIN_LOCK: Final = ".lock"
_BESIDE_LOCK: Final = ".baselines.lock"
VALIDATION: Final = "-validation"
"""What the metrics of a stage's validations stand under, after the stage's name."""


class RunFolderError(SelectionError):
    """A run folder that cannot be begun or resumed; the sentence says why and what to do."""


class RunFolder:
    """A run folder in use.

    Args:
        path: The folder; made by `begin`.
        recipe: Its recipe.
        toolbox: Its tools.
        lock: The open file that keeps other processes out; None for a process that only reads the folder, which is every
            rank but the first of a training with several.
    """

    def __init__(self, path: Path, recipe: Recipe, toolbox: Toolbox, lock: IO[bytes] | None) -> None:
        self.path, self.recipe, self.toolbox = path, recipe, toolbox
        self.writes = lock is not None
        self._lock = lock
        self._start = time.monotonic()

    def close(self) -> None:
        """Let another process use the folder."""
        if self._lock is not None:
            self._lock.close()

    @classmethod
    def begin(cls, folder: Path, recipe: Recipe, toolbox: Toolbox) -> RunFolder:
        """Make a run folder.

        Args:
            folder: The folder; made if it is not there.
            recipe: Every setting of the run.
            toolbox: Its tools, whose lock is written.

        Raises:
            RunFolderError: The folder holds a run already.
        """
        if (folder / "recipe.yaml").exists():
            raise RunFolderError(f"{folder} holds a run already; resume it (--resume), or name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder, _MAIN_LOCK)
        write_text_atomically(folder / "toolbox.lock.json", toolbox.lock().model_dump_json(indent=2) + "\n")
        write_text_atomically(folder / "recipe.yaml", dump_recipe(recipe))
        return cls(folder, recipe, toolbox, lock)

    @staticmethod
    def read_recipe(folder: Path) -> Recipe:
        """The recipe of a run folder.

        Raises:
            RunFolderError: It is no run folder.
            RecipeError: Its recipe cannot be read.
        """
        if not (folder / "recipe.yaml").is_file():
            raise RunFolderError(f"{folder} is no run folder: it holds no recipe.yaml")
        return load_recipe(folder / "recipe.yaml")

    @classmethod
    def resume(cls, folder: Path, toolbox: Toolbox, *, beside: bool = False) -> RunFolder:
        """Resume a run.

        Args:
            folder: The run folder.
            toolbox: Its tools, as they are installed now.
            beside: As the second process of a run, beside the first; it changes nothing that the first one wrote.

        Raises:
            RunFolderError: It is no run folder, or another process uses it.
            LockMismatchError: The installed tools are not those of the run.
        """
        recipe = cls.read_recipe(folder)
        ToolboxLock.model_validate_json((folder / "toolbox.lock.json").read_bytes()).check(toolbox)
        run = cls(folder, recipe, toolbox, _lock(folder, _BESIDE_LOCK if beside else _MAIN_LOCK))
        if not beside:
            run._forget_unfinished_steps()
        return run

    @classmethod
    def attach(cls, folder: Path, toolbox: Toolbox) -> RunFolder:
        """Read a run that rank 0 has begun or resumed, as another rank of it: what is saved, logged or printed is left out.

        Args:
            folder: The run folder.
            toolbox: The tools of the run.

        Raises:
            RunFolderError: The folder holds no run.
            RecipeError: Its recipe cannot be read.
        """
        return cls(folder, cls.read_recipe(folder), toolbox, None)

    def done(self, phase: str) -> bool:
        """Whether a phase is finished."""
        return (self.path / "phases" / f"{phase}.json").is_file()

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall time of each finished phase."""
        files = sorted((self.path / "phases").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        return {file.stem: float(json.loads(file.read_text("utf-8"))["seconds"]) for file in files}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase, and note it as done unless it raises."""
        self.print_progress(f"{name} ...")
        start = time.monotonic()
        yield
        if not self.writes:
            return
        seconds = round(time.monotonic() - start, 2)
        write_text_atomically(self.path / "phases" / f"{name}.json", json.dumps({"seconds": seconds}) + "\n")
        self.print_progress(f"{name} done in {seconds:.0f} s")

    def print_progress(self, text: str) -> None:
        """A line of progress, on standard error."""
        if not self.writes:
            return
        sys.stderr.write(f"[{time.monotonic() - self._start:5.0f} s] {text}\n")
        sys.stderr.flush()

    def log(self, phase: str, metrics: Mapping[str, float]) -> None:
        """Append metrics to `metrics.jsonl`.

        Args:
            phase: The phase that they are of.
            metrics: Numbers by name, rounded to six decimals.
        """
        if not self.writes:
            return
        line = json.dumps({"phase": phase, **{key: round(float(value), 6) for key, value in metrics.items()}})
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All metrics logged so far; a line cut short by an interrupt is left out."""
        return read_metrics(self.path)

    def _forget_unfinished_steps(self) -> None:
        """Take steps out of `metrics.jsonl` that an interrupted phase will take again, so that each stands there once."""
        lines = self.metrics()
        kept = [
            line
            for line in lines
            if self.done(_stage(line["phase"])) or line["step"] <= self._saved_step(line["phase"])
        ]
        path = self.path / "metrics.jsonl"
        if path.is_file():
            write_text_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))

    def _saved_step(self, phase: str) -> int:
        """The step of the last whole checkpoint of an interrupted phase; where it begins again, what it does before step 1.

        That is 0, or none at all (-1) of its validations: its start is validated again.
        """
        folder = self.path / "checkpoints" / f"{_stage(phase)}_steps"
        begun = -1 if phase.endswith(VALIDATION) else 0
        states = folder.glob("checkpoint-*/trainer_state.json")
        return max((int(state.parent.name.partition("-")[2]) for state in states), default=begun)

    def checkpoint(self, phase: str) -> Path:
        """Folder of a phase's checkpoint."""
        return self.path / "checkpoints" / phase

    def save(self, phase: str, model: LoadedModel) -> None:
        """Save a model as the checkpoint of a phase, with the toolbox's lock beside it.

        Args:
            phase: The phase that ends with it.
            model: The model with its processor.

        Raises:
            NonFiniteWeightsError: A weight is NaN or infinite; the phase keeps the checkpoint that it had.
        """
        if not self.writes:
            return
        target = self.checkpoint(phase)
        rules = self.recipe.episode
        compact = self.recipe.model.path is None if rules.compact is None else rules.compact
        conversation = ConversationFormat(
            action_format=rules.action_format, compact=compact, view_side=self.recipe.model.view_side
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        with write_folder_atomically(target) as part:
            save_model(model, part)
            write_conversation_format(part, conversation)
            write_text_atomically(part / "toolbox.lock.json", self.toolbox.lock().model_dump_json(indent=2) + "\n")
            shutil.rmtree(target, ignore_errors=True)

    def save_reference(self, phase: str, path: str) -> None:
        """Let the checkpoint of a phase be that of another folder, without a copy of its weights.

        Args:
            phase: The phase.
            path: Folder of the other checkpoint.
        """
        if not self.writes:
            return
        target = self.checkpoint(phase)
        shutil.rmtree(target, ignore_errors=True)
        save_reference(path, target)

    def load(self, phase: str, schemas: list[dict[str, Any]], *, train: bool = False) -> LoadedModel:
        """The model that a phase ended with.

        Args:
            phase: The phase.
            schemas: The toolbox in the Hugging Face dialect.
            train: To be trained further, with the weights that the recipe trains in float32.

        Raises:
            UnsupportedModelError: The phase has left no checkpoint, or one that cannot be loaded.
        """
        recipe, folder = self.recipe, self.checkpoint(phase)
        model = recipe.model
        if not is_reference(folder):  # a checkpoint of this run holds its template and pixel budget itself
            model = model.model_copy(update={"chat_template": None, "max_pixels": None, "min_pixels": None})
        return load_model(folder, schemas, model, recipe.episode.action_format, train=train, seed=recipe.seed)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All metrics logged in a run folder; a line cut short by an interrupt is left out.

    Args:
        folder: The run folder.
    """
    path = folder / "metrics.jsonl"
    lines = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def _stage(phase: str) -> str:
    """The stage that metrics are of: those of its validations and of its engine stand under names of their own."""
    return phase.removesuffix(VALIDATION).removesuffix("-engine")


def _lock(folder: Path, name: str) -> IO[bytes]:
    """A file that is locked as long as it is open; a process that is killed lets go of it.

    A POSIX record lock: workers of a data loader, which are forks, do not inherit it.

    Raises:
        RunFolderError: Another process holds it.
    """
    file = (folder / name).open("ab")
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return file
    try:
        fcntl.lockf(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RunFolderError(
            f"{folder} is in use by another process; wait for it or stop it, or name another folder with --run"
        ) from None
    return file


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Args:
        path: The file; its folder is made.
        text: What it holds, written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as part:
        part.write_text(text, encoding="utf-8")
