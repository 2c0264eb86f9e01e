"""A training whose chat template fails, or loops, on some words: what holds them counts nothing, and the training goes on."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core import Image, tool
from medvistagym_core.environment import Observation
from medvistagym_core.plugins import Registry
from medvistagym_core.protocol import TEMPLATE_ERRORS
from medvistagym_core.tools import Toolbox
from medvistagym_trl.model import IGNORE_INDEX
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.stages import (
    BatchedToolGRPOTrainer,
    ConversationCollator,
    SamplingPolicy,
    build_untrained_model,
    train_grpo,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

WORD = "BANG"
FAILS = "{%- if '" + WORD + "' in messages | string -%}{{- raise_exception('no such word') -}}{%- endif -%}"
LOOPS = (
    "{%- if '"
    + WORD
    + "' in messages | string -%}{%- for a in range(99999) -%}{%- for b in range(99999) -%}"
    + ("{%- endfor -%}{%- endfor -%}{%- endif -%}")
)
ENDS = [
    pytest.param(FAILS, "no such word", id="fails"),
    pytest.param(LOOPS, "takes more than 3 s", id="loops", marks=pytest.mark.slow),
]


@tool(deterministic=False)
def guess(image: Image) -> str:
    """Say a word, every second time another one.

    Args:
        image: The image.
    """
    CALLS.append(1)
    return ("dim", WORD)[len(CALLS) % 2]


CALLS: list[int] = []


class Scripted(BatchedToolGRPOTrainer):
    """Calls the tool, and answers differently from row to row."""

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        self.generation_config.max_new_tokens = 4  # none of them is kept
        super()._write_turns(prompt_ids, *args, **kwargs)
        self.turn = getattr(self, "turn", -1) + 1
        call = '<tool_call>{"name": "guess", "arguments": {"image": 0}}</tool_call>'
        turns = [
            call if self.turn % 2 == 0 else f"<answer>{('dark', 'dim')[row % 2]}</answer>"
            for row in range(len(prompt_ids))
        ]
        return [self.processing_class.tokenizer(turn + "<|im_end|>")["input_ids"] for turn in turns], None


def strange_model(settings: Any, context: Any, words: str) -> Any:
    model = build_untrained_model(settings.model, context, 0)
    model.processor.chat_template += words
    return model


class BangTask:
    """The task, with a question in every second case that holds the word."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def case(self, split: str, index: int, seed: int = 0) -> Any:
        case = self._task.case(split, index, seed)
        return dataclasses.replace(case, question=f"{WORD}? {case.question}") if index % 2 else case


def train(recipe: Any, task: Any, folder: Path, words: str) -> list[Any]:
    settings = recipe.with_overrides({"grpo.steps": 1})
    context = make_rollout_context(settings, task, Toolbox({guess.name: guess}), Registry())
    episodes: list[Any] = []
    try:
        trainer = train_grpo(
            strange_model(settings, context, words), context, settings,
            cases=range(settings.grpo.completions // settings.grpo.group), completion=128, folder=folder,
            record=lambda batch: episodes.extend(batch) or {}, trainer_class=Scripted,
        )  # fmt: skip
    finally:
        context.close()
    assert sum("loss" in line for line in trainer.state.log_history) == 1
    assert len(episodes) == settings.grpo.completions
    return episodes


@pytest.mark.parametrize(("words", "says"), ENDS)
def test_a_result_costs_its_rollout(recipe: Any, task: Any, tmp_path: Path, words: str, says: str) -> None:
    CALLS.clear()
    episodes = train(recipe, task, tmp_path, words)
    assert [each.termination for each in episodes].count("policy_failed") == len(episodes) // 2
    assert {each.termination for each in episodes} == {"answered", "policy_failed"}
    assert all(says in each.reason for each in episodes if each.termination == "policy_failed")


@pytest.mark.parametrize(("words", "says"), ENDS)
def test_a_question_costs_its_group(recipe: Any, task: Any, tmp_path: Path, words: str, says: str) -> None:
    CALLS[:] = [1] * 10**6  # `guess` says another word
    episodes = train(recipe, BangTask(task), tmp_path, words.replace(f"'{WORD}'", f"'{WORD}?'"))
    failed = [each for each in episodes if each.termination == "policy_failed"]
    assert {each.case.index for each in failed} == {1}
    assert len(failed) == recipe.grpo.group
    assert all(says in each.reason for each in failed)


@pytest.mark.parametrize(("words", "says"), ENDS)
def test_a_conversation_is_left_out_of_sft(
    recipe: Any, context: Any, words: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = strange_model(recipe, context, words)

    class Source:
        def conversation(self, index: int) -> list[dict[str, Any]]:
            question = f"{WORD}?" if index in (2, 4, 5, 6, 7) else f"What is number {index}?"
            return [
                {"role": role, "content": [{"type": "text", "text": text}]}
                for role, text in (("user", question), ("assistant", "<answer>dark</answer>"))
            ]

    collator = ConversationCollator(Source(), model.processor, (), model.end_of_turn)
    with caplog.at_level(logging.WARNING):
        batch = collator([{"images": number} for number in (0, 1, 2)])
    assert batch["input_ids"][2].tolist() == batch["input_ids"][1].tolist()
    assert (batch["labels"] != IGNORE_INDEX).any(1).all()
    assert says in caplog.text
    with pytest.raises(TEMPLATE_ERRORS, match=says):
        collator([{"images": 7}])


@pytest.mark.parametrize(("words", "says"), ENDS)
def test_an_observation_costs_its_episode_of_an_evaluation(recipe: Any, context: Any, words: str, says: str) -> None:
    model = strange_model(recipe, context, words)
    policy = SamplingPolicy(model, (), context.config.protocol, temperature=None, max_tokens=4)
    observations = [observe(text) for text in ("What is it?", f"{WORD}?", "Where is it?")]
    first, refused, last = policy.act(observations)
    assert isinstance(refused, TEMPLATE_ERRORS)
    assert says in str(refused)
    assert [first, last] == list(policy.act([observations[0], observations[2]]))
    assert isinstance(policy.act([observations[1]])[0], TEMPLATE_ERRORS)


def observe(text: str) -> Observation:
    messages = ({"role": "user", "content": [{"type": "text", "text": text}]},)
    return Observation("one", 0, text, (), (), (), (), None, messages, 0, {})
