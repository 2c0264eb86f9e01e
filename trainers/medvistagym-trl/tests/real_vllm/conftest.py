"""A vLLM server on a CPU, and a tiny checkpoint that has learnt to call tools and to answer."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from medvistagym_core.environment import ToolScript
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import ToolCall

os.environ.update(
    VLLM_CPU_KVCACHE_SPACE="1", VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1",
    VLLM_SERVER_DEV_MODE="1", OMP_NUM_THREADS="1",
)  # fmt: skip
torch.set_num_threads(1)
START_TIMEOUT_S = 600


@pytest.fixture(scope="session")
def toy(recipe: Any, task: Any, toolbox: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The toy task as a checkpoint is trained on it: a recipe, its context, and the folder of a checkpoint."""
    from types import SimpleNamespace

    from medvistagym_trl.model import load_model, save_model
    from medvistagym_trl.rollout import DemonstrationSource, make_rollout_context
    from medvistagym_trl.stages import ConversationCollator, train_sft

    path = Path(__file__).with_name("checkpoint.py")
    spec = importlib.util.spec_from_file_location("vllm_test_checkpoint", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    base, taught = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("taught")
    settings = recipe.with_overrides(
        {
            "model.path": str(base), "episode.compact": False, "sft.batch": 8, "sft.lr": 3e-3, "sft.warmup_steps": 5,
            "grpo.steps": 2, "grpo.lr": 1e-3, "grpo.warmup_steps": 0, "grpo.parity.logprobs_every": 1,
        }
    )  # fmt: skip
    context = make_rollout_context(settings, task, toolbox, Registry())
    module.make_checkpoint(
        base,
        [context.config.prompt, *map(json.dumps, context.schemas), "<answer>dark</answer> <answer>bright</answer>"],
    )
    model = load_model(base, context.schemas, settings.model, train=True)
    source = DemonstrationSource(context, _mirror_and_answer, 0, 0)
    collator = ConversationCollator(source, model.processor, context.rendered_schemas, model.end_of_turn)
    train_sft(model, collator, settings, steps=40, folder=tmp_path_factory.mktemp("sft"))
    save_model(model, taught)
    return SimpleNamespace(
        recipe=settings.with_overrides({"model.path": str(taught)}), context=context, folder=taught, task=task
    )


def _mirror_and_answer(case: Any, rng: Any) -> ToolScript:
    """A demonstration whose only call returns a picture."""
    yield ToolCall(name="mirror", arguments={"image": 0})
    return case.answer.value


@pytest.fixture(scope="session")
def serve(toy: Any) -> Iterator[str]:
    """The address of `vllm serve` with the taught checkpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = toy.folder.with_name("serve.log")
    command = [
        str(Path(sys.executable).with_name("vllm")), "serve", str(toy.folder), "--host", "127.0.0.1", "--port", str(port),
        "--served-model-name", "toy", "--dtype", "float32", "--enforce-eager", "--max-model-len", "4096",
        "--max-num-seqs", "16", "--max-num-batched-tokens", "16384", "--no-enable-chunked-prefill", "--enable-scale-out",
        "--weight-transfer-config", '{"backend": "file"}', "--logprobs-mode", "processed_logprobs",
        "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--limit-mm-per-prompt", '{"image": 16, "video": 0}',
    ]  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_for(server, address, log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(1)
    pytest.fail(f"vllm serve did not start: {log.read_text('utf-8', 'replace')[-3000:]}")


@pytest.fixture
def train(toy: Any, tmp_path: Path) -> Callable[..., Any]:
    """Trains the taught checkpoint by GRPO through vLLM; gives the trainer and the episodes that were played."""
    from medvistagym_trl.model import load_model
    from medvistagym_trl.stages import train_grpo

    def run(fields: dict[str, Any], cases: Sequence[int] = (0, 1, 2, 3), **changes: Any) -> tuple[Any, list[Any]]:
        settings = {f"grpo.{name}": value for name, value in changes.items() if name != "lora"}
        recipe = toy.recipe.with_overrides(
            {
                **settings,
                "grpo.steps": 2,
                "model.lora.rank": changes.get("lora", 0),
                "trl.grpo": {"use_vllm": True, **fields},
            }
        )
        model = load_model(toy.folder, toy.context.schemas, recipe.model, train=True)
        episodes: list[Any] = []

        def record(played: Any) -> dict[str, float]:
            episodes.extend(played)
            return {}

        folder = tmp_path / "grpo"
        shutil.rmtree(folder, ignore_errors=True)
        trainer = train_grpo(model, toy.context, recipe, cases=cases, completion=400, folder=folder, record=record)
        return trainer, episodes

    return run


@pytest.fixture
def play(toy: Any, tmp_path: Path) -> Callable[..., Any]:
    """Evaluates the taught checkpoint through vLLM, sampled and greedily, then with other weights; gives what was certified."""
    from medvistagym_trl.model import load_model
    from medvistagym_trl.stages import SamplingEngine, evaluate

    def run(fields: dict[str, Any]) -> list[Any]:
        changes = {"trl.grpo": {"use_vllm": True, **fields}, "evaluation.n": 4, "evaluation.max_tokens": 64}
        recipe = toy.recipe.with_overrides(changes)
        logged: list[Any] = []
        engine = SamplingEngine(recipe, lambda _: 4096, tmp_path / "parity", lambda phase, line: logged.append(line))
        model = load_model(toy.folder, toy.context.schemas, recipe.model)

        def evaluate_at(temperature: float | None) -> None:
            keep = tmp_path / "rows.jsonl"
            rules = recipe.evaluation
            evaluate(toy.context, model, "it", rules, temperature, seed=0, keep=keep, engine=engine)

        evaluate_at(1.0)
        evaluate_at(None)
        with torch.no_grad():
            for weight in model.model.parameters():
                weight.mul_(1.1)
        evaluate_at(1.0)
        return logged

    return run


@pytest.fixture
def assert_played() -> Callable[[Sequence[Any]], None]:
    """Each of three evaluations was by the weights that were to be played, and by a vLLM that saw the images."""

    def check(logged: Sequence[Any]) -> None:
        assert len(logged) == 3
        for line in logged:
            assert line["parity/engine_difference"] < 1e-4
            assert line["parity/canary_difference"] > 0

    return check


@pytest.fixture
def assert_certified() -> Callable[[Any, Sequence[Any]], None]:
    """Pictures of tools were read, and each of two steps has a certificate that names vLLM's own log-probabilities."""

    def check(trainer: Any, episodes: Sequence[Any]) -> None:
        assert any(len(episode.store) > 1 for episode in episodes), "no tool returned a picture"
        lines = [line for line in trainer.state.log_history if "parity/rows" in line]
        assert len(lines) == 2
        for line in lines:
            assert line["parity/engine_difference"] < 1e-4
            assert line["parity/canary_difference"] > 0
            assert line["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-3)
        assert trainer.unbatched_calls == 0

    return check
