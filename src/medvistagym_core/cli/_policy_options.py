"""What `sample` and `eval` share: who plays, which task, and with what tools."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import ProgressBar
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_execution, add_selection

if TYPE_CHECKING:
    from medvistagym_core.environment import EpisodeConfig, Task
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import Policy, Progress
    from medvistagym_core.tools import Toolbox


KEY_VARIABLE: Final = "MEDVISTAGYM_API_KEY"
__all__ = ["RolloutProgressBar", "add_policy_options", "decoding_label", "make_policy", "split_of", "tools_of"]


def add_policy_options(parser: argparse.ArgumentParser, policies: Sequence[str], *, cases: int, split: str) -> None:
    """Add the options that say who plays what.

    Args:
        parser: Where to.
        policies: The core's policies that may play.
        cases: Default number of cases.
        split: Default split.
    """
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--policy", metavar="NAME", help=f"a policy that needs no model: {', '.join(policies)}, or a plugin's"
    )
    who.add_argument("--model", metavar="PATH", type=Path, help="a run folder, or a checkpoint")
    who.add_argument(
        "--endpoint",
        metavar="URL",
        help="an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1 of a vLLM server",
    )
    parser.add_argument("--endpoint-model", metavar="NAME", help="the name of the model at the endpoint")
    parser.add_argument(
        "--endpoint-key-variable",
        metavar="NAME",
        default=KEY_VARIABLE,
        help=f"environment variable that holds the endpoint's key, if it wants one (default: {KEY_VARIABLE})",
    )
    parser.add_argument(
        "--concurrency", metavar="N", type=int, default=8, help="most requests to the endpoint at once (default: 8)"
    )
    parser.add_argument(
        "--per-minute", metavar="N", type=float, help="most requests to the endpoint a minute (default: no limit)"
    )
    parser.add_argument(
        "--tokens-per-minute",
        metavar="N",
        type=float,
        help="most tokens of the endpoint a minute, as it counts them (default: no limit)",
    )
    parser.add_argument(
        "--request-timeout",
        metavar="SECONDS",
        type=float,
        default=120.0,
        help="longest time that one request to the endpoint may take (default: 120)",
    )
    parser.add_argument(
        "--reward",
        metavar="NAME",
        help="a preset, and weights of terms to change or add, as paper,calls=0.1 (default: scout, or as a model was trained)",
    )
    parser.add_argument(
        "--action-format",
        metavar="NAME",
        help="how turns are written: text, or a plugin's (default: text, or as trained)",
    )
    parser.add_argument("--task", metavar="NAME", required=True, help="the task")
    add_selection(parser, default=None)
    add_execution(parser)
    parser.add_argument("--split", metavar="NAME", default=split, help=f"which split of the task (default: {split})")
    parser.add_argument("--cases", metavar="N", type=int, default=cases, help=f"how many cases (default: {cases})")
    parser.add_argument("--first", metavar="N", type=int, default=0, help="position of the first case (default: 0)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the cases (default: 0)")
    parser.add_argument("--batch", metavar="N", type=int, default=64, help="episodes played at once (default: 64)")
    parser.add_argument(
        "--temperature", metavar="T", type=float, help="of a model's sampling; 0 is greedy (default: as it was trained)"
    )
    parser.add_argument("--trainer", metavar="NAME", help="which trainer opens the model, where several are installed")


def tools_of(options: argparse.Namespace, task: Task) -> str:
    """The selection that was asked for, or the task's own."""
    return ",".join(task.tools) if options.tools is None else str(options.tools)


def split_of(options: argparse.Namespace, task: Task) -> tuple[str, range]:
    """The split, and the positions of the cases to play.

    Raises:
        UsageError: The task has no such split, or a number is out of range.
    """
    if options.split not in task.splits:
        raise UsageError(f"{task.name} has no split {options.split!r}; its splits are {', '.join(task.splits)}")
    for name, least in (("cases", 1), ("first", 0), ("batch", 1)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name} must be at least {least}, not {getattr(options, name)}")
    return options.split, range(options.first, options.first + options.cases)


def make_policy(
    options: argparse.Namespace, registry: Registry, task: Task, toolbox: Toolbox
) -> tuple[Policy, EpisodeConfig]:
    """The policy that was asked for, and how its episodes are played.

    Raises:
        UsageError: The task has none of this kind, or the model does not exist.
    """
    from medvistagym_core.environment import EpisodeConfig, Reward
    from medvistagym_core.environment.grading import with_builtin_graders
    from medvistagym_core.protocol import system_prompt

    try:
        reward = Reward.parse(options.reward, terms=registry.rewards) if options.reward else None
    except ValueError as error:
        raise UsageError(f"--reward: {error}") from error
    if options.model is not None:
        if not options.model.exists():
            raise UsageError(f"{options.model}: there is no such run or checkpoint")
        opened: tuple[Policy, EpisodeConfig] = registry.trainer(options.trainer).load_policy(
            registry, options.model, task, toolbox, temperature=options.temperature, seed=options.seed
        )
        model, config = opened
        config = dataclasses.replace(config, graders=with_builtin_graders(registry.graders))
        return model, dataclasses.replace(config, reward=reward) if reward else config
    config = EpisodeConfig(graders=with_builtin_graders(registry.graders))
    if options.action_format is not None:
        config = dataclasses.replace(config, protocol=registry.action_format(options.action_format))
    prompt = system_prompt(
        toolbox.specs, rules=config.protocol.instructions, abstention=task.abstention, tools=options.endpoint is None
    )
    config = dataclasses.replace(config, prompt=prompt, reward=reward or config.reward)
    if options.endpoint is not None:
        return _served(options, toolbox), config
    if options.temperature is not None:
        raise UsageError(f"--temperature is for a model; the policy {options.policy} has none")
    try:
        return _make_named_policy(options, registry, task, toolbox, config), config
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    except (Exception, SystemExit) as error:  # a plugin's fault
        raise CommandError(f"the policy {options.policy} cannot be made: {type(error).__name__}: {error}") from error


def _make_named_policy(
    options: argparse.Namespace, registry: Registry, task: Task, toolbox: Toolbox, config: EpisodeConfig
) -> Policy:
    from medvistagym_core.rollouts import DemonstrationPolicy, ExpertPolicy, RandomPolicy
    from medvistagym_core.tools import closest_match

    name, seed = options.policy, options.seed
    if name == "expert":
        return ExpertPolicy(task, config.protocol, seed=seed)
    if name == "demonstration" and hasattr(options, "skill"):
        return DemonstrationPolicy(task, options.skill, config.protocol, seed=seed)
    if name == "random":
        answers = (task.abstention,) if task.abstention else ("unclear",)
        return RandomPolicy(toolbox, answers, protocol=config.protocol, seed=seed)
    if name in registry.policies:
        return registry.policies[name](task, toolbox, config, seed=seed)
    names = ["expert", *(["demonstration"] if hasattr(options, "skill") else []), "random", *sorted(registry.policies)]
    near = closest_match(name, names)
    raise ValueError(
        f"there is no policy {name!r}; " + (f"did you mean {near}?" if near else f"choose one of {', '.join(names)}")
    )


def _served(options: argparse.Namespace, toolbox: Toolbox) -> Policy:
    from medvistagym_core.rollouts import ChatCompletionsClient, EndpointPolicy

    if not options.endpoint_model:
        raise UsageError("--endpoint needs --endpoint-model, the name of the model there")
    try:
        endpoint = ChatCompletionsClient(
            options.endpoint,
            concurrency=options.concurrency,
            per_minute=options.per_minute,
            tokens_per_minute=options.tokens_per_minute,
            timeout_s=options.request_timeout,
            key_variable=options.endpoint_key_variable,
        )
        temperature = 0.7 if options.temperature is None else options.temperature
        return EndpointPolicy(endpoint, options.endpoint_model, toolbox, temperature=temperature, seed=options.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error


def decoding_label(policy: Policy) -> str:
    """How a policy's turns come about, in a word for the table."""
    temperature = policy.sampling.get("temperature")
    if temperature is None:
        return "scripted"
    return f"T = {temperature:g}" if temperature else "greedy"


class RolloutProgressBar:
    """Counts a rollout's episodes on the terminal."""

    def __init__(self) -> None:
        self._counter = ProgressBar("episodes")
        self.failed = 0
        self.played = 0
        self.again = 0
        self.reason: str | None = None

    def __call__(self, progress: Progress) -> None:
        """Take note of how far the rollout is."""
        self.failed, self.played, self.again = progress.failed, progress.played, progress.retried
        self.reason = progress.reason
        right = f", {progress.correct / progress.played:.0%} right" if progress.played else ""
        self._counter.show(progress.done, progress.total, right)

    def close(self) -> None:
        """Clear the line."""
        self._counter.close()
