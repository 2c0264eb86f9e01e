"""The trajectory files of a run, scored: nothing is played again."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.scoring._document import EvaluationReport, RetainedShare, ToolReliance
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._protocol import ScoringProtocol
from medvistagym_core.scoring._statistics import PairedTest, compare_paired, retained_share
from medvistagym_core.scoring._summary import ScoredCondition, score_condition
from medvistagym_core.scoring._validity import validity_notes
from medvistagym_core.trajectories import Trajectory, TrajectoryReader

REPORT_NAME: Final = "scores.json"
IMAGE_CONDITIONS: Final = {"blank": "blank images", "shuffled": "shuffled images", "none": "no images"}
"""What a report calls a condition, by the facet "images" of its episodes."""


class NothingInCommonError(ValueError):
    """Two runs that were asked no question that both answered; the sentence says so."""


@dataclasses.dataclass(frozen=True)
class RunFile:
    """A trajectory file of a run.

    Attributes:
        path: The file.
        name: Its name in reports: its path in the run folder.
        condition: What was changed in it, where the run's report says so; otherwise the name of the file.
        provenance: Where its questions are from, where the run's report says so.
    """

    path: Path
    name: str
    condition: str
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def find_run_files(path: str | Path) -> list[RunFile]:
    """The trajectory files of a run folder at any depth, or the one file that is named.

    Raises:
        ValueError: There is none.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such run folder or trajectory file")
    folder = path if path.is_dir() else path.parent
    files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
    files = [file for file in files if file.with_suffix(".lock.json").is_file()]
    if not files:
        raise ValueError(f"{path}: there is no trajectory file (.jsonl, its .lock.json beside it)")
    conditions = {}
    for parent in (folder, folder.parent):
        if (parent / REPORT_NAME).is_file():
            report = EvaluationReport.load(parent / REPORT_NAME)
            conditions = {(parent / each.file).resolve(): each for each in report.conditions}
            break
    found = []
    for file in files:
        before = conditions.get(file.resolve())
        found.append(
            RunFile(
                file,
                file.relative_to(folder).as_posix(),
                file.stem if before is None else before.condition,
                {} if before is None else before.provenance,
            )
        )
    return found


def read_condition(file: RunFile) -> dict[tuple[str, str, int], list[Trajectory]]:
    """The episodes of a file, by task, split and seed."""
    groups: dict[tuple[str, str, int], list[Trajectory]] = defaultdict(list)
    for trajectory in TrajectoryReader(file.path):
        groups[trajectory.task, trajectory.split, trajectory.seed].append(trajectory)
    return groups


def evaluate_run(
    path: str | Path,
    protocols: Sequence[str | ScoringProtocol],
    *,
    judge: Judge | None = None,
    judge_calls: int = 1,
    facets: Sequence[str] = (),
) -> list[ScoredCondition]:
    """Score all episodes of a run folder or trajectory file.

    Args:
        path: The folder or the file.
        protocols: Names in `PROTOCOLS`, or protocols of one's own.
        judge: Asked where a protocol needs a language model.
        judge_calls: How many calls of the judge may be under way at once.
        facets: More facts to break results down by.

    Raises:
        ValueError: There is no episode, no such protocol, or a file that cannot be read.
    """
    scored: list[ScoredCondition] = []
    for file in find_run_files(path):
        tools = tuple(tool.name for tool in TrajectoryReader(file.path).lock().tools)
        scored += [
            score_condition(
                episodes,
                protocols,
                condition=file.condition,
                file=file.name,
                tools=tools,
                judge=judge,
                judge_calls=judge_calls,
                rendered_prompt=rendered_prompt(episodes[0]),
                provenance=file.provenance,
                facets=facets,
            )
            for episodes in read_condition(file).values()
        ]
    if not scored:
        raise ValueError(f"{path}: there is no episode in it")
    return scored


def rendered_prompt(trajectory: Trajectory) -> str:
    """What the policy read before its first turn: the system prompt and the first observation, images as their handles."""
    blocks = [f"<image {block.image}>" if block.image is not None else block.text or "" for block in trajectory.opening]
    return "\n".join([*([trajectory.prompt] if trajectory.prompt else []), *blocks])


def make_report(
    scored: Sequence[ScoredCondition],
    *,
    judge: Mapping[str, str | int | float | None] | None = None,
    reliance: Sequence[ToolReliance] = (),
    notes: Sequence[str] = (),
) -> EvaluationReport:
    """The document of some scored conditions: also how much of each score stays with other images, and what to know.

    Args:
        scored: The conditions.
        judge: What the judge was, where there was one.
        reliance: What became of answers when tool results were replaced.
        notes: More sentences that a reader must know.
    """
    reports = [each.report for each in scored]
    benchmark_notes = [
        note for name in dict.fromkeys(report.task for report in reports) for note in validity_notes(name)
    ]
    failed = [
        f"{report.policy} failed in {report.failed} episodes of {report.task} ({report.condition}), which are in no number."
        for report in reports
        if report.failed
    ]
    return EvaluationReport(
        software={"medvistagym-core": importlib.metadata.version("medvistagym-core")},
        conditions=tuple(reports),
        retained=tuple(_measure_retained(scored)),
        reliance=tuple(reliance),
        judge=None if judge is None else dict(judge),
        notes=tuple(dict.fromkeys([*notes, *failed, *benchmark_notes])),
    )


def _measure_retained(scored: Sequence[ScoredCondition]) -> list[RetainedShare]:
    """The share of the score with the real images that stays with others, for each task, toolbox and protocol."""
    found = []
    for other in scored:
        if other.report.condition not in IMAGE_CONDITIONS.values():
            continue
        for base in scored:
            same = ("task", "split", "seed", "tools", "policy")
            if base.report.condition in IMAGE_CONDITIONS.values() or any(
                getattr(base.report, name) != getattr(other.report, name) for name in same
            ):
                continue
            for protocol in other.scores.keys() & base.scores.keys():
                share = retained_share(base.scores[protocol], other.scores[protocol])
                if not share.questions:  # the protocol scores none of this task
                    continue
                found.append(
                    RetainedShare(
                        task=other.report.task,
                        condition=other.report.condition,
                        against=base.report.condition,
                        protocol=protocol,
                        share=share.value,
                        low=share.low,
                        high=share.high,
                        questions=share.questions,
                    )
                )
            break
    return sorted(found, key=lambda share: (share.task, share.protocol))


@dataclasses.dataclass(frozen=True)
class QuestionChange:
    """A question that two runs scored differently.

    Attributes:
        case: Name of the case.
        question: The question.
        gold: The right answer.
        first: What the first run answered, as the protocol read it.
        second: What the second one answered.
        gained: Whether the second one scored more.
    """

    case: str
    question: str
    gold: str
    first: str
    second: str
    gained: bool


@dataclasses.dataclass(frozen=True)
class RunComparison:
    """Two runs on the questions of a task that both answered.

    Attributes:
        task: Name of the task.
        split: Split of the questions.
        protocol: Name of the protocol.
        first: The condition of the first run.
        second: That of the second one.
        test: Their scores, and the paired test.
        only_first: Questions that only the first run answered.
        only_second: Questions that only the second one answered.
        changes: The questions that flipped, those that were gained first.
    """

    task: str
    split: str
    protocol: str
    first: str
    second: str
    test: PairedTest
    only_first: int
    only_second: int
    changes: tuple[QuestionChange, ...]


def compare_runs(
    first: str | Path,
    second: str | Path,
    protocol: str | ScoringProtocol = "strict",
    *,
    judge: Judge | None = None,
    judge_calls: int = 1,
) -> list[RunComparison]:
    """Compare two runs question by question; conditions of one name are compared, or the only ones of a task.

    Those without a question in common are left out.

    Args:
        first: A run folder or trajectory file.
        second: The run that it is compared with.
        protocol: A name in `PROTOCOLS`, or a protocol of one's own.
        judge: Asked where the protocol needs a language model.
        judge_calls: How many calls of the judge may be under way at once.

    Raises:
        NothingInCommonError: They have no task and condition in common, or no question.
        ValueError: `evaluate_run` cannot score one.
    """
    a, b = (evaluate_run(path, [protocol], judge=judge, judge_calls=judge_calls) for path in (first, second))
    pairs = []
    for one in a:
        place = (one.report.task, one.report.split)
        there = [each for each in b if (each.report.task, each.report.split) == place]
        alone = len(there) == 1 and sum((each.report.task, each.report.split) == place for each in a) == 1
        pairs += [(one, each) for each in there if alone or each.report.condition == one.report.condition]
    if not pairs:
        conditions = [
            sorted({f"{r.task} {r.split} ({r.condition})" for r in (s.report for s in run)}) for run in (a, b)
        ]
        raise NothingInCommonError(
            f"the two runs have no task and condition in common: {', '.join(conditions[0])}; and {', '.join(conditions[1])}"
        )
    compared = [_compare(one, other) for one, other in pairs if _scores(one).keys() & _scores(other).keys()]
    if not compared:
        raise NothingInCommonError("the two runs have no question in common")
    return compared


def _scores(condition: ScoredCondition) -> Mapping[str, float]:
    (scores,) = condition.scores.values()
    return scores


def _compare(one: ScoredCondition, other: ScoredCondition) -> RunComparison:
    (name,) = one.scores
    first, second = one.scores[name], other.scores[name]
    answers = [_answers(condition, name) for condition in (one, other)]
    changed = [case for case in first if case in second and first[case] != second[case]]
    changes = [
        QuestionChange(
            case,
            answers[0][case][0],
            answers[0][case][1],
            answers[0][case][2],
            answers[1][case][2],
            second[case] > first[case],
        )
        for case in sorted(changed, key=lambda case: (second[case] < first[case], case))
    ]
    return RunComparison(
        one.report.task,
        one.report.split,
        name,
        one.report.condition,
        other.report.condition,
        compare_paired(first, second),
        len(first.keys() - second.keys()),
        len(second.keys() - first.keys()),
        tuple(changes),
    )


def _answers(condition: ScoredCondition, protocol: str) -> dict[str, tuple[str, str, str]]:
    """Question, right answer and the first sampling's answer, by case."""
    found: dict[str, tuple[str, str, str]] = {}
    for scored in condition.samplings[protocol]:
        for row in scored.rows:
            found.setdefault(
                row.item.id.partition("#")[0], (row.item.question, row.item.gold, row.answer or row.item.text)
            )
    return found
