"""Supervised fine-tuning: what carries loss, and that a step is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medvistagym_trl.batch import IGNORED, assistant_labels, encode
from medvistagym_trl.lessons import act_out, hesitant
from medvistagym_trl.sft import TrajectoryCollator, train_sft


def demonstrator(task: Any) -> Any:
    return lambda case, rng: task.demonstrate(case, rng, 1.0)


def test_an_episode_is_acted_out(world: Any, task: Any) -> None:
    episode = act_out(world, 3, demonstrator(task), 0)
    assert [message["role"] for message in episode.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert episode.grade.correct


def test_a_hesitant_demonstrator_gives_up_before_its_first_call_or_not_at_all(world: Any, task: Any) -> None:
    def script(share: float) -> Any:
        return lambda case, rng: hesitant(task.demonstrate(case, rng, 1.0), share, "unclear", rng)

    always, never = (act_out(world, 3, script(share), 0) for share in (1.0, 0.0))
    assert (always.calls, always.grade.abstained) == (0, True)
    assert (never.calls, never.grade.correct) == (1, True)
    shares = [act_out(world, index, script(0.5), 0).calls for index in range(60)]
    assert 15 < sum(shares) < 45
    assert np.unique(shares).tolist() == [0, 1]


def test_only_what_the_assistant_wrote_is_labelled(policy: Any, world: Any, task: Any) -> None:
    collate = TrajectoryCollator(world, policy.processor, demonstrator(task), 0, 0)
    batch = collate([{"images": index} for index in range(6)])
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        said = policy.tokenizer.decode(ids[labels != IGNORED], skip_special_tokens=False)
        call, answer = said.split("<|im_end|>")[:2]
        assert call.startswith('<tool_call>{"name": "')
        assert answer in {"<answer>dark</answer>", "<answer>bright</answer>"}
        assert "mean" not in said  # what the tool said
        assert "<|image_pad|>" not in said


def test_the_labels_are_those_of_the_templates_own_marks(policy: Any, world: Any, task: Any) -> None:
    conversations = [act_out(world, index, demonstrator(task), 0).messages for index in range(4)]
    ids = encode(policy.processor, conversations, world.schemas)["input_ids"]
    marked = policy.processor.apply_chat_template(
        conversations,
        tools=world.schemas,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=True,
        processor_kwargs={"padding": True, "padding_side": "right"},
    )
    assert torch.equal(marked["input_ids"], ids)
    labelled = assistant_labels(ids, policy.tokenizer) != IGNORED
    assert torch.equal(labelled, torch.as_tensor(marked["assistant_masks"]).bool())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_steps_are_taken_with_trl(policy: Any, world: Any, task: Any, recipe: Any, tmp_path: Path) -> None:
    before = [weight.detach().clone() for weight in policy.model.parameters()]
    collate = TrajectoryCollator(world, policy.processor, demonstrator(task), 0, 0)
    train_sft(policy, collate, recipe.sft, steps=2, seed=0, folder=tmp_path)
    after = list(policy.model.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
