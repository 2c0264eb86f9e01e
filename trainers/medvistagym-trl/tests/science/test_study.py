"""A study from nothing to its table and figures, gone on with, and told apart from another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medvistagym_trl.science import (
    StudyError,
    begin_study,
    format_study,
    plot_policies,
    plot_tool_use,
    plot_trajectory_counts,
    read_study,
    run_seed,
    write_study,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def test_a_folder_keeps_to_one_recipe(recipe: Any, tmp_path: Path) -> None:
    assert begin_study(tmp_path / "study", recipe) == recipe
    assert begin_study(tmp_path / "study", recipe) == recipe
    with pytest.raises(StudyError, match="holds a study of another recipe"):
        begin_study(tmp_path / "study", recipe.with_overrides({"grpo.lr": 1e-3}))
    with pytest.raises(StudyError, match=r"no seed of .* is finished yet"):
        read_study(tmp_path / "study")
    with pytest.raises(StudyError, match="holds no study"):
        read_study(tmp_path)
    with pytest.raises(StudyError, match="has no steps of grpo"):
        plot_tool_use(tmp_path, tmp_path / "tools.png")


@pytest.mark.slow
def test_a_study_is_trained_counted_and_drawn(
    recipe: Any, registry: Any, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    changes = {"sft.data": [str(samples)], "grpo.temperature": 1.0, "evaluation.decodings": ["trained", "greedy"]}
    begin_study(folder, recipe.with_overrides(changes))
    for seed in (0, 1):
        run_seed(folder, seed, (4,), registry)
    capsys.readouterr()
    run_seed(folder, 0, (4,), registry)
    assert "..." not in capsys.readouterr().err  # nothing was left to do

    study = write_study(folder)
    assert study.seeds == (0, 1)
    assert study.decodings == ("T = 1", "greedy")
    assert {"no tools", "call format only", "SFT", "SFT + GRPO", "GRPO without SFT"} <= set(study.titles)
    assert {"SFT + GRPO, without shade", "no tools, handed tools at test time"} <= set(study.titles)
    whole = study.share("SFT + GRPO")
    assert whole is not None
    assert (whole.n, set(whole.seeds)) == (8, {0, 1})
    assert [point.trajectories for point in study.curve] == [4, 8, 8]
    text = format_study(study)
    assert (folder / "study.md").read_text("utf-8") == text
    assert "| **SFT + GRPO** | " in text
    written = json.loads((folder / "study.json").read_text("utf-8"))
    assert {row["family"] for row in written["rows"]} == {"hidden", "plain", "overall"}

    for number, draw in enumerate((plot_policies, plot_trajectory_counts)):
        draw(study, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
    plot_tool_use(folder / "seed-0" / "main", tmp_path / "tools.png")
    assert (tmp_path / "tools.png").read_bytes().startswith(b"\x89PNG")
