"""One of several gloo processes: a tiny model sharded by FSDP2 gives the loss, gradients and certificate of the whole one."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_trl._ranks import join_ranks, leave_ranks, rank, rank_count
from medvistagym_trl._recipe import ParityRecipe
from medvistagym_trl.model import encode_for_training
from medvistagym_trl.rollout import make_rollout_context, run_demonstration
from medvistagym_trl.stages import ModelEngine, build_untrained_model, check_logprobs, choose_rows

LAYERS = ("Qwen3VLTextDecoderLayer", "Qwen3VLVisionBlock")


def main() -> None:
    """Compare, and raise where they differ."""
    spec = importlib.util.spec_from_file_location("trl_test_toys", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    toys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toys)
    torch.set_num_threads(1)
    join_ranks()
    task, recipe = toys.ToyTask(), toys.toy_recipe()
    context = make_rollout_context(recipe, task, Toolbox({"mirror": toys.mirror, "shade": toys.shade}), Registry())
    model = build_untrained_model(recipe.model, context, 0)
    talks = [
        run_demonstration(context, k, lambda case, rng: task.demonstrate(case, rng, 1.0), 0).messages for k in range(4)
    ]
    batch = encode_for_training(model.processor, talks, context.schemas, model.end_of_turn)
    whole = model.model
    sharded: Any = copy.deepcopy(whole)
    mesh = init_device_mesh("cpu", (rank_count(),))
    for module in sharded.modules():
        if type(module).__name__ in LAYERS:
            fully_shard(module, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    losses = [each(**batch).loss for each in (whole, sharded)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[0], losses[1])
    shares = 0
    for (name, mine), theirs in zip(whole.named_parameters(), sharded.parameters(), strict=True):
        shares += theirs.to_local().numel()
        if mine.grad is not None:
            torch.testing.assert_close(theirs.grad.full_tensor(), mine.grad, rtol=1e-4, atol=1e-6, msg=name)
    assert shares < 0.6 * sum(weight.numel() for weight in whole.parameters())
    check_certificate(model, whole, sharded, talks, context.schemas)
    distributed.barrier()
    leave_ranks()


def check_certificate(model: Any, whole: Any, sharded: Any, talks: Any, schemas: Any) -> None:
    """The full check through sharded weights, of batches in which ranks have unequal numbers of rows with images."""
    mine = talks if rank() == 0 else talks[:2]
    rows = [encode_for_training(model.processor, [talk], schemas, model.end_of_turn)["input_ids"][0] for talk in mine]
    images = [
        [block["image"] for message in talk for block in message["content"] if block["type"] == "image"]
        for talk in mine
    ]
    start, length = 20, max(len(row) for row in rows)
    output = {
        "prompt_ids": torch.stack([row[:start] for row in rows]),
        "prompt_mask": torch.ones(len(rows), start, dtype=torch.long),
        "completion_ids": torch.stack([torch.nn.functional.pad(row, (0, length - len(row)))[start:] for row in rows]),
        "completion_mask": torch.stack([(torch.arange(start, length) < len(row)).long() for row in rows]),
    }
    alone = ModelEngine(whole, model.processor, 1.0)
    scores = [alone.score(row.tolist(), start, shown) for row, shown in zip(rows, images, strict=True)]
    ours = torch.stack([torch.nn.functional.pad(each, (0, length - start - len(each))) for each in scores])

    def gather(number: int) -> list[int]:
        counts: list[int] = [0] * rank_count()
        distributed.all_gather_object(counts, number)
        return counts

    recipe = ParityRecipe(rows=3)
    chosen = choose_rows(images, recipe.rows, gather)
    assert len(chosen) == 2  # as many on the rank that has more
    engine = ModelEngine(sharded, model.processor, 1.0)
    found = check_logprobs(ours, output, images, engine, recipe, half=False, rows=chosen)
    assert found["logprob_difference"] < 1e-5
    assert found["canary_difference"] > 0
    none: list[None] = [None] * len(rows)
    assert choose_rows(images if rank() == 0 else none, recipe.rows, gather) == []
    assert len(choose_rows(none, 2, gather)) == 2


if __name__ == "__main__":
    main()
