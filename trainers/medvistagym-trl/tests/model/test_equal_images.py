"""Equal pictures of a batch go through the vision tower once, and become what they would have become each alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from medvistagym_trl.model import LoadedModel, apply_chat_template_batch, chat_message, encode_equal_images_once
from medvistagym_trl.stages import build_untrained_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def loaded(recipe: Any, context: Any) -> LoadedModel:
    model = build_untrained_model(recipe.model, context, 0)
    model.model.eval()
    return model


def batch_of(loaded: LoadedModel, context: Any, colours: list[int]) -> dict[str, torch.Tensor]:
    side = context.config.view_side
    noise = np.random.default_rng(0).integers(0, 99, (side, side, 3), dtype=np.uint8)
    pictures = {each: PIL.Image.fromarray(noise + np.uint8(each)) for each in colours}
    chats = [[chat_message("user", "dark or bright?", pictures[each])] for each in colours]
    return apply_chat_template_batch(loaded.processor, chats, context.schemas, generation=True)


def patches_seen(tower: Any) -> list[int]:
    seen: list[int] = []
    tower.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    return seen


@torch.no_grad()
def test_logits_are_the_same_to_the_bit_and_each_picture_is_computed_once(loaded: LoadedModel, context: Any) -> None:
    network, batch = loaded.model, batch_of(loaded, context, [9, 5, 9, 9, 7, 5])
    seen = patches_seen(network.model.visual)
    plain = network(**batch).logits
    with encode_equal_images_once(network):
        shared = network(**batch).logits
    assert torch.equal(shared, plain)
    assert seen[1] == seen[0] // 2  # three of six
    assert torch.equal(network(**batch).logits, plain)
    assert seen[2] == seen[0]


@torch.no_grad()
def test_pictures_that_differ_are_all_computed(loaded: LoadedModel, context: Any) -> None:
    seen = patches_seen(loaded.model.model.visual)
    batch = batch_of(loaded, context, [1, 2, 3])
    with encode_equal_images_once(loaded.model):
        loaded.model(**batch)
    assert seen == [len(batch["pixel_values"])]


def test_gradients_of_equal_pictures_are_those_of_each_alone_added_up(loaded: LoadedModel, context: Any) -> None:
    network, batch = loaded.model, batch_of(loaded, context, [4, 6, 4, 4])

    def gradients() -> list[torch.Tensor]:
        network.zero_grad()
        network(**batch, labels=batch["input_ids"]).loss.backward()
        return [weight.grad.clone() for weight in network.model.visual.parameters()]

    plain = gradients()
    seen = patches_seen(network.model.visual)
    with encode_equal_images_once(network):
        shared = gradients()
    assert seen == [len(batch["pixel_values"]) // 2]
    for ours, theirs in zip(shared, plain, strict=True):
        torch.testing.assert_close(ours, theirs)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["layer", "attention"])
def test_a_tower_that_drops_out_encodes_each_picture_by_a_mask_of_its_own(
    kind: str, loaded: LoadedModel, context: Any
) -> None:
    network, batch = loaded.model, batch_of(loaded, context, [3, 3])
    tower = network.model.visual
    if kind == "layer":
        tower.blocks[0].mlp = torch.nn.Sequential(torch.nn.Dropout(0.5), tower.blocks[0].mlp)
    else:
        tower.blocks[0].attn.attention_dropout = 0.5
    seen = patches_seen(tower)
    every = len(batch["pixel_values"])
    with encode_equal_images_once(network):
        tower.train()
        features = tower(batch["pixel_values"], batch["image_grid_thw"]).last_hidden_state
        network.eval()
        network(**batch)
    assert seen == [every, every // 2]  # in evaluation nothing is dropped
    first, second = features.chunk(2)
    assert not torch.equal(first, second)


def test_a_context_within_another_leaves_the_outer_one_in_force(loaded: LoadedModel, context: Any) -> None:
    seen = patches_seen(loaded.model.model.visual)
    batch = batch_of(loaded, context, [2, 2])
    with encode_equal_images_once(loaded.model):
        with encode_equal_images_once(loaded.model):
            pass
        loaded.model(**batch)
    assert seen == [len(batch["pixel_values"]) // 2]


def test_an_error_leaves_the_model_as_it_was(loaded: LoadedModel) -> None:
    with pytest.raises(RuntimeError, match="stopped"), encode_equal_images_once(loaded.model):
        raise RuntimeError("stopped")
    assert "forward" not in vars(loaded.model.model.visual)
