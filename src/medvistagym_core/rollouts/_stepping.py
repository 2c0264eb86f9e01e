"""How the episodes of a rollout take their turns: all together, or each as soon as its own turn is written.

A policy that acts on a batch is asked about all live episodes at once. A `ConcurrentPolicy`, such as a model behind an
endpoint, is asked about each by itself, so that no episode waits for the slowest of the others: while some wait for the
model, the calls of those whose turn has come are run, and finished ones are written.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from medvistagym_core.environment import Episode, Observation, step_episodes
from medvistagym_core.execution import Executor
from medvistagym_core.protocol import Turn
from medvistagym_core.rollouts._policy import ConcurrentPolicy, Policy, PolicyUnavailableError

MAX_THREADS: Final = 256
_MAX_REASON_CHARS: Final = 500


class Stepper(Protocol):
    """Lets live episodes take turns."""

    def step(self, live: Sequence[Episode]) -> None:
        """Let at least one of them take a turn; those whose policy failed are over.

        Raises:
            PolicyUnavailableError: The policy cannot act at all.
        """
        ...


class LockstepStepper:
    """All live episodes take a turn together.

    Args:
        policy: Who acts.
        executor: Runs the calls.
    """

    def __init__(self, policy: Policy, executor: Executor) -> None:
        self._policy, self._executor = policy, executor

    def step(self, live: Sequence[Episode]) -> None:
        """One turn of every live episode."""
        began = time.perf_counter()
        observations = [observe(episode) for episode in live]
        live = [episode for episode in live if not episode.done]
        written: list[object]
        try:
            written = list(self._policy.act([one for one in observations if one is not None])) if live else []
            if len(written) != len(live):
                raise ValueError(f"it wrote {len(written)} turns for {len(live)} observations")
        except PolicyUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - a policy that fails is data
            written = [error] * len(live)
        seconds = time.perf_counter() - began
        take_turns(self._executor, live, written, [seconds] * len(live))


class _Asked(NamedTuple):
    """A question to the policy that has been answered, between two moments of `time.perf_counter`."""

    episode: Episode
    turn: object
    began: float
    ended: float


class ConcurrentStepper:
    """Each live episode takes its turn as soon as it is written.

    Args:
        policy: Who acts; asked from threads of its own.
        executor: Runs the calls, in the calling thread.
        max_concurrent: Most episodes at once.
    """

    def __init__(self, policy: ConcurrentPolicy, executor: Executor, max_concurrent: int) -> None:
        self._policy, self._executor = policy, executor
        self._jobs: queue.SimpleQueue[tuple[Episode, Observation] | None] = queue.SimpleQueue()
        self._answered: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._under_way: set[int] = set()
        self._unreachable: list[_Asked] = []  # fatal errors, as long as nothing shows that the policy can act
        count = max(1, min(max_concurrent, policy.concurrency, MAX_THREADS))
        # Daemons: a run that is interrupted does not wait for what is still being asked.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        if self._under_way:
            self._policy.stop()

    def step(self, live: Sequence[Episode]) -> None:
        """Ask about those that were not asked about yet, and let those take their turn whose turn has come."""
        for episode in live:
            if id(episode) not in self._under_way:
                observation = observe(episode)
                if observation is None:
                    return  # it is over; whoever asked takes it out
                self._under_way.add(id(episode))
                self._jobs.put((episode, observation))
        ready = [self._answered.get()]
        while not self._answered.empty():
            ready.append(self._answered.get())
        self._take(self._without_outage(ready, len(live)))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            episode, observation = job
            began = time.perf_counter()
            turn: object
            try:
                turn = self._policy.act_one(observation)
            except Exception as error:  # noqa: BLE001 - one that fails must not cost the others theirs
                turn = error
            self._answered.put(_Asked(episode, turn, began, time.perf_counter()))

    def _without_outage(self, ready: list[_Asked], live: int) -> list[_Asked]:
        """Hold back fatal errors until a turn that was asked for later shows that the policy can act.

        When all live episodes met one, it cannot.

        Raises:
            PolicyUnavailableError: All live episodes met one.
        """
        fatal = [asked for asked in ready if isinstance(asked.turn, PolicyUnavailableError)]
        other = [asked for asked in ready if not isinstance(asked.turn, PolicyUnavailableError)]
        self._unreachable += fatal
        asked_last = max((asked.began for asked in other), default=-math.inf)
        mended = [asked for asked in self._unreachable if asked.ended <= asked_last]
        self._unreachable = [asked for asked in self._unreachable if asked.ended > asked_last]
        if len(self._unreachable) >= live:
            error = self._unreachable[0].turn
            raise error if isinstance(error, PolicyUnavailableError) else AssertionError
        return [*other, *mended]

    def _take(self, ready: Sequence[_Asked]) -> None:
        for asked in ready:
            self._under_way.discard(id(asked.episode))
        episodes, turns = [asked.episode for asked in ready], [asked.turn for asked in ready]
        take_turns(self._executor, episodes, turns, [asked.ended - asked.began for asked in ready])


def observe(episode: Episode) -> Observation | None:
    """What the policy is shown; None, and the episode is over, where an image of it cannot be shown."""
    try:
        return episode.observation()
    except Exception as error:  # noqa: BLE001 - one image that cannot be shown must not cost the others their turn
        episode.stop("policy_failed", f"it cannot be shown: {type(error).__name__}: {error}"[:_MAX_REASON_CHARS])
        return None


def take_turns(
    executor: Executor, episodes: Sequence[Episode], written: Sequence[object], seconds: Sequence[float]
) -> None:
    """Let episodes take the turns that were written for them; one whose turn is an error or no text is over."""
    able: list[Episode] = []
    turns: list[str | Turn] = []
    spent: list[float] = []
    for episode, turn, took in zip(episodes, written, seconds, strict=True):
        if isinstance(turn, str | Turn):
            able.append(episode)
            turns.append(turn)
            spent.append(took)
        else:
            failed = isinstance(turn, Exception)
            reason = f"{type(turn).__name__}: {turn}" if failed else f"it wrote {type(turn).__name__}, not text"
            episode.stop("policy_failed", reason[:_MAX_REASON_CHARS])
    step_episodes(executor, able, turns, spent)
