"""What a run would be on several devices: command lines, the memory of each, the time of a step, and what limits it."""

from __future__ import annotations

import itertools
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.tools import closest_match
from medvistagym_trl._parallel import SHARDED, Parallel, launch_command
from medvistagym_trl._recipe import Recipe, RecipeError, check_rollouts
from medvistagym_trl.model import ModelSize
from medvistagym_trl.run._memory import MemoryEstimate
from medvistagym_trl.stages import TOOL_CALL_PARSERS, vllm_mode

RATES: Final[Mapping[str, str]] = {
    "generation": "tokens that one engine samples in a second, over all its rollouts",
    "learning": "tokens that one device learns from in a second, forward and backward",
    "tools": "seconds that the tools of one turn of all rollouts take",
    "sync": "GB of weights that reach the engine in a second",
}
"""Rates that the time of a step follows from, and what each is."""
DEVICE_GIB: Final = 80.0
"""Memory of a device where this machine has none and the command line does not say."""
USABLE: Final = 0.9
"""Share of a device's memory that may be planned for: an allocator leaves gaps, and libraries take some."""
_TICK: Final = 1e-9
CONTEXT: Final = 1.5 * 2**30
"""What a CUDA context and the buffers of collectives take of a device."""


def plan_launch(
    recipe: Recipe,
    size: ModelSize,
    memory: MemoryEstimate,
    tokens: Mapping[str, Any],
    *,
    gpus: int,
    parallel: Parallel | None = None,
    device_gib: float = DEVICE_GIB,
    rates: Mapping[str, float] | None = None,
    arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Plan the launch of a run.

    Args:
        recipe: The recipe.
        size: Of its model.
        memory: Of one device that trains alone.
        tokens: Of an episode, as `plan_run` counts them.
        gpus: Devices of the machine.
        parallel: How devices share weights; whichever fits when None.
        device_gib: Memory of a device.
        rates: Those of `RATES` that there are.
        arguments: Those of `medvistagym train`, without the ones that only plan.

    Raises:
        RecipeError: The batch cannot be split over the devices, a server is left without one, or the recipe samples rollouts
            in a way that several devices cannot follow.
    """
    grpo = recipe.trl.grpo
    engine = (vllm_mode(recipe) if recipe.grpo.steps else None) or "transformers"
    if engine == "server" and gpus < 2:
        raise RecipeError(f"a server of vLLM needs a device of its own: --gpus {gpus} leaves none beside the trainer's")
    trainers = _trainers(recipe, gpus, apart=engine == "server")
    parts = {stage: _parts(batch, parts, trainers) for stage, batch, parts in _batches(recipe)}
    utilization = float(grpo.get("vllm_gpu_memory_utilization", 0.3))
    reserved = utilization * device_gib * 2**30 if engine == "colocate" else 0.0
    usable = USABLE * device_gib * 2**30
    options: list[Parallel] = [parallel] if parallel else ["ddp", *(SHARDED[:1] if trainers > 1 else ())]
    chosen, device = _choose_parallel(options, usable, memory, size, trainers, engine, reserved)
    check_rollouts(recipe, ranks=trainers)
    server = _server(size, tokens, gpus - trainers, device_gib) if engine == "server" else None
    timed = _timed_parts(recipe, engine)
    engines = 1 if engine == "server" else trainers
    timed_rates = {name: rate for name, rate in (rates or {}).items() if name in timed}
    time = _time(recipe, size, tokens, timed_rates, trainers, engines)
    return {
        "gpus": gpus,
        "trainers": trainers,
        "parallel": chosen,
        "engine": engine,
        "device_gib": device_gib,
        "lines": _lines(recipe, size, tokens, chosen, trainers, gpus, engine, parts, arguments),
        "memory_bytes": {name: round(value) for name, value in device.items()},
        "server_bytes": server,
        "fits": sum(device.values()) <= usable,
        "seconds": time,
        "limits": _limits(device, usable, time, timed, device_gib),
    }


def _choose_parallel(
    options: Sequence[Parallel],
    usable: float,
    memory: MemoryEstimate,
    size: ModelSize,
    trainers: int,
    engine: str,
    reserved: float,
) -> tuple[Parallel, dict[str, float]]:
    """The first way to share weights whose devices have room, else the last one; and what a device then holds."""
    devices = [(option, _device(memory, size, option, trainers, engine, reserved)) for option in options]
    return next(((option, held) for option, held in devices if sum(held.values()) <= usable), devices[-1])


def read_rates(texts: Sequence[str]) -> dict[str, float]:
    """Rates from the command line: `PART=NUMBER` each, or a run folder whose metrics have them.

    Raises:
        RecipeError: There is no such part, it is no positive number, or they cannot be read from the run.
    """
    rates: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            rates |= _measure_rates(Path(text))
            continue
        if name not in RATES:
            nearest = closest_match(name, list(RATES))
            raise RecipeError(
                f"there is no rate of {name!r}{f'; did you mean {nearest}?' if nearest else ''} ({', '.join(RATES)})"
            )
        try:
            rates[name] = float(value)
        except ValueError:
            rates[name] = math.nan
        if not (math.isfinite(rates[name]) and rates[name] > 0):
            raise RecipeError(f"the rate of {name} is a positive number ({RATES[name]}), not {value!r}")
    return rates


def _measure_rates(run: Path) -> dict[str, float]:
    """Rates of a run on one device, from the metrics of its reinforcement learning."""
    file = run / "metrics.jsonl"
    if not file.is_file():
        raise RecipeError(f"{run} is neither PART=NUMBER nor a run folder: it holds no metrics.jsonl")
    lines = [line for line in _read_metrics(file) if all(name in line for name in _MEASURED)]
    # Tokens are counted from the last start: those of a step are a difference between two steps of one start.
    pairs = [
        (before, line)
        for before, line in itertools.pairwise(lines)
        if before.get("phase") == line.get("phase") and line["num_tokens"] > before["num_tokens"]
    ]
    if not pairs:
        raise RecipeError(f"{run} has no two steps of reinforcement learning, one after the other, with their seconds")
    steps = [line for _, line in pairs]
    generation, tools, written, whole = (sum(line[name] for line in steps) / len(steps) for name in _MEASURED[:-1])
    learnt = sum(line["num_tokens"] - before["num_tokens"] for before, line in pairs) / len(pairs)
    calls = sum(line.get("calls", 0.0) for line in steps) / len(steps)
    return {
        "generation": written / max(generation, _TICK),
        "learning": learnt / max(whole - generation - tools, _TICK),
        "tools": max(tools / max(1.0, calls), _TICK),
    }


_MEASURED: Final = ("seconds/generation", "seconds/tools", "tokens/written", "step_time", "num_tokens")
"""Metrics that rates follow from."""


def _read_metrics(file: Path) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl`, without a last one that a killed process left unfinished."""
    texts = file.read_text("utf-8").splitlines()
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            if number == len(texts):
                break
            raise RecipeError(f"{file}, line {number} is no JSON: {error}") from None
        if not isinstance(line, dict):
            raise RecipeError(f"{file}, line {number} is no object of metrics: {text[:60]}")
        lines.append(line)
    return lines


def _batches(recipe: Recipe) -> list[tuple[str, int, int]]:
    """Batch and parts of the stages that are run."""
    stages = [("sft", recipe.sft.batch, recipe.sft.parts)] if recipe.sft.steps != 0 else []
    return [*stages, *([("grpo", recipe.grpo.completions, recipe.grpo.parts)] if recipe.grpo.steps else [])]


def _trainers(recipe: Recipe, gpus: int, *, apart: bool) -> int:
    """Most devices that train: the batches are split evenly, and a server has at least one of its own."""
    batches = _batches(recipe)
    for count in range(gpus - apart, 0, -1):
        # A server splits heads, so that it wants as many devices as divide them: a power of two in practice.
        whole = not apart or (gpus - count) & (gpus - count - 1) == 0
        if whole and all(batch % count == 0 for _, batch, _ in batches):
            return count
    batches_text = " and ".join(f"{stage}'s {batch}" for stage, batch, _ in batches)
    raise RecipeError(f"{batches_text} cannot be split over {gpus} devices")


def _parts(batch: int, parts: int, trainers: int) -> int:
    """Parts of a batch for which a device holds no more rows at once than one device alone would."""
    rows = batch // parts
    return next(
        count for count in range(1, batch + 1) if batch % (count * trainers) == 0 and batch // count // trainers <= rows
    )


def _device(
    memory: MemoryEstimate, size: ModelSize, parallel: Parallel, trainers: int, engine: str, reserved: float
) -> dict[str, float]:
    """Bytes of one device that trains, by part, in the step that takes most."""
    share = trainers if parallel in SHARDED else 1
    gathered = 2 * memory.weights / max(1, size.language.layers) if share > 1 else 0.0  # a layer, and the next one
    activations = memory.activations - (memory.copies if share > 1 else 0)
    learning = activations + memory.pictures
    generation = memory.generation / trainers if engine == "transformers" else 0.0
    kept = {
        "weights": memory.weights / share,
        "gathered": gathered,
        "optimiser": memory.optimiser / share,
        "reference": memory.reference / share,
    }
    gradients = memory.gradients / share
    if generation > learning + gradients:
        kept["generation"] = generation
    else:
        kept |= {"gradients": gradients, "activations": activations, "pictures": memory.pictures}
    kept |= {"vllm": reserved, "context": CONTEXT}
    return {name: value for name, value in kept.items() if value}


def _server(size: ModelSize, tokens: Mapping[str, Any], devices: int, device_gib: float) -> dict[str, int]:
    """Bytes of one device of the server, and how many whole episodes its keys and values hold at once."""
    weights = 2 * size.all / devices
    keys = 2 * size.language.layers * size.language.kv_heads * 2 / devices * tokens["longest_episode"]
    left = max(0.0, USABLE * device_gib * 2**30 - weights - CONTEXT)
    return {"weights": round(weights), "keys_and_values": round(left), "episodes": int(left / max(keys, 1))}


def _time(
    recipe: Recipe, size: ModelSize, tokens: Mapping[str, Any], rates: Mapping[str, float], trainers: int, engines: int
) -> dict[str, float]:
    """Seconds of a step of reinforcement learning, by part, of the parts that have a rate; at the most."""
    if not recipe.grpo.steps:
        return {}
    turns = recipe.episode.max_calls + 1
    written = recipe.grpo.completions * turns * tokens["turn"]
    read = recipe.grpo.completions * tokens["longest_episode"]
    gigabytes = 2 * size.all / 1e9
    work = {
        "generation": (written, engines),
        "tools": (1.0, 1),
        "learning": (read, trainers),
        "sync": (gigabytes, 1),
    }
    seconds = {
        name: amount / (rates[name] * count)
        for name, (amount, count) in work.items()
        if name in rates and name != "tools"
    }
    if "tools" in rates:
        seconds["tools"] = rates["tools"] * recipe.episode.max_calls
    return {name: seconds[name] for name in work if name in seconds}


def _lines(
    recipe: Recipe,
    size: ModelSize,
    tokens: Mapping[str, Any],
    parallel: Parallel,
    trainers: int,
    gpus: int,
    engine: str,
    parts: Mapping[str, int],
    arguments: Sequence[str],
) -> list[str]:
    """The command lines, in the order in which they are started."""
    lines = []
    executor = recipe.executor.partition("?")[0]
    if executor == "ray" or executor.startswith("ray:"):
        lines.append("ray start --head --port 6379")
    changes = [f"{stage}.parts={count}" for stage, count in parts.items() if count != getattr(recipe, stage).parts]
    if engine == "server":
        devices = gpus - trainers
        images = max(1, recipe.episode.max_calls + 1)
        environment = (
            f"CUDA_VISIBLE_DEVICES={','.join(str(each) for each in range(trainers, gpus))} VLLM_SERVER_DEV_MODE=1"
        )
        serve = [
            "vllm", "serve", str(recipe.model.path), "--tensor-parallel-size", str(devices),
            "--max-model-len", str(_conversation(tokens)), "--weight-transfer-config", '{"backend": "nccl"}',
            "--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1", "--enable-scale-out",
            "--limit-mm-per-prompt", json.dumps({"image": 4 * images, "video": 0}),
        ]  # fmt: skip
        parser = TOOL_CALL_PARSERS.get(size.family)
        serve += ["--enable-auto-tool-choice", "--tool-call-parser", parser] if parser else []
        lines.append(f"{environment} {shlex.join(serve)}")
    if engine == "colocate" and "vllm_max_model_length" not in recipe.trl.grpo:
        changes.append(f"trl.grpo.vllm_max_model_length={_conversation(tokens)}")
    train = [*arguments, *(word for change in changes for word in ("--set", change))]
    if "--out" not in train and "--run" not in train:
        train += ["--out", f"runs/{recipe.name}"]
    visible = f"CUDA_VISIBLE_DEVICES={','.join(str(each) for each in range(trainers))} " if engine == "server" else ""
    command = (
        launch_command(trainers, parallel, ["train", *train], "python")
        if trainers > 1
        else ["medvistagym", "train", *train]
    )
    return [*lines, visible + shlex.join(command)]


def _conversation(tokens: Mapping[str, Any]) -> int:
    """Tokens of the longest conversation that the engine reads, of GRPO or of an evaluation."""
    return int(max(tokens["longest_episode"], tokens["longest_evaluation"]))


def _timed_parts(recipe: Recipe, engine: str) -> list[str]:
    """Parts that a step of the recipe has, in the order of `RATES`: none without reinforcement learning."""
    absent = set() if recipe.grpo.steps else set(RATES)
    if engine == "transformers":  # it samples with the weights that are trained
        absent.add("sync")
    if not recipe.episode.max_calls:
        absent.add("tools")
    return [name for name in RATES if name not in absent]


def _limits(
    device: Mapping[str, float], usable: float, time: Mapping[str, float], timed: Sequence[str], device_gib: float
) -> list[str]:
    """What would have to change first, a sentence each."""
    parts = {name: value for name, value in device.items() if name not in ("context", "vllm")}
    largest = max(parts, key=lambda name: parts[name])
    total = sum(device.values())
    percent = 100 * total / (device_gib * 2**30)
    memory = f"memory: {largest} is the largest part; {percent:.0f} % of a device of {device_gib:g} GiB is planned for"
    if total > usable:
        memory += f", and no more than {100 * USABLE:.0f} % should be: it does not fit"
    sentences = [memory]
    if time:
        slowest = max(time, key=lambda name: time[name])
        sentences.append(f"time: {slowest} takes {100 * time[slowest] / sum(time.values()):.0f} % of a step")
    missing = [name for name in timed if name not in time]
    if missing:
        example = f"--rate {missing[0]}=NUMBER ({RATES[missing[0]]}), or --rate RUN"
        sentences.append(f"time of {', '.join(missing)} is not estimated: give {example}")
    return sentences


def render_launch(launch: Mapping[str, Any], size_text: Any) -> str:
    """The plan of a launch for a terminal.

    Args:
        launch: What `plan_launch` gave.
        size_text: Bytes as text.
    """
    memory, seconds, server = launch["memory_bytes"], launch["seconds"], launch["server_bytes"]
    engine = {
        "transformers": "transformers samples",
        "colocate": "vLLM samples beside it",
        "server": "a vLLM server samples",
    }
    lines = [
        f"launch     {launch['trainers']} of {launch['gpus']} devices train ({launch['parallel']}); {engine[launch['engine']]}",
        *(f"  $ {line}" for line in launch["lines"]),
        f"a device   {size_text(sum(memory.values()))} of {launch['device_gib']:g} GiB at the most",
        *(f"  {part:<12} {size_text(value)}" for part, value in memory.items() if value),
    ]
    if server:
        lines.append(
            f"  the server's: {size_text(server['weights'])} weights; keys and values of {server['episodes']} whole episodes"
        )
    if seconds:
        lines.append(f"a step     {sum(seconds.values()):.1f} s at the most, of the parts that have a rate")
        lines += [f"  {part:<12} {value:.1f} s" for part, value in seconds.items()]
    return "\n".join([*lines, *launch["limits"]])
