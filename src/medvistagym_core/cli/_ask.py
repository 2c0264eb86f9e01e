"""`medvistagym ask`: a question about images, answered by a model with the tools that it chooses."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import elapsed_time, print_json, print_stderr, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._image_files import add_reading_options, numbered, read_images
from medvistagym_core.cli._options import (
    add_common,
    add_execution,
    add_selection,
    load_registry,
    make_executor,
    select_toolbox,
)
from medvistagym_core.cli._policy_options import add_policy_source, make_policy

if TYPE_CHECKING:
    from medvistagym_core.environment import Case, Episode
    from medvistagym_core.execution import Executor
    from medvistagym_core.imaging import Image
    from medvistagym_core.rollouts import Policy
    from medvistagym_core.tools import ToolCall, ToolResult

__all__ = ["configure"]

MAX_IMAGES: Final = 8
_EXAMPLE: Final = """\
medvistagym ask ct.nii.gz "Is there a haemorrhage?" --endpoint http://127.0.0.1:8000/v1
medvistagym ask before.dcm after.dcm "What has changed?" --endpoint URL --endpoint-model NAME --tools 'window,zoom,difference'
medvistagym ask study/ --image-index 2 "Which side is the fracture on?" --model runs/one"""


@dataclasses.dataclass(frozen=True)
class UserQuestion:
    """A task of one case: a question about images whose right answer nobody has said, unless it is given.

    Attributes:
        question: What is asked.
        images: What it is asked about.
        options: Answers to choose from; empty for an open question.
        expected: The right answer; empty where nobody knows it.
    """

    question: str
    images: tuple[Image, ...]
    options: tuple[str, ...] = ()
    expected: str = ""
    name: str = "ask"
    description: str = "A question of yours."
    families: tuple[str, ...] = ("question",)
    splits: tuple[str, ...] = ("test",)
    tools: tuple[str, ...] = ("*",)
    abstention: str | None = None

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """The case."""
        from medvistagym_core.environment import Answer, Case

        kind = "exact" if not self.expected else "choice" if self.options else "text"
        answer = Answer(self.expected, kind=kind)
        asked = "\0".join((self.question, *self.options, *(image.digest for image in self.images)))
        return Case(
            id=f"ask-{hashlib.sha256(asked.encode()).hexdigest()[:12]}", task=self.name, split=split, index=index,
            family="question", question=self.question, images=self.images, answer=answer, options=self.options,
        )  # fmt: skip

    def vocabulary(self) -> tuple[str, ...]:
        """No words of its own."""
        return ()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument(
        "words", metavar="FILE ... QUESTION", nargs="+", help="image files or folders, and the question last"
    )
    parser.add_argument(
        "--option", metavar="TEXT", action="append", default=[], help="an answer to choose from; given again for each"
    )
    parser.add_argument(
        "--expected", metavar="TEXT", default="", help="the right answer, where you know it, to be graded"
    )
    parser.add_argument(
        "--turns", metavar="N", type=int, default=8, help="most turns, the answer included (default: 8)"
    )
    parser.add_argument("--calls", metavar="N", type=int, default=12, help="most tool calls (default: 12)")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="a new folder for the episode (default: asked/, under the time)"
    )
    add_policy_source(parser, ("random",))
    add_selection(parser)
    add_execution(parser)
    add_reading_options(parser)
    parser.set_defaults(execute=_ask, reward=None)


def _ask(options: argparse.Namespace) -> int:
    from medvistagym_core.environment import Episode
    from medvistagym_core.trajectories import PolicyRecord, TrajectoryWriter

    task, folder = _question(options), _folder(options.out)
    if task.expected and task.options and task.expected not in task.options:
        raise UsageError(f"--expected: {task.expected!r} is none of the options {', '.join(task.options)}")
    registry = load_registry(options)
    images = read_images(registry, map(Path, options.words[:-1]), options)
    if len(images) > MAX_IMAGES:
        raise UsageError(
            f"the files hold {len(images)} images, and {MAX_IMAGES} are the most that a question is about; "
            f"choose with --image-index",
            numbered(images),
        )
    task = dataclasses.replace(task, images=tuple(images))
    toolbox = select_toolbox(registry, options.tools, options.device)
    policy, settings = make_policy(options, registry, task, toolbox)
    try:
        limits = dataclasses.replace(settings.limits, max_turns=options.turns, max_calls=options.calls)
    except ValueError as error:
        raise UsageError(f"--turns, --calls: {error}") from error
    episode = Episode.from_task(task, "test", 0, toolbox, settings, seed=options.seed, limits=limits)
    with contextlib.closing(make_executor(registry, options.executor, toolbox)) as executor:
        _play(episode, policy, executor)
    trajectory = episode.to_trajectory(PolicyRecord(name=policy.name, sampling=dict(policy.sampling)))
    file = folder / "trajectories.jsonl"
    with TrajectoryWriter(file, toolbox) as writer:
        writer.write(trajectory, episode.rendered_images())
    outcome = trajectory.outcome
    if options.json:
        calls = [{"name": call.name, "arguments": call.arguments} for turn in trajectory.turns for call in turn.calls]
        graded = {"correct": outcome.correct} if task.expected else {}
        print_json({"answer": outcome.answer, "ended": outcome.ended, "calls": calls, "file": str(file), **graded})
    print_stderr(f"The episode is in {file}; look at it with: medvistagym view {folder}")
    if outcome.answer is None:
        why = f": {outcome.reason}" if outcome.reason else ""
        raise CommandError(f"{policy.name} gave no answer ({outcome.ended}){why}")
    if not options.json:
        print_text(outcome.answer)
        if task.expected:
            print_stderr("right" if outcome.correct else f"wrong; expected: {task.expected}")
    return 0


def _question(options: argparse.Namespace) -> UserQuestion:
    question = options.words[-1].strip()
    if not question:
        raise UsageError("the question comes last, after the files, and is empty")
    if os.path.exists(question):  # noqa: PTH110 a path object refuses a question that is too long for a file's name
        raise UsageError(f"the question comes last, after the files; {question!r} is a file")
    if options.policy in ("expert", "demonstration"):
        raise UsageError(f"the policy {options.policy} plays tasks that it knows; a question of yours is none")
    return UserQuestion(question, (), tuple(options.option), options.expected)


def _folder(folder: Path | None) -> Path:
    """A folder for the episode that holds no other: another toolbox could not share the file."""
    if folder is None:
        base = Path("asked") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        names = (base.with_name(f"{base.name}-{number}") if number else base for number in range(1000))
        folder = next(name for name in names if not name.exists())
    elif folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the episode")
    elif (folder / "trajectories.jsonl").exists():
        raise UsageError(f"{folder} holds episodes already; choose another --out")
    return folder


def _play(episode: Episode, policy: Policy, executor: Executor) -> None:
    """Let the policy act until the episode is over, and say what it does on the way."""
    from medvistagym_core.environment import step_episodes
    from medvistagym_core.rollouts import PolicyUnavailableError

    while not episode.done:
        began = time.perf_counter()
        try:
            with elapsed_time(f"waiting for {policy.name}"):
                (turn,) = policy.act([episode.observation()])
        except PolicyUnavailableError as error:
            raise CommandError(str(error)) from error
        if isinstance(turn, Exception):
            episode.stop("policy_failed", f"{type(turn).__name__}: {turn}"[:500])
            return
        step_episodes(executor, [episode], [turn], time.perf_counter() - began)
        step = episode.steps[-1]
        if step.turn.error is not None:
            print_stderr(f"turn {len(episode.steps)}: {step.turn.error.message}")
        for call, result in zip(step.calls, step.results, strict=False):
            print_stderr(_format_step(call, result))


def _format_step(call: ToolCall, result: ToolResult) -> str:
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in call.arguments.items())
    if result.error is not None:
        return f"{call.name}({arguments}): {result.error.message}"
    text = " ".join(result.text.split())
    images = f"image {', '.join(map(str, result.handles))}" if result.handles else ""
    return f"{call.name}({arguments}): {'; '.join(filter(None, (text[:200], images))) or 'done'}"
