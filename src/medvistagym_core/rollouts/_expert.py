"""Policies that play a task's scripts: its expert, and its demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.environment import Case, HasDemonstrations, HasExpert, Observation, ToolScript
from medvistagym_core.protocol import ActionFormat, TextProtocol
from medvistagym_core.tools import ToolResult
from medvistagym_core.trajectories import SamplingParams

if TYPE_CHECKING:
    pass

from medvistagym_core.rollouts._random import _generator


class ExpertPolicy:
    """Plays a task's expert, which reads only the pictures and what its tools return.

    Args:
        task: A task with an expert (`environment.HasExpert`).
        protocol: How turns are written.
        seed: Seed of the expert's randomness; each episode has a stream of its own.

    Raises:
        TypeError: The task has no expert.
    """

    def __init__(self, task: Any, protocol: ActionFormat | None = None, *, seed: int = 0) -> None:
        if not isinstance(task, HasExpert):
            raise TypeError(f"the task {getattr(task, 'name', task)} has no scripted expert")
        self.name = "expert"
        self.sampling: SamplingParams = {"seed": seed}
        self._task = task
        self._protocol: ActionFormat = protocol or TextProtocol()
        self._seed = seed

    def act(self, observations: Sequence[Observation]) -> list[str | Exception]:
        """The expert's next turn in each episode."""
        return [_act_or_error(self._act, observation) for observation in observations]

    def _act(self, observation: Observation) -> str:
        memory = observation.policy_state
        if "script" not in memory:
            rng = _generator(self._seed, observation)
            memory["script"] = self._task.expert(observation.question, observation.images, rng)
        return _script_turn(memory["script"], observation, self._protocol)


class DemonstrationPolicy:
    """Plays a task's demonstrations, which know the truth.

    Args:
        task: A task that can demonstrate (`environment.HasDemonstrations`).
        skill: Probability in 0 to 1 that the informative call is made.
        protocol: How turns are written.
        seed: Seed of the demonstrations.

    Raises:
        TypeError: The task cannot demonstrate.
        ValueError: The skill is no probability.
    """

    def __init__(self, task: Any, skill: float, protocol: ActionFormat | None = None, *, seed: int = 0) -> None:
        if not isinstance(task, HasDemonstrations):
            raise TypeError(f"the task {getattr(task, 'name', task)} has no demonstrations")
        if not 0 <= skill <= 1:
            raise ValueError(f"the skill is a probability, from 0 to 1, not {skill}")
        self.name = "demonstration"
        self.sampling: SamplingParams = {"seed": seed, "skill": skill}
        self._task = task
        self._skill = skill
        self._protocol: ActionFormat = protocol or TextProtocol()
        self._seed = seed

    def observe_case(self, case: Case, memory: dict[str, Any]) -> None:
        """Begin the demonstration of a case. See `OraclePolicy.observe_case`.

        Args:
            case: The case, with its truth.
            memory: `Observation.policy_state` of its episode.
        """
        memory["case"] = case

    def act(self, observations: Sequence[Observation]) -> list[str | Exception]:
        """The next turn of each demonstration."""
        return [_act_or_error(self._act, observation) for observation in observations]

    def _act(self, observation: Observation) -> str:
        memory = observation.policy_state
        if "script" not in memory:
            rng = _generator(self._seed, observation)
            memory["script"] = self._task.demonstrate(memory.pop("case"), rng, self._skill)
        return _script_turn(memory["script"], observation, self._protocol)


def _act_or_error(act: Callable[[Observation], str], observation: Observation) -> str | Exception:
    try:
        return act(observation)
    except Exception as error:  # noqa: BLE001 - a script that breaks on one case must not cost the others theirs
        return error


def _script_turn(script: ToolScript, observation: Observation, protocol: ActionFormat) -> str:
    """The script's next turn, after it was sent what its last call gave."""
    thought = f"I look at what turn {observation.num_turns} gave." if observation.num_turns else "I look at the images."
    think = thought if protocol.think == "required" else None
    try:
        if observation.num_turns == 0:
            call = next(script)
        else:
            call = script.send(observation.results[0] if observation.results else ToolResult(error=observation.error))
    except StopIteration as end:
        return protocol.format_turn(think, answer=str(end.value))
    return protocol.format_turn(think, [call])
