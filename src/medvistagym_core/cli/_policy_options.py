"""Options that `sample` and `eval` share: the policy, the task and the tools."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import ProgressBar
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_execution, add_selection
from medvistagym_core.cli._task_options import add_task_options, case_range, choose_split

if TYPE_CHECKING:
    from medvistagym_core.environment import EpisodeConfig, Task
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import ChatCompletionsClient, Policy, Progress
    from medvistagym_core.tools import Toolbox
    from medvistagym_core.trajectories import SamplingParams


KEY_VARIABLE: Final = "MEDVISTAGYM_API_KEY"
__all__ = [
    "RolloutProgressBar", "add_endpoint_options", "add_policy_options", "add_policy_source", "check_same_policy",
    "decoding_label", "make_policy", "split_of", "tools_of",
]  # fmt: skip


def add_policy_options(
    parser: argparse.ArgumentParser, policies: Sequence[str], *, cases: int | None, split: str
) -> None:
    """Add the options that say who plays what.

    Args:
        parser: Where to.
        policies: The core's policies that may play.
        cases: Default number of cases; None for the whole split, or 512 of a task without an end.
        split: Default split.
    """
    parser.set_defaults(default_cases=cases, default_split=split)
    few = "the whole split, or 512 of a task without an end" if cases is None else str(cases)
    add_policy_source(parser, policies)
    parser.add_argument(
        "--reward",
        metavar="NAME",
        help="a preset, and weights of terms to change or add, as paper,calls=0.1 (default: scout, or as a model was trained)",
    )
    add_task_options(parser, several=True)
    add_selection(parser, default=None)
    add_execution(parser)
    parser.add_argument("--split", metavar="NAME", help=f"which split of the task (default: {split}, or its only one)")
    parser.add_argument("--cases", metavar="N", type=int, help=f"how many cases (default: {few})")
    parser.add_argument("--first", metavar="N", type=int, default=0, help="position of the first case (default: 0)")
    parser.add_argument("--batch", metavar="N", type=int, default=64, help="episodes played at once (default: 64)")
    parser.add_argument(
        "--workers",
        metavar="N",
        type=int,
        help="play in so many processes of the Ray that --executor ray names, each with --batch episodes at once",
    )


def add_policy_source(parser: argparse.ArgumentParser, policies: Sequence[str]) -> None:
    """Add the options that say who acts: a policy, a model or an endpoint, and how its turns are drawn.

    Args:
        parser: Where to.
        policies: The core's policies that may act.
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
    add_endpoint_options(parser)
    parser.add_argument(
        "--action-format",
        metavar="NAME",
        help="how turns are written: text, or a plugin's (default: text, or as trained)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="seed of the cases, which orders those of a table (default: 0)"
    )
    parser.add_argument(
        "--temperature", metavar="T", type=float, help="of a model's sampling; 0 is greedy (default: as it was trained)"
    )
    parser.add_argument("--trainer", metavar="NAME", help="which trainer opens the model, where several are installed")


def add_endpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how an endpoint is asked."""
    parser.add_argument(
        "--endpoint-model",
        metavar="NAME",
        help="the name of the model at the endpoint (default: the only one it lists)",
    )
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


def tools_of(options: argparse.Namespace, task: Task) -> str:
    """The selection that was asked for, or the task's own; nothing for "none"."""
    if options.tools == "none":
        return ""
    return ",".join(task.tools) if options.tools is None else str(options.tools)


def split_of(options: argparse.Namespace, task: Task) -> tuple[str, range]:
    """The split, and the positions of the cases to play.

    Raises:
        UsageError: The task has no such split, or a number is out of range.
    """
    for name in ("batch", "workers"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UsageError(f"--{name} must be at least 1, not {getattr(options, name)}")
    split = choose_split(task, options.split, options.default_split)
    return split, case_range(task, split, options.cases, options.default_cases, options.first)


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
        return _make_served_policy(options, toolbox), config
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
        policy = registry.policies[name](task, toolbox, config, seed=seed)
        missing = [member for member in ("name", "sampling", "act") if not hasattr(policy, member)]
        if missing:
            raise ValueError(f"the policy {name} gave {type(policy).__name__}, which has no {', '.join(missing)}")
        return policy
    names = ["expert", *(["demonstration"] if hasattr(options, "skill") else []), "random", *sorted(registry.policies)]
    suggestion = closest_match(name, names)
    advice = f"did you mean {suggestion}?" if suggestion else f"choose one of {', '.join(names)}"
    raise ValueError(f"there is no policy {name!r}; {advice}")


def _make_served_policy(options: argparse.Namespace, toolbox: Toolbox) -> Policy:
    from medvistagym_core.rollouts import ChatCompletionsClient, EndpointPolicy

    try:
        endpoint = ChatCompletionsClient(
            options.endpoint,
            concurrency=options.concurrency,
            per_minute=options.per_minute,
            tokens_per_minute=options.tokens_per_minute,
            timeout_s=options.request_timeout,
            key_variable=options.endpoint_key_variable,
        )
        model = options.endpoint_model or _only_model(endpoint)
        temperature = 0.7 if options.temperature is None else options.temperature
        return EndpointPolicy(endpoint, model, toolbox, temperature=temperature, seed=options.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _only_model(endpoint: ChatCompletionsClient) -> str:
    from medvistagym_core.rollouts import EndpointError

    try:
        names = endpoint.list_models()
    except EndpointError as error:
        if error.fatal:  # nobody is there, or it lets nobody in: a name would not help
            raise UsageError(f"--endpoint {error}") from error
        raise UsageError(f"--endpoint needs --endpoint-model, the name of the model there ({error})") from error
    if len(names) != 1:
        raise UsageError(f"--endpoint needs --endpoint-model; it serves {', '.join(names) or 'no model'}")
    return names[0]


def decoding_label(sampling: SamplingParams) -> str:
    """How a policy's turns come about, in a word for the table."""
    temperature = sampling.get("temperature")
    if temperature is None:
        return "scripted"
    return f"T = {temperature:g}" if temperature else "greedy"


def check_same_policy(
    file: Path, policy: str, sampling: SamplingParams, weights: Mapping[str, float], option: str
) -> None:
    """Let no two policies, or rewards, share a file: episodes of the one would pass for those of the other.

    Args:
        file: The trajectory file; it need not exist.
        policy: Name of the policy that would go on with it.
        sampling: The settings that it samples with.
        weights: Weights of the reward's terms.
        option: The option that names another file.

    Raises:
        CommandError: The file was begun with others.
    """
    from medvistagym_core.trajectories import TrajectoryReader

    first = next(iter(TrajectoryReader(file)), None) if file.is_file() else None
    if first is None:
        return
    now = {"policy": policy, **_drawn(sampling), "reward": dict(weights)}
    then = {"policy": first.policy.name, **_drawn(first.policy.sampling), "reward": dict(first.weights)}
    for name in (*now, *then):
        if now.get(name) != then.get(name):
            before, after = _format_setting(then.get(name)), _format_setting(now.get(name))
            raise CommandError(f"{file} was begun with {name} {before}, not {after}; choose another {option}")


def _drawn(sampling: SamplingParams) -> dict[str, object]:
    """How turns are drawn. With another seed they are other episodes, and a server may move; both may lie in one file."""
    return {name: value for name, value in sampling.items() if name not in ("seed", "endpoint")}


def _format_setting(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={weight:g}" for name, weight in value.items() if weight)
    return "none" if value is None else str(value)


class RolloutProgressBar:
    """Counts a rollout's episodes on the terminal: how many, how fast, and when it will be over."""

    def __init__(self, label: str = "") -> None:
        from medvistagym_core.rollouts import Progress

        self._bar = ProgressBar("episodes")
        self._label = f" {label}" if label else ""
        self._began: float | None = None
        self.progress = Progress()

    def __call__(self, progress: Progress) -> None:
        """Take note of how far the rollout is."""
        if progress.played < self.progress.played:
            self._began = None  # another rollout
        self.progress = progress
        more = f"{self._label}, {progress.correct / progress.played:.0%} right" if progress.played else self._label
        now = time.monotonic()
        self._began = self._began or now
        if progress.played > 1 and now > self._began:
            rate = progress.played / (now - self._began)
            end = time.localtime(time.time() + (progress.total - progress.done) / rate)
            more += f", {rate:.3g}/s, ends {time.strftime('%a %H:%M', end)}"
        self._bar.show(progress.done, progress.total, more)

    def close(self) -> None:
        """Clear the line."""
        self._bar.close()
