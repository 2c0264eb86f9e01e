"""One of two gloo processes whose weights FSDP2 shards: rollouts in parts, of unequal numbers of turns, and drawn again.

The engine is called as often on both ranks, and writes on each what a whole model would write.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import ToyTask, mirror, shade, toy_recipe
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_trl._ranks import join_ranks, leave_ranks, rank, rank_count
from medvistagym_trl.model import ImageFields
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.stages import BatchedToolGRPOTrainer, build_untrained_model, train_grpo

LAYERS = ("Qwen3VLTextDecoderLayer", "Qwen3VLVisionBlock")
CALL = '<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>'
ANSWERS = ("<answer>bright</answer>", "<answer>dark</answer>")
CALLS = ([2, 1, 2, 1], [0, 0, 1, 0])
"""Calls that the episodes of each rank make."""
TOKENS = 5


class Turns(BatchedToolGRPOTrainer):
    """Plays one batch in place of a training; keeps what the model would have written."""

    engine_calls = 0

    def train(self, *args: Any, **kwargs: Any) -> Any:
        trained: Any = self
        trained.generation_config.max_new_tokens = TOKENS
        self.read: list[Any] = []
        self.played: list[int] = []
        generate = trained.model.generate

        def counted(*arguments: Any, **settings: Any) -> Any:
            self.engine_calls += 1
            return generate(*arguments, **settings)

        trained.model.generate = counted
        first = rank() * 4
        self._generate_and_score_completions([trained.train_dataset[(first + row) // 4] for row in range(4)])
        self.played = [each.adapter.episode.case.index for each in trained.environments]

    def _write_turns(self, prompt_ids: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        rows = self._rows(prompt_ids)
        would = super()._write_turns(prompt_ids, images, *args, **kwargs)[0]
        self.read += zip(prompt_ids, images, would, strict=True)
        turns = []
        for row in rows:
            calls = sum(message["role"] == "tool" for message in (self._completions or {row: []})[row])
            # The second rank's episodes all answer the same until they are played again.
            equal = rank() == 1 and self.batch_rows is None
            answer = "<answer>unclear</answer>" if equal else ANSWERS[row % 2]
            turns.append(CALL if calls < CALLS[rank()][row] else answer)
        processor: Any = self.processing_class
        return [processor.tokenizer(f"{turn}<|im_end|>")["input_ids"] for turn in turns], None

    def _rows(self, prompt_ids: Any) -> list[int]:
        if self._completions is None:
            return list(range(len(prompt_ids)))
        return [row for row, chat in enumerate(self._completions) if chat[-1]["role"] == "tool"]


def main(folder: Path) -> None:
    """Play, and raise where ranks or models differ."""
    torch.set_num_threads(1)
    join_ranks()
    changes = {
        "grpo.steps": 1, "grpo.completions": 8, "grpo.parts": 1, "grpo.generation_parts": 2, "grpo.zero_variance": "redraw",
        "grpo.parity.logprobs_every": 0, "trl.grpo.generation_kwargs": {"do_sample": False},
    }  # fmt: skip
    recipe = toy_recipe().with_overrides(changes)
    context = make_rollout_context(recipe, ToyTask(), Toolbox({"mirror": mirror, "shade": shade}), Registry())
    model = build_untrained_model(recipe.model, context, 0)
    whole = copy.deepcopy(model.model)
    mesh = init_device_mesh("cpu", (rank_count(),))
    for module in model.model.modules():
        if type(module).__name__ in LAYERS:
            fully_shard(module, mesh=mesh)
    fully_shard(model.model, mesh=mesh)

    def make(**arguments: Any) -> Any:
        trainer = Turns(**arguments)
        trainer.is_fsdp_enabled = True
        return trainer

    trainer: Any = train_grpo(
        model, context, recipe, cases=[0, 1], completion=256, folder=folder / str(rank()), record=lambda _: {},
        redraw_cases=range(40, 48), trainer_class=make,
    )  # fmt: skip
    calls: list[Any] = [None] * rank_count()
    distributed.all_gather_object(calls, (trainer.engine_calls, len(trainer.read), trainer.played))
    assert calls[0][0] == calls[1][0], calls
    assert calls[0][1] == 4 + 4 + 2, calls  # first turns, second, third
    assert calls[1][1] == 4 + 1 + 4 + 1, calls  # the same again, when they are drawn again
    assert calls[0][2] == [0] * 4, calls
    assert calls[1][2] == [42] * 4, calls
    fields = ImageFields(model.processor)
    for ids, images, would in trainer.read:
        row = torch.tensor([ids])
        shown = fields.make(list(images))
        if fields.has_token_types:
            shown["mm_token_type_ids"] = fields.token_types(row)
        written = whole.generate(
            input_ids=row, attention_mask=torch.ones_like(row), **shown, generation_config=trainer.generation_config
        )[0, len(ids) :].tolist()
        assert written[: len(would)] == would, (written, would)
    distributed.barrier()
    leave_ranks()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
