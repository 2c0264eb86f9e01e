"""Tokens of an episode, counted on real calls."""

from __future__ import annotations

from typing import Any

import pytest

from medvistagym_core.plugins import Registry
from medvistagym_trl._recipe import load_recipe
from medvistagym_trl.model import TokenCounter, load_model
from medvistagym_trl.rollout import make_rollout_context, run_demonstration
from medvistagym_trl.stages import measure_tokens

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def loaded(make_checkpoint: Any, task: Any, toolbox: Any) -> Any:
    path = make_checkpoint("qwen3_vl", "qwen3_vl")
    recipe = load_recipe("checkpoint").with_overrides({"task": "toy", "model.path": str(path)})
    context = make_rollout_context(recipe, task, toolbox, Registry())
    return load_model(path, context.schemas), context


@pytest.mark.parametrize("index", range(3))
def test_a_conversation_is_counted_without_its_images(loaded: Any, task: Any, index: int) -> None:
    model, context = loaded
    messages = run_demonstration(context, index, lambda case, rng: task.demonstrate(case, rng, 1.0), 0).messages
    counter = TokenCounter(model.processor, context.rendered_schemas)
    exact = model.processor.apply_chat_template(
        [messages], tools=context.rendered_schemas, tokenize=True, return_dict=True
    )["input_ids"][0]
    assert counter.count(messages) == len(exact)
    sizes = [
        {**m, "content": [{**b, "image": b["image"].size} if b["type"] == "image" else b for b in m["content"]]}
        for m in messages
    ]
    assert counter.count(sizes) == len(exact)


def test_results_take_what_their_images_and_texts_take(loaded: Any) -> None:
    model, context = loaded
    budget = measure_tokens(context, model.processor)
    image = TokenCounter(model.processor).image_tokens((32, 32))
    assert image == 4  # its processor makes 64 x 64 pixels of every image, in cells of 32
    assert set(budget.results) == {"mirror", "shade"}
    assert budget.results["mirror"] >= image + 2
    assert budget.result == max(budget.results.values())
    assert 0 < budget.tools < budget.prompt
    assert budget.completion(2, 100) == 2 * (100 + budget.result) + 100
    assert "of which" in str(budget)
