"""One schema in every dialect."""

import json
from typing import Annotated, Literal

import jsonschema
import pytest
from pydantic import Field

from medvistagym_core import Box, Image, tool
from medvistagym_core.protocol import system_prompt
from medvistagym_core.tools import DIALECTS, render_tool_schema, schema_hash


@tool
def invert(image: Image) -> Image:
    """Invert grey levels.

    Args:
        image: The image to invert.
    """
    return image


@tool
def shade(image: Image, box: Box, preset: Literal["a", "b"] = "a", width: Annotated[float, Field(gt=0)] = 1.0) -> str:
    """Shade it.

    Args:
        image: The image.
        box: Where.
        preset: How.
        width: How much.
    """
    return preset


SAMPLES = [invert, shade]


def parameters(rendered):
    if isinstance(rendered, str):
        rendered = json.loads(rendered)
    body = rendered.get("function", rendered)
    return next(body[key] for key in ("parameters", "input_schema", "inputSchema") if key in body)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda t: t.name)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_carries_the_validators_schema(sample, dialect):
    assert parameters(render_tool_schema(sample.spec, dialect)) == sample.spec.parameters
    jsonschema.Draft202012Validator.check_schema(sample.spec.parameters)


def test_unknown_dialect_is_named():
    with pytest.raises(ValueError, match="choose one of huggingface"):
        render_tool_schema(SAMPLES[0].spec, "latin")


def test_openai_is_strict_only_where_the_schema_stays_the_same():
    strict = {t.name: "strict" in render_tool_schema(t.spec, "openai")["function"] for t in SAMPLES}
    assert strict == {"invert": True, "shade": False}


def test_fingerprint_follows_what_a_policy_sees():
    spec = SAMPLES[0].spec
    assert schema_hash(spec) == schema_hash(spec.model_copy(update={"version": "9", "timeout_s": 1.0}))
    assert schema_hash(spec) != schema_hash(spec.model_copy(update={"description": "Other."}))


def test_the_prompt_has_every_schema_or_none():
    specs = [t.spec for t in SAMPLES]
    prompt = system_prompt(specs, rules="RULES", abstention="unclear")
    assert all(str(render_tool_schema(spec, "text")) in prompt for spec in specs)
    assert "RULES" in prompt
    assert "unclear" in prompt
    assert "research only" in prompt
    bare = system_prompt(specs, tools=False)
    assert not any(spec.description in bare for spec in specs)
    assert "tool" not in system_prompt([])
