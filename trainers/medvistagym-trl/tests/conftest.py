"""A toy task: a picture hides a word that only one of two tools can read."""

from __future__ import annotations

import copy
import functools
import gc
import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import numpy as np
import pytest

from medvistagym_core import Box, Image, tool
from medvistagym_core.environment import Answer, Case, PerceptionItem, ToolScript
from medvistagym_core.plugins import Registry
from medvistagym_core.rollouts import rollout
from medvistagym_core.tools import Toolbox, ToolCall
from medvistagym_core.trajectories import TrajectoryWriter

WORDS = ("dark", "bright")
collect_ignore = (
    [] if importlib.util.find_spec("vllm") else ["real_vllm"]
)  # they have an environment of their own: make test-vllm


@pytest.fixture(autouse=True, scope="module")
def frozen_imports() -> Iterator[None]:
    """Leaves what was imported out of garbage collections: Accelerate has one made at the end of each training."""
    gc.freeze()
    yield
    gc.unfreeze()


@tool
def shade(image: Image, box: Box, gain: float = 1.0) -> str:
    """Say how bright a part of an image is.

    Args:
        image: The image.
        box: The part.
        gain: Factor on the value.
    """
    x0, y0, x1, y1 = image.box_to_pixels(box)
    value = float(image.pixels[y0:y1, x0:x1].mean()) * gain
    if value < 0:
        raise ValueError("gain must not be negative")
    return f"mean {value:.0f}"


@tool
def mirror(image: Image) -> Image:
    """Mirror an image from left to right.

    Args:
        image: The image.
    """
    return image.with_pixels(image.pixels[:, ::-1])


class ToyTask:
    """Is the hidden square dark or bright?"""

    name = "toy"
    description = "Is the square dark or bright?"
    families = ("hidden", "plain")
    splits = ("train", "validation", "test")
    tools = ("mirror", "shade")
    abstention = "unclear"

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        rng = np.random.default_rng([self.splits.index(split), index, seed])
        bright = bool(rng.integers(2))
        pixels = rng.integers(90, 110, (32, 32)).astype(np.uint8)
        pixels[8:16, 8:16] = 200 if bright else 20
        return Case(
            id=f"toy-{split}-{index}",
            task=self.name,
            split=split,
            index=index,
            family=self.families[index % 2],
            question="Is the square dark or bright?",
            images=(Image(pixels=pixels),),
            answer=Answer(WORDS[bright]),
        )

    def vocabulary(self) -> tuple[str, ...]:
        return (*WORDS, "unclear", "0", "250", "500", "1000", "-5")

    def demonstrate(self, case: Case, rng: np.random.Generator, skill: float) -> ToolScript:
        if rng.random() < 0.5:
            yield ToolCall(name="shade", arguments={"image": 0, "box": [250, 250, 500, 500]})
        else:
            yield ToolCall(name="mirror", arguments={"image": 0})
        return case.answer.value

    def look(self, split: str, index: int, seed: int = 0) -> PerceptionItem:
        case = self.case(split, index, seed)
        return PerceptionItem(
            case.images[0], case.question, case.answer.value, ((Box(250, 250, 500, 500), case.answer.value),)
        )

    def informative(self, case: Case, call: ToolCall) -> bool:
        return call.name == "shade"


@pytest.fixture(scope="session")
def task() -> ToyTask:
    return ToyTask()


@pytest.fixture(scope="session")
def toolbox() -> Toolbox:
    return Toolbox({"mirror": mirror, "shade": shade})


@pytest.fixture(scope="session")
def make_registry() -> Callable[[ToyTask], Registry]:
    """Makes a registry of the tools and a task."""

    def make(task: ToyTask) -> Registry:
        registry = Registry()
        registry.add_tool(shade)
        registry.add_tool(mirror)
        registry.add_task(task)
        return registry

    return make


@pytest.fixture
def registry(make_registry: Callable[[ToyTask], Registry], task: ToyTask) -> Registry:
    return make_registry(task)


def toy_recipe() -> Any:
    """The recipe of the toy task."""
    from medvistagym_trl._recipe import Recipe

    return Recipe.model_validate(
        {
            "name": "toy",
            "task": "toy",
            "model": {"width": 32, "layers": 1, "vision_layers": 1, "heads": 2, "view_side": 32},
            "perception": {"steps": 3, "batch": 4},
            "sft": {"steps": 3, "batch": 4},
            "grpo": {"steps": 2, "completions": 8, "group": 4, "save_every": 1},
            "comparison": {"no_tools_steps": 2, "untrained_steps": 2},
            "evaluation": {"n": 4, "batch": 4},
        }
    )


@pytest.fixture(scope="session")
def recipe() -> Any:
    return toy_recipe()


@pytest.fixture(scope="session")
def context(recipe: Any, task: ToyTask, toolbox: Toolbox) -> Any:
    from medvistagym_trl.rollout import make_rollout_context

    return make_rollout_context(recipe, task, toolbox, Registry())


@pytest.fixture(scope="session")
def make_model(recipe: Any, context: Any) -> Any:
    """Makes the untrained model: it is built once, and copied; torch is seeded as if it had been built."""
    from medvistagym_trl.stages import build_untrained_model

    built = functools.cache(lambda: build_untrained_model(recipe.model, context, 0))

    def make() -> Any:
        import torch

        model = copy.deepcopy(built())
        torch.manual_seed(0)
        return model

    return make


@pytest.fixture
def model(make_model: Any) -> Any:
    return make_model()


@pytest.fixture(scope="session")
def make_checkpoint(context: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes the folder of a tiny checkpoint of a family and a template; once for each."""
    spec = importlib.util.spec_from_file_location("trl_test_checkpoints", Path(__file__).with_name("checkpoints.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    corpus = [context.config.prompt, *map(json.dumps, context.schemas), "<answer>dark</answer> <answer>bright</answer>"]

    @functools.cache
    def make(family: str = "qwen3_vl", template: str = "qwen3_vl", **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint")
        checkpoint: Path = module.make_checkpoint(folder, family, template, corpus=corpus, **options)
        return checkpoint

    return make


@pytest.fixture
def samples(context: Any, tmp_path: Path) -> Path:
    """Episodes of the toy task's demonstrations, a third of them with a wrong answer."""

    class Teacher:
        name = "teacher"
        sampling: ClassVar[dict[str, Any]] = {}

        def observe_case(self, case: Any, memory: dict[str, Any]) -> None:
            memory["case"] = case

        def act(self, observations: Any) -> list[str]:
            return [self._act(observation) for observation in observations]

        def _act(self, observation: Any) -> str:
            case = observation.policy_state["case"]
            if observation.num_turns == 0:
                return (
                    '<tool_call>{"name": "shade", "arguments": {"image": 0, "box": [250, 250, 500, 500]}}</tool_call>'
                )
            wrong = case.index % 3 == 2
            return f"<answer>{'unclear' if wrong else case.answer.value}</answer>"

    path = tmp_path / "teacher" / "trajectories.jsonl"
    with TrajectoryWriter(path, context.toolbox) as writer:
        for _ in rollout(Teacher(), context.task, context.toolbox, "train", range(12), context.config, writer=writer):
            pass
    return path.parent
