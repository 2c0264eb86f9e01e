"""From a foreign tool's schema to a spec, and the check of arguments against it."""

from __future__ import annotations

import pickle
from typing import Any

import jsonschema
import pytest
from mcp import types

from medvistagym_core import Tool, ToolError, ToolResult
from medvistagym_mcp.client import McpServerConfig, McpServerError
from medvistagym_mcp.client._tool_spec import ImportedSpec, to_argument_names, to_identifiers, to_tool_spec
from medvistagym_mcp.client._validation import JsonSchemaValidator


def server(**settings: Any) -> McpServerConfig:
    return McpServerConfig(**{"name": "lab", "command": "x", **settings})


def imported(schema: dict[str, Any], **settings: Any) -> ImportedSpec:
    offered = types.Tool(name="t", input_schema={"type": "object", **schema})
    return to_tool_spec(server(**settings), offered, "t")


def tool_of(spec: ImportedSpec) -> Tool:
    return Tool.from_schema(spec.spec, ToolResult, JsonSchemaValidator(spec.schema, spec.names))


def refusal(spec: ImportedSpec, arguments: dict[str, Any]) -> str:
    with pytest.raises(ToolError) as caught:
        tool_of(spec).validate(arguments)
    return caught.value.message


def test_names_of_arguments_become_identifiers() -> None:
    names = ["from", "study-id", "study_id", "2d", "größe", "self", "", "a.b[0]", "plain", "x" * 80, "日本"]
    local = to_argument_names(names)
    assert list(local) == names
    assert local == {
        "from": "from_", "study-id": "study_id_2", "study_id": "study_id", "2d": "n2d", "größe": "gr_e", "self": "self_",
        "": "argument", "a.b[0]": "a_b_0", "plain": "plain", "x" * 80: "x" * 58, "日本": "argument_2",
    }  # fmt: skip


def test_arguments_under_other_names_are_checked_and_told_by_them() -> None:
    properties = {"from": {"type": "string"}, "study-id": {"type": "integer", "minimum": 1}}
    spec = imported({"properties": properties, "required": ["study-id"], "dependentRequired": {"from": ["study-id"]}})
    assert spec.spec.parameters["properties"] == {
        "from_": {"type": "string"},
        "study_id": {"type": "integer", "minimum": 1},
    }
    assert spec.spec.parameters["required"] == ["study_id"]
    assert spec.spec.parameters["dependentRequired"] == {"from_": ["study_id"]}
    assert spec.names == {"from_": "from", "study_id": "study-id"}
    assert tool_of(spec).validate({"study_id": 3, "from_": "here"}) == {"study_id": 3, "from_": "here"}
    assert refusal(spec, {"from_": "here"}) == "t: the argument study_id is missing; it takes from_, study_id."
    assert "study_id: the value is less than the minimum of 1, got 0." in refusal(spec, {"study_id": 0})
    assert "there is no argument study-id; did you mean study_id?" in refusal(spec, {"study-id": 3})
    assert pickle.loads(pickle.dumps(tool_of(spec))).validate({"study_id": 3}) == {"study_id": 3}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"text": {"$ref": "#/$defs/K"}}, "$defs": {"K": {"enum": ["a", "b"], "type": "string"}}},
        {"properties": {"text": {"type": "string", "enum": ["a"]}, "more": {"items": {"$ref": "#/properties/text"}}}},
        {"properties": {"text": {"$ref": "#/definitions/K"}}, "definitions": {"K": {"type": "string", "enum": ["a"]}},
         "$schema": "http://json-schema.org/draft-07/schema#"},
        {"properties": {"text": {"$ref": "#K"}}, "$defs": {"K": {"$anchor": "K", "type": "string", "enum": ["a"]}}},
        {"$ref": "#/$defs/all", "$defs": {"all": {"properties": {"text": {"type": "string", "enum": ["a"]}}}}},
    ],
    ids=("$defs", "#/properties/text", "definitions", "anchor", "the whole"),
)  # fmt: skip
def test_references_are_written_out_for_those_who_know_none(schema: dict[str, Any]) -> None:
    spec = imported(schema)
    assert "$ref" not in str(spec.spec.parameters)
    assert "efinitions" not in str(spec.spec.parameters)
    assert spec.spec.parameters["properties"]["text"]["enum"][0] == "a"
    jsonschema.Draft202012Validator.check_schema(spec.spec.parameters)
    assert tool_of(spec).validate({"text": "a"}) == {"text": "a"}
    assert "c" in refusal(spec, {"text": "c"})


def test_a_schema_that_refers_to_itself_is_shown_to_some_depth_and_checked_to_any() -> None:
    tree = {
        "type": "object",
        "properties": {"leaf": {"type": "integer"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/t"}}},
    }
    spec = imported({"properties": {"tree": {"$ref": "#/$defs/t"}}, "$defs": {"t": tree}})
    shown = spec.spec.parameters["properties"]["tree"]["properties"]["parts"]["items"]
    assert shown == {"type": "object", "description": "nested in the same way"}
    nested = {"parts": [{"parts": [{"parts": [{"leaf": 1}]}]}]}
    assert tool_of(spec).validate({"tree": nested}) == {"tree": nested}
    assert "integer" in refusal(spec, {"tree": {"parts": [{"parts": [{"leaf": "x"}]}]}})


def test_references_that_multiply_are_refused() -> None:
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for k in range(1, 40):
        last = {"$ref": f"#/$defs/d{k - 1}"}
        definitions[f"d{k}"] = {"type": "object", "properties": {"a": last, "b": last}}
    with pytest.raises(McpServerError, match="too large"):
        imported({"properties": {"x": {"$ref": "#/$defs/d39"}}, "$defs": definitions})


def test_a_property_may_be_called_like_a_keyword() -> None:
    spec = imported(
        {"properties": {"$ref": {"type": "string"}, "properties": {"type": "integer"}, "required": {"type": "boolean"}}}
    )
    assert spec.spec.parameters["properties"] == {
        "ref": {"type": "string"}, "properties": {"type": "integer"}, "required": {"type": "boolean"},
    }  # fmt: skip
    assert tool_of(spec).validate({"ref": "x", "properties": 3}) == {"ref": "x", "properties": 3}


def test_a_name_that_is_too_long_keeps_its_beginning() -> None:
    name = "Lab.Echo-Tool/" + "x" * 70
    (own,) = to_identifiers(server(), [name]).values()
    assert own.startswith("lab_echo_tool_xxx")
    assert len(own) == 64
    assert to_identifiers(server(), [name, name[:-1]])[name] == own
    assert to_identifiers(server(rename={name: "echo"}), [name]) == {name: "echo"}


def test_images_are_handles_for_a_policy_also_in_lists_and_under_other_names() -> None:
    properties = {"the-files": {"type": "array", "items": {"type": "string"}, "description": "Some."}}
    spec = imported({"properties": properties}, images={"t.the-files": "path"})
    assert spec.image_encodings == {"the_files": "path"}
    assert spec.spec.images == ("the_files",)
    assert spec.spec.parameters["properties"]["the_files"] == {
        "type": "array", "items": {"type": "integer", "minimum": 0}, "description": "Some.",
    }  # fmt: skip
    assert tool_of(spec).validate({"the_files": [0, 1]}) == {"the_files": [0, 1]}
    encoded = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
    assert imported({"properties": {"scan": {"$ref": "#/$defs/i"}}, "$defs": {"i": encoded}}).image_encodings == {
        "scan": "base64"
    }


def test_schemas_of_older_drafts_that_do_not_say_so_are_read() -> None:
    properties = {
        "pair": {"type": "array", "items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False},
        "share": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1, "exclusiveMaximum": False},
        "items": {"type": "any", "required": True},
        "one": {"anyOf": [{"type": "number", "maximum": 3, "exclusiveMaximum": True}, {"type": "null"}]},
    }
    spec = imported({"properties": properties, "required": None})
    arguments = {"pair": [1, "a"], "share": 1, "items": {"a": 1}, "one": 2.5}
    assert tool_of(spec).validate(arguments) == arguments
    assert tool_of(spec).validate({}) == {}
    assert "less than or equal to the minimum" in refusal(spec, {"share": 0})
    assert "pair" in refusal(spec, {"pair": [1, "a", 2]})
    assert "one" in refusal(spec, {"one": 3})
    stated = {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"pair": properties["pair"]}}
    assert "pair" in refusal(imported(stated), {"pair": ["a", "a"]})
