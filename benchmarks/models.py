"""A model of one entry beside a loop over its own pipeline: 64 episodes' calls in one batch, one by one, and transformers' way.

`python benchmarks/models.py` saves a small ViT and a small DETR with random weights as transformers saves them, offers both by
an entry of models.toml, and lets the contestants look at the same 64 chest films of 224 pixels in turn, on one thread. It
prints rows and merges them into benchmarks/results.json. Nothing is kept between the rounds but the loaded model.

- `models.vit`, `models.detr`: ms for 64 calls of a policy's tool through the executor: of 64 episodes together (ours), beside
  the same calls one after another (`one by one`), beside a loop over `transformers.pipeline`, and beside that pipeline with
  `batch_size=64`. Ours validates the calls, windows the films, and makes the sentences and data of the results; the pipeline is
  handed pictures that are windowed already. Results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rows import compare, merge

CALLS = 64
SIDE = 224
LABELS = {0: "clear", 1: "opacity", 2: "nodule"}
ENTRIES = """
[judge]
path = "vit"
task = "image-classification"
description = "Judges chest films."
batch = 64

[find]
path = "detr"
task = "object-detection"
description = "Finds opacities on chest films."
batch = 64
input = {size = 64, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5]}
"""


def save_models(folder: Path) -> None:
    """The two models, as transformers saves them."""
    import torch
    import transformers

    torch.manual_seed(0)
    names: dict[str, Any] = {"id2label": LABELS, "label2id": {label: number for number, label in LABELS.items()}}
    vit = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=12, num_attention_heads=2, intermediate_size=64, **names
    )  # fmt: skip
    transformers.ViTForImageClassification(vit).save_pretrained(folder / "vit")
    detr = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
        ),
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=12, **names,
    )  # fmt: skip
    transformers.DetrForObjectDetection(detr).save_pretrained(folder / "detr")
    shared = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    for name, kind, side in (("vit", "ViTImageProcessor", 32), ("detr", "DetrImageProcessor", 64)):
        settings = {**shared, "image_processor_type": kind, "size": {"height": side, "width": side}, "do_pad": False}
        (folder / name / "preprocessor_config.json").write_text(json.dumps(settings))


def films() -> list[Any]:
    """Chest films of noise and a bright spot."""
    import numpy as np

    from medvistagym_core import Image, Window

    generator = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    found = []
    for _ in range(CALLS):
        cx, cy = generator.uniform(40, SIDE - 40, 2)
        pixels = generator.normal(0, 100, (SIDE, SIDE)) + 800 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 400)
        found.append(Image(pixels=pixels.astype(np.int16), unit="raw", modality="DX", window=Window(100, 1200)))
    return found


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Milliseconds that it takes."""

    def run() -> float:
        began = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - began)

    return run


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    import torch
    import transformers

    from medvistagym_core import ImageStore, LocalExecutor, Registry, ToolCall
    from medvistagym_models import load_tools

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_models(folder)
        (folder / "models.toml").write_text(ENTRIES)
        registry = Registry()
        for tool in load_tools(folder / "models.toml"):
            if isinstance(tool, Exception):
                raise tool
            registry.add_tool(tool, "models")
        images = films()
        pictures = [image.to_pil().convert("RGB") for image in images]
        rows: list[dict[str, Any]] = []
        with LocalExecutor(registry.toolbox(), cache_bytes=0) as executor:
            for name, path, task in (("judge", "vit", "image-classification"), ("find", "detr", "object-detection")):
                pipeline: Any = transformers.pipeline(task, model=str(folder / path), device="cpu")  # type: ignore[call-overload]
                call = ToolCall(name=name, arguments={"image": 0})

                def ask(some: Sequence[Any], call: ToolCall = call) -> list[Any]:
                    return [found[0] for found in executor.run([(ImageStore([one]), [call]) for one in some])]

                def one_by_one(ask: Callable[[Sequence[Any]], list[Any]] = ask) -> list[Any]:
                    return [ask([one])[0] for one in images]

                together, alone = ask(images), one_by_one()
                if [one.text for one in together] != [one.text for one in alone] or any(one.error for one in together):
                    raise SystemExit(f"{name}: calls that run together give other results than one by one")
                if task == "image-classification":
                    for ours, theirs in zip(together, pipeline(pictures), strict=True):
                        best = max(ours.data["probabilities"].items(), key=lambda item: item[1])
                        if best[0] != theirs[0]["label"] or abs(best[1] - theirs[0]["score"]) > 0.01:
                            raise SystemExit(f"{name}: the pipeline says {theirs[0]}, ours {best}")
                rows += compare(
                    f"models.{path}", CALLS, "ms", timed(lambda ask=ask: ask(images)),
                    {
                        "one by one": timed(one_by_one),
                        "pipeline, loop": timed(lambda pipe=pipeline: [pipe(one) for one in pictures]),
                        "pipeline, batch_size=64": timed(lambda pipe=pipeline: pipe(pictures, batch_size=CALLS)),
                    },
                    options.rounds,
                )  # fmt: skip
    merge(rows)


if __name__ == "__main__":
    main()
