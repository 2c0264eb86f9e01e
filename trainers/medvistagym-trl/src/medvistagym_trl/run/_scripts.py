"""The scripts that SFT learns from where no trajectories are given, and those of the policies to compare with."""

from __future__ import annotations

from typing import Final

import numpy as np

from medvistagym_core.environment import Case, HasDemonstrations, HasExpert, Task, ToolScript
from medvistagym_core.tools import Toolbox, ToolSpec
from medvistagym_trl._recipe import SftRecipe
from medvistagym_trl.rollout import DemonstrationFactory, with_early_abstention, with_random_first_call

EXPLORATION_RATE: Final = 0.25
"""Share of demonstrations that begin with a tool of the toolbox which the task does not ask for."""


def demonstration_factory(recipe: SftRecipe, task: Task, toolbox: Toolbox) -> DemonstrationFactory:
    """The scripts of SFT: the task's demonstrations, some of which give up or try other tools first, or its expert's."""
    unused = unused_tools(task, toolbox)

    def demonstrate(case: Case, rng: np.random.Generator) -> ToolScript:
        if recipe.source == "expert" and isinstance(task, HasExpert):
            return task.expert(case.question, case.images, rng)
        if not isinstance(task, HasDemonstrations):
            return answer_at_once(case, rng)
        script = task.demonstrate(case, rng, recipe.skill)
        if task.abstention is not None:
            script = with_early_abstention(script, recipe.hesitation, task.abstention, rng)
        return with_random_first_call(script, unused, EXPLORATION_RATE, rng)

    return demonstrate


def random_call_factory(task: Task, toolbox: Toolbox) -> DemonstrationFactory:
    """Calls that say nothing of their use, and then the right answer whatever they returned."""
    unused = unused_tools(task, toolbox)

    def demonstrate(case: Case, rng: np.random.Generator) -> ToolScript:
        script = task.demonstrate(case, rng, 0.0) if isinstance(task, HasDemonstrations) else answer_at_once(case, rng)
        yield from with_random_first_call(script, unused, EXPLORATION_RATE, rng)
        return case.answer.value

    return demonstrate


def answer_at_once(case: Case, rng: np.random.Generator) -> ToolScript:
    """The right answer without any call."""
    yield from ()
    return case.answer.value


def unused_tools(task: Task, toolbox: Toolbox) -> list[ToolSpec]:
    """Tools of the toolbox that the task does not ask for: its demonstrations never call them."""
    return [spec for spec in toolbox.specs if spec.name not in task.tools]
