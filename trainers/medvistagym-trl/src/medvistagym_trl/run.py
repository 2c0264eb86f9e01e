"""A run folder: all that a training run is, in files, so that it can be read, compared and gone on with.

    recipe.yaml           every setting
    toolbox.lock.json     names, versions and schema hashes of the tools
    phases/PHASE.json     one file for each phase that is done, with its wall time
    metrics.jsonl         a line for each logged step
    checkpoints/PHASE/    model.safetensors, tokenizer, processor
    trajectories/         what policies did: JSON lines, and pictures by content
    evaluation/           rows of each policy and decoding
    results.json          the table; results.png, its picture

A file is written aside and renamed, so it is whole or not there; a phase that was interrupted is begun again.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medvistagym_core.plugins import SelectionError
from medvistagym_core.tools import Toolbox, ToolboxLock
from medvistagym_trl.families import Policy, load_policy
from medvistagym_trl.recipe import Recipe, dump_recipe, load_recipe


class RunFolderError(SelectionError):
    """A run folder that cannot be begun or gone on with; the sentence says why and what to do."""


class Run:
    """A run folder in use.

    Args:
        folder: The folder; made by `begin`.
        recipe: Its recipe.
        toolbox: Its tools.
    """

    def __init__(self, folder: Path, recipe: Recipe, toolbox: Toolbox) -> None:
        self.folder, self.recipe, self.toolbox = folder, recipe, toolbox
        self._begun = time.monotonic()

    @classmethod
    def begin(cls, folder: Path, recipe: Recipe, toolbox: Toolbox) -> Run:
        """Make a run folder.

        Raises:
            RunFolderError: The folder holds a run already.
        """
        if (folder / "recipe.yaml").exists():
            raise RunFolderError(f"{folder} holds a run already; go on with it (--resume), or name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "toolbox.lock.json", toolbox.lock().model_dump_json(indent=2) + "\n")
        write(folder / "recipe.yaml", dump_recipe(recipe))
        return cls(folder, recipe, toolbox)

    @staticmethod
    def recipe_of(folder: Path) -> Recipe:
        """The recipe of a run folder.

        Raises:
            RunFolderError: It is no run folder.
        """
        if not (folder / "recipe.yaml").is_file():
            raise RunFolderError(f"{folder} is no run folder: it holds no recipe.yaml")
        return load_recipe(folder / "recipe.yaml")

    @classmethod
    def resume(cls, folder: Path, toolbox: Toolbox) -> Run:
        """Go on with a run.

        Raises:
            RunFolderError: It is no run folder.
            LockMismatchError: The installed tools are not those of the run.
        """
        recipe = cls.recipe_of(folder)
        lock = ToolboxLock.model_validate_json((folder / "toolbox.lock.json").read_bytes())
        lock.check(toolbox)
        return cls(folder, recipe, toolbox)

    def done(self, phase: str) -> bool:
        """Whether a phase is finished."""
        return (self.folder / "phases" / f"{phase}.json").is_file()

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall time of each finished phase."""
        files = sorted((self.folder / "phases").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        return {file.stem: float(json.loads(file.read_text("utf-8"))["seconds"]) for file in files}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase, and note it as done unless it raises."""
        self.say(f"{name} ...")
        begun = time.monotonic()
        yield
        seconds = round(time.monotonic() - begun, 2)
        write(self.folder / "phases" / f"{name}.json", json.dumps({"seconds": seconds}) + "\n")
        self.say(f"{name} done in {seconds:.0f} s")

    def say(self, text: str) -> None:
        """A line of progress, on standard error."""
        sys.stderr.write(f"[{time.monotonic() - self._begun:5.0f} s] {text}\n")
        sys.stderr.flush()

    def log(self, phase: str, metrics: Mapping[str, float]) -> None:
        """Append metrics to `metrics.jsonl`."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(
                json.dumps({"phase": phase, **{key: round(float(value), 6) for key, value in metrics.items()}}) + "\n"
            )

    def metrics(self) -> list[dict[str, Any]]:
        """All metrics logged so far; a line cut short by an interrupt is left out."""
        path = self.folder / "metrics.jsonl"
        found = []
        for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found

    def checkpoint(self, phase: str) -> Path:
        """Folder of a phase's checkpoint."""
        return self.folder / "checkpoints" / phase

    def save(self, phase: str, policy: Policy) -> None:
        """Save a policy as the checkpoint of a phase, with the toolbox's lock beside it."""
        target = self.checkpoint(phase)
        part = target.with_name(f".{phase}.part")
        shutil.rmtree(part, ignore_errors=True)
        policy.model.save_pretrained(part)
        policy.processor.save_pretrained(part)
        write(part / "toolbox.lock.json", self.toolbox.lock().model_dump_json(indent=2) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)

    def load(self, phase: str, schemas: list[dict[str, Any]]) -> Policy:
        """The policy that a phase ended with."""
        return load_policy(self.checkpoint(phase), schemas)


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
