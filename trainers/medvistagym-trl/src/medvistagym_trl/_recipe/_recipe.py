"""A complete experiment: task, tools, model, stages, evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from medvistagym_core.tools import closest_match
from medvistagym_trl._recipe._errors import RecipeError
from medvistagym_trl._recipe._model_section import ModelRecipe
from medvistagym_trl._recipe._names import setting_name, setting_names, validate
from medvistagym_trl._recipe._section import Section
from medvistagym_trl._recipe._training_sections import GrpoRecipe, PerceptionRecipe, SftRecipe


class EpisodeRecipe(Section):
    """The rules of an episode, the same in training and evaluation."""

    action_format: Literal["native", "text"] = Field(
        "native",
        description="How calls are written and results are read: by the function calling of the model's own chat template, or "
        "as the project's text protocol in plain messages, which any template can carry.",
    )
    tool_schemas: Literal["full", "compact"] = Field(
        "full",
        description="How tools stand in the prompt of the text format: as JSON Schemas, or as signatures that say the same in "
        "fewer tokens.",
    )
    compact: bool | None = Field(
        None,
        description="Whether images go without a number, options without a list and errors as their code alone, for policies "
        "to whom every token counts. None: as a checkpoint was trained, and for the tiny model.",
    )
    think: Literal["required", "optional", "off"] = Field(
        "optional", description="Whether <think> must precede an action."
    )
    max_calls: int = Field(2, ge=0, description="Tool calls a policy may make in one episode.")
    max_calls_per_turn: int = Field(1, ge=1, description="Tool calls a policy may make in one turn.")
    reward: str | dict[str, float] = Field(
        {"right": 1.0, "wrong": 0.5, "abstained": 0.0, "thrift": 0.2},
        description="The weights of all terms by name, or a preset and weights to change or add, as `paper,calls=0.1`. Terms "
        "are the core's, those of plugins, and `thrift`, minus the calls of a right answer.",
    )
    reward_name: str = Field(
        "scout_thrift", description="What a reward that is given by its weights is called in records."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tool_schemas == "compact" and self.action_format != "text":
            raise ValueError(
                "compact tool_schemas need the text format: set episode.action_format=text (a chat template that knows tools "
                "writes their JSON Schemas itself)"
            )
        return self


Baseline = Literal["no_tools", "untrained"]
EvaluatedPolicy = Literal["no_tools", "untrained", "sft", "grpo"]


class ComparisonRecipe(Section):
    """The policies that the trained one is held against."""

    policies: tuple[Baseline, ...] = Field(
        ("no_tools", "untrained"), description="Which of them are trained and evaluated; none when empty."
    )
    no_tools_steps: int = Field(200, ge=0, description="Supervised steps of the policy that has no tools.")
    untrained_steps: int = Field(
        60,
        ge=0,
        description="Supervised steps on random valid calls of the policy that knows the syntax of calls alone.",
    )


class EvaluationRecipe(Section):
    """The final table."""

    policies: tuple[EvaluatedPolicy, ...] = Field(
        ("no_tools", "untrained", "sft", "grpo"),
        description="Which policies are evaluated, as far as they are trained; none when empty.",
    )
    n: int = Field(512, ge=1, description="Held-out cases, of each task.")
    split: str = Field("test", description="Split of the cases.")
    batch: int = Field(128, ge=1, description="Episodes played at once.")
    max_tokens: int = Field(48, ge=1, description="Longest turn, tokens.")
    decodings: tuple[Literal["trained", "t1", "greedy"], ...] = Field(
        ("trained", "t1", "greedy"),
        min_length=1,
        description="How turns are drawn: at the temperature of training, at 1, greedily. The policy is mainly judged by the "
        "first.",
    )
    ablate: bool = Field(
        False,
        description="Whether the trained policy is evaluated once more without each of its tools, under the first decoding.",
    )
    protocols: tuple[str, ...] = Field(
        (),
        description="Scoring protocols, such as strict and llava-med, under which the answers of the evaluation are scored "
        "besides, into scores.json and results.txt; nothing is played again for them.",
    )

    @field_validator("protocols", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        """Names separated by commas, as `eval --protocol` takes them."""
        return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names

    @field_validator("protocols")
    @classmethod
    def _are_protocols(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from medvistagym_core.scoring import find_protocol

        for name in names:
            find_protocol(name)
        if len(set(names)) < len(names):
            raise ValueError(f"a scoring protocol is named twice in {', '.join(names)}")
        return names


class TrlRecipe(Section):
    """Fields of TRL's own configurations, by their own names, for what this recipe has no setting for."""

    sft: dict[str, Any] = Field({}, description="Any field of TRL's SFTConfig.")
    grpo: dict[str, Any] = Field({}, description="Any field of TRL's GRPOConfig.")


class Recipe(Section):
    """A complete experiment: task, tools, model, stages, evaluation."""

    name: str = Field(description="Name of the recipe.")
    description: str = Field("", description="A line about it.")
    task: str = Field("scoutvqa", description="Name of an installed task; several, separated by commas, are mixed.")
    task_arguments: dict[str, Any] = Field(
        {}, description="Arguments of the task, such as {split: ..., path: ...}; `tasks show` lists them."
    )
    tools: tuple[str, ...] | None = Field(None, description="Toolbox selection; None takes the task's own.")
    devices: str = Field(
        "auto",
        description="Where tools that are classes are set up: a device such as cuda:0, or TOOL=DEVICE separated by commas; "
        "auto is cuda where torch finds it, else cpu.",
    )
    executor: str = Field(
        "local", description="What runs the tools: local, process (where none can harm the run), or a plugin's."
    )
    perturb: str | None = Field(
        None,
        description="Tool results that are made wrong while training, so that a policy learns when to doubt: settings such as "
        "rate=0.2,seed=1,kinds=dropped+shifted+contradicted,tools=find_*; needs medvistagym-models. Validation and evaluation "
        "see results as the tools give them.",
    )
    seed: int = Field(0, description="Seed of weights, cases, order and sampling.")
    processes: Literal[1, 2] = Field(
        1,
        description="2: a second process trains the policies to compare with and shares the evaluation, beside the main one. "
        "While it waits for what it is to evaluate last, it plays the greedy half of validations in both decodings, where "
        "transformers samples on a CPU in float32.",
    )
    threads: int = Field(1, ge=1, description="CPU threads of each process.")
    report_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = Field(
        (), description="Experiment trackers that metrics are sent to, beside metrics.jsonl."
    )
    model: ModelRecipe = Field(ModelRecipe(), description="The model.")
    episode: EpisodeRecipe = Field(EpisodeRecipe(), description="The rules of an episode.")
    perception: PerceptionRecipe = Field(PerceptionRecipe(), description="Warm-up of the tiny model.")
    sft: SftRecipe = Field(SftRecipe(), description="Supervised fine-tuning.")
    grpo: GrpoRecipe = Field(GrpoRecipe(), description="Reinforcement learning.")
    comparison: ComparisonRecipe = Field(ComparisonRecipe(), description="Policies to compare with.")
    evaluation: EvaluationRecipe = Field(EvaluationRecipe(), description="The final table.")
    trl: TrlRecipe = Field(TrlRecipe(), description="Fields of TRL's own configurations.")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(name.strip() for name in self.task.split(",") if name.strip())

    @property
    def warms_up(self) -> bool:
        """Whether the run warms up the model that it trains: a tiny one, built by the run or given to be warmed up further."""
        return self.model.path is None or self.perception.further

    def with_overrides(self, changes: Mapping[str, Any]) -> Recipe:
        """A recipe with values replaced by dotted path, such as `{"grpo.steps": 20, "seed": 1}`.

        Raises:
            RecipeError: A path names no setting, or a value does not fit it.
        """
        data = self.model_dump()
        for path, value in changes.items():
            *sections, last = setting_name(path).split(".")
            target: Any = data
            for section in sections:
                target = target.get(section) if isinstance(target, dict) else None
            if not isinstance(target, dict) or (last not in target and sections[:1] != ["trl"]):
                names = setting_names(data)
                near = closest_match(path, names)
                guess = f"did you mean {near}?" if near else f"settings are {', '.join(names)}"
                raise RecipeError(f"the recipe has no setting {path!r}; {guess}")
            target[last] = value
        return validate(Recipe, data, "the recipe")
