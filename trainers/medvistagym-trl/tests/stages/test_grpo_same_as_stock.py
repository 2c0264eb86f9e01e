"""The proof that batched tool calls change nothing: the same training with it and with TRL's own loop, compared to the bit.

Three trainings of one tiny model from one seed. `Grouped` is the trainer as it is. `OneByOne` runs TRL's loop and every tool
call alone, at the moment TRL asks for it, in an episode that still knows which calls stand in one message. `Stock` has TRL's
loop untouched: no batches, every call a turn of its own; so it is compared where the limits of a turn do not bite. Turns are
partly sampled and partly set, and set from nothing but what the policy has read: what one training does, the other does only
as long as every token before is the same.
"""

from __future__ import annotations

import dataclasses
import random
import zlib
from typing import Any

import PIL.Image
import pytest
import torch
from trl.trainer.grpo_trainer import GRPOTrainer

from medvistagym_core import Image, tool
from medvistagym_core.environment import Limits
from medvistagym_core.execution import CallRequest, LocalExecutor
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import Toolbox, ToolResult
from medvistagym_trl.rollout import BatchedToolCalls, RolloutContext, make_environment_class
from medvistagym_trl.stages import BatchedToolGRPOTrainer, build_untrained_model, train_grpo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

STEPS = 2
CLOCKS = {"step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second"}
OURS = ("parity/", "seconds/", "tokens/written")
"""What is logged beside TRL's own figures."""


@tool
def tint(image: Image, by: int = 1) -> Image:
    """Brighten an image.

    Args:
        image: The image.
        by: How much.
    """
    return image.with_pixels(image.pixels // 2 + by)


@tint.batch
def _tints(calls: Any) -> Any:
    return [call["image"].with_pixels(call["image"].pixels // 2 + call["by"]) for call in calls]


@tool
def recite(words: int) -> str:
    """Say a word again and again.

    Args:
        words: How often.
    """
    return "dark " * words


@tool(deterministic=False)
def stumble(image: Image) -> str:
    """Fail.

    Args:
        image: The image.
    """
    raise RuntimeError("a bug")


def call(name: str, arguments: str) -> str:
    return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'


SHADE = call("shade", '{"image": 0, "box": [250, 250, 500, 500]}')
USED = (
    SHADE,
    call("mirror", '{"image": 0}'),
    call("tint", '{"image": 0, "by": 5}'),
    SHADE + SHADE,
    call("mirror", '{"image": 0}') + call("shade", '{"image": 1, "box": [500, 250, 1000, 500]}'),
    call("tint", '{"image": 0}') + call("mirror", '{"image": 1}'),
    call("shade", '{"image": 0, "box": [250, 250, 500, 500], "gain": -1}'),
    call("shade", '{"image": 0, "box": [500, 0, 0, 500]}'),
    call("mirror", '{"image": 9}') + SHADE,
    call("tint", '{"image": 0, "by": "much"}'),
    call("stumble", '{"image": 0}'),
    call("recite", '{"words": 200}'),
    call("mirror", '{"image": 0}') + call("recite", '{"words": 200}'),
)
REFUSED = (
    SHADE * 3,
    f"<answer>dark</answer>{SHADE}",
    call("nothing", "{}"),
    call("nothing", "{}") + call("mirror", '{"image": 0}'),
    '<tool_call>{"name": "shade", "argum</tool_call>',
    call("shade", "[1]"),
)
ANSWERS = ("<answer>bright</answer>", "<answer>dark</answer>", "<answer>unclear</answer>")


def collect(episodes: list[Any]) -> Any:
    """Keeps the finished episodes, and gives no metrics of them."""
    return lambda batch: episodes.extend(batch) or {}


class Grouped(BatchedToolGRPOTrainer):
    """The trainer, with some turns set, and what was made of them kept."""

    turns: tuple[str, ...] = ()

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        sampled, logprobs = super()._write_turns(prompt_ids, *args, **kwargs)
        tokenizer = self.processing_class.tokenizer
        header = tokenizer("<|im_start|>assistant\n")["input_ids"]
        for row, read in enumerate(prompt_ids):
            chance = random.Random(zlib.crc32(repr((read, row, self.state.global_step)).encode()))
            turn = sum(read[k : k + len(header)] == header for k in range(len(read)))
            if chance.random() < 0.1:
                continue
            told = chance.choice(self.turns if turn < 4 and chance.random() < 0.75 else ANSWERS)
            sampled[row] = tokenizer(told + "<|im_end|>")["input_ids"]
        return sampled, logprobs

    def _generate(self, prompts: Any) -> Any:
        made = super()._generate(prompts)
        self.__dict__.setdefault("made", []).append(frozen(made))
        return made

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        scored = super()._generate_and_score_completions(inputs)
        self.__dict__.setdefault("scored", []).append(scored)
        return scored


class OneByOne(Grouped):
    """TRL's loop, and every tool call run alone when the loop comes to it."""

    def _tool_call_loop(self, prompts: Any, prompt_ids: Any, completion_ids: Any, completions: Any, *args: Any) -> Any:
        adapters = [environment.adapter for environment in self.environments]
        for adapter, completion in zip(adapters, completions, strict=True):
            adapter.tool_calls = BatchedToolCalls([adapter], [completion], one_by_one(adapter.context.executor))
        try:
            return GRPOTrainer._tool_call_loop(self, prompts, prompt_ids, completion_ids, completions, *args)
        finally:
            for adapter in adapters:
                adapter.tool_calls = None

    def _get_tool_suffix_ids(self, tool_messages: Any) -> Any:
        for environment in self.environments:
            environment.adapter.tool_calls.begin_turn()
            environment.adapter.tool_calls.flush_unserved()
        return super()._get_tool_suffix_ids(tool_messages)


class Stock(Grouped):
    """TRL's loop as it is."""

    _tool_call_loop = GRPOTrainer._tool_call_loop


def one_by_one(executor: LocalExecutor) -> Any:
    def run(jobs: Any) -> list[list[ToolResult]]:
        return [[executor.run([(store, [one])])[0][0] for one in calls] for store, calls in jobs]

    return run


def frozen(value: Any) -> Any:
    if isinstance(value, PIL.Image.Image):
        return value.mode, value.size, value.tobytes()
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return [frozen(item) for item in value] if isinstance(value, list | tuple) else value


@dataclasses.dataclass
class Trained:
    """What a training left behind."""

    trainer: Any
    episodes: list[Any]
    runs: list[list[CallRequest]]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return dict(self.trainer.model.named_parameters())

    @property
    def logs(self) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in line.items() if key not in CLOCKS and not key.startswith(OURS)}
            for line in self.trainer.state.log_history
        ]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The episodes, less what a clock or the order of the work decides."""
        kept = []
        for episode in self.episodes:
            record = episode.to_trajectory().model_dump()
            for turn in record["turns"]:
                del turn["policy_seconds"], turn["tool_seconds"]
                for made in turn["calls"]:
                    del made["seconds"], made["cached"]
            kept.append(record)
        return kept

    @property
    def errors(self) -> set[str]:
        turns = [turn for record in self.records for turn in record["turns"]]
        found = [turn["error"] for turn in turns] + [made["error"] for turn in turns for made in turn["calls"]]
        return {error["code"] for error in found if error}

    @property
    def chats(self) -> list[Any]:
        return [chat for made in self.trainer.made for chat in made[3]]


class Counted(LocalExecutor):
    """Keeps the jobs of every run."""

    def __init__(self, toolbox: Toolbox) -> None:
        super().__init__(toolbox)
        self.runs: list[list[CallRequest]] = []

    def run(self, jobs: Any) -> list[list[ToolResult]]:
        self.runs.append(list(jobs))
        return super().run(jobs)


@pytest.fixture(scope="module")
def proof(context: RolloutContext, recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trains with a trainer class, on set turns, within limits."""
    toolbox = Toolbox({**context.toolbox, "recite": recite, "stumble": stumble, "tint": tint})
    protocol = TextProtocol(think="optional", max_calls_per_turn=2)
    sizes = recipe.with_overrides({"grpo.completions": 16, "grpo.parts": 2})

    def train(kind: type[Grouped], turns: tuple[str, ...], limits: Limits) -> Trained:
        config = dataclasses.replace(context.config, protocol=protocol, limits=limits, compact=False)
        executor = Counted(toolbox)
        mine = dataclasses.replace(context, toolbox=toolbox, config=config, make_executor=lambda toolbox: executor)
        model = build_untrained_model(recipe.model, mine, 0)
        certified = kind is Grouped  # a loop that is TRL's own does not say which rows it generates for
        settings = sizes.with_overrides({"grpo.parity.inputs": certified, "grpo.parity.logprobs_every": int(certified)})
        episodes: list[Any] = []
        trainer_class = type(kind.__name__, (kind,), {"turns": turns})
        executor.runs.clear()
        folder = tmp_path_factory.mktemp("proof")
        torch.manual_seed(0)
        trainer = train_grpo(
            model, mine, settings, cases=range(4 * STEPS), completion=96, folder=folder, record=collect(episodes),
            trainer_class=trainer_class,
        )  # fmt: skip
        return Trained(trainer, episodes, executor.runs)

    return train


@pytest.fixture(scope="module")
def strict(proof: Any) -> tuple[Trained, Trained]:
    """Every kind of turn, within limits that bite."""
    limits = Limits(max_turns=4, max_calls=3)
    return proof(Grouped, USED + REFUSED, limits), proof(OneByOne, USED + REFUSED, limits)


@pytest.fixture(scope="module")
def wide(proof: Any) -> tuple[Trained, Trained]:
    """Turns within the limits of an episode, however calls are counted as turns."""
    limits = Limits(max_turns=12, max_calls=11)
    return proof(Grouped, USED, limits), proof(Stock, USED, limits)


def same(ours: Trained, theirs: Trained) -> None:
    assert len(ours.trainer.made) == STEPS
    for mine, other in zip(ours.trainer.made, theirs.trainer.made, strict=True):
        assert mine == other  # ids, masks, messages, counts of calls and failures, images
    assert ours.logs == theirs.logs
    assert [episode.score for episode in ours.episodes] == [episode.score for episode in theirs.episodes]
    for name, weight in ours.weights.items():
        assert torch.equal(weight, theirs.weights[name]), name


def test_training_is_that_of_the_stock_loop_to_the_bit(wide: tuple[Trained, Trained]) -> None:
    same(*wide)


def test_training_is_that_of_tools_run_one_by_one_to_the_bit(strict: tuple[Trained, Trained]) -> None:
    same(*strict)
    assert strict[0].records == strict[1].records


def test_the_proof_sees_every_kind_of_turn(strict: tuple[Trained, Trained], wide: tuple[Trained, Trained]) -> None:
    assert strict[0].errors == {
        "unknown_tool", "malformed_call", "bad_arguments", "bad_value", "tool_failed", "budget_exhausted",
    }  # fmt: skip
    for trained, _ in (strict, wide):
        turns = [turn for record in trained.records for turn in record["turns"]]
        # a call that names the image of the call before it
        assert any(len(turn["calls"]) == 2 and turn["calls"][1]["images"] == (1,) for turn in turns)
        # an over-long result, rolled back: the chat ends with the call
        assert any(chat[-1].get("tool_calls") for chat in trained.chats if len(chat) < 5)
        assert all(line["grad_norm"] > 0 for line in trained.logs if "grad_norm" in line)
        assert any(images for made in trained.trainer.made for images in made[-2])


def test_no_call_misses_its_group(strict: tuple[Trained, Trained], wide: tuple[Trained, Trained]) -> None:
    for trained, alone in (strict, wide):
        assert trained.trainer.unbatched_calls == 0
        turns = [turn for made in trained.trainer.made for turn in range(max(calling_turns(made[3])))]
        assert 0 < len(trained.runs) <= len(turns)  # a turn may hold nothing that can be run
        assert len(alone.runs) > 3 * len(trained.runs)
        assert all(len(jobs) == 1 for jobs in alone.runs)


def calling_turns(chats: Any) -> list[int]:
    """How many turns of each chat asked for tools."""
    return [sum(bool(message.get("tool_calls")) for message in chat) for chat in chats]


def test_the_proof_notices_results_in_the_wrong_place(
    proof: Any, wide: tuple[Trained, Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Counted.run

    def swapped(self: Any, jobs: Any) -> list[list[ToolResult]]:
        results = run(self, jobs)
        alike = [k for k, row in enumerate(results) if len(row) == 1 and row[0].ok and not row[0].images]
        for k, row in zip(alike, [results[k] for k in alike[1:] + alike[:1]], strict=True):
            results[k] = row
        return results

    monkeypatch.setattr(Counted, "run", swapped)
    broken = proof(Grouped, USED, Limits(max_turns=12, max_calls=11))
    with pytest.raises(AssertionError):
        same(broken, wide[1])


def test_the_calls_of_a_turn_are_one_kernel(context: RolloutContext) -> None:
    together: list[int] = []

    @tool(deterministic=False)
    def look(image: Image) -> str:
        """Look.

        Args:
            image: The image.
        """
        return "seen"

    @look.batch
    def _looks(calls: Any) -> list[str]:
        together.append(len(calls))
        return ["seen"] * len(calls)

    mine = dataclasses.replace(context, toolbox=Toolbox({"look": look}))
    environments = [make_environment_class(mine)() for _ in range(32)]
    adapters = [environment.adapter for environment in environments]
    asked = {"type": "function", "function": {"name": "look", "arguments": {"image": 0}}}
    calls = BatchedToolCalls(
        adapters, [[{"role": "assistant", "content": "", "tool_calls": [asked]}] for _ in adapters], mine.executor.run
    )
    for index, environment in enumerate(environments):
        environment.reset(index=index)
        environment.adapter.tool_calls = calls
    for adapter in adapters:
        assert adapter.call("look", {"image": 0}) == [{"type": "text", "text": "seen"}]
    assert together == [32]
    assert (calls.unbatched_calls, calls.batches) == (0, 1)


def test_rollouts_whose_result_was_taken_back_count_nothing(wide: tuple[Trained, Trained]) -> None:
    """Looking is not punished for a result that the limits left no room for."""
    for trained in wide:
        lost = [episode for episode in trained.episodes if episode.termination == "tokens"]
        assert lost
        assert all("did not fit" in episode.reason for episode in lost)
    advantages = [value for made in wide[0].trainer.scored for value in made["advantages"].tolist()]
    rows = [episode.termination == "tokens" for episode in wide[0].episodes]
    assert len(rows) == len(advantages)
    assert all(value == 0 for value, dropped in zip(advantages, rows, strict=True) if dropped)
    assert any(value != 0 for value, dropped in zip(advantages, rows, strict=True) if not dropped)
