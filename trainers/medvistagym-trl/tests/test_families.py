"""Which checkpoints are taken, found out by rendering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvistagym_trl.families import UnsupportedModelError, check, load_policy, supported


def test_the_built_in_policy_passes(policy: Any, world: Any) -> None:
    check(policy.processor, world.schemas, "qwen3_vl")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{%- for tool in tools -%}", "does not show the schemas of mirror, shade"),
        ("{%- if part.type == 'image' -%}", "leaves out images that tools return"),
    ],
)
def test_a_template_that_leaves_something_out_is_refused(policy: Any, world: Any, line: str, reason: str) -> None:
    lost = {
        "{%- for tool in tools -%}": "{%- for tool in [] -%}",
        "{%- if part.type == 'image' -%}": "{%- if part.type == 'image' and message.role != 'tool' -%}",
    }[line]
    template = policy.processor.chat_template.replace(line, lost)
    if "message.role" in lost:  # a macro does not see the message: hand its role over
        template = template.replace("macro blocks(content)", "macro blocks(content, message={})").replace(
            "blocks(message.content)", "blocks(message.content, message)"
        )
    policy.processor.chat_template = template
    with pytest.raises(UnsupportedModelError, match=reason) as refusal:
        check(policy.processor, world.schemas, "some_vl")
    assert supported() in str(refusal.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path, world: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=r"holds no config\.json"):
        load_policy(tmp_path, world.schemas)


def test_a_model_that_reads_no_images_is_refused(tmp_path: Path, world: Any) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UnsupportedModelError, match="does not load as an image-and-text model"):
        load_policy(tmp_path, world.schemas)


def test_a_saved_policy_loads(policy: Any, world: Any, tmp_path: Path) -> None:
    policy.model.save_pretrained(tmp_path)
    policy.processor.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = load_policy(tmp_path, world.schemas)
    assert loaded.family == "qwen3_vl"
    assert loaded.tokenizer.response_template == policy.tokenizer.response_template
