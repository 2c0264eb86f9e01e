"""models.toml: what is wrong with an entry is told in one sentence, and the other entries stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medvistagym_models import ModelError, load_tools, read_models

Refused = Callable[[str], str]

GOOD = """
[judge]
path = "vit"
task = "image-classification"
description = "Judges chest films."
"""


@pytest.fixture
def vit(tmp_path: Path, save: Callable[..., Path]) -> Path:
    return save("image-classification", tmp_path / "vit")


def test_a_wrong_path_is_named_with_the_nearest_that_is_there(vit: Path, refused: Refused) -> None:
    sentence = refused(GOOD.replace('"vit"', '"vits"'))
    assert sentence == f"[judge] path vits is not there; did you mean {vit}?"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("image-classification", "image-clasification"), "did you mean image-classification?"),
        (('path = "vit"', ""), "path is missing: say where the model lies"),
        (('task = "image-classification"', ""), "task is missing: it is one of image-classification, object-detection"),
        (('description = "Judges chest films."', ""), "description is missing"),
        (("description", "treshold = 0.5\ndescription"), "has no setting treshold; did you mean threshold?"),
        (("description", "threshold = 1.5\ndescription"), "threshold: it should be less than or equal to 1, not 1.5"),
        (("description", "trust_remote_code = true\ndescription"), "trust_remote_code is refused"),
        (("description", "labels = {7 = 'mass'}\ndescription"), "labels names class 7, and the model has classes 0 to 2"),
        (("description", "input = {std = 0.0}\ndescription"), "std is not 0"),
        (("description", "input = {channels = 3, mean = [0.5, 0.5]}\ndescription"), "mean has 2 values and channels is 3"),
        (("description", 'adapter = "deepbett"\ndescription'), "there is no adapter deepbett"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_what_is_accepted(
    vit: Path, refused: Refused, change: tuple[str, str], sentence: str
) -> None:
    said = refused(GOOD.replace(*change))
    assert said.startswith("[judge] ")
    assert sentence in said
    assert "\n" not in said


def test_missing_labels_are_asked_for_by_number(tmp_path: Path, save: Callable[..., Path], refused: Refused) -> None:
    save(
        "image-classification",
        tmp_path / "vit",
        id2label={0: "LABEL_0", 1: "LABEL_1"},
        label2id={"LABEL_0": 0, "LABEL_1": 1},
    )
    assert refused(GOOD) == (
        "[judge] labels are missing: the model does not name its 2 classes; "
        'add labels = {0 = "...", 1 = "..."}'
    )  # fmt: skip


def test_code_that_lies_beside_weights_is_refused(vit: Path, refused: Refused) -> None:
    config = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "theirs.Model"}}))
    (vit / "theirs.py").write_text("raise SystemExit('it was run')")
    assert "auto_map), which needs trust_remote_code and is refused" in refused(GOOD)


def test_pickled_weights_are_refused(vit: Path, refused: Refused) -> None:
    (vit / "model.safetensors").unlink()
    (vit / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert "only pytorch_model.bin, a pickle that could run code; safetensors are taken" in refused(GOOD)


def test_weights_alone_are_no_model(tmp_path: Path, refused: Refused) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "vit")
    (tmp_path / "vit").rename(tmp_path / "net.pt")
    assert "net.pt is no TorchScript file: weights alone do not say what network" in refused(
        GOOD.replace('"vit"', '"net.pt"')
    )


def test_a_bad_entry_leaves_the_others(vit: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(GOOD + GOOD.replace("judge", "other").replace("image-classification", "cooking"))
    good, bad = load_tools(file)
    assert not isinstance(good, ModelError)
    assert good.name == "judge"
    assert isinstance(bad, ModelError)
    assert bad.name == "other"


def test_a_file_that_is_no_toml_is_told_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text("[judge\n")
    with pytest.raises(ValueError, match=r"models\.toml is not a TOML file that can be read: .*line 1"):
        list(read_models(file))
    with pytest.raises(ValueError, match=r"absent\.toml: no such file"):
        list(read_models(tmp_path / "absent.toml"))
