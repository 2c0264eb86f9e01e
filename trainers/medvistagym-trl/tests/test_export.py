"""`medvistagym export trl`: the package in TRL's own loop, with a tiny model whose turns are set."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from medvistagym_core.cli import main
from medvistagym_core.plugins import Registry
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.stages import build_untrained_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]
CALL = '<tool_call>{"name": "measure", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}</tool_call>'
ANSWER = "<answer>upper left</answer>"


def test_the_package_is_played_by_trls_own_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Any) -> None:
    assert main(["export", "trl", "scoutvqa", "--out", str(tmp_path / "scout_for_trl")]) == 0
    monkeypatch.syspath_prepend(str(tmp_path))
    package: Any = importlib.import_module("scout_for_trl")
    try:
        environment = package.TaskEnvironment()
        shown = environment.reset(index=2)
        assert {block["type"] for block in shown} == {"text", "image"}
        assert "HU" in environment.measure(image=0, box=[0, 0, 500, 500])[0]["text"]
        assert [name for name in vars(package.TaskEnvironment) if name[0] != "_"] == [
            "reset",
            "measure",
            "window",
            "zoom",
        ]
        rewards = _train(package, recipe, tmp_path)
    finally:
        sys.modules.pop("scout_for_trl", None)
    assert len(rewards) == 4
    assert set(rewards) <= {-0.5, -0.55, 0.95, 1.0}, rewards


def _train(package: Any, recipe: Any, folder: Path) -> list[float]:
    registry = Registry.discover()
    task = registry.task("scoutvqa")
    toolbox = registry.toolbox(",".join(task.tools))
    context = make_rollout_context(recipe, task, toolbox, registry)
    model = build_untrained_model(recipe.model, context, 0)
    found: list[float] = []
    calls: list[int] = []

    def reward(**batch: Any) -> list[float]:
        values: list[float] = package.reward(**batch)
        found.extend(values)
        calls.extend(environment._episode.calls for environment in batch["environments"])
        return values

    class Scripted(GRPOTrainer):
        """Writes a call, then an answer. TRL 1.16 wants tensors, where processors without torchvision give lists."""

        def _tokenize_prompts(self, prompts: Any) -> Any:
            ids, images, fields = super()._tokenize_prompts(prompts)
            for name in ("pixel_values", "image_grid_thw"):
                if name in fields and not isinstance(fields[name], torch.Tensor):
                    fields[name] = torch.as_tensor(np.asarray(fields[name]))
            return ids, images, fields

        def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            sampled = super()._generate_single_turn(prompt_ids, *args, **kwargs)
            called = self.processing_class.tokenizer(CALL + "<|im_end|>")["input_ids"]
            answered = self.processing_class.tokenizer(ANSWER + "<|im_end|>")["input_ids"]
            for row, read in enumerate(prompt_ids):
                sampled[0][row] = answered if _holds(read, called[:8]) else called
            return sampled

    arguments = GRPOConfig(
        output_dir=str(folder / "out"), max_steps=1, num_generations=4, per_device_train_batch_size=4, use_cpu=True,
        bf16=False, max_completion_length=512, report_to=[], save_strategy="no",
    )  # fmt: skip
    trainer = Scripted(
        model.model, processing_class=model.processor, reward_funcs=reward, args=arguments,
        train_dataset=package.dataset(4), environment_factory=package.TaskEnvironment,
    )  # fmt: skip
    trainer.train()
    assert calls == [1] * 4
    return found


def _holds(ids: list[int], part: list[int]) -> bool:
    return any(ids[k : k + len(part)] == part for k in range(len(ids)))
