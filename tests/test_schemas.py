"""The published schemas: they are what the models say, they are sound, and real documents validate against them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pydicom.data
import pytest
from pydantic import TypeAdapter

from medvistagym_core.cli import main
from medvistagym_core.cli._published_schemas import PUBLISHED_MODELS, published_schema, write_schemas
from medvistagym_core.imaging import Image
from medvistagym_core.plugins import Registry, load_catalog
from medvistagym_core.tools import ToolCall, ToolError, ToolResult
from medvistagym_core.trajectories import ToolResultDocument

PUBLISHED = Path(__file__).resolve().parents[1] / "schemas" / "v1"
SCAN = pydicom.data.get_testdata_file("CT_small.dcm")


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((PUBLISHED / f"{name}.schema.json").read_text("utf-8")))


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    main(list(argv))
    return json.loads(capsys.readouterr().out)


def test_the_published_schemas_are_those_of_the_models(tmp_path: Path) -> None:
    written = {path.name: path.read_text("utf-8") for path in write_schemas(tmp_path)}
    published = {path.name: path.read_text("utf-8") for path in PUBLISHED.iterdir()}
    assert published == written, "run `make docs`"


@pytest.mark.parametrize("name", PUBLISHED_MODELS)
def test_every_schema_is_sound_and_describes_every_field(name: str) -> None:
    document = published_schema(name)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$id"] == f"urn:medvistagym:schema:v1:{name}"
    for part in [document, *document.get("$defs", {}).values()]:
        for field, described in part.get("properties", {}).items():
            # One that says the same as the model it refers to is left to the model.
            referred = document.get("$defs", {}).get(described.get("$ref", "").rpartition("/")[2], {})
            said = described.get("description") or referred.get("description")
            assert said, f"{name}: {part.get('title')}.{field} is not described"


def test_ids_are_unique() -> None:
    assert len({published_schema(name)["$id"] for name in PUBLISHED_MODELS}) == len(PUBLISHED_MODELS)


def test_plugin_reports_validate(capsys: pytest.CaptureFixture[str]) -> None:
    reports = printed(capsys, "plugins", "list", "--json")
    assert reports
    for report in reports:
        validator("plugin").validate(report)


def test_tools_and_calls_validate(capsys: pytest.CaptureFixture[str]) -> None:
    specs = printed(capsys, "tools", "list", "--json")
    assert specs
    for spec in specs:
        validator("tool").validate(spec)
        jsonschema.Draft202012Validator.check_schema(spec["parameters"])
    call = ToolCall(name="zoom", arguments={"image": 0, "box": [0, 0, 500, 500]})
    validator("tool-call").validate(TypeAdapter(ToolCall).dump_python(call, mode="json"))
    assert not validator("tool-call").is_valid({"name": "zoom", "args": {}})


def test_results_of_tools_validate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    box = ["--box", "250,250,750,750", "--json"]
    for name, more in (("measure", []), ("zoom", ["--out", str(tmp_path / "zoomed.png")])):
        document = printed(capsys, "tools", "call", name, "--image", str(SCAN), *box, *more)
        validator("tool-result").validate(document)
        assert document["error"] is None
    failed = printed(capsys, "tools", "call", "measure", "--image", str(SCAN), "--box", "5,5,1,1", "--json")
    validator("tool-result").validate(failed)
    assert failed["error"]["code"] == "bad_arguments"


def test_a_result_with_values_that_json_cannot_hold_is_still_json() -> None:
    import numpy as np

    result = ToolResult(images=(Image(pixels=np.zeros((4, 6))),), data={"mean": float("nan")})
    document = json.loads(ToolResultDocument.from_result(result).model_dump_json())
    validator("tool-result").validate(document)
    assert (document["data"], document["images"][0]["width"]) == ({"mean": None}, 6)
    failed = ToolResultDocument.from_result(ToolResult(error=ToolError("timeout", "It took too long.")))
    validator("tool-result").validate(json.loads(failed.model_dump_json()))


def test_a_lock_validates() -> None:
    lock = json.loads(Registry.discover().toolbox("*").lock().model_dump_json())
    validator("toolbox-lock").validate(lock)
    lock["tools"][0]["fingerprint"] = "none"
    assert not validator("toolbox-lock").is_valid(lock)


def test_registry_entries_validate() -> None:
    for entry in load_catalog().entries:
        validator("registry-entry").validate(entry.model_dump(mode="json"))


def test_a_trajectory_file_validates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sampled"
    code = main(["sample", "--task", "scoutvqa", "--policy", "expert", "--cases", "4", "--out", str(folder), "--debug"])
    assert code == 0, capsys.readouterr().err
    lines = (folder / "trajectories.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 4
    for line in lines:
        validator("trajectory").validate(json.loads(line))
    validator("toolbox-lock").validate(json.loads((folder / "trajectories.lock.json").read_text("utf-8")))


def test_results_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    argv = ["eval", "--task", "scoutvqa", "--policy", "expert", "--cases", "4", "--out", str(file), "--debug"]
    assert main(argv) == 0, capsys.readouterr().err
    document = json.loads(file.read_text("utf-8"))
    validator("results").validate(document)
    assert document["rows"][-1]["n"] == 4


def test_the_modules_that_make_schemas_load_nothing_heavy() -> None:
    import subprocess

    heavy = "[m for m in ('torch', 'numpy', 'PIL') if m in sys.modules]"
    program = f"import sys, medvistagym_core.cli._published_schemas; print({heavy})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
