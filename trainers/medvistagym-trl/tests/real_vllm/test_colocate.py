"""GRPO whose rollouts a real vLLM samples in the trainer's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trl.generation.vllm_generation as generation

from medvistagym_trl.stages import ParityError

COLOCATE = {"vllm_mode": "colocate", "vllm_max_model_length": 4096, "vllm_gpu_memory_utilization": 0.1}
OTHER_ENGINE = r"of the trainer and of the engine that sampled it differ by"


@pytest.fixture(autouse=True)
def one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One engine for all tests, since a process has room for one; every training synchronises it before it first asks."""
    monkeypatch.setattr(generation, "LLM", _make_engine)


def _make_engine(**settings: Any) -> Any:
    if not _ENGINES:
        from vllm import LLM

        _ENGINES.append(
            LLM(**settings, dtype="float32", enforce_eager=True, limit_mm_per_prompt={"image": 16, "video": 0})
        )
    return _ENGINES[0]


_ENGINES: list[Any] = []


def test_a_training_with_pictures_of_tools_is_certified(train: Callable[..., Any], assert_certified: Any) -> None:
    assert_certified(*train(COLOCATE))


def test_adapters_reach_the_engine_merged(train: Callable[..., Any], assert_certified: Any) -> None:
    trainer, episodes = train(COLOCATE, lora=4, lr=1e-2)
    assert_certified(trainer, episodes)


def test_an_evaluation_goes_through_it(play: Callable[..., Any], assert_played: Any) -> None:
    assert_played(play(COLOCATE))


def test_an_evaluation_by_weights_that_do_not_reach_it_is_refused(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, calls = generation.VLLMGeneration.sync_weights, [None, None]
    monkeypatch.setattr(
        generation.VLLMGeneration, "sync_weights", lambda self: sync(self) if calls and not calls.pop() else None
    )
    with pytest.raises(
        (ParityError, RuntimeError), match="of the model and of the vLLM that sampled in its place differ by"
    ):
        play(COLOCATE)


def test_placeholders_that_are_expanded_twice_stop_the_run(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should this fail, TRL or vLLM no longer expands them twice, and nothing has to be collapsed any more."""
    monkeypatch.setattr("medvistagym_trl.stages._vllm.collapse_placeholders", lambda ids, token: ids)
    with pytest.raises(ParityError, match=OTHER_ENGINE):
        train(COLOCATE)


def test_features_of_earlier_weights_stop_the_run(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Should this fail, the engine forgets them by itself, and nothing has to be dropped any more."""
    monkeypatch.setattr("medvistagym_trl.stages._vllm.VllmTrainer._drop_features", lambda self: None)
    with pytest.raises(ParityError, match=OTHER_ENGINE):
        train(COLOCATE, cases=[0, 1, 0, 1], lr=1e-2)


def test_weights_that_do_not_reach_the_engine_stop_the_run(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation.VLLMGeneration, "sync_weights", lambda self: None)
    with pytest.raises(ParityError, match=OTHER_ENGINE):
        train(COLOCATE, lr=1e-2)
