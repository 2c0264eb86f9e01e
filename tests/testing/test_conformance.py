"""The conformance kit: good plugins pass, and each bad one fails exactly the check it breaks."""

import json
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from medvistagym_core.cli import main
from medvistagym_core.testing import RULES, ConformanceReport, SubjectError, _repeat_process, check_plugin, conformance
from medvistagym_core.testing._call_checks import TrialCall
from medvistagym_core.testing._target import locate_plugin

ROOT = Path(__file__).parents[2]
FIRST_PARTY = sorted(
    path.parent.name
    for part in ("plugins", "trainers")
    for path in ROOT.glob(f"{part}/*/pyproject.toml")
    if "medvistagym" in tomllib.loads(path.read_text())["project"].get("entry-points", {})
)
Write = Callable[[str], Path]
Bundle = Callable[[Mapping[str, str]], Path]
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


NESTED = """
import datetime
from pydantic import BaseModel, Field

class Point(BaseModel, extra="forbid"):
    x: float = Field(ge=0, le=1000)
    label: Literal["a", "b"] | None = None

class Shape(BaseModel):
    points: list[Point] = Field(min_length=2, max_length=4)
"""


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


def offering(hook: str, what: str, head: str = "") -> str:
    """A plugin that offers one thing by a hook."""
    return f"""{HEAD}
from medvistagym_core.tools import ToolCall, ToolResult
{head}
@hookimpl
def medvistagym_{hook}():
    return {what}
"""


TASK = """
from medvistagym_core.environment import Answer, Case

class Quiz:
    name = "quiz"
    description = "Is it a quiz?"
    families = ("plain",)
    splits = ("train",)
    tools = ()
    abstention = None

    def case(self, split, index, seed=0):
        if index > 2:
            raise IndexError("there are three cases")
        return Case(id=f"{split}-{index}", task="quiz", split=split, index=index, family="plain", question="Is it?",
                    images=(), answer=Answer("yes", kind="yes_no"))

    def vocabulary(self):
        return ("yes", "no")
"""
POLICY = """
class Silent:
    name = "silent"
    sampling = {}

    def act(self, observations):
        return ["<answer>yes</answer>" for _ in observations]

def make(task, toolbox, config, *, seed=0):
    return Silent()
"""
TRAINER = """
class Idle:
    name = "idle"
    description = "Does nothing."

    def recipes(self):
        return {"nothing": "Nothing."}

    def tool_schemas(self, toolbox):
        return toolbox.schemas()

    def train(self, registry, *, run, recipe=None, changes=None, tools=None, model=None, quick=False, resume=False):
        raise NotImplementedError

    def load_policy(self, registry, path, task, toolbox, *, temperature=None, seed=0):
        raise NotImplementedError
"""
WRITER = """
class Notes:
    suffixes = (".note",)

    def write(self, image, path):
        if image.is_stack:
            raise ValueError("one slice only")
        path.write_text(str(image.shape))
"""
SEGMENTER = """
class Bright:
    def segment(self, image, prompt):
        import numpy as np
        if image.photometric == "RGB":
            raise ValueError("grey images only")
        return np.nan_to_num(image.pixels.astype(float)) > 0
"""
READER = """
def read_notes(path):
    if path.suffix != ".note":
        return None
    raise ValueError(f"{path.name} holds no image")
"""
FORMAT = """
from medvistagym_core.protocol import TextProtocol
"""
# For each kind: a good plugin, and what to put in the place of what so that it breaks the rule.
OFFERS = {
    "contracts": (offering("tasks", "[Quiz()]", TASK), 'description = "Is it a quiz?"', "", "quiz (Quiz) has no description"),
    "task-cases": (
        offering("tasks", "[Quiz()]", TASK), "question=",
        "question=str(__import__('time').perf_counter_ns()) +", "another one when it is dealt again",
    ),
    "reward-finite": (
        offering("rewards", "{'brief': lambda outcome: -float(len(outcome.turns))}"), "len(outcome.turns)",
        "outcome.turns[0].text.count('a')", "for no turn it raises IndexError",
    ),
    "grader-grades": (
        offering("graders", "{'same': lambda answer, text, options: Grade(correct=text == answer.value)}",
                 "from medvistagym_core.environment.grading import Grade"),
        "text == answer.value", "True", "is graded right",
    ),
    "reader-declines": (offering("readers", "[read_notes]", READER), "return None", "return 3", "it gives int, not images"),
    "writer-writes": (
        offering("writers", "[Notes()]", WRITER), "path.write_text(", "path.with_suffix('.part').write_text(",
        "leaves image.part behind",
    ),
    "segmenter-masks": (offering("segmenters", "{'bright': Bright()}", SEGMENTER), "> 0", "* 1", "not booleans of (24, 32)"),
    "executor-runs": (
        offering("executors", "{'here': LocalExecutor}", "from medvistagym_core.execution import LocalExecutor"),
        "{'here': LocalExecutor}", "{'here': lambda toolbox: LocalExecutor({})}", "unknown_tool",
    ),
    "trainer-shows": (offering("trainers", "[Idle()]", TRAINER), "resume=False):", "again=False):", "train cannot be called"),
    "policy-acts": (
        offering("policies", "{'silent': make}", POLICY), "for _ in observations", "for _ in (1, 2)", "for 3 observations",
    ),
    "format-round-trip": (
        offering("action_formats", "{'plain': TextProtocol()}", FORMAT), "{'plain': TextProtocol()}",
        "{'plain': type('Odd', (TextProtocol,), {'parse': lambda self, text: None})()}", "it raises AttributeError",
    ),
    "dialect-renders": (
        offering("dialects", "{'terse': lambda spec: {'name': spec.name, **spec.parameters}}"), "**spec.parameters",
        "'arguments': {3, 4}", "is not JSON",
    ),
}  # fmt: skip


@pytest.fixture
def plugin(tmp_path: Path) -> Write:
    def write(source: str) -> Path:
        path = tmp_path / "shady_plugin.py"
        path.write_text(textwrap.dedent(source))
        return path

    return write


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    def write(sources: Mapping[str, str]) -> Path:
        """A plugin of several modules, each with a tool `shade`, which gets the module's name."""
        package = tmp_path / "shady"
        package.mkdir()
        for name, source in sources.items():
            (package / f"{name}.py").write_text(source.replace("shade", name))
        (package / "__init__.py").write_text(
            f"from medvistagym_core import hookimpl\nfrom shady import {', '.join(sources)}\n\n@hookimpl\n"
            "def medvistagym_tools():\n"
            f"    return [tool for module in ({', '.join(sources)},) for tool in module.medvistagym_tools()]\n"
        )
        (tmp_path / "pyproject.toml").write_text(
            '[project]\nname = "shady"\n[project.entry-points.medvistagym]\nshady = "shady"\n'
        )
        return tmp_path

    return write


def failed(report: ConformanceReport, tool: str | None = None) -> set[str]:
    """The checks that failed, of all or of one tool, which was checked."""
    of = [outcome for outcome in report.outcomes if tool in (None, outcome.tool)]
    assert any(outcome.status == "PASS" for outcome in of) or tool is None, f"{tool} passed nothing: {report}"
    return {outcome.check for outcome in of if outcome.status in ("FAIL", "ERROR")}


def passed(report: ConformanceReport, tool: str) -> set[str]:
    """The checks that a tool passed."""
    return {outcome.check for outcome in report.outcomes if outcome.tool == tool and outcome.status == "PASS"}


def test_there_is_a_bad_plugin_for_every_check() -> None:
    assert {*BAD, *OFFERS} == {rule.id for rule in RULES}


def test_what_a_plugin_offers_besides_tools_is_held_to_its_contract(plugin: Write) -> None:
    offers = {rule: offer for rule, offer in OFFERS.items() if rule != "contracts"}
    good = check_plugin(plugin("\n".join(source for source, *_ in offers.values())))
    assert good.exit_code == 0, str(good)
    assert {o.check for o in good.outcomes if o.status == "PASS" and o.kind} == set(offers), str(good)
    assert all(part in source for source, part, *_ in offers.values())
    bad = check_plugin(plugin("\n".join(source.replace(part, broken) for source, part, broken, _ in offers.values())))
    assert failed(bad) == set(offers), str(bad)
    assert bad.exit_code == 1
    details = {outcome.check: outcome.detail for outcome in bad.outcomes}
    for rule, (*_, said) in offers.items():
        assert said in details[rule], details[rule]


def test_what_lacks_a_member_of_its_contract_is_a_failure_by_name(plugin: Write) -> None:
    source, part, broken, said = OFFERS["contracts"]
    report = check_plugin(plugin(source.replace(part, broken)))
    assert failed(report) == {"contracts"}, str(report)
    assert said in str(report)


def test_a_plugin_that_offers_nothing_does_not_conform(plugin: Write) -> None:
    report = check_plugin(plugin("x = 1"))
    assert failed(report) == {"loads"}
    assert "it offers nothing" in report.outcomes[0].detail


BARE = good().replace(HOOK, "")


def test_a_file_without_hooks_is_checked_for_its_tools(plugin: Write, tmp_path: Path) -> None:
    raising = (
        BARE.replace(HEAD, "")
        .replace("shade", "other")
        .replace("    return image\n", "    raise RuntimeError('never')\n")
    )
    path = plugin(BARE + raising).rename(tmp_path / "my-tools.py")
    report = check_plugin(path, examples=1)
    assert set(report.tools) == {"shade", "other"}
    assert (failed(report, "shade"), failed(report, "other")) == (set(), {"valid-calls"}), str(report)
    assert "valid-calls" in passed(report, "shade")
    assert failed(report) == {"valid-calls"}
    path.write_text(BARE.replace("    return image\n", "    raise ValueError('no, thank you')\n"))
    refusing = check_plugin(path, examples=1)
    assert refusing.exit_code == 3
    assert "it takes none of the sample pictures; 2-D uint8: shade: no, thank you." in str(refusing)


def test_files_beside_a_plugin_shadow_no_module_of_python(
    plugin: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("array", "queue", "random", "sched"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not me')\n")
    (tmp_path / "beside.py").write_text("LEVEL = 3\n")
    path = plugin(f"import sched\nfrom beside import LEVEL\n{GOOD}")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "shady"\n[project.entry-points.medvistagym]\nshady = "shady_plugin"\n'
    )
    monkeypatch.chdir(tmp_path)
    for target in (path, tmp_path):
        report = check_plugin(target, examples=1)
        assert report.exit_code == 0, str(report)


MAMMOGRAM = good(
    '    if image.modality != "MG":\n        raise ValueError("only mammograms")\n    return image', decorator="@tool{}"
)


def test_a_tool_that_declines_all_but_its_own_kind_is_tried_on_that(plugin: Write, tmp_path: Path) -> None:
    undeclared = plugin(MAMMOGRAM.replace("{}", ""))
    report = check_plugin(undeclared, examples=1)
    assert report.exit_code == 3, str(report)
    assert "--image FILE" in str(report)
    declared = check_plugin(plugin(MAMMOGRAM.replace("{}", '(modalities=["MG"])')), examples=1)
    assert declared.exit_code == 0, str(declared)


def test_an_authors_own_pictures_are_tried_first(plugin: Write, bundle: Bundle, tmp_path: Path) -> None:
    import numpy as np
    import PIL.Image

    PIL.Image.fromarray(np.full((77, 5), 9, np.uint8)).save(tmp_path / "strip.png")
    source = good('    if image.shape != (77, 5):\n        raise ValueError("only strips")\n    return image')
    both = bundle({"strip": source, "other": source.replace("(77, 5)", "(78, 5)")})
    report = check_plugin(both, examples=1, images=[tmp_path / "strip.png"])
    assert (failed(report, "strip"), failed(report, "other")) == (set(), {"valid-calls"}), str(report)
    assert passed(report, "strip") >= {"valid-calls", "deterministic", "pickles"}
    assert failed(report) == {"valid-calls"}
    path = plugin(source)
    assert check_plugin(path, examples=1).exit_code == 3
    with pytest.raises(SubjectError, match="no such file"):
        check_plugin(path, images=[tmp_path / "missing.png"])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(SubjectError, match="broken"):
        check_plugin(path, images=[tmp_path / "broken.png"])


def test_a_tool_may_take_anything_that_pydantic_knows(plugin: Write) -> None:
    text = good(
        head=NESTED,
        parameters="image: Image, shape: Shape, weights: Annotated[dict[str, float], Field(min_length=1)], "
        "pair: tuple[float, str], boxes: Annotated[list[Box], Field(min_length=1)], "
        "marks: dict[Annotated[str, Field(pattern='^[a-z]{1,3}$')], int], day: datetime.date | None = None, "
        "wait: datetime.timedelta | None = None, numbers: set[int] | None = None, free: dict | None = None",
        described="".join(
            f"        {name}: What is told of the picture beside it.\n"
            for name in ("shape", "weights", "pair", "boxes", "marks", "day", "wait", "numbers", "free")
        ),
        body="    assert shape.points and weights and pair and boxes\n    return image",
    )
    report = check_plugin(plugin(text))
    assert (failed(report), report.exit_code) == (set(), 0)


def test_a_batched_kernel_gets_images_that_agree_in_shape_and_type(plugin: Write) -> None:
    kernel = """
@shade.batch
def stacked(calls):
    import numpy as np
    pixels = np.stack([call["image"].pixels for call in calls])
    assert len({call["image"].pixels.dtype for call in calls}) == 1
    return [call["image"].with_pixels(one) for call, one in zip(calls, pixels, strict=True)]
@hookimpl"""
    report = check_plugin(plugin(GOOD.replace("@hookimpl", kernel)), examples=2)
    assert [o.status for o in report.outcomes if o.check == "batch-equals-loop"] == ["PASS"], str(report)


@pytest.mark.parametrize("broken", [rule.id for rule in RULES if rule.id in BAD and rule.scope == "plugin"])
def test_a_bad_plugin_fails_exactly_the_check_that_it_breaks(plugin: Write, broken: str) -> None:
    report = check_plugin(plugin(BAD[broken]), examples=3)
    assert failed(report) == {broken}, str(report)
    judge(report, broken)
    assert report.exit_code == (1 if severity(broken) == "blocks" else 0)


def test_a_bad_tool_fails_exactly_the_check_that_it_breaks(bundle: Bundle) -> None:
    broken = {rule.id.replace("-", "_"): rule.id for rule in RULES if rule.id in BAD and rule.scope == "tool"}
    report = check_plugin(bundle({name: BAD[rule] for name, rule in broken.items()}), examples=3)
    found = {name: failed(report, name) for name in broken}
    assert found == {name: {rule} for name, rule in broken.items()}, str(report)
    assert failed(report) == set(broken.values())  # nothing of the plugin itself
    for rule in broken.values():
        judge(report, rule)
    assert report.exit_code == 1


def severity(rule: str) -> str:
    return next(one.severity for one in RULES if one.id == rule)


def judge(report: ConformanceReport, rule: str) -> None:
    """The one failure of a rule says what was seen and how to mend it."""
    (outcome,) = (o for o in report.outcomes if o.status == "FAIL" and o.check == rule)
    assert outcome.blocks == (severity(rule) == "blocks")
    assert outcome.detail
    assert outcome.remedy.endswith(".")


LETHAL = {
    "ends_the_process": ("    import os\n    os._exit(5)", "exit code 5"),
    "crashes": ("    import ctypes\n    ctypes.string_at(0)", "Segmentation fault"),
    "hangs": ("    import time\n    time.sleep(60)", "hung for more than 2.5 s"),
}


@pytest.mark.e2e
def test_a_tool_that_takes_its_process_along_is_found_and_the_others_are_checked(bundle: Bundle) -> None:
    sources = {name: good(body, decorator="@tool(timeout_s=0.5)") for name, (body, _) in LETHAL.items()}
    report = check_plugin(bundle({**sources, "harmless": GOOD}), examples=1)
    found = {(o.tool, o.check): o for o in report.outcomes}
    for name, (_, said) in LETHAL.items():
        assert failed(report, name) == {"valid-calls"}
        assert said in found[name, "valid-calls"].detail
        assert "on 2-D uint8" in found[name, "valid-calls"].detail
        assert found[name, "pickles"].status == "SKIP"
    assert failed(report, "harmless") == set()
    assert failed(report) == {"valid-calls"}
    assert found["harmless", "pickles"].status == "PASS"


OTHER_PROCESS = "    import os\n    if os.environ.get('PYTHONHASHSEED'):\n        {}\n    return image"


@pytest.fixture
def random_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that makes the calls again is given a hash seed; the first is given none here."""
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)


@pytest.mark.usefixtures("random_hashes")
def test_a_tool_that_ends_the_other_process_alone_is_found(bundle: Bundle) -> None:
    ending = good(OTHER_PROCESS.format("os._exit(7)"))
    report = check_plugin(bundle({"ending": ending, "harmless": GOOD}), examples=1)
    assert failed(report) == failed(report, "ending") == {"deterministic", "pickles"}
    assert "the other process ended with exit code 7" in str(report)
    assert passed(report, "harmless") >= {"deterministic", "pickles"}


def test_calls_that_only_take_long_in_the_other_process_are_no_failure(
    plugin: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(_repeat_process, "ANSWER_S", 2.0)
    subject = locate_plugin(plugin(good(OTHER_PROCESS.format("__import__('time').sleep(30)"))))
    (tool,) = subject.load().contributions["tools"]
    call = TrialCall("2-D uint8", {"image": 0}, "")
    found = _repeat_process.repeat_elsewhere(subject, (), tool, [call])
    assert {name: finding.status for name, finding in found.items()} == {"repeats": "ERROR", "pickles": "ERROR"}
    assert "took over 2 s in another process" in found["repeats"].detail


def test_what_one_tool_leaves_behind_for_the_next_is_found(bundle: Bundle) -> None:
    first = good("    import sys\n    sys.left_behind = True\n    return image")
    second = good("    import sys\n    return str(hasattr(sys, 'left_behind'))", returns="str")
    report = check_plugin(bundle({"first": first, "second": second}), examples=1)
    assert failed(report) == failed(report, "second") == {"deterministic"}, str(report)


def test_pictures_that_are_refused_with_a_sentence_are_no_failure(plugin: Write) -> None:
    report = check_plugin(
        plugin(good('    if image.is_stack:\n        raise ValueError("one slice only")\n    return image')), examples=1
    )
    assert report.exit_code == 0, str(report)


def test_an_image_turned_by_an_angle_may_reach_beyond_its_source_with_its_corners_only(bundle: Bundle) -> None:
    tilted = "    h, w = image.shape\n    return image.replace(to_source=(0.8, -0.6, {}, 0.6, 0.8, 0.2 * h - 0.3 * w))"
    within, beyond = (good(tilted.format(x)) for x in ("0.2 * w + 0.3 * h", "1.2 * w + 0.3 * h"))
    report = check_plugin(bundle({"within": within, "beyond": beyond}), examples=1)
    assert (failed(report, "within"), failed(report, "beyond")) == (set(), {"lineage-inside"}), str(report)
    assert "lineage-inside" in passed(report, "within")
    assert failed(report) == {"lineage-inside"}


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


def test_what_is_wrong_with_an_installed_plugin_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, lines in {
        "no-module": "no_module = not a module!",
        "one-owner": "shared = a\nshared = a",
        "other-owner": "shared = b",
        "several": "first = a\nsecond = b",
    }.items():
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[medvistagym]\n{lines}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for target, said in (
        ("no-module", r"line 2 of .*entry_points.txt is no entry point: 'no_module = not a module!'"),
        ("no_module", "is no entry point"),
        ("shared", "one-owner and other-owner both bring a plugin called shared: name the distribution"),
        ("several", "the distribution several has several plugins, name one: first, second"),
    ):
        with pytest.raises(SubjectError, match=said):
            check_plugin(target)
    assert locate_plugin("one-owner").value == "a"


@pytest.mark.e2e
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
    others = [rule for rule in RULES if rule.scope not in ("plugin", "tool")]
    assert f"1 failed, {len(RULES) - 2 - len(others)} passed, {1 + len(others)} skipped" in done.stdout
    assert "test_conformance[lineage-inside]" in done.stdout
    assert "image.crop" in done.stdout


def test_the_cases_carry_the_names_of_the_checks() -> None:
    marks = getattr(conformance("medvistagym-dicom"), "pytestmark")  # noqa: B009 pytest puts it there
    (mark,) = (mark for mark in marks if mark.name == "parametrize")
    assert mark.args == ("check", [rule.id for rule in RULES])
