"""What is counted of the episodes of a training step, and what of it calls for a warning.

Names in `metrics.jsonl`, each a mean over the episodes of a step: `accuracy`, `abstained`, `calls`, `informed`, and the same
for each family as `FAMILY/accuracy` and so on; `tool/NAME`, calls of each tool; `error/CODE`, errors of each kind. Beside them
stands what TRL logs, such as `reward`, `loss` and `completions/mean_length` (tokens that the policy wrote).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, get_args

from medvistagym_core.environment import Episode
from medvistagym_core.tools import ErrorCode

WIDTH: Final = 10
"""Steps that are averaged before they are compared."""
LONGER: Final = 2.0
"""How many times longer than at first turns may become."""
RARER: Final = 0.2
"""Share of the most calls an episode that may be left."""
SOME_CALLS: Final = 0.1
"""Calls an episode from which on tools count as used."""


def count(episodes: Sequence[Episode]) -> dict[str, float]:
    """The metrics of a batch of finished episodes; none of an empty one."""
    if not episodes:
        return {}
    families: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        families[episode.case.family].append(episode)
    metrics = _of(episodes, "")
    for family, members in sorted(families.items()):
        metrics |= _of(members, f"{family}/")
    tools: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for episode in episodes:
        for step in episode.steps:
            tools.update(call.name for call in step.turn.calls)
            found = [step.turn.error, *(result.error for result in step.results)]
            errors.update(error.code for error in found if error is not None)
    metrics |= {f"tool/{name}": tools[name] / len(episodes) for name in episodes[0].toolbox}
    return metrics | {f"error/{code}": errors[code] / len(episodes) for code in get_args(ErrorCode)}


def _of(episodes: Sequence[Episode], prefix: str) -> dict[str, float]:
    n = len(episodes)
    metrics = {
        f"{prefix}accuracy": sum(each.grade.correct for each in episodes) / n,
        f"{prefix}abstained": sum(each.grade.abstained for each in episodes) / n,
        f"{prefix}calls": sum(len(step.turn.calls) for each in episodes for step in each.steps) / n,
    }
    known = [informed for each in episodes if (informed := each.final[0].had_required_information) is not None]
    return metrics | ({f"{prefix}informed": sum(known) / len(known)} if known else {})


class Drift:
    """Notices what reinforcement learning of tool users is known to drift into: turns that grow, tools that fall out of use.

    Both can happen while the reward still rises, so each is said once, when the mean of the last `WIDTH` steps shows it.
    """

    def __init__(self) -> None:
        self._lengths: list[float] = []
        self._calls: list[float] = []
        self._said: set[str] = set()

    def notice(self, metrics: Mapping[str, float]) -> list[str]:
        """Take a step's metrics; sentences about what is new and wrong."""
        length, calls = metrics.get("completions/mean_length"), metrics.get("calls")
        if length is None or calls is None:
            return []
        self._lengths.append(length / (1 + calls))
        self._calls.append(calls)
        if len(self._calls) <= WIDTH:
            return []
        said = []
        first, now = _mean(self._lengths[:WIDTH]), _mean(self._lengths[-WIDTH:])
        if now > LONGER * first and self._new("length"):
            said.append(
                f"turns have grown from {first:.0f} to {now:.0f} tokens: a lower grpo.lr or max_completion holds them"
            )
        most = max(_mean(self._calls[k : k + WIDTH]) for k in range(len(self._calls) - WIDTH + 1))
        left = _mean(self._calls[-WIDTH:])
        if most >= SOME_CALLS and left < RARER * most and self._new("calls"):
            said.append(
                f"tools fall out of use, from {most:.2f} calls an episode to {left:.2f}: a lower grpo.lr, a smaller cost of a "
                "call or grpo.scale batch holds them"
            )
        return said

    def _new(self, what: str) -> bool:
        new = what not in self._said
        self._said.add(what)
        return new


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
