"""The trainings of a study's table."""

from medvistagym_trl._recipe import load_recipe
from medvistagym_trl.science._variations import table_variations


def test_no_tools_gets_as_many_conversations_as_sft_and_grpo_together() -> None:
    recipe = load_recipe("scoutvqa-explored")
    (changes,) = [each.changes for each in table_variations(recipe) if "no_tools" in each.titles and each.changes]
    alone = recipe.with_overrides(changes)
    assert (alone.sft.steps, alone.grpo.steps) == (0, 0)
    whole = (recipe.sft.steps or 0) * recipe.sft.batch + recipe.grpo.steps * recipe.grpo.completions
    assert whole > 30_000
    assert 0 <= alone.comparison.no_tools_steps * alone.sft.batch - whole < alone.sft.batch
