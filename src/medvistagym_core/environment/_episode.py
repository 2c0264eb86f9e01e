"""An episode: one case, one conversation, bounded in turns, calls and tokens.

`Episode` is the logic alone, without gymnasium and without an executor. A turn goes in with `submit_turn`, which gives the
calls to run; their results go in with `submit_results`, which gives the messages the policy sees next. So a caller may run the
calls of any number of episodes together: `step_episodes` does, in one `Executor.run`. A trainer that owns the loop and calls
one tool at a time uses `call_tool`.

Whatever the policy writes, an episode goes on: a turn that cannot be read and a call that fails are observations, count against
the budget and never raise. The right answer is in the case, in `outcome` and in the trajectory's outcome, and in nothing that a
policy is shown.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from medvistagym_core.environment._assessment import assess_steps
from medvistagym_core.environment._capabilities import informative_call_check, required_tool
from medvistagym_core.environment._config import EpisodeConfig
from medvistagym_core.environment._episode_record import UNKNOWN_POLICY_RECORD, build_trajectory
from medvistagym_core.environment._message_log import MessageLog
from medvistagym_core.environment._observation import Observation, ShownMessages, observe
from medvistagym_core.environment._ready_results import ReadyResults
from medvistagym_core.environment._reward import RewardBreakdown
from medvistagym_core.environment._reward_terms import EpisodeOutcome
from medvistagym_core.environment._step import Step, read_turn
from medvistagym_core.environment._task import Case, Task, deal_case
from medvistagym_core.environment.grading import Grade
from medvistagym_core.execution import CallRequest, Executor, ImageStore
from medvistagym_core.imaging import RenderedImage
from medvistagym_core.protocol import (
    Block,
    Message,
    Turn,
    blocks_with_images,
    initial_blocks,
    initial_text,
    result_blocks,
)
from medvistagym_core.tools import ErrorCode, Toolbox, ToolCall, ToolError, ToolResult, check_result
from medvistagym_core.trajectories import PolicyRecord, TerminationReason, Trajectory

_UNANSWERED: Final = Grade(answered=False)


class Episode:
    """One case, played.

    Args:
        case: The case.
        toolbox: The tools that may be called.
        settings: How it is played.
        abstention: The task's word for "I cannot tell".
        informed: Says of the calls that succeeded whether they tell something about the case; None where nobody knows.
        needed: The tool that the case needs, empty when it needs none; None where nobody knows. For the record only.
        seed: Seed the case was dealt with.
        sample: Number of this episode among those of the same case.
        **changes: Attributes of `settings` to change: `protocol`, `reward`, `limits`, `view_side`, `prompt`, ...

    Attributes:
        steps: The turns and what came of them.
        calls: Number of calls made, turns that could not be read included.
    """

    def __init__(
        self,
        case: Case,
        toolbox: Toolbox,
        settings: EpisodeConfig | None = None,
        *,
        abstention: str | None = None,
        informed: Callable[[Sequence[ToolCall]], bool] | None = None,
        needed: str | None = None,
        seed: int = 0,
        sample: int = 0,
        **changes: Any,
    ) -> None:
        self.case = case
        self.toolbox = toolbox
        settings = settings or EpisodeConfig()
        self.settings = dataclasses.replace(settings, **changes) if changes else settings
        self.abstention = abstention
        self.needed = needed
        self.seed = seed
        self.sample = sample
        self.id = episode_id(case.id, sample)
        self.store = ImageStore(case.images)
        self.termination: TerminationReason | None = None
        self.reason: str | None = None
        self.policy_state: dict[str, Any] = {}
        self._informed = informed
        self.steps: list[Step] = []
        self._pending: tuple[ToolCall, ...] = ()
        self._refused: tuple[ToolResult, ...] = ()  # of the last calls of a turn, which the budget does not allow
        self._pending_since = 0.0
        self.calls = self._tokens = 0
        self._ready: ReadyResults | None = None  # of the last step, for a trainer that calls tools one at a time
        self._final: tuple[EpisodeOutcome, RewardBreakdown] | None = None
        # Written when somebody asks: a trainer wants messages, a vector of environments does not.
        self._opening: list[Block] | None = None
        self._transcript: MessageLog | None = None

    @classmethod
    def from_task(
        cls,
        task: Task,
        split: str,
        index: int,
        toolbox: Toolbox,
        settings: EpisodeConfig | None = None,
        *,
        seed: int = 0,
        sample: int = 0,
        **changes: Any,
    ) -> Episode:
        """An episode of a task's case, with the task's abstention and what it knows of informative calls.

        Args:
            task: Where the case comes from.
            split: Split of the case.
            index: Position of the case in the split.
            toolbox: The tools that may be called.
            settings: How it is played; `EpisodeConfig()` when None.
            seed: Seed that the case is dealt with.
            sample: Number of this episode among those of the same case.
            **changes: Attributes of `settings` to change.

        Raises:
            ValueError: There is no such case.
        """
        case = deal_case(task, split, index, seed)
        return cls(
            case,
            toolbox,
            settings,
            abstention=task.abstention,
            informed=informative_call_check(task, case),
            needed=required_tool(task, case),
            seed=seed,
            sample=sample,
            **changes,
        )

    # -- what the policy sees

    @property
    def initial_blocks(self) -> list[Block]:
        """The content blocks of the first observation, whose image blocks hold handles."""
        if self._opening is None:
            case, terse = self.case, self.settings.compact
            self._opening = initial_blocks(case.question, case.options, len(case.images), terse)
        return self._opening

    @property
    def initial_text(self) -> str:
        """The texts of `new_blocks` before the first turn, a line each."""
        case, settings = self.case, self.settings
        text = initial_text(case.question, case.options, len(case.images), settings.compact)
        return f"{settings.prompt}\n{text}" if settings.prompt else text

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.termination is not None

    @property
    def turns(self) -> int:
        """Number of turns taken."""
        return len(self.steps)

    @property
    def messages(self) -> list[Message]:
        """The conversation so far, as chat messages with RGB Pillow images."""
        return self._show(self._conversation().messages)

    @property
    def new_messages(self) -> list[Message]:
        """The messages since the policy's last turn: what it has not read yet."""
        transcript = self._conversation()
        return self._show(transcript.messages[transcript.first_new :])

    @property
    def new_blocks(self) -> list[Block]:
        """The content blocks of `new_messages`, whose image blocks hold handles."""
        if self.steps:
            return self.steps[-1].blocks
        prompt = self.settings.prompt
        return [{"type": "text", "text": prompt}, *self.initial_blocks] if prompt else self.initial_blocks

    @property
    def last_error(self) -> ErrorCode | None:
        """Code of what went wrong in the last turn, or of its last call that did."""
        return self.steps[-1].error if self.steps else None

    def rendered(self, handle: int) -> RenderedImage:
        """What the policy sees of an image."""
        return self.store[handle].rendered(self.settings.view_side)

    def observation(self) -> Observation:
        """What a policy may know now."""
        rendered = tuple([self.rendered(handle) for handle in range(len(self.store))])
        return observe(self, ShownMessages(self._conversation().messages, rendered))

    # -- playing

    @property
    def pending(self) -> tuple[ToolCall, ...]:
        """Calls of the last turn whose results are still to come."""
        return self._pending

    def submit_turn(self, written: str | Mapping[str, Any] | Turn, seconds: float = 0.0) -> tuple[ToolCall, ...]:
        """Take the policy's turn.

        Args:
            written: What it wrote: text, an assistant's chat message, or a turn already read.
            seconds: Wall time it took.

        Returns:
            The calls to run, whose results `submit_results` expects in this order; empty when there is nothing to run.

        Raises:
            RuntimeError: The episode is over, or results of the last turn are missing.
        """
        if self.termination is not None:
            raise RuntimeError(f"the episode {self.id} is over; reset to begin another one")
        if self._pending:
            raise RuntimeError(
                f"the episode {self.id} waits for {len(self._pending)} results; call submit_results first"
            )
        turn = read_turn(written, self.settings)
        limits = self.settings.limits
        if limits.max_tokens is not None:
            self._tokens += self.settings.count_tokens(turn.text)
        exhausted: Literal["turns", "tokens"] | None = None
        if len(self.steps) + 1 >= limits.max_turns:
            exhausted = "turns"
        elif limits.max_tokens is not None and self._tokens >= limits.max_tokens:
            exhausted = "tokens"
        calls = turn.calls
        refused: tuple[ToolResult, ...] = ()
        allowed = 0 if exhausted else max(limits.max_calls - self.calls, 0)
        if len(calls) > allowed:
            refused = (ToolResult(error=limits.exceeded_error(exhausted)),) * (len(calls) - allowed)
            calls = calls[:allowed]
        self.calls += len(turn.calls) or (turn.error is not None)
        self.steps.append(Step(turn, self.settings, seconds, () if calls else refused))
        self._pending, self._refused, self._ready = calls, refused, None
        self._pending_since = time.perf_counter()
        self.termination = "answered" if turn.answer is not None else exhausted
        return calls

    def apply_results(self, results: Sequence[ToolResult]) -> None:
        """Take the results of the pending calls, in their order, without writing what the policy sees next.

        Raises:
            ValueError: There are not as many results as calls.
        """
        pending = self._pending
        if len(results) != len(pending):
            raise ValueError(f"{len(pending)} results are due, not {len(results)}")
        if pending:
            seconds = time.perf_counter() - self._pending_since
            available = len(self.store)
            checked = [check_result(c.name, r, available) for c, r in zip(pending, results, strict=True)]
            step = self.steps[-1]
            results = (*checked, *self._refused)
            self.steps[-1] = Step(step.turn, step.config, step.policy_seconds, results, seconds)
            self._pending, self._refused, self._ready = (), (), None

    def submit_results(self, results: Sequence[ToolResult]) -> list[Message]:
        """Take the results of the pending calls, in their order; the messages that the policy sees next.

        Raises:
            ValueError: There are not as many results as calls.
        """
        self.apply_results(results)
        return self.new_messages

    def call_tool(self, name: str, arguments: Mapping[str, Any], executor: Executor | None = None) -> list[Block]:
        """The content blocks of one call's result, for a trainer that calls tools one at a time.

        When the call belongs to the turn just resolved, its ready result is given, once. Otherwise the call is a turn of its
        own and is run by `executor`.

        Args:
            name: The tool's name in the toolbox.
            arguments: As JSON values; images by handle.
            executor: Runs a call whose result is not ready.

        Raises:
            LookupError: The result is not ready and there is no executor.
        """
        ready = self._ready_results().take(name, arguments) if self.steps else None
        if ready is not None:
            return ready
        if executor is None:
            raise LookupError(
                f"no result of {name} is ready in the episode {self.id}, and there is no executor to run it"
            )
        if self.done:
            over = ToolResult(error=self.settings.limits.exceeded_error(self.termination))
            return result_blocks(over, max_chars=len(str(over.error)), compact=self.settings.compact)
        call = {"name": name, "arguments": dict(arguments)}
        calls = self.submit_turn({"role": "assistant", "content": "", "tool_calls": [call]})
        self.apply_results(executor.run([(self.store, calls)])[0] if calls else [])
        if self.steps[-1].feedback:
            return list(self.steps[-1].feedback)
        return self._ready_results().take_first()

    def stop(self, termination: TerminationReason = "stopped", reason: str | None = None) -> None:
        """End the episode where it stands, calls that have not run as `tool_failed`; nothing when it is over.

        Args:
            termination: Why it ended, for the record.
            reason: A sentence about that, such as what the policy failed with; None for none.
        """
        if self.done:
            return
        unrun = ToolResult(error=ToolError("tool_failed", "The episode was stopped before this call ran."))
        self.apply_results([unrun] * len(self._pending))
        self.termination, self.reason = termination, reason

    # -- what came of it

    @property
    def outcome(self) -> EpisodeOutcome:
        """What the reward looks at."""
        if self._final is not None:
            return self._final[0]
        return assess_steps(self.case, self.steps, self.settings.graders, self.abstention, self._informed)

    @property
    def final(self) -> tuple[EpisodeOutcome, RewardBreakdown]:
        """What the reward looked at, and what it gave, once the episode is over."""
        if self._final is not None:
            return self._final
        outcome = self.outcome
        final = outcome, self.settings.reward(outcome)
        if self.done:
            self._final = final
        return final

    @property
    def score(self) -> RewardBreakdown:
        """The reward and its terms; 0 of everything while the episode goes on.

        Raises:
            ValueError: The case's answer is none of its kind (`grading.grade`).
        """
        return self.final[1] if self.done else RewardBreakdown(0.0, {}, {})

    @property
    def grade(self) -> Grade:
        """How the answer compares with the right one."""
        return self.final[0].grade if self.done else _UNANSWERED

    def to_trajectory(self, policy: PolicyRecord = UNKNOWN_POLICY_RECORD) -> Trajectory:
        """The record of the episode; one that goes on is stopped."""
        self.stop()
        return build_trajectory(self, policy)

    def rendered_images(self) -> dict[str, RenderedImage]:
        """The pictures of all images by hash, for `TrajectoryWriter.write`."""
        pictures = (self.rendered(handle) for handle in range(len(self.store)))
        return {picture.sha256: picture for picture in pictures}

    # -- inside

    def _conversation(self) -> MessageLog:
        """The transcript so far."""
        if self._transcript is None:
            settings = self.settings
            self._transcript = MessageLog(settings.prompt, self.initial_blocks, settings.style)
        self._transcript.extend(self.steps[:-1] if self._pending else self.steps)
        return self._transcript

    def _ready_results(self) -> ReadyResults:
        """The last step's results that `call_tool` has not given yet."""
        if self._ready is None:
            self._ready = ReadyResults(self.steps[-1], self._with_pictures)
        return self._ready

    def _show(self, messages: Sequence[Message]) -> list[Message]:
        return [{**message, "content": self._with_pictures(message["content"])} for message in messages]

    def _with_pictures(self, blocks: Sequence[Block]) -> list[Block]:
        pictures = {b["image"]: self.rendered(b["image"]).pil for b in blocks if b["type"] == "image"}
        return blocks_with_images(blocks, pictures)


def episode_id(case_id: str, sample: int) -> str:
    """The name of an episode: that of its case, and the number of the sample when it is not the first.

    Args:
        case_id: Name of the case.
        sample: Number of the episode among those of the case, from 0.
    """
    return f"{case_id}#{sample}" if sample else case_id


def step_episodes(
    executor: Executor,
    episodes: Sequence[Episode],
    turns: Sequence[str | Mapping[str, Any] | Turn],
    seconds: float | Sequence[float] = 0.0,
) -> None:
    """One turn of several episodes: all their calls in one run of the executor.

    Args:
        executor: Runs the calls.
        episodes: Episodes that are not over.
        turns: What the policy wrote, one an episode: text, an assistant's chat message, or a turn already read.
        seconds: Wall time the policy took, for all of them or one an episode.
    """
    durations = seconds if isinstance(seconds, Sequence) else [seconds] * len(episodes)
    waiting: list[Episode] = []
    requests: list[CallRequest] = []
    for episode, turn, duration in zip(episodes, turns, durations, strict=True):
        calls = episode.submit_turn(turn, duration)
        if calls:
            waiting.append(episode)
            requests.append((episode.store, calls))
    if waiting:
        for episode, results in zip(waiting, executor.run(requests), strict=True):
            episode.apply_results(results)
