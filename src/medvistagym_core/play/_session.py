"""What one page is doing: the images that were opened, the calls made on them, and the episode that they are."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from medvistagym_core.environment import Answer, Case, Episode, EpisodeConfig, Limits, Step
from medvistagym_core.execution import Executor, ImageStore, referenced_handles
from medvistagym_core.imaging import Image
from medvistagym_core.play._snippets import (
    OpenedImage,
    ScriptCall,
    ShellWriter,
    needed_calls,
    python_script,
)
from medvistagym_core.protocol import TOOL_CALL_TAGS, Turn
from medvistagym_core.rollouts import Policy
from medvistagym_core.tools import Toolbox, ToolCall
from medvistagym_core.trajectories import PolicyRecord, TrajectoryWriter, dump_json

PLAY_TASK: Final = "play"
MAX_SESSION_BYTES: Final = 4 * 2**30
_PERSON: Final = "person"
_LIMITS: Final = Limits(max_turns=1000, max_calls=1000)
_NO_QUESTION: Final = "What does the image show?"


class SessionError(ValueError):
    """Something that the session cannot do as it stands; the message says why and what would help."""


class PlaySession:
    """Images, calls and answers of one page; every method may be called from any thread.

    Args:
        toolbox: The tools that may be called.
        executor: Runs them.
        config: How the episode is played; its limits are lifted, since a person may try as often as they like.
        policy: Who answers when asked to; None where no model was given.
        shell: Writes a call as a command line; None to offer none.
        max_bytes: Most memory for the pixels of the session's images.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        executor: Executor,
        config: EpisodeConfig | None = None,
        policy: Policy | None = None,
        shell: ShellWriter | None = None,
        max_bytes: int = MAX_SESSION_BYTES,
    ) -> None:
        self.toolbox = toolbox
        self.policy = policy
        self._executor = executor
        self._config = dataclasses.replace(config or EpisodeConfig(), limits=_LIMITS)
        self._shell = shell
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self.reset()

    # -- images

    def reset(self) -> None:
        """Begin anew, without images and calls."""
        with self._lock:
            self.store = ImageStore()
            self.opened: dict[int, OpenedImage] = {}
            self.authors: list[str] = []
            self.question = ""
            self.started = 0
            self._episode = self._new_episode()

    def add_image(self, image: Image, origin: OpenedImage) -> int:
        """Put an image into the session; its handle. One that was opened before keeps its handle.

        Args:
            image: The image.
            origin: Where it was opened from; says whether it was opened before.

        Raises:
            SessionError: Memory for the session's images is used up.
        """
        with self._lock:
            for handle, other in self.opened.items():
                if other == origin:
                    return handle
            self._check_memory(image.pixels.nbytes)
            handle = self.store.add(image)
            self.opened[handle] = origin
            if not self._episode.steps:  # it belongs to what the question shows
                self.started = len(self.store)
                self._episode = self._new_episode()
            return handle

    def image(self, handle: int) -> Image:
        """An image by handle.

        Raises:
            LookupError: There is none.
        """
        if not 0 <= handle < len(self.store):
            raise LookupError(f"there is no image {handle}")
        return self.store[handle]

    # -- turns

    def call(self, name: str, arguments: Mapping[str, Any]) -> int:
        """Call a tool as a policy would; the number of the turn. What is wrong with the call is its result's error.

        Args:
            name: The tool's name in the toolbox.
            arguments: As JSON values, images by handle; checked as those of a policy.

        Raises:
            SessionError: Nothing is open, the question is answered, or memory is used up.
        """
        call = ToolCall(name=name, arguments=dict(arguments))
        with self._lock:
            self._check_open()
            self._check_memory(0)
            self._take(Turn(self._call_text(call), None, (call,), None, None, True), _PERSON, 0.0)
            return len(self.authors) - 1

    def ask(self, question: str) -> None:
        """Put a question to the policy; the calls made so far belong to its episode, answers to earlier questions do not.

        Raises:
            SessionError: There is no policy, or no image.
        """
        with self._lock:
            if self.policy is None:
                raise SessionError("no model was given; start the page with --endpoint URL or --model PATH")
            if not self.store:
                raise SessionError("open an image first, so that there is something to ask about")
            if not question.strip():
                raise SessionError("write a question")
            self.question = question.strip()
            answered = [number for number, step in enumerate(self._episode.steps) if step.answer is None]
            self.authors = [self.authors[number] for number in answered]
            self._episode = self._copy(self.question, "", [self._episode.steps[number] for number in answered])

    def step(self) -> int:
        """Let the policy take one turn, and run its calls; the number of the turn.

        Raises:
            SessionError: There is nothing to answer, or the policy failed.
        """
        with self._lock:
            if self.policy is None or not self.question:
                raise SessionError("ask a question first")
            self._check_open()
            start = time.perf_counter()
            try:
                (turn,) = self.policy.act([self._episode.observation()])
            except Exception as error:  # the model's, or its server's
                raise SessionError(f"{self.policy.name} failed: {str(error) or type(error).__name__}") from error
            if isinstance(turn, Exception):
                raise SessionError(f"{self.policy.name} failed: {str(turn) or type(turn).__name__}")
            self._take(turn, self.policy.name, time.perf_counter() - start)
            return len(self.authors) - 1

    def answer(self, answer: str) -> int:
        """Answer in the policy's place; the number of the turn.

        Raises:
            SessionError: It is answered already, nothing is open, or the answer cannot stand in a turn.
        """
        with self._lock:
            self._check_open()
            self._take(self._answer_turn(answer.strip()), _PERSON, 0.0)
            return len(self.authors) - 1

    def _take(self, turn: str | Turn, author: str, seconds: float) -> None:
        episode = self._episode
        calls = episode.submit_turn(turn, seconds)
        self.authors.append(author)
        if calls:
            episode.apply_results(self._executor.run([(episode.store, calls)])[0])

    # -- what came of it

    @property
    def answered(self) -> bool:
        """Whether the episode is over."""
        return self._episode.done

    @property
    def steps(self) -> Sequence[Step]:
        """The turns and what came of them."""
        return tuple(self._episode.steps)

    def snippets(self, name: str, arguments: Mapping[str, Any]) -> dict[str, str]:
        """A call as text to copy, by kind: "tool_call", "python", and "shell" where a writer was given.

        Args:
            name: The tool's name in the toolbox.
            arguments: As JSON values; images by handle.
        """
        with self._lock:
            last = self._script_call(ToolCall(name=name, arguments=dict(arguments)), ())
            before = [
                self._script_call(call, result.handles)
                for step in self._episode.steps
                for call, result in zip(step.calls, step.results, strict=False)
                if result.ok
            ]
            calls = needed_calls(before, last)
            texts = {"tool_call": self._call_text(ToolCall(name=name, arguments=dict(arguments)))}
            if self._shell is not None:
                texts["shell"] = self._shell(self.toolbox, self.opened, calls)
            return {**texts, "python": python_script(self.opened, calls)}

    def save(self, folder: Path, *, question: str = "", answer: str = "", expected: str = "") -> Path:
        """Write the session as a trajectory; the file. The session goes on.

        Args:
            folder: Where; it is made.
            question: What was asked; the question put to the policy unless given.
            answer: The answer, where none was given yet.
            expected: The right answer, where it is known.

        Raises:
            SessionError: There is nothing to save, the answer cannot stand in a turn, or the file cannot be written.
        """
        with self._lock:
            if not self._episode.steps:
                raise SessionError("there is nothing to save yet; make a call or give an answer first")
            asked = question.strip() or self.question or _NO_QUESTION
            episode = self._copy(asked, expected.strip(), self._episode.steps)
            if answer.strip() and not episode.done:
                episode.submit_turn(self._answer_turn(answer.strip()))
            players = dict.fromkeys(self.authors)
            sampling = self.policy.sampling if self.policy is not None and self.policy.name in players else {}
            trajectory = episode.to_trajectory(PolicyRecord(name=" and ".join(players), sampling=sampling))
            file = folder / f"{episode.case.id}.jsonl"
            try:
                with TrajectoryWriter(file, self.toolbox) as writer:
                    writer.write(trajectory, episode.rendered_images())
            except (OSError, ValueError) as error:
                raise SessionError(f"{file} cannot be written: {error}") from error
            return file

    # -- inside

    def _new_episode(self, question: str = "", expected: str = "") -> Episode:
        case = Case(
            id=f"play-{datetime.now().astimezone():%Y%m%d-%H%M%S-%f}"[:-3],
            task=PLAY_TASK,
            split="test",
            index=0,
            family="free",
            question=question or _NO_QUESTION,
            images=self.store.images[: self.started],
            answer=Answer(expected or "unknown"),
        )
        episode = Episode(case, self.toolbox, self._config)
        episode.store = self.store
        return episode

    def _copy(self, question: str, expected: str, steps: Sequence[Step]) -> Episode:
        """An episode of another question with turns that were taken already."""
        episode = self._new_episode(question, expected)
        for step in steps:
            calls = episode.submit_turn(step.turn, step.policy_seconds)
            episode.apply_results(step.results[: len(calls)])
            episode.steps[-1] = step
        return episode

    def _check_open(self) -> None:
        if not self.store:
            raise SessionError("open an image first")
        if self._episode.done:
            raise SessionError("this is answered; begin anew to go on")

    def _check_memory(self, more: int) -> None:
        pixels = [image.pixels for image in self.store.images]
        shared = [
            each if each.base is None else each.base for each in pixels
        ]  # crops share memory with what they are of
        held = sum({id(base): getattr(base, "nbytes", 0) for base in shared}.values())
        if held + more > self._max_bytes:
            raise SessionError(
                f"the images of this session take {held / 2**30:.1f} GiB, and {self._max_bytes / 2**30:.1f} GiB are the most; "
                "save it and begin anew"
            )

    def _answer_turn(self, answer: str) -> Turn:
        try:
            return Turn(self._config.protocol.format_turn(None, (), answer), None, (), answer, None, True)
        except ValueError as error:
            raise SessionError(f"that is no answer: {error}") from error

    def _call_text(self, call: ToolCall) -> str:
        try:
            return self._config.protocol.format_turn(None, (call,))
        except ValueError:  # an argument holds a tag of the protocol
            return TOOL_CALL_TAGS[0] + dump_json({"name": call.name, "arguments": call.arguments}) + TOOL_CALL_TAGS[1]

    def _script_call(self, call: ToolCall, handles: tuple[int, ...]) -> ScriptCall:
        tool = self.toolbox.get(call.name)
        images: dict[str, int | list[int]] = {}
        referenced = set(referenced_handles(self.toolbox, call))
        for name in tool.image_arguments if tool is not None else ():
            value = call.arguments.get(name)
            if isinstance(value, list):
                images[name] = [h for h in value if h in referenced]
            elif isinstance(value, int) and value in referenced:
                images[name] = value
        return ScriptCall(call.name, call.arguments, images, handles)
