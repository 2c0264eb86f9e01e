"""GRPO through a stand-in for vLLM: it expands placeholders, holds weights of its own, and reports log-probabilities.

vLLM itself is run by the tests in `real_vllm/`, which have an environment of their own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from medvistagym_trl._recipe import RecipeError, load_recipe
from medvistagym_trl.stages import BatchedToolGRPOTrainer, ModelEngine, ParityError, train_grpo
from medvistagym_trl.stages._vllm import (
    bias_logits,
    bound_engine,
    check_vllm,
    collapse_placeholders,
    drop_features,
    generation_settings,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

TURNS = (
    '<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>',
    "<answer>bright</answer>",
    "<answer>unclear</answer>",
)


class Engine:
    """What TRL calls of its vLLM engine in colocate mode."""

    mode = "colocate"

    def __init__(self, trainer: Any, make_model: Any) -> None:
        self._trainer = trainer
        self._model = make_model().model
        self.synchronised = self.resets = 0
        self.llm = SimpleNamespace(
            llm_engine=SimpleNamespace(
                model_config=SimpleNamespace(max_model_len=4096), reset_encoder_cache=self._reset_encoder_cache
            )
        )

    def sync_weights(self) -> None:
        self.synchronised += 1
        self._model.load_state_dict(self._trainer.model.state_dict())

    def _reset_encoder_cache(self) -> None:
        assert self.synchronised == self.resets + 1  # after a synchronisation, not before
        self.resets += 1

    def generate(self, prompts: Any, images: Any, num_generations: int, profiler: Any = None) -> Any:
        processor = self._trainer.processing_class
        tokenizer, pad = processor.tokenizer, processor.image_token_id
        scorer = ModelEngine(self._model, processor, self._trainer.temperature)
        written, scores = [], []
        for row, (ids, shown) in enumerate(zip(prompts, images, strict=True)):
            grids = processor.image_processor(images=shown, return_tensors="pt")["image_grid_thw"]
            sizes = iter((grids.prod(-1) // processor.image_processor.merge_size**2).tolist())
            expanded = [token for each in ids for token in ([pad] * next(sizes) if each == pad else [each])]
            turn = tokenizer(TURNS[(row + len(expanded)) % 3] + "<|im_end|>")["input_ids"]
            written.append(turn)
            with bias_logits(self._model, self._trainer.args.generation_kwargs["suppress_tokens"]):
                scores.append([[float(x)] for x in scorer.score(expanded + turn, len(expanded), shown)])
        return prompts, written, scores, None


@pytest.fixture
def train(make_model: Any, context: Any, recipe: Any, tmp_path: Path) -> Callable[..., Any]:
    def run(kind: type[Engine] = Engine, steps: int = 2) -> Any:
        settings = recipe.with_overrides(
            {"grpo.parity.logprobs_every": 1, "grpo.lr": 1e-2, "grpo.warmup_steps": 0, "grpo.steps": steps}
        )

        def make(**arguments: Any) -> Any:
            trainer = BatchedToolGRPOTrainer(**arguments)
            trainer.use_vllm, trainer.vllm_mode, trainer._last_loaded_step = True, "colocate", -1
            trainer.vllm_generation = kind(trainer, make_model)
            return trainer

        return train_grpo(
            make_model(), context, settings, cases=range(2 * steps), completion=128, folder=tmp_path,
            record=lambda episodes: {}, trainer_class=make,
        )  # fmt: skip

    return run


def test_a_training_through_it_is_certified(train: Any) -> None:
    trainer = train()
    lines = [line for line in trainer.state.log_history if "parity/rows" in line]
    assert len(lines) == 2
    for line in lines:
        assert line["parity/images"] > 8
        assert line["parity/engine_difference"] < 1e-4
        assert line["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-3)
    assert trainer.vllm_generation.synchronised == trainer.vllm_generation.resets == 2


def test_weights_that_do_not_reach_the_engine_stop_the_run(train: Any) -> None:
    class Stale(Engine):
        def sync_weights(self) -> None:
            self.synchronised += 1

    with pytest.raises(ParityError, match=r"step 2, .*of the trainer and of the engine that sampled it differ by"):
        train(Stale)


def test_placeholders_that_are_expanded_twice_stop_the_run(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL hands them over expanded. Should this test fail, it no longer does, and nothing has to be collapsed any more."""
    monkeypatch.setattr("medvistagym_trl.stages._vllm.collapse_placeholders", lambda ids, token: ids)
    with pytest.raises(StopIteration):
        train()


def test_each_run_of_placeholders_becomes_one() -> None:
    assert collapse_placeholders([[9, 9, 1, 9, 9, 9, 2], [1, 2]], 9) == [[9, 1, 9, 2], [1, 2]]


@pytest.mark.parametrize(("name", "mode"), [("vllm-colocate", "colocate"), ("vllm-server", "server")])
def test_the_presets_sample_with_vllm_and_keep_it_from_writing_images(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(name)
    assert "not been run" in recipe.description
    assert recipe.trl.grpo["vllm_mode"] == mode
    assert generation_settings([7, 8], recipe) == {"logit_bias": {7: -100.0, 8: -100.0}}
    assert generation_settings([7, 8], load_recipe("checkpoint")) == {"suppress_tokens": [7, 8]}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        RecipeError, match=f"the recipe {name} samples with vLLM .* which is not installed: pip install"
    ):
        check_vllm(recipe)
    check_vllm(recipe.with_overrides({"trl.grpo.use_vllm": False}))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(
        RecipeError, match=f"the recipe {name} samples with vLLM .*: give the folder of one with --model"
    ):
        check_vllm(recipe)
    check_vllm(recipe.with_overrides({"model.path": "checkpoint"}))


def test_an_engine_beside_the_trainer_plans_for_conversations_as_long_as_they_get() -> None:
    recipe = load_recipe("vllm-colocate")
    assert bound_engine(recipe, lambda: 3000).trl.grpo["vllm_max_model_length"] == 3000
    unsaid = load_recipe("checkpoint").with_overrides({"trl.grpo": {"use_vllm": True}})  # TRL's default mode
    assert bound_engine(unsaid, lambda: 3000).trl.grpo["vllm_max_model_length"] == 3000
    bounded = recipe.with_overrides({"trl.grpo.vllm_max_model_length": 8192})
    for other in (bounded, load_recipe("vllm-server"), load_recipe("checkpoint")):
        assert bound_engine(other, lambda: 3000) is other


@pytest.mark.parametrize("answer", ["error 404", "nothing"])
def test_a_server_that_keeps_features_of_earlier_weights_stops_the_run(answer: str) -> None:
    class Session:
        def post(self, url: str, *, timeout: float) -> Any:
            assert (url, timeout > 0) == ("http://host:8000/reset_encoder_cache", True)
            if answer == "nothing":
                raise requests.ReadTimeout("read timed out")
            return SimpleNamespace(status_code=404)

    generation = SimpleNamespace(
        mode="server",
        accelerator=SimpleNamespace(is_main_process=True),
        vllm_client=SimpleNamespace(session=Session(), base_url="http://host:8000"),
    )
    with pytest.raises(
        RuntimeError, match=r"http://host:8000 does not drop its image features \((HTTP 404|read timed out)\)"
    ):
        drop_features(generation)


@pytest.mark.parametrize("sharded", [False, True])
def test_logits_are_biased_where_the_weights_are_whole(
    sharded: bool, make_model: Any, context: Any, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards are made when the training starts, after which the head is another one."""
    model = make_model()
    biases: list[bool] = []

    def make(**arguments: Any) -> Any:
        trainer = BatchedToolGRPOTrainer(**arguments)
        trainer.use_vllm, trainer.is_fsdp_enabled = True, sharded
        return trainer

    def train(trainer: Any, checkpoint: Any) -> None:
        biases.append(model.model.get_output_embeddings().bias is not None)

    monkeypatch.setattr("medvistagym_trl.stages._grpo.train_interruptibly", train)
    settings = recipe.with_overrides({"grpo.steps": 1})
    train_grpo(
        model, context, settings, cases=range(2), completion=128, folder=tmp_path, record=lambda episodes: {},
        trainer_class=make,
    )  # fmt: skip
    assert biases == [not sharded]
