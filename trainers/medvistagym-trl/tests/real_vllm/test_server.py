"""GRPO whose rollouts a real `vllm serve` samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medvistagym_trl.stages import ParityError

OTHER_ENGINE = r"of the trainer and of the engine that sampled it differ by"


@pytest.fixture
def server(serve: str) -> dict[str, Any]:
    """Fields of a recipe that samples with the server; weights go through a file, since there is no NCCL."""
    import vllm_cpu_test

    vllm_cpu_test.patch_trl()
    return {"vllm_mode": "server", "vllm_server_base_url": serve}


def test_a_training_with_pictures_of_tools_is_certified(
    train: Callable[..., Any], server: Any, assert_certified: Any
) -> None:
    assert_certified(*train(server))


def test_an_evaluation_goes_through_it(play: Callable[..., Any], server: Any, assert_played: Any) -> None:
    assert_played(play(server))


def test_weights_that_do_not_reach_the_server_stop_the_run(
    train: Callable[..., Any], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.generation.vllm_client import VLLMClient

    monkeypatch.setattr(VLLMClient, "update_named_params", lambda self, metadata, weights: list(weights))
    with pytest.raises(ParityError, match=OTHER_ENGINE):
        train(server, lr=1e-2)


def test_features_of_earlier_weights_stop_the_run(
    train: Callable[..., Any], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should this fail, the server forgets them by itself, and nothing has to be dropped any more."""
    monkeypatch.setattr("medvistagym_trl.stages._vllm.VllmTrainer._drop_features", lambda self: None)
    with pytest.raises(ParityError, match=OTHER_ENGINE):
        train(server, cases=[0, 1, 0, 1], lr=1e-2)
