"""Recipes: everything that decides how a policy is trained, in one validated model that travels with the run.

May use pydantic, yaml and the core; imports neither torch nor TRL, so that a wrong setting is refused at once.
"""

from medvistagym_trl._recipe._checks import check_batches, check_recipe, check_rollouts, engine_is_shared, rows_of_rank
from medvistagym_trl._recipe._conversation_format import (
    ConversationFormat,
    read_conversation_format,
    write_conversation_format,
)
from medvistagym_trl._recipe._errors import RecipeError
from medvistagym_trl._recipe._load import dump_recipe, load_recipe, recipe_names
from medvistagym_trl._recipe._model_section import TOWERS, LoraRecipe, ModelRecipe, Tower
from medvistagym_trl._recipe._phases import phase_of, policy_checkpoint, reported_phase, supervised_phases
from medvistagym_trl._recipe._recipe import ComparisonRecipe, EpisodeRecipe, EvaluationRecipe, Recipe, TrlRecipe
from medvistagym_trl._recipe._training_sections import (
    DataFilter,
    GrpoRecipe,
    ParityRecipe,
    PerceptionRecipe,
    SelfSamplingRecipe,
    SftRecipe,
    TailCurriculumRecipe,
    ValidationRecipe,
    WatchRecipe,
)

__all__ = [
    "TOWERS",
    "ComparisonRecipe",
    "ConversationFormat",
    "DataFilter",
    "EpisodeRecipe",
    "EvaluationRecipe",
    "GrpoRecipe",
    "LoraRecipe",
    "ModelRecipe",
    "ParityRecipe",
    "PerceptionRecipe",
    "Recipe",
    "RecipeError",
    "SelfSamplingRecipe",
    "SftRecipe",
    "TailCurriculumRecipe",
    "Tower",
    "TrlRecipe",
    "ValidationRecipe",
    "WatchRecipe",
    "check_batches",
    "check_recipe",
    "check_rollouts",
    "dump_recipe",
    "engine_is_shared",
    "load_recipe",
    "phase_of",
    "policy_checkpoint",
    "read_conversation_format",
    "recipe_names",
    "reported_phase",
    "rows_of_rank",
    "supervised_phases",
    "write_conversation_format",
]
