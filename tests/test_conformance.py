"""The conformance kit: good plugins pass, and each bad one fails exactly the check it breaks."""

import json
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from medvistagym_core.cli import main
from medvistagym_core.testing import RULES, ConformanceReport, SubjectError, check_plugin, conformance

ROOT = Path(__file__).parents[1]
FIRST_PARTY = sorted(
    path.parent.name
    for part in ("plugins", "trainers")
    for path in ROOT.glob(f"{part}/*/pyproject.toml")
    if "medvistagym" in tomllib.loads(path.read_text())["project"].get("entry-points", {})
)
Write = Callable[[str], Path]
HEAD = """
from typing import Annotated, Literal
from medvistagym_core import Box, Image, Window, hookimpl, tool
"""
ARGS = """
    Args:
        image: The image to work on.
"""
HOOK = """
@hookimpl
def medvistagym_tools():
    return [shade]
"""
GOOD = f'''{HEAD}
@tool
def shade(image: Image) -> Image:
    """Do nothing to the image at all.
{ARGS}    """
    return image
{HOOK}'''


def good(
    body: str = "    return image",
    *,
    head: str = "",
    decorator: str = "@tool",
    returns: str = "Image",
    parameters: str = "image: Image",
    described: str = "",
) -> str:
    """A plugin of one tool, good but for what is given."""
    return f'''{HEAD}
{head}
{decorator}
def shade({parameters}) -> {returns}:
    """Change how the image appears.
{ARGS}{described}    """
{body}
{HOOK}'''


ARGUMENT = "        level: How much to change it, between nothing at all and everything.\n"
BAD = {
    "loads": "raise RuntimeError('no licence')",
    "imports-light": f"import numpy\n{GOOD}",
    "imports-cleanly": f"import os, threading\nprint('hello')\nos.environ['SHADE'] = '1'\n{GOOD}",
    "names-free": GOOD.replace("shade", "window"),
    "schema-valid": good(
        head="from pydantic import Field",
        parameters="image: Image, level: Annotated[float, Field(json_schema_extra={'minimum': 'zero'})] = 1.0",
        described=ARGUMENT,
    ),
    "arguments-described": GOOD.replace("The image to work on.", "Image"),
    "constraints-kept": good(
        head="from pydantic import Field, WithJsonSchema",
        parameters="image: Image, level: Annotated[float, Field(ge=0, le=1), WithJsonSchema({'type': 'number'})] = 1.0",
        described=ARGUMENT,
    ),
    "schema-same": GOOD.replace(
        "@hookimpl",
        "shade.spec = shade.spec.model_copy(update={'parameters': {**shade.spec.parameters, 'description': 'Other.'}})\n"
        "shade.with_metadata = lambda **changes: shade\n@hookimpl",
    ),
    "invalid-arguments": good(
        head="from pydantic import BeforeValidator\nLEVELS = {'low': 'low', 'high': 'high'}",
        parameters="image: Image, level: Annotated[Literal['low', 'high'], BeforeValidator(LEVELS.__getitem__)] = 'low'",
        described=ARGUMENT,
    ),
    "valid-calls": good("    return image.with_pixels(image.pixels - image.pixels[0, 5])"),
    "input-unchanged": good(
        "    pixels = image.pixels if image.pixels.base is None else image.pixels.base\n"
        "    pixels.setflags(write=True)\n    pixels[...] = 0\n    return image"
    ),
    "declared-output": good(returns="str"),
    "lineage-inside": good("    return image.replace(to_source=(1.0, 0.0, 500.0, 0.0, 1.0, 0.0))"),
    "deterministic": good("    return f'{hash(\"shade\")}'", returns="str"),
    "batch-equals-loop": GOOD.replace(
        "@hookimpl",
        "@shade.batch\ndef black(calls):\n    return [c['image'].with_pixels(c['image'].pixels * 0) for c in calls]\n@hookimpl",
    ),
    "pickles": GOOD.replace("@hookimpl", "inner, shade = shade, None\n@hookimpl").replace("[shade]", "[inner]"),
}  # fmt: skip


@pytest.fixture
def plugin(tmp_path: Path) -> Write:
    def write(source: str) -> Path:
        path = tmp_path / "shady_plugin.py"
        path.write_text(textwrap.dedent(source))
        return path

    return write


def failed(report: ConformanceReport) -> set[str]:
    return {outcome.check for outcome in report.outcomes if outcome.status in ("FAIL", "ERROR")}


def test_there_is_a_bad_plugin_for_every_check() -> None:
    assert list(BAD) == [rule.id for rule in RULES]


@pytest.mark.parametrize("broken", BAD)
def test_a_bad_plugin_fails_exactly_the_check_that_it_breaks(plugin: Write, broken: str) -> None:
    report = check_plugin(plugin(BAD[broken]), examples=3)
    assert failed(report) == {broken}, str(report)
    (outcome,) = (o for o in report.outcomes if o.status == "FAIL")
    rule = next(rule for rule in RULES if rule.id == broken)
    assert outcome.blocks == (rule.severity == "blocks")
    assert report.exit_code == (1 if outcome.blocks else 0)
    assert outcome.detail
    assert outcome.remedy.endswith(".")


LETHAL = {
    "ends the process": ("    import os\n    os._exit(5)", "exit code 5"),
    "crashes": ("    import ctypes\n    ctypes.string_at(0)", "Segmentation fault"),
    "hangs": ("    import time\n    time.sleep(60)", "hung for more than 2.5 s"),
}


@pytest.mark.parametrize("how", LETHAL)
def test_a_tool_that_takes_its_process_along_is_found_and_the_others_are_checked(plugin: Write, how: str) -> None:
    body, said = LETHAL[how]
    second = GOOD.replace("shade", "other").replace(HEAD, "").replace("[other]", "[shade, other]")
    source = good(body, decorator="@tool(timeout_s=0.5)").replace(HOOK, "") + second
    report = check_plugin(plugin(source), examples=1)
    found = {(o.tool, o.check): o for o in report.outcomes}
    assert failed(report) == {"valid-calls"}
    assert said in found["shade", "valid-calls"].detail
    assert "on 2-D uint8" in found["shade", "valid-calls"].detail
    assert found["shade", "pickles"].status == "SKIP"
    assert found["other", "pickles"].status == "PASS"


def test_pictures_that_are_refused_with_a_sentence_are_no_failure(plugin: Write) -> None:
    report = check_plugin(
        plugin(good('    if image.is_stack:\n        raise ValueError("one slice only")\n    return image')), examples=1
    )
    assert report.exit_code == 0, str(report)


def test_an_image_turned_by_an_angle_may_reach_beyond_its_source_with_its_corners_only(plugin: Write) -> None:
    tilted = "    h, w = image.shape\n    return image.replace(to_source=(0.8, -0.6, {}, 0.6, 0.8, 0.2 * h - 0.3 * w))"
    assert check_plugin(plugin(good(tilted.format("0.2 * w + 0.3 * h"))), examples=1).exit_code == 0
    assert failed(check_plugin(plugin(good(tilted.format("1.2 * w + 0.3 * h"))), examples=1)) == {"lineage-inside"}


@pytest.mark.slow
@pytest.mark.parametrize("distribution", FIRST_PARTY)
def test_first_party_plugins_conform(distribution: str) -> None:
    report = check_plugin(distribution, examples=4)
    assert report.exit_code == 0, str(report)
    assert report.distribution == distribution


def test_the_command_prints_the_report_and_ends_with_its_code(
    plugin: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "check", str(plugin(BAD["loads"])), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 1
    assert document["outcomes"][0]["detail"] == "RuntimeError: no licence at shady_plugin.py:1"
    assert main(["plugins", "check", "no-such-plugin"]) == 2
    assert "no installed plugin is called 'no-such-plugin'" in capsys.readouterr().err
    assert main(["plugins", "check", "dicom", "--examples", "0"]) == 2


def test_what_could_not_be_checked_is_no_failure_of_the_plugin(
    plugin: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'hypothesis_jsonschema' else real(name, *rest)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = check_plugin(plugin(GOOD))
    assert report.exit_code == 3
    errors = [outcome for outcome in report.outcomes if outcome.status == "ERROR"]
    assert {outcome.detail for outcome in errors} == {"hypothesis_jsonschema is not installed"}
    assert errors[0].remedy == "pip install 'medvistagym-core[testing]'"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("medvistagym-dicon", "did you mean medvistagym-dicom"),
        ("no/such.py", "neither a plugin's folder nor a Python file"),
        ("{tmp}", "has no pyproject.toml"),
    ],
)
def test_what_cannot_be_found_is_said(tmp_path: Path, target: str, said: str) -> None:
    with pytest.raises(SubjectError, match=said):
        check_plugin(target.replace("{tmp}", f"{tmp_path}/"))


def test_one_line_makes_test_cases(plugin: Write, tmp_path: Path) -> None:
    plugin(BAD["lineage-inside"])
    (tmp_path / "test_it.py").write_text(
        "from pathlib import Path\n"
        "from medvistagym_core.testing import conformance\n"
        "test_conformance = conformance(Path(__file__).with_name('shady_plugin.py'), examples=1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert f"1 failed, {len(RULES) - 2} passed, 1 skipped" in done.stdout
    assert "test_conformance[lineage-inside]" in done.stdout
    assert "image.crop" in done.stdout


def test_the_cases_carry_the_names_of_the_checks() -> None:
    marks = getattr(conformance("medvistagym-dicom"), "pytestmark")  # noqa: B009 pytest puts it there
    (mark,) = (mark for mark in marks if mark.name == "parametrize")
    assert mark.args == ("check", [rule.id for rule in RULES])
