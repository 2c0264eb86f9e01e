"""The model card of a run."""

from __future__ import annotations

from typing import Any

import pytest

from medvistagym_core.trajectories import ResultRow, Results
from medvistagym_trl.run._model_card import model_card


def test_a_card_tells_what_was_reached_how_and_what_was_proved(recipe: Any, toolbox: Any) -> None:
    row = ResultRow.from_counts("SFT + GRPO", "overall", "greedy", n=40, correct=30, calls=44, abstained=2)
    results = Results(task="toy", split="test", seed=3, rows=(row,), notes=("The reward uses the answer alone.",))
    metrics = [
        {"phase": "sft", "step": 1, "loss": 1.0},
        {"phase": "grpo", "step": 1, "parity/rows": 8, "parity/images": 12, "parity/logprob_difference": 2e-7,
         "parity/engine_difference": 3e-6, "parity/canary_difference": 0.5},
        {"phase": "grpo", "step": 2, "parity/rows": 8, "parity/images": 9, "parity/logprob_difference": 1e-7},
    ]  # fmt: skip
    card = model_card(recipe, toolbox, results, metrics, {"sft": 3.2, "evaluation-sft": 9.0})
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "| SFT + GRPO | greedy | 0.750 | 0.598 to 0.858 | 40 | 1.10 | 0.050 |" in card
    assert "- The reward uses the answer alone." in card
    assert "Stages: sft 3 s." in card
    assert "`mirror`, `shade`" in card
    assert "In 2 steps, 16 rollouts with 21 images were trained on" in card
    assert "by at most 2e-07 nats a token, from those of the engine that sampled by at most 3e-06" in card
    assert "not for clinical use" in card
    assert "There is none: no stage" in model_card(recipe, toolbox, results, metrics[:1], {})


@pytest.mark.parametrize(("name", "accuracy"), [("scoutvqa", 0.9), ("scoutvqa-explored", 0.85)])
def test_shipped_curves_are_of_shipped_recipes(name: str, accuracy: float) -> None:
    from medvistagym_core.scoring import read_training
    from medvistagym_trl import TrlTrainer

    trainer = TrlTrainer()
    shipped = trainer.reference_runs()
    assert set(shipped) <= set(trainer.recipes())
    curve = read_training(shipped[name])
    assert accuracy < (curve.final("grpo", "accuracy") or 0) < 1
    # The names that a run of the recipe uses: `compare` sets rows of the same policy side by side.
    assert {row.policy for row in curve.rows} == {"no tools", "call format only", "SFT", "SFT + GRPO"}
