"""Metrics of the episodes of a training step, and which of their trends call for a warning.

Names in `metrics.jsonl`, each a mean over the episodes of a step, those of all ranks: `accuracy`, `abstained`, `calls`,
`informed`, and the same for each family as `FAMILY/accuracy` and so on; `tool/NAME`, calls of each tool; `error/CODE`, errors
of each kind; `repeats`, calls that the episode had made before with the same arguments; `lost_results`, the share of episodes
that ended when a result did not fit; `groups/zero_variance`, the share of groups whose episodes all earned the same, from which
nothing is learnt; `groups/redrawn`, the share that was drawn again; `turn/characters`, the length of a turn. Beside them stand
`parity/...`, the certificate that the trainer saw what the policy saw, `seconds/generation`, `seconds/tools` and
`tokens/written` of a step on rank 0, and what TRL logs, such as `reward`, `loss` and `completions/mean_length` (tokens that the
policy wrote).
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, get_args

from medvistagym_core.environment import Episode
from medvistagym_core.tools import ErrorCode
from medvistagym_trl._ranks import gather_from_ranks
from medvistagym_trl._recipe import WatchRecipe

WINDOW_STEPS: Final = 10
"""Steps that are averaged before they are compared."""
_WATCHED: Final[Mapping[str, str]] = {
    "malformed": "error/malformed_call",
    "repeats": "repeats",
    "abstained": "abstained",
    "zero variance": "groups/zero_variance",
    "entropy": "entropy",
    "clipped": "clip_ratio/region_mean",
}
"""Trends, and the metric that each is read from."""
MIN_TOOL_USE: Final = 0.1
"""Calls an episode from which on tools count as used."""


@dataclasses.dataclass(frozen=True)
class EpisodeFacts:
    """What is counted of a finished episode; small, so that ranks can hand it to each other."""

    case: str
    family: str
    tools: tuple[str, ...]
    correct: bool
    abstained: bool
    informed: bool | None
    calls: tuple[str, ...]
    errors: tuple[str, ...]
    repeats: int
    lost_result: bool
    reward: float
    turn_characters: float


def turn_characters(episode: Episode) -> float:
    """Mean length of an episode's turns, characters."""
    return sum(len(step.turn.text) for step in episode.steps) / max(1, len(episode.steps))


def repeated_calls(episode: Episode) -> int:
    """How many calls an episode had made before, with the same arguments."""
    calls = [
        (call.name, json.dumps(call.arguments, sort_keys=True, default=str))
        for step in episode.steps
        for call in step.turn.calls
    ]
    return len(calls) - len(set(calls))


def episode_facts(episode: Episode) -> EpisodeFacts:
    """What is counted of a finished episode."""
    raised = [error for step in episode.steps for error in (step.turn.error, *(r.error for r in step.results))]
    return EpisodeFacts(
        case=episode.case.id,
        family=episode.case.family,
        tools=tuple(episode.toolbox),
        correct=episode.grade.correct,
        abstained=episode.grade.abstained,
        informed=episode.final[0].had_required_information,
        calls=tuple(call.name for step in episode.steps for call in step.turn.calls),
        errors=tuple(error.code for error in raised if error is not None),
        repeats=repeated_calls(episode),
        lost_result=episode.termination == "tokens",
        reward=float(episode.score.total),
        turn_characters=turn_characters(episode),
    )


def episode_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """The metrics of a batch of finished episodes, those of all ranks together; none of an empty one."""
    facts = gather_from_ranks([episode_facts(episode) for episode in episodes])
    if not facts:
        return {}
    families: dict[str, list[EpisodeFacts]] = defaultdict(list)
    for each in facts:
        families[each.family].append(each)
    metrics = _outcome_metrics(facts, "")
    for family, members in sorted(families.items()):
        metrics |= _outcome_metrics(members, f"{family}/")
    tools = Counter(name for each in facts for name in each.calls)
    errors = Counter(code for each in facts for code in each.errors)
    metrics |= {f"tool/{name}": tools[name] / len(facts) for name in facts[0].tools}
    metrics["repeats"] = sum(each.repeats for each in facts) / len(facts)
    metrics["lost_results"] = sum(each.lost_result for each in facts) / len(facts)
    metrics["groups/zero_variance"] = _zero_variance(facts)
    metrics["turn/characters"] = sum(each.turn_characters for each in facts) / len(facts)
    return metrics | {f"error/{code}": errors[code] / len(facts) for code in get_args(ErrorCode)}


def _outcome_metrics(facts: Sequence[EpisodeFacts], prefix: str) -> dict[str, float]:
    n = len(facts)
    metrics = {
        f"{prefix}accuracy": sum(each.correct for each in facts) / n,
        f"{prefix}abstained": sum(each.abstained for each in facts) / n,
        f"{prefix}calls": sum(len(each.calls) for each in facts) / n,
    }
    informed = [each.informed for each in facts if each.informed is not None]
    return metrics | ({f"{prefix}informed": sum(informed) / len(informed)} if informed else {})


def _zero_variance(facts: Sequence[EpisodeFacts]) -> float:
    """Share of the groups of episodes of one case whose rewards are all equal.

    TRL's own `frac_reward_zero_std` is 0 where rewards are scaled by the batch, whatever the groups are.
    """
    groups: dict[str, set[float]] = defaultdict(set)
    for each in facts:
        if not each.lost_result:
            groups[each.case].add(each.reward)
    return sum(len(rewards) == 1 for rewards in groups.values()) / len(groups) if groups else 1.0


class DriftDetector:
    """Reports what reinforcement learning of tool users is known to drift into, by the thresholds of a recipe.

    Turns grow, tools fall out of use, results do not fit, turns cannot be read, calls are made again, answers are given up,
    groups teach nothing, sampling becomes certain, updates are clipped: each can happen while the reward still rises. Each is
    reported once, when the mean of the last `WINDOW_STEPS` steps shows it; results that do not fit, at once.
    """

    def __init__(self, recipe: WatchRecipe | None = None) -> None:
        self._recipe = recipe or WatchRecipe()
        self._histories: dict[str, list[float]] = defaultdict(list)
        self._reported: set[str] = set()

    def update(self, metrics: Mapping[str, float]) -> list[str]:
        """Take a step's metrics; sentences about what is new and wrong."""
        length, calls = metrics.get("completions/mean_length"), metrics.get("calls")
        if length is None or calls is None:
            return []
        watched = {
            "turn length": length / (1 + calls),
            "calls": calls,
            **{name: metrics[key] for name, key in _WATCHED.items() if key in metrics},
        }
        if "turn/characters" in metrics:
            watched["characters"] = metrics["turn/characters"]
        for name, value in watched.items():
            self._histories[name].append(value)
        sentences = {"lost results": self._lost_results(metrics)}
        if len(self._histories["calls"]) > WINDOW_STEPS:
            sentences |= {
                "turn length": self._turn_length(),
                "calls": self._calls(),
                "entropy": self._entropy(),
                "malformed": self._over(
                    "malformed",
                    self._recipe.max_malformed,
                    "turns an episode cannot be read: more SFT, or a lower grpo.lr",
                ),
                "repeats": self._over(
                    "repeats",
                    self._recipe.max_repeats,
                    "calls an episode were made before with the same arguments: a cost of a call (episode.reward), or fewer "
                    "episode.max_calls",
                ),
                "abstained": self._over(
                    "abstained",
                    self._recipe.max_abstained,
                    "of the answers say 'I cannot tell': a smaller cost of a wrong answer (episode.reward), easier cases, or "
                    "a lower grpo.temperature",
                ),
                "zero variance": self._over(
                    "zero variance",
                    self._recipe.max_zero_variance,
                    "of the groups earn the same reward in every episode, and teach nothing: cases of another difficulty "
                    "(grpo.tail), or a larger grpo.group",
                ),
                "clipped": self._over(
                    "clipped",
                    self._recipe.max_clipped,
                    "of the tokens are clipped: a lower grpo.lr takes smaller steps",
                ),
            }
        return [text for trend, text in sentences.items() if text is not None and self._is_new(trend)]

    def penalty(self, episode: Episode) -> float:
        """What an episode loses for the trends that were reported and that it shows; 0 unless the recipe penalises."""
        if self._recipe.action != "penalise":
            return 0.0
        characters = self._histories["characters"][:WINDOW_STEPS]
        shown = (
            "turn length" in self._reported
            and bool(characters)
            and turn_characters(episode) > self._recipe.max_length_growth * _mean(characters),
            "calls" in self._reported and episode.calls == 0,
            "malformed" in self._reported and any(step.turn.error is not None for step in episode.steps),
            "repeats" in self._reported and repeated_calls(episode) > 0,
            "abstained" in self._reported and episode.grade.abstained,
        )
        return self._recipe.penalty * sum(shown)

    def _lost_results(self, metrics: Mapping[str, float]) -> str | None:
        lost = metrics.get("lost_results", 0.0)
        if lost <= self._recipe.max_lost_results:
            return None
        return (
            f"{lost:.0%} of the episodes ended when a result did not fit, and count nothing: a larger grpo.max_completion, "
            "or smaller images (model.view_side, model.max_pixels), holds them"
        )

    def _turn_length(self) -> str | None:
        first, now = self._ends("turn length")
        if now <= self._recipe.max_length_growth * first:
            return None
        return f"turns have grown from {first:.0f} to {now:.0f} tokens: a lower grpo.lr or max_completion holds them"

    def _calls(self) -> str | None:
        calls = self._histories["calls"]
        most = max(_mean(calls[k : k + WINDOW_STEPS]) for k in range(len(calls) - WINDOW_STEPS + 1))
        _, left = self._ends("calls")
        if most < MIN_TOOL_USE or left >= self._recipe.min_tool_use * most:
            return None
        return (
            f"tools fall out of use, from {most:.2f} calls an episode to {left:.2f}: a lower grpo.lr, a smaller cost of a "
            "call or grpo.scale batch holds them"
        )

    def _entropy(self) -> str | None:
        if len(self._histories["entropy"]) <= WINDOW_STEPS:
            return None
        first, now = self._ends("entropy")
        if now >= self._recipe.min_entropy * first:
            return None
        return f"sampling becomes certain, its entropy fell from {first:.2g} to {now:.2g}: a higher grpo.temperature or beta"

    def _over(self, name: str, threshold: float, advice: str) -> str | None:
        history = self._histories[name]
        if len(history) <= WINDOW_STEPS or (now := _mean(history[-WINDOW_STEPS:])) <= threshold:
            return None
        return f"{now:.2f} {advice}"

    def _ends(self, name: str) -> tuple[float, float]:
        """Means of the first and the last steps."""
        history = self._histories[name]
        return _mean(history[:WINDOW_STEPS]), _mean(history[-WINDOW_STEPS:])

    def _is_new(self, trend: str) -> bool:
        new = trend not in self._reported
        self._reported.add(trend)
        return new


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
