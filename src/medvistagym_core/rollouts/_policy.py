"""Policies: what writes the turns of episodes.

A `Policy` is given the observations of many episodes and writes a turn for each. What it must remember of an episode it
keeps in `Observation.policy_state`, so that it holds no state of its own and episodes may come and go. A policy that
may know the truth, to make training data, is an `OraclePolicy`: a rollout shows it each case. Nothing that is evaluated
has that method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from medvistagym_core.environment import Case, EpisodeConfig, Observation, Task
from medvistagym_core.protocol import Turn
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import SamplingParams


@runtime_checkable
class Policy(Protocol):
    """Writes turns."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def sampling(self) -> SamplingParams:
        """The settings it samples with, for the record."""
        ...

    def act(self, observations: Sequence[Observation]) -> Sequence[str | Turn | Exception]:
        """A turn for each observation: its text, or already read; an exception where it failed on one of them alone."""
        ...


@runtime_checkable
class ConcurrentPolicy(Policy, Protocol):
    """Acts on several observations independently of each other, from several threads: a rollout waits for none of them."""

    @property
    def concurrency(self) -> int:
        """How many observations it can act on at once."""
        ...

    def act_one(self, observation: Observation) -> str | Turn:
        """A turn for one observation.

        Raises:
            PolicyUnavailableError: It cannot act at all.
            Exception: It failed on this observation.
        """
        ...

    def stop(self) -> None:
        """Give up what is still being written: the rollout is over."""
        ...


class PolicyFactory(Protocol):
    """Makes a policy for `--policy NAME`; a plugin offers some by the hook `medvistagym_policies`."""

    def __call__(self, task: Task, toolbox: Toolbox, config: EpisodeConfig, *, seed: int = 0) -> Policy:
        """The policy.

        Args:
            task: What it will play.
            toolbox: The tools that it may call.
            config: How its episodes are played.
            seed: Of its own randomness.

        Raises:
            TypeError: It cannot play this task.
        """
        ...


class PolicyUnavailableError(Exception):
    """A policy that cannot act at all, such as one whose server is gone. A rollout ends with it, and records nothing of
    it.
    """


@runtime_checkable
class OraclePolicy(Protocol):
    """A policy that is told the case, truth and all: for demonstrations, never for evaluation."""

    def observe_case(self, case: Case, memory: dict[str, Any]) -> None:
        """Take in a case before its episode's first turn.

        Args:
            case: The case, with its truth.
            memory: `Observation.policy_state` of its episode, to keep things in.
        """
        ...
