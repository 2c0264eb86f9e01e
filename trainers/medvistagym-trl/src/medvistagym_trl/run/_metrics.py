"""Metrics of the episodes of a training step, and which of their trends call for a warning.

Names in `metrics.jsonl`, each a mean over the episodes of a step: `accuracy`, `abstained`, `calls`, `informed`, and the same
for each family as `FAMILY/accuracy` and so on; `tool/NAME`, calls of each tool; `error/CODE`, errors of each kind;
`lost_results`, the share of episodes that ended when a result did not fit; `groups/zero_variance`, the share of groups whose
episodes all earned the same, from which nothing is learnt. Beside them stands what TRL logs, such as `reward`, `loss` and
`completions/mean_length` (tokens that the policy wrote).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, get_args

from medvistagym_core.environment import Episode
from medvistagym_core.tools import ErrorCode

WINDOW_STEPS: Final = 10
"""Steps that are averaged before they are compared."""
LENGTH_GROWTH_THRESHOLD: Final = 2.0
"""How many times longer than at first turns may become."""
TOOL_USE_DROP_THRESHOLD: Final = 0.2
"""Share of the most calls an episode below which tools fall out of use."""
LOST_RESULTS_THRESHOLD: Final = 0.05
"""Share of episodes whose result did not fit from which on it is said."""
MIN_TOOL_USE: Final = 0.1
"""Calls an episode from which on tools count as used."""


def episode_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """The metrics of a batch of finished episodes; none of an empty one."""
    if not episodes:
        return {}
    families: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        families[episode.case.family].append(episode)
    metrics = _outcome_metrics(episodes, "")
    for family, members in sorted(families.items()):
        metrics |= _outcome_metrics(members, f"{family}/")
    tools: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for episode in episodes:
        for step in episode.steps:
            tools.update(call.name for call in step.turn.calls)
            raised = [step.turn.error, *(result.error for result in step.results)]
            errors.update(error.code for error in raised if error is not None)
    metrics |= {f"tool/{name}": tools[name] / len(episodes) for name in episodes[0].toolbox}
    metrics["lost_results"] = sum(each.termination == "tokens" for each in episodes) / len(episodes)
    metrics["groups/zero_variance"] = _zero_variance(episodes)
    return metrics | {f"error/{code}": errors[code] / len(episodes) for code in get_args(ErrorCode)}


def _outcome_metrics(episodes: Sequence[Episode], prefix: str) -> dict[str, float]:
    n = len(episodes)
    metrics = {
        f"{prefix}accuracy": sum(each.grade.correct for each in episodes) / n,
        f"{prefix}abstained": sum(each.grade.abstained for each in episodes) / n,
        f"{prefix}calls": sum(len(step.turn.calls) for each in episodes for step in each.steps) / n,
    }
    informed = [known for each in episodes if (known := each.final[0].had_required_information) is not None]
    return metrics | ({f"{prefix}informed": sum(informed) / len(informed)} if informed else {})


def _zero_variance(episodes: Sequence[Episode]) -> float:
    """Share of the groups of episodes of one case whose rewards are all equal.

    TRL's own `frac_reward_zero_std` is 0 where rewards are scaled by the batch, whatever the groups are.
    """
    groups: dict[str, set[float]] = defaultdict(set)
    for episode in episodes:
        if episode.termination != "tokens":
            groups[episode.case.id].add(float(episode.score.total))
    return sum(len(rewards) == 1 for rewards in groups.values()) / len(groups) if groups else 1.0


class DriftDetector:
    """Warns of what reinforcement learning of tool users is known to drift into: turns that grow, tools that fall out of use.

    Both can happen while the reward still rises. Each is reported once, when the mean of the last `WINDOW_STEPS` steps shows
    it.
    """

    def __init__(self) -> None:
        self._lengths: list[float] = []
        self._calls: list[float] = []
        self._reported: set[str] = set()

    def update(self, metrics: Mapping[str, float]) -> list[str]:
        """Take a step's metrics; sentences about what is new and wrong."""
        length, calls = metrics.get("completions/mean_length"), metrics.get("calls")
        if length is None or calls is None:
            return []
        lost = metrics.get("lost_results", 0.0)
        warnings = []
        if lost > LOST_RESULTS_THRESHOLD and self._is_new("lost results"):
            warnings.append(
                f"{lost:.0%} of the episodes ended when a result did not fit, and count nothing: a larger grpo.max_completion, "
                "or smaller images (model.view_side, model.max_pixels), holds them"
            )
        self._lengths.append(length / (1 + calls))
        self._calls.append(calls)
        if len(self._calls) <= WINDOW_STEPS:
            return warnings
        first, now = _mean(self._lengths[:WINDOW_STEPS]), _mean(self._lengths[-WINDOW_STEPS:])
        if now > LENGTH_GROWTH_THRESHOLD * first and self._is_new("length"):
            warnings.append(
                f"turns have grown from {first:.0f} to {now:.0f} tokens: a lower grpo.lr or max_completion holds them"
            )
        starts = range(len(self._calls) - WINDOW_STEPS + 1)
        most = max(_mean(self._calls[k : k + WINDOW_STEPS]) for k in starts)
        left = _mean(self._calls[-WINDOW_STEPS:])
        if most >= MIN_TOOL_USE and left < TOOL_USE_DROP_THRESHOLD * most and self._is_new("calls"):
            warnings.append(
                f"tools fall out of use, from {most:.2f} calls an episode to {left:.2f}: a lower grpo.lr, a smaller cost of a "
                "call or grpo.scale batch holds them"
            )
        return warnings

    def _is_new(self, trend: str) -> bool:
        new = trend not in self._reported
        self._reported.add(trend)
        return new


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
