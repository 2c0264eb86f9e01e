"""A training whose tools hang, or whose tools' server is gone: the policy reads why, and the training goes on."""

from __future__ import annotations

import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core import Image, tool
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.stages import BatchedToolGRPOTrainer, build_untrained_model, train_grpo

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

RELEASED = threading.Event()


@tool(timeout_s=0.2)
def hang(image: Image) -> str:
    """Ask a network that never answers.

    Args:
        image: The image.
    """
    RELEASED.wait(60)
    return "too late"


@tool
def ask(image: Image) -> str:
    """Ask a server that is gone.

    Args:
        image: The image.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
    return "it is there"


class Scripted(BatchedToolGRPOTrainer):
    """Calls the tool, and answers differently from row to row."""

    name = ""

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        self.generation_config.max_new_tokens = 4  # none of them is kept
        super()._write_turns(prompt_ids, *args, **kwargs)
        self.turn = getattr(self, "turn", -1) + 1
        call = f'<tool_call>{{"name": "{self.name}", "arguments": {{"image": 0}}}}</tool_call>'
        turns = [
            call if self.turn % 2 == 0 else f"<answer>{('dark', 'bright')[row % 2]}</answer>"
            for row in range(len(prompt_ids))
        ]
        return [self.processing_class.tokenizer(turn + "<|im_end|>")["input_ids"] for turn in turns], None


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "code"), [(hang, "timeout"), (ask, "tool_failed")])
def test_the_training_goes_on(recipe: Any, task: Any, tmp_path: Path, broken: Any, code: str) -> None:
    settings = recipe.with_overrides({"grpo.steps": 2})
    context = make_rollout_context(settings, task, Toolbox({broken.name: broken}), Registry())
    episodes: list[Any] = []
    steps: list[float] = []
    try:
        trainer = train_grpo(
            build_untrained_model(settings.model, context, 0), context, settings,
            cases=range(2 * settings.grpo.completions // settings.grpo.group), completion=128, folder=tmp_path,
            record=lambda batch: episodes.extend(batch) or {},
            trainer_class=type("Calling", (Scripted,), {"name": broken.name}),
        )  # fmt: skip
        steps = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    finally:
        RELEASED.set()
        context.close()
        RELEASED.clear()
    assert len(steps) == 2
    assert len(episodes) == 2 * settings.grpo.completions
    assert {error.code for each in episodes for step in each.steps for r in step.results if (error := r.error)} == {
        code
    }
    assert all(each.termination == "answered" for each in episodes)
