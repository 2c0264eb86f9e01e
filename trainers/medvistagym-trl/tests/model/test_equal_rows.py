"""Equal rows of a prompt are read once, and are gone on with as if each had been read."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medvistagym_trl.model import LoadedModel, apply_chat_template_batch, chat_message, read_equal_rows_once
from medvistagym_trl.stages import build_untrained_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

QUESTIONS = ["dark or bright?"] * 3 + ["bright or dark?"] + ["dark or bright?"] * 2 + ["which is the larger one?"] * 2


@pytest.fixture
def loaded(recipe: Any, context: Any) -> LoadedModel:
    model = build_untrained_model(recipe.model, context, 0)
    model.model.eval()
    return model


def test_turns_are_the_same_and_each_prompt_is_read_once(loaded: LoadedModel, context: Any) -> None:
    chats = [[chat_message("user", question)] for question in QUESTIONS]
    batch = apply_chat_template_batch(loaded.processor, chats, context.schemas, generation=True)
    rows: list[int] = []
    loaded.model.model.language_model.layers[0].register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))

    def write() -> Any:
        torch.manual_seed(0)
        rows.clear()
        return loaded.model.generate(
            **batch,
            do_sample=True,
            max_new_tokens=4,
            min_new_tokens=4,
            pad_token_id=loaded.tokenizer.pad_token_id,
            output_logits=True,
            return_dict_in_generate=True,
        )

    plain = write()
    assert rows == [8, 8, 8, 8]
    with read_equal_rows_once(loaded.model):
        shared = write()
    assert rows == [3, 8, 8, 8]
    assert torch.equal(shared.sequences, plain.sequences)
    for ours, theirs in zip(shared.logits, plain.logits, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_is_learnt_from_is_read_in_full(loaded: LoadedModel, context: Any) -> None:
    chats = [[chat_message("user", "dark or bright?"), chat_message("assistant", "dark")]] * 2
    batch = apply_chat_template_batch(loaded.processor, chats, context.schemas)
    plain = loaded.model(**batch, labels=batch["input_ids"]).loss
    with read_equal_rows_once(loaded.model):
        shared = loaded.model(**batch, labels=batch["input_ids"]).loss
        shared.backward()
    assert torch.equal(shared, plain)
    assert "forward" not in vars(loaded.model.model.language_model)


@pytest.mark.parametrize("kind", ["layer", "attention"])
def test_rows_of_a_model_that_drops_out_are_read_by_masks_of_their_own(
    kind: str, loaded: LoadedModel, context: Any
) -> None:
    chats = [[chat_message("user", question)] for question in QUESTIONS]
    batch = apply_chat_template_batch(loaded.processor, chats, context.schemas, generation=True)
    layer = loaded.model.model.language_model.layers[0]
    if kind == "layer":
        layer.mlp = torch.nn.Sequential(torch.nn.Dropout(0.5), layer.mlp)
    else:
        layer.self_attn.attention_dropout = 0.5
    rows: list[int] = []
    layer.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    with read_equal_rows_once(loaded.model):
        for training in (True, False):
            loaded.model.train(training)
            loaded.model.generate(**batch, max_new_tokens=1, pad_token_id=loaded.tokenizer.pad_token_id)
    assert rows == [len(QUESTIONS), 3]
