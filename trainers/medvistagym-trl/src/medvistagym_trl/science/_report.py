"""The table of a study: every policy over all seeds, and the differences that it is about."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from medvistagym_core.trajectories import OVERALL
from medvistagym_trl._recipe import Recipe
from medvistagym_trl.run import RunFolder, read_metrics, validation_notes, write_text_atomically
from medvistagym_trl.science._controls import control_titles
from medvistagym_trl.science._statistics import (
    AccuracyDifference,
    EpisodeScores,
    PooledAccuracy,
    QuestionKey,
    compare_policies,
    families_of,
    read_episodes,
    summarize_seeds,
)
from medvistagym_trl.science._study import StudyError, study_recipe, study_seeds
from medvistagym_trl.science._variations import MAIN, table_variations
from medvistagym_trl.stages import decoding_temperatures

FINAL: Final = MAIN.titles["grpo"]


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """What SFT on so many trajectories reached, and GRPO after it, under the first decoding.

    Attributes:
        trajectories: Mean number of trajectories over the seeds.
        sft: After SFT.
        grpo: After GRPO; None where it was not trained further.
    """

    trajectories: float
    sft: PooledAccuracy
    grpo: PooledAccuracy | None


@dataclasses.dataclass(frozen=True)
class StudyReport:
    """What a study's folder holds, counted.

    Attributes:
        recipe: The main recipe.
        seeds: The seeds whose main run is finished.
        decodings: Labels, in the recipe's order.
        policies: Episodes by title of the policy and decoding.
        curve: Points of the curve over the number of trajectories, fewest first.
        notes: What the validations of each seed's main run kept, a sentence each.
    """

    recipe: Recipe
    seeds: tuple[int, ...]
    decodings: tuple[str, ...]
    policies: Mapping[tuple[str, str], EpisodeScores]
    curve: tuple[CurvePoint, ...]
    notes: tuple[str, ...] = ()

    @property
    def titles(self) -> list[str]:
        """The policies in the order of the table."""
        return list(dict.fromkeys(title for title, _ in self.policies))

    def share(self, title: str, family: str = OVERALL, decoding: str | None = None) -> PooledAccuracy | None:
        """The share of right answers of a policy; None where it was not played so.

        Args:
            title: Title of the policy.
            family: Kind of question; all of them unless given.
            decoding: Label of the decoding; the first when None.

        Raises:
            ValueError: It was played, but no question of the family.
        """
        played = self.policies.get((title, decoding or self.decodings[0]))
        return summarize_seeds(played, family) if played else None

    def differences(self) -> dict[tuple[str, str], AccuracyDifference]:
        """By how much the trained policy is better, by the other policy and the decoding."""
        return {
            (title, decoding): compare_policies(self.policies[FINAL, decoding], played)
            for (title, decoding), played in self.policies.items()
            if title != FINAL and (FINAL, decoding) in self.policies
        }


def read_study(folder: Path) -> StudyReport:
    """Count what a study's folder holds; trainings that are not finished are left out.

    Raises:
        StudyError: No seed is finished.
        RecipeError: The recipe of the study, or of a run in it, cannot be read.
    """
    recipe, seeds = study_recipe(folder), study_seeds(folder)
    if not seeds:
        raise StudyError(
            f"no seed of {folder} is finished yet; `python -m medvistagym_trl.science run --run {folder}` goes on"
        )
    labels = [label for label, _ in decoding_temperatures(recipe.evaluation, recipe.grpo.temperature)]
    policies: dict[tuple[str, str], dict[QuestionKey, Any]] = {}
    for variation in table_variations(recipe):
        for phase, title in variation.titles.items():
            for label in labels:
                for seed in seeds:
                    run = folder / f"seed-{seed}" / variation.name
                    _add(policies, (title, label), run / "trajectories" / _file(phase, label), seed, whole=run)
    for stem, title in control_titles(folder / f"seed-{seeds[0]}" / MAIN.name).items():
        for seed in seeds:
            run = folder / f"seed-{seed}" / MAIN.name
            path = run / "trajectories" / f"control-{_file(stem, labels[0])}"
            _add(policies, (title, labels[0]), path, seed, whole=run)
    notes = [
        f"Seed {seed}, {note}"
        for seed in seeds
        for run in [folder / f"seed-{seed}" / MAIN.name]
        for note in validation_notes(RunFolder.read_recipe(run), read_metrics(run))
    ]
    return StudyReport(
        recipe, tuple(seeds), tuple(labels), policies, _read_curve(folder, seeds, labels[0]), tuple(notes)
    )


def _file(phase: str, label: str) -> str:
    return f"{phase}-{label.replace(' ', '')}.jsonl"


def _add(
    policies: dict[tuple[str, str], dict[QuestionKey, Any]], key: tuple[str, str], path: Path, seed: int, *, whole: Path
) -> None:
    if path.is_file() and (whole / "results.json").is_file():
        policies.setdefault(key, {}).update(read_episodes(path, seed))


def _read_curve(folder: Path, seeds: list[int], label: str) -> tuple[CurvePoint, ...]:
    """The curve's points: the main training, that on all data, and those whose folder says a number."""
    points = []
    names = {path.name for seed in seeds for path in (folder / f"seed-{seed}").glob("n-*")}
    for name in [MAIN.name, "all-data", *sorted(names)]:
        sizes: list[float] = []
        played: dict[tuple[str, str], dict[QuestionKey, Any]] = {}
        for seed in seeds:
            run = folder / f"seed-{seed}" / name
            for phase in ("sft", "grpo"):
                _add(played, (phase, label), run / "trajectories" / _file(phase, label), seed, whole=run)
            if (run / "results.json").is_file():
                sizes.append(_trajectories(run))
        sft, grpo = played.get(("sft", label)), played.get(("grpo", label))
        if sft:
            after = summarize_seeds(grpo) if grpo else None
            points.append(CurvePoint(sum(sizes) / len(sizes), summarize_seeds(sft), after))
    return tuple(sorted(points, key=lambda point: point.trajectories))


def _trajectories(run: Path) -> float:
    """How many trajectories the SFT of a run learnt from; 0 where it learnt from none that were recorded."""
    lines = reversed(read_metrics(run))
    return float(next((line["trajectories"] for line in lines if line["phase"] == "sft-data"), 0))


def format_study(study: StudyReport) -> str:
    """The table in Markdown, the differences, the curve, and what a reader must know."""
    first, *others = study.decodings
    families = families_of([played for (_, label), played in study.policies.items() if label == first])
    head = ["policy", f"accuracy, % [95 %], {first}", "seeds", *families, "calls", "malformed", "abstained", *others]
    lines = [_line(head), _line(["---"] * len(head))]
    for title in study.titles:
        whole = study.share(title)
        if whole is None:
            continue
        shares = [study.share(title, family) for family in families]
        warm = [study.share(title, OVERALL, label) for label in others]
        lines.append(
            _line(
                [
                    f"**{title}**" if title == FINAL else title,
                    f"{100 * whole.accuracy:.1f} [{100 * whole.low:.1f}, {100 * whole.high:.1f}]",
                    _range(whole),
                    *("" if share is None else f"{100 * share.accuracy:.1f}" for share in shares),
                    f"{whole.calls:.2f}",
                    f"{whole.malformed:.2f}",
                    f"{100 * whole.abstained:.1f}",
                    *("" if share is None else f"{100 * share.accuracy:.1f}" for share in warm),
                ]
            )
        )
    lines += ["", _line([f"{FINAL} better than", *(f"{label}, points [95 %]" for label in study.decodings)])]
    lines.append(_line(["---"] * (1 + len(study.decodings))))
    differences = study.differences()
    for title in study.titles:
        cells = [differences.get((title, label)) for label in study.decodings]
        if any(cells):
            lines.append(_line([title, *("" if c is None else _points(c) for c in cells)]))
    if study.curve:
        lines += ["", _line(["trajectories of SFT", "SFT", "SFT + GRPO"]), _line(["---"] * 3)]
        lines += [
            _line([f"{point.trajectories:.0f}", *("" if s is None else _percent(s) for s in (point.sft, point.grpo))])
            for point in study.curve
        ]
    questions = study.share(FINAL)
    notes = (
        f"Recipe {study.recipe.name}, {'seed' if len(study.seeds) == 1 else 'seeds'} "
        f"{', '.join(map(str, study.seeds))}; {0 if questions is None else questions.n} questions of the "
        f"{study.recipe.evaluation.split} split in all. Intervals of shares are Wilson's, seeds pooled; those of differences "
        'are a paired bootstrap over questions. "seeds" is the range between them; "malformed" are turns a question that could '
        "not be read."
    )
    return "\n".join([*lines, "", notes, *(f"\n{note}" for note in study.notes)]) + "\n"


def write_study(folder: Path) -> StudyReport:
    """Write `study.md` and `study.json`; what they say.

    Raises:
        StudyError: The folder holds no study, or no seed of it is finished.
    """
    study = read_study(folder)
    write_text_atomically(folder / "study.md", format_study(study))
    rows = [
        {"policy": title, "decoding": label, "family": family, **dataclasses.asdict(summarize_seeds(played, family))}
        for (title, label), played in study.policies.items()
        for family in [*families_of([played]), OVERALL]
    ]
    data = {
        "recipe": study.recipe.name,
        "seeds": list(study.seeds),
        "rows": rows,
        "differences": [
            {"policy": FINAL, "than": title, "decoding": label, **dataclasses.asdict(difference)}
            for (title, label), difference in study.differences().items()
        ],
        "curve": [dataclasses.asdict(point) for point in study.curve],
        "notes": list(study.notes),
    }
    write_text_atomically(folder / "study.json", json.dumps(data, indent=1) + "\n")
    return study


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _range(share: PooledAccuracy) -> str:
    values = [100 * value for value in share.seeds.values()]
    return f"{values[0]:.1f}" if len(values) == 1 else f"{min(values):.1f} to {max(values):.1f}"


def _percent(share: PooledAccuracy) -> str:
    return f"{100 * share.accuracy:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _points(difference: AccuracyDifference) -> str:
    return f"{difference.points:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
