"""The plan of a launch: lines, memory of a device, time of a step, and what limits it."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from medvistagym_core.rollouts import LaunchRequest
from medvistagym_trl import TrlTrainer
from medvistagym_trl._parallel import check_parallel, config_file, launch_command
from medvistagym_trl._recipe import RecipeError, load_recipe
from medvistagym_trl.model import ModelSize, StackSize
from medvistagym_trl.run import estimate_memory
from medvistagym_trl.run._launch_plan import plan_launch, read_rates, render_launch

TOKENS = {"longest_episode": 4096, "longest_evaluation": 4000, "turn": 256}
EIGHT = ModelSize(
    family="qwen3_vl",
    parameters={"language": 8_000_000_000, "vision": 600_000_000, "projector": 100_000_000},
    trained=8_700_000_000,
    quantised=0,
    stored_bytes=2,
    language=StackSize(layers=36, hidden=4096, intermediate=12288, heads=4096, kv_heads=1024),
    vision=StackSize(layers=27, hidden=1152, intermediate=4304, heads=1152, kv_heads=1152),
    vocabulary=151_936,
    context_length=262_144,
)
"""A model of 8B parameters."""


def plan(name: str, **options: Any) -> dict[str, Any]:
    recipe = load_recipe(name).with_overrides({"model.path": "/models/eight", **options.pop("changes", {})})
    memory = estimate_memory(EIGHT, recipe, conversation=4096, completion=2048, image_tokens=1024, half=True)
    return plan_launch(recipe, EIGHT, memory, TOKENS, arguments=[name, "--model", "/models/eight"], **options)


def test_weights_that_do_not_fit_on_each_device_are_sharded() -> None:
    ddp, chosen = plan("vllm-colocate", gpus=8, parallel="ddp"), plan("vllm-colocate", gpus=8)
    assert (ddp["fits"], ddp["parallel"]) == (False, "ddp")
    assert (chosen["fits"], chosen["parallel"]) == (True, "fsdp2")
    assert ddp["memory_bytes"]["optimiser"] == 8 * EIGHT.all
    assert chosen["memory_bytes"]["optimiser"] == EIGHT.all
    assert "it does not fit" in ddp["limits"][0]
    assert "memory: " in chosen["limits"][0]
    adapters = plan("vllm-colocate", gpus=8, changes={"model.lora.rank": 32})
    assert adapters["memory_bytes"]["vllm"] == round(0.3 * 80 * 2**30)


def test_rollouts_in_parts_and_played_again_go_with_weights_that_are_shared() -> None:
    changes = {"grpo.generation_parts": 2, "grpo.zero_variance": "redraw"}
    assert plan("checkpoint", gpus=2, changes=changes)["parallel"] == "fsdp2"
    with pytest.raises(RecipeError, match="redraw gives each of 4 processes other rows to play again"):
        plan("vllm-server", gpus=8, changes={"grpo.zero_variance": "redraw"})


def test_a_server_has_devices_of_its_own_and_a_line_before_the_trainers() -> None:
    planned = plan("vllm-server", gpus=8)
    serve, train = map(shlex.split, planned["lines"])
    assert serve[:3] == ["CUDA_VISIBLE_DEVICES=4,5,6,7", "VLLM_SERVER_DEV_MODE=1", "vllm"]
    assert serve[serve.index("--tool-call-parser") + 1] == "hermes"
    assert serve[serve.index("--tensor-parallel-size") + 1] == "4"
    assert json.loads(serve[serve.index("--weight-transfer-config") + 1]) == {"backend": "nccl"}
    assert train[0] == "CUDA_VISIBLE_DEVICES=0,1,2,3"
    assert "vllm" not in planned["memory_bytes"]
    assert planned["server_bytes"]["episodes"] > 100
    with pytest.raises(RecipeError, match="needs a device of its own: --gpus 1 leaves none beside the trainer's"):
        plan("vllm-server", gpus=1)


def test_vllm_shares_the_devices_of_the_trainer_unless_a_recipe_says_server() -> None:
    planned = plan("checkpoint", gpus=2, changes={"trl.grpo": {"use_vllm": True}})
    assert (planned["engine"], planned["trainers"]) == ("colocate", 2)
    assert planned["memory_bytes"]["vllm"] > 0
    assert any("trl.grpo.vllm_max_model_length=4096" in line for line in planned["lines"])


def test_an_engine_reads_evaluations_that_are_longer_than_the_episodes_of_training() -> None:
    longer = {**TOKENS, "longest_evaluation": 5000}
    for name, option in (("vllm-colocate", "vllm_max_model_length=5000"), ("vllm-server", "--max-model-len 5000")):
        recipe = load_recipe(name).with_overrides({"model.path": "checkpoint"})
        memory = estimate_memory(EIGHT, recipe, conversation=4096, completion=2048, image_tokens=1024, half=True)
        planned = plan_launch(recipe, EIGHT, memory, longer, gpus=2)
        assert any(option in line for line in planned["lines"])


def test_only_parts_that_a_step_has_are_asked_for() -> None:
    sampled = plan("checkpoint", gpus=2, rates={"sync": 8})
    assert sampled["seconds"] == {}
    assert "time of generation, learning, tools is not estimated" in sampled["limits"][1]
    supervised = plan("checkpoint", gpus=2, changes={"grpo.steps": 0})
    assert [limit.partition(":")[0] for limit in supervised["limits"]] == ["memory"]


def test_a_line_keeps_the_batch_and_the_rows_of_a_device() -> None:
    recipe = load_recipe("vllm-colocate")
    for gpus in (1, 2, 3, 8, 16):
        planned = plan("vllm-colocate", gpus=gpus)
        words = shlex.split(planned["lines"][-1])
        changes = dict(word.split("=", 1) for word in words if "parts=" in word)
        parts = int(changes.get("grpo.parts", recipe.grpo.parts))
        assert recipe.grpo.completions % (parts * planned["trainers"]) == 0
        assert recipe.grpo.completions // parts // planned["trainers"] <= recipe.grpo.completions // recipe.grpo.parts
        assert planned["trainers"] <= gpus
    assert plan("vllm-colocate", gpus=3)["trainers"] == 2
    assert plan("checkpoint", gpus=2, changes={"executor": "ray"})["lines"][0].startswith("ray start --head")


def test_time_follows_from_rates_and_the_slowest_part_is_named() -> None:
    planned = plan("vllm-colocate", gpus=8, rates={"generation": 2500, "learning": 9000, "tools": 0.5, "sync": 10})
    assert planned["seconds"]["generation"] == pytest.approx(64 * 4 * 256 / 2500 / 8)
    assert planned["seconds"]["learning"] == pytest.approx(64 * 4096 / 9000 / 8)
    assert planned["seconds"]["tools"] == pytest.approx(0.5 * 3)
    assert planned["seconds"]["sync"] == pytest.approx(17.4 / 10)
    assert planned["limits"][1].startswith("time: learning takes")
    without = plan("vllm-colocate", gpus=8)
    assert without["seconds"] == {}
    assert "time of generation, learning, tools, sync is not estimated" in without["limits"][1]
    text = render_launch(planned, lambda value: f"{value / 2**30:.1f} GiB")
    assert "8 of 8 devices train (fsdp2); vLLM samples beside it" in text


def test_rates_are_given_or_measured(tmp_path: Path) -> None:
    lines = [
        {"phase": "grpo", "step": step, "step_time": 10.0, "seconds/generation": 5.0, "seconds/tools": 1.0,
         "tokens/written": 1000, "num_tokens": 8000 * step, "calls": 2.0}
        for step in (1, 2, 3)
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_rates([str(tmp_path), "sync=8"]) == {"generation": 200, "learning": 2000, "tools": 0.5, "sync": 8}
    restarted = [{**line, "step": line["step"] + 3} for line in lines]
    tail = [{**line, "phase": "grpo_tail", "step": line["step"] - 1, "num_tokens": 1000} for line in lines[1:2]]
    texts = [json.dumps(line) for line in [*lines, *restarted, *tail]]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*texts, '{"phase": "grpo", "st']))
    assert read_rates([str(tmp_path)]) == {"generation": 200, "learning": 2000, "tools": 0.5}
    (tmp_path / "metrics.jsonl").write_text("\n".join([texts[0], texts[-1]]))
    with pytest.raises(RecipeError, match="has no two steps of reinforcement learning, one after the other"):
        read_rates([str(tmp_path)])
    (tmp_path / "metrics.jsonl").write_text("\n".join([texts[0], '{"broken', *texts[1:]]))
    with pytest.raises(RecipeError, match=r"metrics\.jsonl, line 2 is no JSON"):
        read_rates([str(tmp_path)])
    with pytest.raises(RecipeError, match=r"no rate of 'generaton'; did you mean generation\?"):
        read_rates(["generaton=3"])
    with pytest.raises(RecipeError, match=r"positive number .*, not '-1'"):
        read_rates(["sync=-1"])
    with pytest.raises(RecipeError, match="neither PART=NUMBER nor a run folder"):
        read_rates([str(tmp_path / "none")])


def test_the_configurations_that_ship_are_those_of_accelerate() -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    for name, kind in (("fsdp2", "FSDP"), ("zero3", "DEEPSPEED")):
        config = ClusterConfig.from_yaml_file(str(config_file(check_parallel(name))))
        assert config.distributed_type == kind
        assert yaml.safe_load(config_file(check_parallel(name)).read_text())["num_machines"] == 1
    assert launch_command(4, "fsdp2", ["train"], "python")[2:4] == ["accelerate.commands.launch", "--config_file"]
    with pytest.raises(RecipeError, match=r"not by 'zero2'; did you mean zero3\?"):
        check_parallel("zero2")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_plan_for_another_machine_needs_no_vllm_here(make_checkpoint: Any, registry: Any) -> None:
    changes: dict[str, Any] = {"task": "toy", "tools": ["mirror", "shade"], "episode.max_calls": 2}
    request = LaunchRequest(4, ("vllm-colocate", "--model", "DIR"), None, 24.0, ("generation=100",))
    made = TrlTrainer().plan(registry, recipe="vllm-colocate", changes=changes, model=make_checkpoint(), launch=request)
    assert made.document["launch"]["device_gib"] == 24
    assert "which is not installed" in made.text
    assert (
        "$ python -m torch.distributed.run --standalone --nproc_per_node 4 -m medvistagym_core.cli train vllm-colocate"
        in made.text
    )


def test_weights_are_not_sharded_where_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(RecipeError, match="--parallel fsdp2 shards weights over 2 CUDA devices, and there are 1;"):
        TrlTrainer().launch_command(LaunchRequest(2, ("paper",), "fsdp2"))
    assert "torch.distributed.run" in TrlTrainer().launch_command(LaunchRequest(2, ("paper",)))


def test_the_launcher_is_protected_from_broken_metadata_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[torch.backends]\nthis is no line\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    command = TrlTrainer().launch_command(LaunchRequest(2, ("paper",)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launcher = command[: command.index("--standalone")]
    done = subprocess.run([*launcher, "--help"], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, "--nproc-per-node" in done.stdout) == (0, True), done.stderr


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_only_trl_can_refuse_is_refused_before_processes_start(registry: Any, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"task": "toy", "tools": ["mirror", "shade"], "trl.grpo.nonsense": 1}
    with pytest.raises(RecipeError, match="TRL's GRPOConfig has no field 'nonsense'"):
        TrlTrainer().check(registry, run=tmp_path / "run", quick=True, changes=changes, processes=2)
    del changes["trl.grpo.nonsense"]
    TrlTrainer().check(registry, run=tmp_path / "run", quick=True, changes=changes, processes=2)
    assert not (tmp_path / "run").exists()
