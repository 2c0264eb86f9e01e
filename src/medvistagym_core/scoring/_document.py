"""The document `scores.json`: what a run reached under every protocol, and how it was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, field_validator

from medvistagym_core.scoring._statistics import IntervalKind
from medvistagym_core.storage import write_atomically
from medvistagym_core.trajectories import SamplingParams


class _DocumentPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Number(_DocumentPart):
    """A number as it would be published, with what it counts."""

    name: str = Field(min_length=1, description="What is measured, such as 'closed accuracy'.")
    value: float | None = Field(description="The mean over questions; null when there is none, or some are unjudged.")
    low: float | None = Field(default=None, description="Lower end of the 95 % interval.")
    high: float | None = Field(default=None, description="Upper end of the 95 % interval.")
    interval: IntervalKind | None = Field(default=None, description="How the interval was made.")
    questions: int = Field(ge=0, description="Questions that the number is about.")
    scored: int = Field(ge=0, description="Questions with a score.")
    unjudged: int = Field(default=0, ge=0, description="Questions that need a judge where none was given.")
    errors: int = Field(default=0, ge=0, description="Questions whose judge or grade failed; they are in no value.")
    published: int | None = Field(
        default=None, description="How many questions the published figures count, where known."
    )
    samples: tuple[float | None, ...] = Field(
        default=(), description="The value of each sampling, where there are several."
    )
    deviation: float | None = Field(default=None, ge=0, description="Standard deviation over the samplings.")


class Breakdown(_DocumentPart):
    """The mean score by one fact about the questions."""

    by: str = Field(description="The fact, such as 'modality'.")
    numbers: tuple[Number, ...] = Field(description="A number for each value of it.")


class ProtocolReport(_DocumentPart):
    """What the answers are worth under one protocol."""

    protocol: str = Field(description="Name of the protocol.")
    rules: str = Field(description="Its rules in sentences.")
    source: str = Field(description="Where they were read.")
    numbers: tuple[Number, ...] = Field(description="The numbers that it publishes.")
    mean: Number = Field(description="The mean score of all questions that it scores.")
    breakdowns: tuple[Breakdown, ...] = Field(default=(), description="The mean score by facts about the questions.")
    measures: tuple[Number, ...] = Field(default=(), description="Measures of the words of open answers; no verdicts.")
    notes: tuple[str, ...] = Field(default=(), description="What a reader must know, a sentence each.")


class ConditionReport(_DocumentPart):
    """One policy on one task under one condition."""

    task: str = Field(description="Name of the task.")
    split: str = Field(description="Split of the questions.")
    seed: int = Field(description="Seed of the cases.")
    condition: str = Field(description="What was changed: 'tools', 'no tools', 'without zoom', 'blank images', ...")
    file: str = Field(description="The trajectory file, relative to the run folder.")
    policy: str = Field(description="The policy.")
    sampling: SamplingParams = Field(description="Its generation settings.")
    tools: tuple[str, ...] = Field(description="The tools that it could call.")
    prompt: str | None = Field(description="The system prompt.")
    rendered_prompt: str | None = Field(
        default=None, description="What the model read before its first turn of the first case, as far as it is known."
    )
    max_turns: int = Field(ge=0, description="Most turns allowed.")
    max_calls: int = Field(ge=0, description="Most calls allowed.")
    questions: int = Field(ge=0, description="Questions that were played.")
    samples: int = Field(ge=0, description="Samplings of each question.")
    failed: int = Field(ge=0, description="Episodes in which the policy failed; they are in no number.")
    calls_per_question: float = Field(ge=0, description="Mean number of tool calls.")
    unanswered: float = Field(ge=0, le=1, description="Share of episodes without an answer.")
    abstained: float = Field(ge=0, le=1, description="Share of answers that say 'I cannot tell'.")
    provenance: Json[dict[str, Any]] = Field(
        default_factory=dict,
        description="Where the questions are from (licence, revision, counts, checksum), as JSON text.",
    )
    protocols: tuple[ProtocolReport, ...] = Field(description="The scores, by protocol.")

    @field_validator("provenance", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        import json

        return json.dumps(value) if isinstance(value, dict) else value


class RetainedShare(_DocumentPart):
    """How much of a condition's score stays under another one."""

    task: str = Field(description="Name of the task.")
    condition: str = Field(description="The other condition, such as 'blank images'.")
    against: str = Field(description="The condition that it is compared with.")
    protocol: str = Field(description="Name of the protocol.")
    share: float | None = Field(description="Mean score of the one over that of the other; null when that is 0.")
    low: float | None = Field(
        default=None, description="Lower end of the 95 % interval (paired bootstrap over questions)."
    )
    high: float | None = Field(default=None, description="Upper end.")
    questions: int = Field(ge=0, description="Questions of both.")


class ToolReliance(_DocumentPart):
    """What became of answers when the results of one tool were replaced."""

    task: str = Field(description="Name of the task.")
    results: Literal["blank", "shuffled", "swapped"] = Field(description="What they were replaced by.")
    tool: str = Field(description="Name of the tool.")
    family: str = Field(description="Kind of question; 'overall' for all of them.")
    episodes: int = Field(ge=0, description="Episodes that called the tool and went on from its replaced result.")
    changed: float | None = Field(description="Share of answers that changed.")
    low: float | None = Field(default=None, description="Lower end of the 95 % Wilson interval of that share.")
    high: float | None = Field(default=None, description="Upper end.")
    should_change: int = Field(
        ge=0, description="Episodes whose answer should change, since the result that was replaced told the answer."
    )
    changed_when_should: float | None = Field(description="Share of those that did.")
    changed_when_should_not: float | None = Field(description="Share of the others that did all the same.")
    accuracy_before: float | None = Field(description="Share of right answers as recorded.")
    accuracy_after: float | None = Field(description="Share of right answers with the replaced results.")
    followed: float | None = Field(
        default=None,
        description="Share of answers that are right for the case that the result came from, when swapped.",
    )


class EvaluationReport(_DocumentPart):
    """The document `scores.json`."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    software: dict[str, str] = Field(default_factory=dict, description="Versions of what measured it.")
    conditions: tuple[ConditionReport, ...] = Field(description="What was measured.")
    retained: tuple[RetainedShare, ...] = Field(
        default=(), description="Scores with other images against those with the real ones."
    )
    reliance: tuple[ToolReliance, ...] = Field(default=(), description="Answers after replaced tool results.")
    judge: dict[str, str | int | float | None] | None = Field(
        default=None, description="The judge, where there was one."
    )
    notes: tuple[str, ...] = Field(default=(), description="What a reader of the figures must know, a sentence each.")

    def save(self, path: str | Path) -> None:
        """Write the document; the file is whole or not there."""
        with write_atomically(Path(path)) as part:
            part.write_text(self.model_dump_json(indent=2, round_trip=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> EvaluationReport:
        """Read a document.

        Raises:
            ValueError: It is not one.
        """
        return cls.model_validate_json(Path(path).read_bytes())
