"""Policies: who writes the turns.

A `Policy` is given the observations of many episodes and writes a turn for each. What it must remember of an episode it keeps
in `Observation.policy_state`, so that it holds no state of its own and episodes may come and go. A policy that may know the truth,
to make training data, is an `OraclePolicy`: a rollout shows it each case. Nothing that is evaluated has that method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from medvistagym_core.environment import Case, Observation
from medvistagym_core.trajectories import SamplingParams

if TYPE_CHECKING:
    pass


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

    def act(self, observations: Sequence[Observation]) -> Sequence[str | Exception]:
        """A turn for each observation, as text in the wire format; an exception where it failed on one of them alone."""
        ...


class PolicyUnavailableError(Exception):
    """A policy that cannot act at all, such as one whose server is gone. A rollout ends with it, and records nothing of it."""


@runtime_checkable
class OraclePolicy(Protocol):
    """A policy that is told the case, truth and all: for demonstrations, never for evaluation."""

    def observe_case(self, case: Case, memory: dict[str, Any]) -> None: ...
