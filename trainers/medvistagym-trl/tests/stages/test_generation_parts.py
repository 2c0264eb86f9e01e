"""Rollouts that are sampled in parts: the same turns, with fewer rows in the model at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from medvistagym_core.environment import make_task
from medvistagym_core.plugins import Registry
from medvistagym_trl._recipe import RecipeError, check_recipe, check_rollouts, load_recipe
from medvistagym_trl.model import load_model
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.stages import BatchedToolGRPOTrainer, train_grpo
from medvistagym_trl.stages._generation_parts import cut_turn

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

TURNS = (
    '<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>',
    '<tool_call>{"name": "shade", "arguments": {"image": 0, "box": [250, 250, 500, 500]}}</tool_call>',
    "<answer>bright</answer>",
)


class Scripted(BatchedToolGRPOTrainer):
    """Writes set turns, and keeps what the model would have written, and how many rows it was given at once."""

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        self.would = [*getattr(self, "would", []), super()._write_turns(prompt_ids, *args, **kwargs)[0]]
        # One after another, so that some rows have an image of a tool, and others none.
        end = self.processing_class.tokenizer.eos_token
        turns = [TURNS[(row + len(self.would) - 1) % len(TURNS)] + end for row in range(len(prompt_ids))]
        return [self.processing_class.tokenizer(turn)["input_ids"] for turn in turns], None

    def _generate(self, prompts: Any) -> Any:
        self.generation_config.max_new_tokens = 4
        generate, self.rows = self.model.generate, []

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.rows.append(len(kwargs["input_ids"]))
            return generate(*args, **kwargs)

        self.model.generate = counted
        try:
            return super()._generate(prompts)
        finally:
            self.model.generate = generate


@pytest.mark.parametrize("family", [None, "internvl"])
def test_parts_are_written_as_the_whole_is(
    recipe: Any,
    context: Any,
    task: Any,
    toolbox: Any,
    make_model: Any,
    make_checkpoint: Any,
    tmp_path: Path,
    family: str | None,
) -> None:
    found = []
    for parts in (1, 2):
        changes = {
            "grpo.steps": 1,
            "grpo.completions": 4,
            "grpo.group": 2,
            "grpo.parts": 2,
            "grpo.generation_parts": parts,
            "trl.grpo.generation_kwargs": {"do_sample": False},
        }
        if family is None:
            settings, here = recipe.with_overrides(changes), context
            model = make_model()
        else:
            path = make_checkpoint(family, family)
            checkpoint = {"task": "toy", "model.path": str(path), "grpo.max_completion": 1024, **changes}
            settings = load_recipe("checkpoint").with_overrides(checkpoint)
            here = make_rollout_context(settings, task, toolbox, Registry())
            model = load_model(path, here.schemas, settings.model)
        trainer: Any = train_grpo(
            model, here, settings, cases=range(2), completion=512, folder=tmp_path / str(parts),
            record=lambda episodes: {}, trainer_class=Scripted,
        )  # fmt: skip
        found.append(trainer.would)
        assert max(trainer.rows) == 4 // parts
    assert len(found[0]) > 1
    assert found[0] == found[1]


def test_images_go_with_their_rows() -> None:
    picture = Image.new("RGB", (8, 8))
    images = [[picture], [], [picture, picture], None]
    grid = torch.tensor([[1, 2, 2], [1, 2, 4], [1, 4, 4]])
    fields = {
        "image_grid_thw": grid,
        "pixel_values": torch.arange(28)[:, None],
        "mm_token_type_ids": [[0], [1], [2], [3]],
    }
    first, second = cut_turn([[1], [2], [3], [4]], images, fields, 2)
    assert (first.prompt_ids, second.prompt_ids) == ([[1], [2]], [[3], [4]])
    assert (first.images, second.images) == (images[:2], images[2:])
    assert first.fields["pixel_values"].flatten().tolist() == [0, 1, 2, 3]
    assert first.fields["image_grid_thw"].tolist() == [[1, 2, 2]]
    assert first.fields["mm_token_type_ids"] == [[0], [1]]
    assert second.fields["pixel_values"].flatten().tolist() == list(range(4, 28))
    assert second.fields["image_grid_thw"].tolist() == [[1, 2, 4], [1, 4, 4]]
    (plain, _) = cut_turn(
        [[1], [2]], [[], [picture]], {"image_grid_thw": grid[:1], "pixel_values": torch.zeros(4, 1)}, 1
    )
    assert plain.fields == {}
    with pytest.raises(ValueError, match="other has 3 values for 2 rows"):
        list(cut_turn([[1], [2]], None, {"other": [1, 2, 3]}, 1))


def test_parts_split_the_rollouts_of_a_step_evenly(recipe: Any) -> None:
    with pytest.raises(RecipeError, match="cannot be split evenly with generation_parts 3"):
        recipe.with_overrides({"grpo.generation_parts": 3})


def test_parts_are_for_transformers(recipe: Any, registry: Any) -> None:
    parts = recipe.with_overrides({"grpo.generation_parts": 2})
    vllm = {"trl.grpo.use_vllm": True}
    with pytest.raises(RecipeError, match="generation_parts 2 is for transformers"):
        check_recipe(parts.with_overrides(vllm), [make_task(registry, "toy", {})])
    check_rollouts(parts, ranks=2)
    check_rollouts(recipe.with_overrides(vllm), ranks=2)
    check_rollouts(parts.with_overrides({**vllm, "grpo.steps": 0}), ranks=2)  # no rollouts are sampled


def test_groups_are_drawn_again_by_engines_that_each_process_has(recipe: Any) -> None:
    redraw = {"grpo.zero_variance": "redraw", "trl.grpo.use_vllm": True}
    check_rollouts(recipe.with_overrides(redraw), ranks=2)
    for shared in ({"trl.grpo.vllm_mode": "server"}, {"trl.grpo.vllm_tensor_parallel_size": 2}):
        with pytest.raises(RecipeError, match="set it to drop, or give each process an engine of its own"):
            check_rollouts(recipe.with_overrides({**redraw, **shared}), ranks=2)
        check_rollouts(recipe.with_overrides({**redraw, **shared}))
