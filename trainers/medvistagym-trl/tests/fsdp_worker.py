"""One of several gloo processes: a tiny model sharded by FSDP2 gives the loss and gradients of the whole one."""

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
from medvistagym_trl._ranks import join_ranks, leave_ranks, rank_count
from medvistagym_trl.model import encode_for_training
from medvistagym_trl.rollout import make_rollout_context, run_demonstration
from medvistagym_trl.stages import build_untrained_model

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
    distributed.barrier()
    leave_ranks()


if __name__ == "__main__":
    main()
