"""The parity certificate: what is trained on is what the policy read, and every planted fault stops the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from trl.trainer.grpo_trainer import GRPOTrainer

from medvistagym_trl.model import share_features
from medvistagym_trl.stages import BatchedToolGRPOTrainer, ModelEngine, ParityError, train_grpo

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

TURNS = (
    '<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>',
    "<answer>bright</answer>",
    '<tool_call>{"name": "shade", "arguments": {"image": 0, "box": [250, 250, 500, 500]}}</tool_call>',
    "<answer>unclear</answer>",
)


class Scripted(BatchedToolGRPOTrainer):
    """Writes set turns in place of sampled ones."""

    turns = TURNS

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        self.generation_config.max_new_tokens = 2  # none of them is kept
        super()._write_turns(prompt_ids, *args, **kwargs)
        turns = [self.turns[(row + len(ids)) % len(self.turns)] + "<|im_end|>" for row, ids in enumerate(prompt_ids)]
        return [self.processing_class.tokenizer(turn)["input_ids"] for turn in turns], None


@pytest.fixture
def train(make_model: Any, context: Any, recipe: Any, tmp_path: Path) -> Callable[..., Any]:
    """Trains on set turns; `prepare` is handed the trainer before it begins."""

    def run(kind: type[Scripted] = Scripted, prepare: Any = None, steps: int = 1, **changes: Any) -> Any:
        settings = recipe.with_overrides({f"grpo.{name}": value for name, value in changes.items()})

        def make(**arguments: Any) -> Any:
            trainer = kind(**arguments)
            if prepare is not None:
                prepare(trainer)
            return trainer

        return train_grpo(
            make_model(), context, settings, cases=range(2 * steps), completion=128, folder=tmp_path,
            record=lambda episodes: {}, trainer_class=make,
        )  # fmt: skip

    return run


def certified(trainer: Any) -> list[dict[str, float]]:
    return [line for line in trainer.state.log_history if "parity/rows" in line]


def test_a_training_is_certified_in_its_log(train: Any) -> None:
    trainer = train(steps=2, **{"parity.logprobs_every": 2})
    first, second = certified(trainer)
    assert first["parity/rows"] == second["parity/rows"] == 8
    assert first["parity/images"] > 8  # the images of the prompts, and those that tools returned
    assert 0 < first["parity/seconds"] < first["step_time"]
    assert first["parity/logprob_difference"] < 1e-4
    assert first["parity/canary_difference"] > 0
    assert "parity/logprob_difference" not in second
    assert not (Path(trainer.args.output_dir) / "parity").exists()


def test_the_certificate_can_be_left_out(train: Any) -> None:
    trainer = train(**{"parity.inputs": False, "parity.logprobs_every": 0})
    assert not certified(trainer)


def test_log_probabilities_can_be_checked_alone(train: Any) -> None:
    trainer = train(**{"parity.inputs": False, "parity.logprobs_every": 1})
    first = trainer.state.log_history[0]
    assert first["parity/logprob_difference"] < 1e-4
    assert first["parity/canary_difference"] > 0


def test_it_changes_no_weight(train: Any) -> None:
    weights = [
        {name: weight.detach().clone() for name, weight in train(**changes).model.named_parameters()}
        for changes in ({"parity.logprobs_every": 1}, {"parity.inputs": False, "parity.logprobs_every": 0})
    ]
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name]), name


def alter(monkeypatch: pytest.MonkeyPatch, method: str, change: Callable[[Any], None]) -> None:
    """Let a method of TRL's trainer give something else."""
    given = getattr(GRPOTrainer, method)

    def altered(self: Any, *args: Any, **kwargs: Any) -> Any:
        value = given(self, *args, **kwargs)
        change(value)
        return value

    monkeypatch.setattr(GRPOTrainer, method, altered)


def stopped(train: Any, sentence: str, folder: Path, **arguments: Any) -> dict[str, Any]:
    """The batch that a run left behind when it stopped."""
    with pytest.raises(ParityError, match=sentence) as error:
        train(**arguments)
    assert "nothing was updated by it, and the batch is kept in" in str(error.value)
    (path,) = (folder / "parity").iterdir()
    assert str(path) in str(error.value)
    return torch.load(path, weights_only=True)


def swap_images(made: Any) -> None:
    images = made[6]
    images[0][0], images[4][0] = images[4][0], images[0][0]  # of two cases, whose prompts are the same text


def test_a_swapped_image_is_found_in_the_rollouts(train: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alter(monkeypatch, "_generate", swap_images)
    kept = stopped(train, "row 0: its image 0 is not the one that it read", tmp_path)
    assert kept["row"] == 0
    assert kept["batch"]


def test_a_swapped_image_is_found_in_what_is_trained_on(train: Any, tmp_path: Path) -> None:
    class Swapping(Scripted):
        def _generate(self, prompts: Any) -> Any:
            made = super()._generate(prompts)
            swap_images(made)
            return made

    kept = stopped(
        train,
        "the pixels of its image 0 are not those that it read",
        tmp_path,
        kind=Swapping,
        **{"parity.logprobs_every": 0},
    )
    assert kept["batch"]["pixel_values"].ndim == 2


def test_images_in_another_order_are_found(train: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def reverse(made: Any) -> None:
        longest = max(made[6], key=len)
        longest.reverse()

    alter(monkeypatch, "_generate", reverse)
    stopped(train, "trained on the images that it read in another order", tmp_path)


def test_pixels_of_a_row_that_are_shuffled_apart_from_its_tokens_are_found(
    train: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from trl.trainer import grpo_trainer

    shuffle = grpo_trainer.shuffle_sequence_dict

    def apart(batch: Any) -> Any:
        shuffled = shuffle(batch)
        return {**shuffled, "pixel_values": batch["pixel_values"]}

    monkeypatch.setattr(grpo_trainer, "shuffle_sequence_dict", apart)
    stopped(train, "(pixels|grid|images|patches)", tmp_path)


@pytest.mark.parametrize("what", ["places", "tokens", "count"])
def test_a_shifted_placeholder_is_found(train: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str) -> None:
    def shift(output: Any) -> None:
        if what == "places":
            output["mm_token_type_ids"] = output["mm_token_type_ids"].roll(1, 1)
        elif what == "tokens":
            output["prompt_ids"][3] = output["prompt_ids"][3].roll(1)
        else:
            output["image_grid_thw"] = output["image_grid_thw"].roll(1, 1)

    alter(monkeypatch, "_generate_and_score_completions", shift)
    sentences = {
        "places": r"the places of its images \(mm_token_type_ids\) are not its placeholders",
        "tokens": "row 3: it is trained on other tokens than what it read and wrote, from token 0 on",
        "count": "has a grid of",
    }
    stopped(train, sentences[what], tmp_path, **{"parity.logprobs_every": 0})


def test_images_that_trl_drops_are_an_error(train: Any, tmp_path: Path) -> None:
    class WritesPlaceholder(Scripted):
        turns = (*TURNS[:3], "<|image_pad|><answer>unclear</answer>")

    stopped(
        train, r"TRL dropped its \d images and those of the whole batch", tmp_path, kind=WritesPlaceholder,
        **{"parity.logprobs_every": 0},
    )  # fmt: skip


def test_a_later_turn_that_reads_other_tokens_is_found(train: Any, tmp_path: Path) -> None:
    class Forgetful(Scripted):
        def _tool_call_loop(self, prompts: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            prompt_ids[0] = [*prompt_ids[0][1:], prompt_ids[0][0]]
            return super()._tool_call_loop(prompts, prompt_ids, *args, **kwargs)

    stopped(
        train, "row 0: (a later turn does not begin with|its rollout is not) what it read", tmp_path, kind=Forgetful
    )


def test_a_stale_cache_of_image_features_is_found(train: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one_key = SimpleNamespace(blake2b=lambda *_, **__: SimpleNamespace(digest=lambda: b""))
    monkeypatch.setattr("medvistagym_trl.model._shared_features.hashlib", one_key)  # the first image stays for all
    stopped(
        train, "the pixels that it read are not those of its image [01]: a cache is stale", tmp_path,
        prepare=lambda trainer: share_features(trainer.processing_class),
    )  # fmt: skip


def test_an_engine_that_kept_old_weights_is_found(train: Any, make_model: Any, tmp_path: Path) -> None:
    def plant(trainer: Any) -> None:
        old = make_model().model  # as the trained one is before its first step
        trainer.scoring_engine = ModelEngine(old, trainer.processing_class, trainer.temperature)

    stopped(
        train, "step 2, .*the log-probabilities of the trainer and of an engine that reads it alone differ by", tmp_path,
        prepare=plant, steps=3, lr=1e-2, warmup_steps=0, **{"parity.logprobs_every": 1},
    )  # fmt: skip


def test_an_engine_that_sampled_from_another_policy_is_found(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(output: Any) -> None:
        output["sampling_per_token_logps"] = torch.zeros_like(output["completion_ids"], dtype=torch.float32)

    alter(monkeypatch, "_generate_and_score_completions", report)
    stopped(train, "the log-probabilities of the trainer and of the engine that sampled it differ by", tmp_path)


def test_an_engine_that_is_not_shown_its_images_is_found(train: Any, tmp_path: Path) -> None:
    class Blind(ModelEngine):
        def score(self, ids: Any, start: int, images: Any) -> torch.Tensor:
            return super().score(ids, start, [PIL.Image.new("RGB", image.size) for image in images])

    def plant(trainer: Any) -> None:
        trainer.scoring_engine = Blind(trainer.model, trainer.processing_class, trainer.temperature)

    stopped(
        train, "inverted images leave every log-probability as it was", tmp_path, prepare=plant,
        **{"parity.max_logprob_difference": 100.0},
    )  # fmt: skip


def test_a_rank_without_synchronisation_is_found(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def plant(trainer: Any) -> None:
        gather = trainer.accelerator.gather

        def of_two_ranks(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and value.dtype == torch.float64 and value.shape == (2,):
                return torch.cat([value, value + torch.tensor([1e-3 * float(value[1]), 0.0])])
            return gather(value)

        trainer.accelerator.gather = of_two_ranks

    with pytest.raises(ParityError, match="step 1: rank 1 holds other weights than rank 0: they were not synchronised"):
        train(prepare=plant)


def test_fingerprints_tell_patches_and_their_places_apart() -> None:
    from medvistagym_trl.stages._parity import fingerprint_images, same_fingerprint

    pixels = torch.from_numpy(np.random.default_rng(0).random((12, 48), dtype=np.float32))
    grids = torch.tensor([[1, 2, 2], [1, 2, 4]])
    first, second = fingerprint_images(pixels, grids)
    assert not same_fingerprint(first, second)
    assert same_fingerprint(first, fingerprint_images(pixels[:4] * (1 + 1e-7), grids[:1])[0])
    assert not same_fingerprint(first, fingerprint_images(pixels[:4].roll(1, 0), grids[:1])[0])
    assert not same_fingerprint(first, fingerprint_images(pixels[:4].roll(1, 1), grids[:1])[0])
    with pytest.raises(ValueError, match="12 patches where the grids say 4"):
        fingerprint_images(pixels, grids[:1])
