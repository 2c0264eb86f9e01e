"""Chat templates: what they lose of tools and pictures is found by rendering."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from medvistagym_core import Box, Image, Toolbox, tool
from medvistagym_core.cli import main
from medvistagym_core.protocol import ChatTemplateReport, inspect_chat_template, load_template, render_chat

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

WHOLE = (
    "{%- macro show(content) -%}{%- if content is string -%}{{ content }}{%- else -%}{%- for part in content -%}"
    "{%- if part.type == 'image' -%}<img>{%- else -%}{{ part.text }}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
    "{%- for tool in tools or [] -%}{{ tool | tojson }}\n{%- endfor -%}"
    "{%- for m in messages -%}<{{ m.role }}>{{ show(m.content) }}"
    "{%- for call in m.tool_calls or [] -%}{{ call | tojson }}{%- endfor -%}</{{ m.role }}>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<assistant>{%- endif -%}"
)
# Each change loses one thing, and one only.
CHANGES = {
    "the template does not show the schemas of zoom": ("{{ tool | tojson }}", "{{ tool.function.name }}"),
    "the template shows zoom without the exact schema (bounds, descriptions)": (
        "{{ tool | tojson }}",
        "{{ tool.function.name }}({% for name in tool.function.parameters.properties %}{{ name }},{% endfor %})",
    ),
    "the template takes no system message": (
        "{%- for m in messages -%}",
        "{%- for m in messages -%}{%- if m.role == 'system' -%}{{ raise_exception('no system') }}{%- endif -%}",
    ),
    "the template leaves out earlier tool calls": ("{{ call | tojson }}", ""),
    "the template leaves out images that tools return": (
        "{{ show(m.content) }}",
        (
            "{%- if m.role == 'tool' and m.content is not string -%}{{ m.content[-1].text }}"
            "{%- else -%}{{ show(m.content) }}{%- endif -%}"
        ),
    ),
    "the template rewrites earlier turns when a tool's result follows": (
        "{%- for m in messages -%}",
        "{{ messages | length }}{%- for m in messages -%}",
    ),
}


@tool
def zoom(image: Image, box: Box, factor: Annotated[float, Field(ge=1, le=8)] = 2.0) -> Image:
    """Enlarge a part.

    Args:
        image: The image.
        box: What to enlarge.
        factor: How many times.
    """
    return image


SCHEMAS = Toolbox({"zoom": zoom}).schemas()


def tokenizer(template: str) -> Any:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    return made


def test_a_template_that_shows_everything_has_no_problem() -> None:
    report = inspect_chat_template(tokenizer(WHOLE), SCHEMAS)
    assert report == ChatTemplateReport()
    assert report.problems == ()


@pytest.mark.parametrize("problem", CHANGES)
def test_each_loss_is_named_and_nothing_else(problem: str) -> None:
    old, new = CHANGES[problem]
    assert old in WHOLE
    assert inspect_chat_template(tokenizer(WHOLE.replace(old, new)), SCHEMAS).problems == (problem,)


def test_images_that_are_not_shown_at_all() -> None:
    assert set(inspect_chat_template(tokenizer(WHOLE.replace("<img>", "")), SCHEMAS).problems) == {
        "the template does not show images",
        "the template leaves out images that tools return",
    }


def test_a_template_of_text_is_asked_in_text() -> None:
    plain = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    report = inspect_chat_template(tokenizer(plain), SCHEMAS)
    assert not report.accepts_content_blocks
    assert report.results
    assert report.tools_not_rendered == ("zoom",)


def test_a_template_that_fails_is_quoted() -> None:
    failing = "{{ raise_exception('only for weather') }}"
    report = inspect_chat_template(tokenizer(failing), SCHEMAS)
    assert "the template fails on a question (TemplateError: only for weather)" in report.problems
    assert report.tools_not_rendered == ("zoom",)


@pytest.mark.skipif(find_spec("trl") is None, reason="the templates are in trl")
@pytest.mark.parametrize(
    ("family", "hidden", "result_images"),
    [
        ("qwen3_vl", False, True),
        ("qwen3_5_nothink", False, True),
        ("gemma4_v2", False, True),
        ("lfm2_2_5_vl", False, True),
        ("gemma4", False, False),
        ("gemma4_v3", False, False),
        ("qwen2_5_vl", True, True),
        ("smolvlm", True, False),
        ("idefics3", True, False),
        ("llava_next", True, False),
        ("gemma3", True, False),
    ],
)
def test_the_templates_of_real_families(family: str, hidden: bool, result_images: bool) -> None:
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    template = Path(spec.origin).parent / "chat_templates" / f"{family}.jinja"
    report = inspect_chat_template(tokenizer(template.read_text("utf-8")), SCHEMAS)
    assert report.images
    assert (bool(report.tools_not_rendered), report.result_images) == (hidden, result_images)


# -- loading, and the command line


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tokenizer(WHOLE).save_pretrained(tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def tools_file(tmp_path: Path) -> Path:
    file = tmp_path / "tools.py"
    file.write_text(
        "from medvistagym_core import Image, tool\n\n\n@tool\ndef invert(image: Image) -> Image:\n"
        '    """Invert.\n\n    Args:\n        image: The image.\n    """\n    return image\n'
    )
    return file


def test_a_saved_template_is_the_template(checkpoint: Path) -> None:
    template = load_template(checkpoint)
    assert inspect_chat_template(template, SCHEMAS).problems == ()
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where?"}]}]
    text = render_chat(template, messages, SCHEMAS, generation=True)
    assert json.loads(text.splitlines()[0].partition("<user>")[0]) == SCHEMAS[0]
    assert text.endswith("<user><img>Where?</user><assistant>")


def test_what_cannot_be_loaded_is_said(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="is not the folder of a checkpoint"):
        load_template(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no chat template can be loaded: it holds no tokenizer"):
        load_template(tmp_path / "empty")
    for file in checkpoint.glob("*"):
        if file.name != "tokenizer.json":
            file.unlink()
    with pytest.raises(ValueError, match="it has no chat template"):
        load_template(checkpoint)


def test_prompt_through_a_model(checkpoint: Path, tools_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["prompt", "--tools", "invert", "--tools-from", str(tools_file), "--plugins", "none", "--model"]
    assert main([*given, str(checkpoint)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert '"name": "invert"' in captured.out
    assert "<system>You answer questions about medical images" in captured.out
    assert captured.out.rstrip().endswith("<user><img>QUESTION</user><assistant>")


def test_prompt_warns_and_writes_the_schemas_itself(
    tmp_path: Path, tools_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer(WHOLE.replace("{{ tool | tojson }}", "")).save_pretrained(tmp_path / "dropping")
    given = ["prompt", "--tools", "invert", "--tools-from", str(tools_file), "--plugins", "none", "--model"]
    assert main([*given, str(tmp_path / "dropping"), "--json"]) == 0
    captured = capsys.readouterr()
    assert "warning: the template does not show the schemas of invert" in captured.err
    assert "the schemas are written into the system prompt instead" in captured.err
    document = json.loads(captured.out)
    assert document["schemas_in"] == "system prompt"
    assert '{"name": "invert"' in document["prompt"]
    assert main([*given, str(tmp_path / "nowhere")]) == 2
    assert "is not the folder of a checkpoint" in capsys.readouterr().err
