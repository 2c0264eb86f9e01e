"""Which checkpoints are taken, found out by rendering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvistagym_trl.model import UnsupportedModelError, describe_supported_models, load_model
from medvistagym_trl.model._compatibility import find_incompatibility


def test_the_tiny_model_passes(model: Any, context: Any) -> None:
    assert find_incompatibility(model.processor, context.schemas) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{%- for tool in tools -%}", "does not show the schemas of mirror, shade"),
        ("{%- if part.type == 'image' -%}", "leaves out images that tools return"),
    ],
)
def test_a_template_that_leaves_something_out_is_refused(model: Any, context: Any, line: str, reason: str) -> None:
    lost = {
        "{%- for tool in tools -%}": "{%- for tool in [] -%}",
        "{%- if part.type == 'image' -%}": "{%- if part.type == 'image' and message.role != 'tool' -%}",
    }[line]
    template = model.processor.chat_template.replace(line, lost)
    model.processor.chat_template = template
    assert reason in (find_incompatibility(model.processor, context.schemas) or "")


def test_a_folder_without_a_model_is_refused(tmp_path: Path, context: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=r"holds no config\.json"):
        load_model(tmp_path, context.schemas)


def test_a_model_that_reads_no_images_is_refused(tmp_path: Path, context: Any) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UnsupportedModelError, match="does not load as an image-and-text model") as refusal:
        load_model(tmp_path, context.schemas)
    assert describe_supported_models() in str(refusal.value)


def test_a_saved_model_loads(model: Any, context: Any, tmp_path: Path) -> None:
    model.model.save_pretrained(tmp_path)
    model.processor.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = load_model(tmp_path, context.schemas)
    assert loaded.family == "qwen3_vl"
    assert loaded.tokenizer.response_template == model.tokenizer.response_template
