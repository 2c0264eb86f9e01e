"""Supervised fine-tuning: what carries loss, and that a step is taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medvistagym_trl.model import IGNORE_INDEX, encode_for_training
from medvistagym_trl.rollout import DemonstrationSource, run_demonstration, with_early_abstention
from medvistagym_trl.stages import ConversationCollator, make_sft_config, preview_examples, train_sft


def demonstrator(task: Any) -> Any:
    return lambda case, rng: task.demonstrate(case, rng, 1.0)


def test_an_episode_is_acted_out(context: Any, task: Any) -> None:
    episode = run_demonstration(context, 3, demonstrator(task), 0)
    assert [message["role"] for message in episode.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert episode.grade.correct


def test_a_hesitant_demonstrator_gives_up_before_its_first_call_or_not_at_all(context: Any, task: Any) -> None:
    def script(share: float) -> Any:
        return lambda case, rng: with_early_abstention(task.demonstrate(case, rng, 1.0), share, "unclear", rng)

    always, never = (run_demonstration(context, 3, script(share), 0) for share in (1.0, 0.0))
    assert (always.calls, always.grade.abstained) == (0, True)
    assert (never.calls, never.grade.correct) == (1, True)
    shares = [run_demonstration(context, index, script(0.5), 0).calls for index in range(60)]
    assert 15 < sum(shares) < 45
    assert np.unique(shares).tolist() == [0, 1]


def collator(context: Any, model: Any, task: Any) -> ConversationCollator:
    source = DemonstrationSource(context, demonstrator(task), 0, 0)
    return ConversationCollator(source, model.processor, context.rendered_schemas, model.end_of_turn)


def test_only_what_the_assistant_wrote_is_labelled(model: Any, context: Any, task: Any) -> None:
    batch = collator(context, model, task)([{"images": index} for index in range(6)])
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        written = model.tokenizer.decode(ids[labels != IGNORE_INDEX], skip_special_tokens=False)
        call, answer, rest = written.split("<|im_end|>")
        assert call.startswith('<tool_call>{"name": "')
        assert answer in {"<answer>dark</answer>", "<answer>bright</answer>"}
        assert rest == ""


def test_the_labels_are_those_of_the_templates_own_marks(model: Any, context: Any, task: Any) -> None:
    conversations = [run_demonstration(context, index, demonstrator(task), 0).messages for index in range(4)]
    batch = encode_for_training(model.processor, conversations, context.schemas, model.end_of_turn)
    marked = model.processor.apply_chat_template(
        conversations,
        tools=context.schemas,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=True,
        processor_kwargs={"padding": True, "padding_side": "right"},
    )
    assert torch.equal(marked["input_ids"], batch["input_ids"])
    assert torch.equal(batch["labels"] != IGNORE_INDEX, torch.as_tensor(marked["assistant_masks"]).bool())


def test_demonstrations_reach_training_as_the_trajectories_that_they_are(context: Any, task: Any) -> None:
    source = DemonstrationSource(context, demonstrator(task), 0, 0)
    for index in range(6):
        played = run_demonstration(context, index, demonstrator(task), 0).messages
        shown = source.conversation(index)
        assert [message["role"] for message in shown] == [message["role"] for message in played]
        for mine, other in zip(shown, played, strict=True):
            assert mine.get("tool_calls") == other.get("tool_calls")
            for block, expected in zip(mine["content"], other["content"], strict=True):
                if block["type"] == "image":
                    assert block["image"].tobytes() == expected["image"].tobytes()
                else:
                    assert block == expected


def test_a_preview_marks_what_carries_loss_and_counts_images(model: Any, context: Any, task: Any) -> None:
    (text,) = preview_examples(collator(context, model, task), model.processor, [0])
    marked = re.findall(r"⟦(.*?)⟧", text)
    assert len(marked) == 2
    assert marked[0].startswith('<tool_call>{"name": "')
    assert marked[1].endswith("</answer><|im_end|>")
    assert "<image: 4 tokens>" in text  # 32 pixels in cells of 16


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_steps_are_taken_with_trl(model: Any, context: Any, task: Any, recipe: Any, tmp_path: Path) -> None:
    before = [weight.detach().clone() for weight in model.model.parameters()]
    train_sft(model, collator(context, model, task), recipe, steps=2, folder=tmp_path)
    after = list(model.model.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_examples_are_made_in_this_process_where_a_fork_cannot_call_the_tools(recipe: Any, tmp_path: Path) -> None:
    """The loader's process is a fork, in which the connection of a plugin's executor, such as that to Ray, is dead."""
    loaders = {}
    for executor in ("local", "process", "ray", "ray:127.0.0.1:6379?pool=one"):
        changed = recipe.with_overrides({"executor": executor})
        loaders[executor] = make_sft_config(changed, steps=1, folder=tmp_path).dataloader_num_workers
    forks = 0 if torch.cuda.is_available() else 1
    assert list(loaders.values()) == [forks, forks, 0, 0]
