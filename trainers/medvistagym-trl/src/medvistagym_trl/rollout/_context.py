"""The context of a recipe's episodes: tools, limits, reward, and the executor."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache, partial
from typing import Any, Final

import numpy as np

from medvistagym_core.environment import (
    REWARD_TERMS,
    Case,
    Episode,
    EpisodeConfig,
    EpisodeOutcome,
    Limits,
    Reward,
    RewardTerm,
    Task,
    informative_call_check,
    required_tool,
)
from medvistagym_core.execution import Executor, LocalExecutor, ProcessExecutor, ResultFilter
from medvistagym_core.plugins import Registry
from medvistagym_core.protocol import TextProtocol, system_prompt
from medvistagym_core.tools import Toolbox, parse_available_device_map
from medvistagym_trl._recipe import EpisodeRecipe, Recipe, RecipeError
from medvistagym_trl.rollout._compact_schemas import EXPLANATION, render_compact

_CACHE_BYTES: Final = 16 * 2**20
"""Room for tool results: enough for those of a batch, whose groups make the same calls."""
_RECENT_CASES: Final = 32
"""Cases that are kept: those of a step, whose groups play each several times."""
_LOCAL: Final[Callable[..., Executor]] = partial(LocalExecutor, cache_bytes=_CACHE_BYTES)


class NativeProtocol(TextProtocol):
    """The text protocol of records, for a policy whose chat template says itself how calls are written.

    Turns are kept, scored and replayed in the text protocol; only the prompt does not tell the policy to write calls that way.
    """

    @property
    def instructions(self) -> str:
        """How to write a turn, for the system prompt."""
        think = {
            "required": "Start every turn with <think>your reasoning</think>. Then",
            "optional": "In every turn you may reason first. Then",
            "off": "In every turn,",
        }[self.think]
        max_calls = self.max_calls_per_turn
        call = "call a tool" if max_calls == 1 else f"make up to {max_calls} tool calls"
        return f"{think} either {call} or end with <answer>your answer</answer>."


@dataclasses.dataclass(frozen=True, eq=False)
class RolloutContext:
    """What all episodes of a run share.

    Attributes:
        task: Where cases come from.
        toolbox: The tools that may be called.
        config: The rules of an episode.
        seed: Seed of the cases.
        split: Split that training draws from.
        make_executor: Makes what runs the tools of a toolbox; takes `result_filter` where the context has one.
        result_filter: Changes results before a policy sees them, such as to make some wrong; None leaves them.
    """

    task: Task
    toolbox: Toolbox
    config: EpisodeConfig
    seed: int = 0
    split: str = "train"
    make_executor: Callable[..., Executor] = _LOCAL
    result_filter: ResultFilter | None = None

    @cached_property
    def executor(self) -> Executor:
        """Runs the tools; made on first use, so that a data loader's process has one of its own."""
        if self.result_filter is None:
            return self.make_executor(self.toolbox)
        return self.make_executor(self.toolbox, result_filter=self.result_filter)

    def as_measured(self, split: str | None = None) -> RolloutContext:
        """The same rules to measure with, on another split if one is given: with results as the tools give them.

        It has an executor of its own; close it.
        """
        return dataclasses.replace(self, split=split or self.split, result_filter=None)

    @cached_property
    def schemas(self) -> list[dict[str, Any]]:
        """The toolbox in the Hugging Face dialect."""
        return list(self.toolbox.schemas("huggingface"))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The task, or those that it mixes."""
        parts: tuple[Task, ...] = getattr(self.task, "parts", (self.task,))
        return parts

    def count(self, task: Task, max_cases: int) -> int:
        """How many cases of a task's split are played: `max_cases`, or all of them where the split has fewer.

        Args:
            task: The task, or a part of a mix.
            max_cases: How many at most.
        """
        size = getattr(task, "size", None)
        return min(max_cases, int(size(self.split))) if callable(size) else max_cases

    @property
    def rendered_schemas(self) -> list[dict[str, Any]]:
        """The schemas that the chat template renders: none in the text format, whose prompt holds them."""
        return self.schemas if self.config.style == "tools" else []

    def make_episode(self, index: int) -> Episode:
        """A fresh episode of a training case; episodes of one case share it, and so its decoded and rendered images."""
        task, position = locate_case(self.task, self.split, index)
        case = self._case(self.tasks.index(task), position)
        return Episode(
            case,
            self.toolbox,
            self.config,
            abstention=task.abstention,
            informed=informative_call_check(task, case),
            needed=required_tool(task, case),
            seed=self.seed,
        )

    @cached_property
    def _case(self) -> Callable[[int, int], Case]:
        """A case by the number of its task and its position; the last ones are kept."""
        return lru_cache(_RECENT_CASES)(lambda part, position: self.tasks[part].case(self.split, position, self.seed))

    def prefetch(self, indices: Sequence[int]) -> None:
        """Deal and render some cases in a thread, while something else is computed: the next step's."""
        for index in indices:
            self._prefetcher.submit(self._render, index)

    def _render(self, index: int) -> None:
        _ = self.make_episode(index).messages  # its images are kept with the case

    @cached_property
    def _prefetcher(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "cases")

    def close(self) -> None:
        """Close the executor and the thread, where they were made."""
        prefetcher: ThreadPoolExecutor | None = self.__dict__.get("_prefetcher")
        if prefetcher is not None:
            prefetcher.shutdown(cancel_futures=True)
        executor: Executor | None = self.__dict__.get("executor")
        if executor is not None:
            executor.close()


def locate_case(task: Task, split: str, index: int) -> tuple[Task, int]:
    """The task that deals case number `index`, and the position of the case in its split.

    A mix of tasks deals their cases in turn; a task whose `size(split)` says how many cases there are begins again after them.

    Args:
        task: The task, or a mix with `parts`.
        split: Split of the cases.
        index: Number of the case, from 0; there is no end.
    """
    parts: tuple[Task, ...] = getattr(task, "parts", (task,))
    part, position = parts[index % len(parts)], index // len(parts)
    size = getattr(part, "size", None)
    return part, position % size(split) if callable(size) else position


def training_cases(context: RolloutContext, offset: int, count: int) -> list[int]:
    """Numbers of training cases, for `RolloutContext.make_episode`.

    Args:
        context: The task, and the seed.
        offset: Where a stage's cases begin, of tasks that deal any number of cases.
        count: How many.

    Returns:
        `offset`, `offset + 1`, ... for such tasks; for tasks of a given size, passes over their cases, each in a new order.
    """
    sizes = [getattr(task, "size", None) for task in context.tasks]
    if not any(callable(size) for size in sizes):
        return list(range(offset, offset + count))
    rng = np.random.default_rng([context.seed, offset])
    each = -(-count // len(sizes))
    columns = []
    for size in sizes:
        if callable(size):
            passes = [rng.permutation(int(size(context.split))) for _ in range(-(-each // int(size(context.split))))]
            columns.append(np.concatenate(passes)[:each])
        else:
            columns.append(np.arange(offset, offset + each))
    mixed = np.stack(columns, axis=1) * len(sizes) + np.arange(len(sizes))
    return [int(number) for number in mixed.reshape(-1)[:count]]


def make_rollout_context(
    recipe: Recipe, task: Task, toolbox: Toolbox, registry: Registry, split: str = "train"
) -> RolloutContext:
    """The context of a recipe's episodes; reward terms, graders and executors of plugins come from the registry.

    Args:
        recipe: The recipe, complete.
        task: Its task, or the mix of its tasks.
        toolbox: Its tools.
        registry: What is installed.
        split: Split that cases are drawn from.

    Raises:
        SelectionError: There is no such executor or reward term; or `perturb` says no settings, has an executor that cannot
            change results, or lacks medvistagym-models.
    """
    executors: dict[str, Callable[..., Executor]] = {"local": _LOCAL, "process": ProcessExecutor}
    name = recipe.executor
    executor = executors[name] if name in executors else registry.executor(name)
    result_filter = None
    if recipe.perturb is not None:
        if "result_filter" not in inspect.signature(executor).parameters:
            raise RecipeError(
                f"the recipe: perturb needs an executor that can change results, such as local, process or ray, not {name}"
            )
        result_filter = _make_result_filter(recipe.perturb)
    config = make_episode_config(recipe, task, toolbox, registry)
    return RolloutContext(task, toolbox, config, recipe.seed, split, executor, result_filter)


def _make_result_filter(settings: str) -> ResultFilter:
    try:
        from medvistagym_models.perturbation import Perturber, parse_settings
    except ModuleNotFoundError:
        raise RecipeError(
            "the recipe: perturb needs medvistagym-models: pip install 'medvistagym-trl[models]'"
        ) from None
    try:
        parsed = parse_settings(settings)
    except ValueError as error:
        raise RecipeError(f"the recipe: {error}") from None
    if parsed.executor != "local":
        raise RecipeError(f"the recipe: perturb has no executor of its own; set executor={parsed.executor}")
    return Perturber(parsed)


def make_episode_config(recipe: Recipe, task: Task, toolbox: Toolbox, registry: Registry) -> EpisodeConfig:
    """How episodes of a recipe are played, in training and evaluation alike.

    Args:
        recipe: The recipe.
        task: Gives the word for "I cannot tell".
        toolbox: The tools.
        registry: Gives the reward terms and graders of plugins.

    Raises:
        RecipeError: The reward names a term that there is not.
    """
    rules = recipe.episode
    native = rules.action_format == "native"
    compact = recipe.model.path is None if rules.compact is None else rules.compact
    # The tiny model's own template writes calls as the text protocol does, so its prompt gives the protocol's rules.
    protocol = (NativeProtocol if native and not compact else TextProtocol)(rules.think, rules.max_calls_per_turn)
    return EpisodeConfig(
        protocol=protocol,
        reward=parse_reward(rules, registry.rewards),
        graders={**registry.graders, **EpisodeConfig().graders},  # a plugin takes no kind of the core's
        limits=Limits(max_turns=rules.max_calls + 1, max_calls=rules.max_calls),
        view_side=recipe.model.view_side,
        prompt=_prompt(rules, toolbox, protocol, task.abstention),
        style="tools" if native else "text",
        compact=compact,
    )


def _prompt(rules: EpisodeRecipe, toolbox: Toolbox, protocol: TextProtocol, abstention: str | None) -> str:
    """The system prompt: with the tools in the text format, without them where the chat template shows them."""
    full = rules.action_format == "text" and rules.tool_schemas == "full"
    prompt = system_prompt(toolbox.specs, rules=protocol.instructions, abstention=abstention, tools=full)
    if rules.tool_schemas == "compact" and len(toolbox):
        prompt = f"{prompt}\nTools. {EXPLANATION}\n{render_compact(toolbox.specs)}"
    return prompt


def thrift(outcome: EpisodeOutcome) -> float:
    """Minus the number of calls that a right answer took, else 0: looking costs nothing as long as it does not help."""
    return -float(outcome.calls) if outcome.grade.correct else 0.0


def parse_reward(rules: EpisodeRecipe, terms: Mapping[str, RewardTerm]) -> Reward:
    """The reward of a recipe: of a text such as `scout,efficiency=0.2`, or of weights by term.

    Args:
        rules: The recipe's `episode`.
        terms: Reward terms of plugins by name, beside those of the core.

    Raises:
        RecipeError: There is no such preset or term.
    """
    terms = {"thrift": thrift, **terms}
    try:
        if isinstance(rules.reward, str):
            return Reward.parse(rules.reward, terms=terms)
        return Reward(rules.reward_name, dict(rules.reward), {**REWARD_TERMS, **terms})
    except ValueError as error:
        raise RecipeError(f"the recipe: episode.reward: {error}") from None


def make_toolbox(recipe: Recipe, registry: Registry) -> Toolbox:
    """The toolbox of a recipe, its tools placed where the recipe says.

    Args:
        recipe: The recipe, complete.
        registry: What is installed.

    Raises:
        SelectionError: A tool or a device cannot be had.
    """
    import torch

    devices = recipe.devices
    if devices == "auto":
        devices = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        placement = parse_available_device_map(devices)
    except ValueError as error:
        raise RecipeError(f"the recipe: devices: {error}") from None
    return registry.toolbox(recipe.tools or (), devices=placement)
