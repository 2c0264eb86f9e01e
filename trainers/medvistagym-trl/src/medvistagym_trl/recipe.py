"""Recipes: everything that decides how a policy is trained, in one file that travels with the run."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medvistagym_core.plugins import SelectionError
from medvistagym_core.tools import closest_match


class RecipeError(SelectionError):
    """A recipe or setting that cannot be had; the sentence says why and what there is."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRecipe(_Section):
    """The policy: a checkpoint, or the sizes of one that is built."""

    path: str | None = Field(None, description="Folder of a checkpoint to begin with; None builds a tiny policy.")

    width: int = Field(128, description="Hidden size of the language and the vision tower.")
    layers: int = Field(3, description="Layers of the language tower.")
    vision_layers: int = Field(2, description="Layers of the vision tower.")
    heads: int = Field(4, description="Attention heads in both towers.")
    patch: int = Field(8, description="Side of an image patch, pixels.")
    merge: int = Field(2, description="Patches per image token along each axis.")
    view_side: int = Field(64, description="Longer side of every picture the policy sees, pixels.")
    position_scale: float = Field(10.0, description="Factor on the initial vision position embeddings.")


class EpisodeRecipe(_Section):
    """The rules of an episode, the same in training and evaluation."""

    think: Literal["required", "optional", "off"] = Field(
        "optional", description="Whether <think> must precede an action."
    )
    max_calls: int = Field(2, ge=0, description="Tool calls a policy may make in one episode.")
    reward_name: str = Field("scout_thrift", description="What the reward is called in records.")
    reward: dict[str, float] = Field(
        {"right": 1.0, "wrong": 0.5, "abstained": 0.0, "thrift": 0.2},
        description="Weights of the reward's terms: the core's, and `thrift`, minus the calls of a right answer.",
    )


class PerceptionRecipe(_Section):
    """Warm-up on single looks with dense supervision. 0 steps skips it."""

    steps: int = Field(550, ge=0)
    batch: int = Field(32, ge=1)
    matrix_lr: float = Field(4e-3, description="Learning rate of Muon (matrices).")
    other_lr: float = Field(2e-3, description="Learning rate of AdamW (embeddings, vectors).")
    weight_decay: float = 0.01
    unclear_cells: float = Field(0.2, description="Share of an image's empty cells that are supervised as background.")


class SftRecipe(_Section):
    """Supervised fine-tuning on sampled trajectories. 0 steps skips it."""

    steps: int = Field(180, ge=0)
    batch: int = Field(48, ge=1)
    matrix_lr: float = Field(2e-3, description="Learning rate of Muon (matrices).")
    other_lr: float = Field(1e-3, description="Learning rate of AdamW (embeddings, vectors).")
    looks: float = Field(0.33, ge=0, le=1, description="Share of single looks in a batch, against forgetting to see.")
    hesitation: float = Field(
        0.5, ge=0, le=1, description="Share of demonstrations that give up where they would make their first call."
    )
    skill: float = Field(0.5, ge=0, le=1, description="Share of demonstrations that make the informative call.")


class GrpoRecipe(_Section):
    """Reinforcement learning. 0 steps skips it."""

    steps: int = Field(110, ge=0)
    completions: int = Field(128, ge=2, description="Rollouts a step.")
    parts: int = Field(4, ge=1, description="Parts that a step's rollouts are learnt from in turn, to save memory.")
    group: int = Field(8, ge=2, description="Rollouts of one case, compared with each other.")
    lr: float = 2e-4
    temperature: float = Field(
        0.5, gt=0, description="Sampling temperature while training, and of the main evaluation."
    )
    beta: float = Field(0.0, ge=0, description="Weight of the divergence from the policy that RL started from.")
    max_completion: int = Field(128, ge=1, description="Tokens of a completion, what tools returned included.")
    save_every: int = Field(25, ge=1, description="Steps between checkpoints.")
    scale: Literal["group", "batch", "none"] = Field(
        "batch",
        description="What advantages are divided by: the spread of rewards in a group, in the batch, or nothing. By group, "
        "the cent that a superfluous call costs weighs as much as a right answer.",
    )


class ComparisonRecipe(_Section):
    """The policies that the trained one is held against."""

    no_tools_steps: int = Field(200, ge=0, description="Supervised steps of the policy that has no tools.")
    untrained_steps: int = Field(
        60, ge=0, description="Steps of syntax lessons (random valid calls) of the untrained tool user."
    )


class EvaluationRecipe(_Section):
    """The final table."""

    n: int = Field(512, ge=1, description="Held-out cases.")
    split: str = "test"
    batch: int = Field(128, ge=1)
    max_tokens: int = Field(48, ge=1, description="Longest turn, tokens.")
    decodings: tuple[Literal["trained", "t1", "greedy"], ...] = ("trained", "t1", "greedy")


class Recipe(_Section):
    """A complete experiment: task, tools, policy, phases, evaluation."""

    name: str
    description: str = ""
    task: str = Field("scoutvqa", description="Name of an installed task.")
    tools: tuple[str, ...] | None = Field(None, description="Toolbox selection; None takes the task's own.")
    devices: str = Field(
        "auto",
        description="Where tools that are classes are set up: a device such as cuda:0, or TOOL=DEVICE separated by commas; "
        "auto is cuda where torch finds it, else cpu.",
    )
    perturb: str | None = Field(
        None,
        description="Tool results that are made wrong while training, so that a policy learns when to doubt: settings such as "
        "rate=0.2,seed=1,kinds=dropped+shifted+contradicted,tools=find_*; needs medvistagym-models.",
    )
    seed: int = 0
    processes: Literal[1, 2] = Field(1, description="2: train the policies to compare with beside the main one.")
    threads: int = Field(1, ge=1, description="CPU threads of each process.")
    model: ModelRecipe = ModelRecipe()
    episode: EpisodeRecipe = EpisodeRecipe()
    perception: PerceptionRecipe = PerceptionRecipe()
    sft: SftRecipe = SftRecipe()
    grpo: GrpoRecipe = GrpoRecipe()
    comparison: ComparisonRecipe = ComparisonRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()

    def overridden(self, changes: dict[str, Any]) -> Recipe:
        """A recipe with values replaced by dotted path, such as `{"grpo.steps": 20, "seed": 1}`.

        Raises:
            RecipeError: A path names no setting, or a value does not fit it.
        """
        data = self.model_dump()
        for path, value in changes.items():
            *sections, last = path.split(".")
            target: Any = data
            for section in sections:
                target = target.get(section) if isinstance(target, dict) else None
            if not isinstance(target, dict) or last not in target:
                names = setting_names(data)
                near = closest_match(path, names)
                guess = f"did you mean {near}?" if near else f"settings are {', '.join(names)}"
                raise RecipeError(f"the recipe has no setting {path!r}; {guess}")
            target[last] = value
        return _read(data, "the recipe")


def setting_names(data: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of every setting."""
    names: list[str] = []
    for key, value in data.items():
        names += setting_names(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return names


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that ship with the trainer."""
    folder = importlib.resources.files("medvistagym_trl") / "recipes"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_recipe(source: str | Path) -> Recipe:
    """Read a recipe by name or from a YAML file.

    Raises:
        RecipeError: There is no such recipe, or it does not validate; the message says what is accepted.
    """
    path = Path(source)
    if str(source) in recipe_names():
        text = (importlib.resources.files("medvistagym_trl") / "recipes" / f"{source}.yaml").read_text("utf-8")
    elif path.suffix in {".yaml", ".yml"} and path.is_file():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path} cannot be read as text ({error})") from None
    else:
        raise RecipeError(
            f"no recipe {str(source)!r}; shipped are {', '.join(recipe_names())}, or give the path of a .yaml file"
        )
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{path} is no YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path} holds no settings; begin it with `name: ...`")
    return _read(data, str(source))


def _read(data: dict[str, Any], source: str) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"][0].lower() + first["msg"][1:]
        given = "" if first["type"] in ("missing", "extra_forbidden") else f", not {str(first['input'])[:60]!r}"
        raise RecipeError(f"{source}: {where}: {said}{given}") from None


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out."""
    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
