"""Identifiers planted in every text element of real DICOM files appear in nothing that a run leaves, shows, sends or says."""

import asyncio
import base64
import contextlib
import io
import json
import logging
import re
import threading
import traceback
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pydicom
import pydicom.data
import pytest

from medvistagym_core.cli import main
from medvistagym_core.environment import Answer, Case, Episode, EpisodeConfig, Limits
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.plugins import LoadedPlugin, PluginReport, Registry
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.rollouts import rollout, sample_arguments
from medvistagym_core.tools import ToolCall
from medvistagym_core.trajectories import TrajectoryReader, TrajectoryWriter

dicom = pytest.importorskip("medvistagym_dicom")

PLANTED = {
    "AE": "ZQXAETITLE", "AS": "077Y", "CS": "ZQXCODE", "DA": "19370911", "DT": "19370911081527", "LO": "ZQX^Long^Name",
    "LT": "ZQX long text", "PN": "ZQX^Plantagenet^Eleanor", "SH": "ZQXSHORT", "ST": "ZQX short text", "TM": "081527",
    "UC": "ZQX unlimited", "UI": "1.2.840.99.19370911.4711", "UR": "http://zqx.example/4711", "UT": "ZQX unlimited text",
    "IS": "918273645", "DS": "918273.645",
}  # fmt: skip
MARKS = (b"zqx", b"19370911", b"081527", b"918273", b"077y", b"plantagenet", b"eleanor")
# Without these the pixels could not be read, or would mean something else.
KEPT = {
    "PhotometricInterpretation", "NumberOfFrames", "SpecificCharacterSet", "RescaleSlope", "RescaleIntercept", "WindowCenter",
    "WindowWidth",
}  # fmt: skip
FILES = ("CT_small.dcm", "MR_small.dcm", "693_J2KR.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm", "RG3_UNCR.dcm")
BROKEN = "broken ZQX^Plantagenet.dcm"


def plant(data):
    for element in list(data):
        if element.VR == "SQ":
            for item in element.value:
                plant(item)
        elif element.VR in PLANTED and element.keyword not in KEPT:
            element.value = PLANTED[element.VR]
    data.PatientName, data.PatientID, data.PatientComments = PLANTED["PN"], PLANTED["LO"], PLANTED["LT"]
    data.AccessionNumber, data.StudyDescription, data.InstitutionName = PLANTED["SH"], PLANTED["LO"], PLANTED["LO"]
    data.WindowCenterWidthExplanation = PLANTED["LO"]
    data.private_block(0x0011, "ZQX PRIVATE", create=True).add_new(0x01, "LO", PLANTED["LO"])


class Planted:
    """Questions about the planted files; those of the split "broken" cannot be read."""

    name = "planted"
    description = "Is it bright?"
    families = ("bright",)
    splits = ("test", "broken")
    tools = ("window", "zoom", "measure")
    abstention = "unclear"

    def __init__(self, folder):
        self._folder = folder

    def case(self, split, index, seed=0):
        name = FILES[index % len(FILES)] if split == "test" else BROKEN
        images = (dicom.read_one(self._folder / name),)
        return Case(
            id=f"{split}-{index}", task=self.name, split=split, index=index, family="bright", question="Is it bright?",
            images=images, answer=Answer("yes", kind="yes_no"),
        )  # fmt: skip

    def vocabulary(self):
        return ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for name in FILES:
            data = pydicom.dcmread(pydicom.data.get_testdata_file(name))
            plant(data)
            data.save_as(folder / name)
    whole = (folder / FILES[0]).read_bytes()
    (folder / BROKEN).write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def registry(folder, monkeypatch):
    report = PluginReport(name="dicom", distribution="medvistagym-dicom", version="0", state="loaded")
    tools = [tool.with_metadata(plugin="dicom") for tool in (dicom.window, dicom.zoom, dicom.measure)]
    registry = Registry([LoadedPlugin(report, {"tools": tools, "tasks": [Planted(folder)]})])
    monkeypatch.setattr(Registry, "discover", classmethod(lambda cls, *a, **k: registry))
    return registry


PICTURE = re.compile(rb"iVBORw0KGgo[A-Za-z0-9+/=]+")  # a PNG file in base 64
TIMING = re.compile(rb'seconds\\*":\s*[0-9.e+-]+')  # its digits may be any


def bare(part):
    """A text or file in lower case, without the compressed pixels in it, whose bytes may spell anything."""
    part = part if isinstance(part, bytes) else str(part).encode()
    for picture in PICTURE.findall(part):
        assert_only_pixels(base64.b64decode(picture))
    if part.startswith(b"\x89PNG"):
        assert_only_pixels(part)
        return b""
    return TIMING.sub(b"", PICTURE.sub(b"", part)).lower()


def assert_only_pixels(png):
    """A PNG file without any chunk that could hold a text."""
    at, kinds = 8, set()
    while at < len(png):
        kinds.add(png[at + 4 : at + 8])
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}


def marks(*parts):
    lowered = [bare(part) for part in parts]
    return {(mark, part[max(part.find(mark) - 40, 0) :][:100]) for part in lowered for mark in MARKS if mark in part}


def written(folder):
    """Names and contents of everything in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [part for path in files for part in (path.name, path.read_bytes())]


def test_the_identifiers_are_there(folder):
    assert all(len(marks((folder / name).read_bytes())) >= 4 for name in FILES)


@pytest.mark.filterwarnings("ignore")
def test_a_whole_run_says_nothing(registry, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    command = ["sample", "--task", "planted", "--split", "test", "--cases", "15", "--policy", "random"]
    assert main([*command, "--samples", "3", "--out", str(tmp_path / "run")]) == 0
    file = tmp_path / "run" / "trajectories.jsonl"
    played = list(TrajectoryReader(file))
    assert len(played) == 45
    assert {call.name for t in played for turn in t.turns for call in turn.calls} == {"window", "zoom", "measure"}
    assert any(call.error for t in played for turn in t.turns for call in turn.calls)
    assert main(["view", str(tmp_path / "run"), "--export", str(tmp_path / "page.html")]) == 0
    assert len(PICTURE.findall((tmp_path / "page.html").read_bytes())) > len(FILES)
    assert main(["replay", str(file)]) == 0
    assert main(["tasks", "show", "planted", "--split", "test"]) in (0, 2)
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert marks(*written(tmp_path), *capfd.readouterr(), caplog.text) == set()


@pytest.fixture
def everything(folder, monkeypatch):
    """All that is installed, and the planted files as one more task."""
    registry = Registry.discover()
    registry.add_task(Planted(folder))
    monkeypatch.setattr(Registry, "discover", classmethod(lambda cls, *a, **k: registry))
    return registry


class Thorough:
    """Calls every tool in turn, each twice, with arguments that its schema allows."""

    name, sampling = "thorough", {}

    def __init__(self, toolbox):
        rng = np.random.default_rng(0)
        self.calls = [
            ToolCall(name=tool.name, arguments=sample_arguments(tool.spec.parameters, tool.spec.images, 1, rng))
            for tool in toolbox.values()
            for _ in range(2)
        ]

    def act(self, observations):
        written = [TextProtocol().format_turn(None, [call]) for call in self.calls] + ["<answer>yes</answer>"]
        return [written[o.num_turns] for o in observations]


@pytest.mark.filterwarnings("ignore")
def test_no_installed_tool_tells(everything, folder, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    toolbox, file = everything.toolbox("*"), tmp_path / "run" / "trajectories.jsonl"
    policy = Thorough(toolbox)
    settings = EpisodeConfig(limits=Limits(max_turns=len(policy.calls) + 1, max_calls=len(policy.calls)))
    with TrajectoryWriter(file, toolbox) as writer:  # the two smallest files: reading text in a picture takes its time
        played = list(rollout(policy, everything.task("planted"), toolbox, "test", range(2), settings, writer=writer))
    calls = [call for t in played for turn in t.turns for call in turn.calls]
    assert {call.name for call in calls} == set(toolbox)
    assert sum(call.error is None for call in calls) > len(calls) / 3
    assert main(["view", str(tmp_path / "run"), "--export", str(tmp_path / "page.html")]) == 0
    assert main(["tools", "list", "--json"]) == 0
    scan = str(folder / FILES[0])
    for name in {"acquisition", "measure", "read_text"} & set(toolbox):
        box = ["--box", "0,0,900,900"] if "box" in toolbox[name].spec.parameters["properties"] else []
        assert main(["tools", "call", name, "--image", scan, *box, "--json"]) == 0
    assert marks(*written(tmp_path), *capfd.readouterr(), caplog.text) == set()


@pytest.mark.filterwarnings("ignore")
def test_no_answer_to_a_client_of_the_server_tells(registry, folder, capfd, caplog):
    from mcp import Client

    from medvistagym_mcp.server import Session, SessionLimits, add_server_tools, build_server, folder_tools, show_image

    caplog.set_level(logging.DEBUG)
    own = [show_image, *folder_tools(folder, dicom.read, SessionLimits())]
    toolbox, answers = add_server_tools(registry.toolbox("*"), own), []

    async def ask(executor):
        images = [dicom.read_one(folder / FILES[0])]
        session = Session(executor, images, SessionLimits())
        server = build_server(toolbox, images, lambda ctx: session, stateless=True)
        async with Client(server) as client:
            answers.extend([client.instructions, (await client.list_tools()).model_dump_json()])
            asked = [("open_image", {"path": name}) for name in (*FILES, BROKEN, "nothing.dcm")]
            asked += [("list_folder", {}), ("show_image", {"image": 0})]
            asked += [(call.name, call.arguments) for call in Thorough(registry.toolbox("*")).calls]
            for name, arguments in asked:
                result = await client.call_tool(name, arguments)
                answers.append(result.model_dump_json())

    with LocalExecutor(toolbox) as executor:
        asyncio.run(ask(executor))
    assert sum('"isError":true' in answer or '"is_error":true' in answer for answer in answers) >= 2
    shown = [answer.replace(BROKEN, "") for answer in answers]  # a name that the user gave is the user's own
    assert marks(*shown, *capfd.readouterr(), caplog.text.replace(BROKEN, "")) == set()


@pytest.mark.filterwarnings("ignore")
def test_nothing_that_a_policy_sees_tells(registry):
    seen = []

    class Nosy:
        name, sampling = "nosy", {}

        def act(self, observations):
            for o in observations:
                shown = [(i.attributes, i.modality, i.windows, i.unit, repr(i)) for i in o.images]
                seen.append((o.id, o.question, o.options, o.messages, o.results, o.error, shown))
            calls = [
                '{"name": "measure", "arguments": {"image": 0, "box": [0, 0, 900, 900]}}',
                '{"name": "window", "arguments": {"image": 0, "preset": "lung"}}',
                '{"name": "zoom", "arguments": {"image": 9, "box": [0, 0, 900, 900]}}',
                '{"name": "zoom", "arguments": {"path": "CT_small.dcm"}}',
            ]
            return [
                f"<tool_call>{calls[o.num_turns]}</tool_call>" if o.num_turns < 4 else "<answer>no</answer>"
                for o in observations
            ]

    task, toolbox = registry.task("planted"), registry.toolbox("*")
    assert len(list(rollout(Nosy(), task, toolbox, "test", range(5)))) == 5
    assert len(seen) == 25
    assert marks(repr(seen)) == set()
    episode = Episode.from_task(task, "test", 0, toolbox)
    assert marks(repr(episode.messages), repr(episode.case), repr(episode.observation())) == set()


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_sent_to_an_endpoint(registry, tmp_path, capfd):
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            raw = json.dumps({"choices": [{"message": {"content": "<answer>yes</answer>"}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    command = [
        "sample",
        "--task",
        "planted",
        "--split",
        "test",
        "--cases",
        "5",
        "--endpoint",
        url,
        "--endpoint-model",
        "m",
    ]
    assert main([*command, "--out", str(tmp_path)]) == 0
    server.shutdown()
    server.server_close()
    assert len(bodies) == 5
    assert all(b"data:image/png;base64," in body for body in bodies)
    assert marks(*bodies, *written(tmp_path), *capfd.readouterr()) == set()


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_cannot_be_read_is_not_quoted(registry, tmp_path, capfd, caplog):
    command = [
        "sample",
        "--task",
        "planted",
        "--split",
        "broken",
        "--cases",
        "1",
        "--policy",
        "random",
        "--out",
        str(tmp_path),
    ]
    assert main(command) == 1
    out, err = capfd.readouterr()
    said = (out + err + caplog.text).replace(BROKEN, "")  # a name that the user gave is the user's own
    assert "medvistagym:" in said
    assert marks(said) == set()
    with pytest.raises(ValueError, match=r".") as failed:
        registry.task("planted").case("broken", 0)
    told = "".join(traceback.format_exception(failed.value)).replace(BROKEN, "")
    assert marks(told) == set()
