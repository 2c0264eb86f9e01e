"""The installed tasks as gymnasium environments: `gymnasium.make("medvistagym_core.gym:medvistagym/scoutvqa-v1")`.

Importing this module registers an environment for each task, named `medvistagym/<task>-v1`; the plugins are read once, and
nothing of an environment is made before it is asked for. gymnasium 1.x has no entry points for plugins, so the module's name in
front of the id, or an import of this module, is how gymnasium gets to know the ids.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Final

import gymnasium

from medvistagym_core.plugins import Registry

if TYPE_CHECKING:
    from medvistagym_core.environment._gym_env import MedVistaEnv
    from medvistagym_core.environment._gym_vector_env import MedVistaVectorEnv


__all__ = ["ANY_TASK", "NAMESPACE", "make", "make_vector", "register_environments"]

NAMESPACE: Final = "medvistagym"
ANY_TASK: Final = f"{NAMESPACE}/task-v1"
"""The environment of any task: `gymnasium.make("medvistagym_core.gym:medvistagym/task-v1", task="questions.jsonl")`."""


def register_environments(plugins: str | None = None) -> tuple[str, ...]:
    """Register an environment for every task of the installed plugins; one that is registered stays as it is.

    Args:
        plugins: Names of the plugins to load, comma-separated; all when None.

    Returns:
        The ids, in the order of the tasks' names.
    """
    ids = []
    for name in _registry(plugins).tasks:
        ids.append(f"{NAMESPACE}/{name.replace(':', '.')}-v1")
        if ids[-1] not in gymnasium.registry:
            gymnasium.register(
                ids[-1],
                entry_point="medvistagym_core.gym:make",
                vector_entry_point="medvistagym_core.gym:make_vector",
                kwargs={"task": name, "plugins": plugins},
            )
    if ANY_TASK not in gymnasium.registry:
        gymnasium.register(
            ANY_TASK, entry_point="medvistagym_core.gym:make", vector_entry_point="medvistagym_core.gym:make_vector"
        )
    return tuple(ids)


def make(*, task: str, plugins: str | None = None, **options: Any) -> MedVistaEnv:
    """An environment of an installed task, or of a question table.

    Args:
        task: Name of the task, or a table as `make_task` takes it ("questions.jsonl").
        plugins: Names of the plugins to load, comma-separated; all when None.
        **options: `task_arguments`, arguments of the task by name; `tools`, a selection of tools (those of the task unless
            given); `reward`, as `Reward.parse` reads it ("scout"); and what `MedVistaEnv` takes: `settings`, `split`, `cases`,
            `case_seed`, `executor`, `render_mode`.

    Raises:
        SelectionError: The task or a tool is not installed.
        ValueError: An option is out of range.
    """
    from medvistagym_core.environment._gym_env import MedVistaEnv

    return MedVistaEnv(**_parts(task, plugins, options))


def make_vector(*, task: str, num_envs: int = 1, plugins: str | None = None, **options: Any) -> MedVistaVectorEnv:
    """`num_envs` environments of an installed task in one; see `make`, but for `render_mode`."""
    from medvistagym_core.environment._gym_vector_env import MedVistaVectorEnv

    options.pop("render_mode", None)
    return MedVistaVectorEnv(num_envs=num_envs, **_parts(task, plugins, options))


def _parts(name: str, plugins: str | None, options: dict[str, Any]) -> dict[str, Any]:
    from medvistagym_core.environment._config import EpisodeConfig
    from medvistagym_core.environment._reward import Reward
    from medvistagym_core.environment.grading import with_builtin_graders
    from medvistagym_core.environment.questions import make_task
    from medvistagym_core.protocol import system_prompt

    options = dict(options)
    registry = _registry(plugins)
    task = make_task(registry, name, options.pop("task_arguments", None))
    tools, reward = options.pop("tools", None), options.pop("reward", "scout")
    toolbox = registry.toolbox(task.tools if tools is None else tools)
    if options.get("settings") is None:
        settings = EpisodeConfig(
            reward=Reward.parse(reward, terms=registry.rewards), graders=with_builtin_graders(registry.graders)
        )
        prompt = system_prompt(toolbox.specs, rules=settings.protocol.instructions, abstention=task.abstention)
        options["settings"] = dataclasses.replace(settings, prompt=prompt)
    return {"task": task, "toolbox": toolbox, **options}


@functools.lru_cache(8)
def _registry(plugins: str | None) -> Registry:
    return Registry.discover(plugins)


register_environments()
