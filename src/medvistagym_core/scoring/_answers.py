"""Answers that another harness stored, as episodes to score: those of GAZE's VQA-RAD example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import grade, parse_yes_no
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._protocol import ScoringProtocol
from medvistagym_core.scoring._summary import ScoredCondition, score_condition
from medvistagym_core.tools import first_fault
from medvistagym_core.trajectories import AnswerRecord, OutcomeRecord, PolicyRecord, Trajectory, TurnRecord

_TASK: Final = "vqa_rad"


class _Sample(BaseModel, strict=True):
    """What GAZE writes of a question, as far as it is scored."""

    sample_id: int
    question: str
    prediction: str
    ground_truth: str
    answer_type: str


def read_answers(path: str | Path) -> list[Trajectory]:
    """The answers of a folder of `sample_N.json`, or of a file with one such record or a list of them, as episodes.

    Raises:
        ValueError: There is none, or one that cannot be read; names the file and what is wrong.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    files = sorted(path.glob("sample_*.json")) if path.is_dir() else [path]
    samples = [(file, number, each) for file in files for number, each in enumerate(_records(file), 1)]
    if not samples:
        raise ValueError(f"{path}: there is no answer in it (sample_0.json, ...)")
    policy, split = _run_of(path if path.is_dir() else path.parent)
    episodes = []
    for file, number, each in samples:
        try:
            sample = _Sample.model_validate(each)
        except ValidationError as error:
            location, fault = first_fault(error)
            place = f"{location}: " if location else ""
            raise ValueError(f"{file}: answer {number}: {place}{fault.lower()}") from None
        episodes.append(_episode(sample, policy, split))
    numbers = [episode.index for episode in episodes]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{path}: sample_id {next(n for n in numbers if numbers.count(n) > 1)} is there twice")
    return sorted(episodes, key=lambda episode: episode.index)


def evaluate_answers(
    path: str | Path,
    protocols: Sequence[str | ScoringProtocol],
    *,
    judge: Judge | None = None,
    judge_calls: int = 1,
    facets: Sequence[str] = (),
) -> list[ScoredCondition]:
    """Score the answers of `read_answers`.

    Args:
        path: The file or folder that `read_answers` takes.
        protocols: Names in `PROTOCOLS`, or protocols of one's own.
        judge: Asked where a protocol needs a language model.
        judge_calls: How many calls of the judge may be under way at once.
        facets: More facts to break results down by.

    Raises:
        ValueError: There is none, one cannot be read, or there is no such protocol.
    """
    episodes = read_answers(path)
    name = Path(path).name
    return [
        score_condition(
            episodes, protocols, condition="stored answers", file=name, tools=(), judge=judge, judge_calls=judge_calls,
            facets=facets,
        )
    ]  # fmt: skip


def _records(file: Path) -> list[Any]:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: it is no JSON: {error}") from None
    return content if isinstance(content, list) else [content]


def _run_of(folder: Path) -> tuple[str, str]:
    """The model and the split, where GAZE's summary beside the answers says so."""
    try:
        config = json.loads((folder / "summary.json").read_bytes())["config"]
        return str(config["model"]), str(config["split"])
    except (OSError, ValueError, LookupError, TypeError):
        return "unknown", "test"


def _episode(sample: _Sample, policy: str, split: str) -> Trajectory:
    kind = (
        "yes_no" if parse_yes_no(sample.ground_truth) is not None and len(sample.ground_truth.split()) == 1 else "text"
    )
    graded = grade(Answer(sample.ground_truth, kind=kind), sample.prediction)
    return Trajectory(
        id=f"{_TASK}-{split}-{sample.sample_id}",
        task=_TASK,
        case=f"{_TASK}-{split}-{sample.sample_id}",
        split=split,
        index=sample.sample_id,
        family=sample.answer_type,
        seed=0,
        policy=PolicyRecord(name=policy),
        toolbox="",
        think="off",
        style="text",
        max_turns=1,
        max_calls=0,
        max_calls_per_turn=1,
        view_side=None,
        prompt=None,
        opening=(),
        turns=(TurnRecord(text=sample.prediction, answer=sample.prediction, conforms=False),),
        images=(),
        outcome=OutcomeRecord(
            ended="answered",
            answer=sample.prediction,
            expected=sample.ground_truth,
            key=AnswerRecord(value=sample.ground_truth, kind=kind),
            correct=graded.correct,
            abstained=False,
        ),
        question=sample.question,
        facets={"answer_type": sample.answer_type},
        reward=0.0,
        terms={},
        weights={},
    )
