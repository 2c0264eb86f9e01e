"""`medvistagym export`: a task as a package for other training loops. TRL's own loop is in the trainer's tests."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from medvistagym_core.cli import main
from medvistagym_core.cli._exported_task import ExportedTask
from medvistagym_core.cli._trl_package import trl_package

PLAY = """
import json, sys
from scout_for_openenv.client import TaskEnv
from scout_for_openenv.models import TurnAction

call = '<tool_call>{"name": "measure", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}</tool_call>'
with TaskEnv(base_url=sys.argv[1]).sync() as env, TaskEnv(base_url=sys.argv[1]).sync() as other:
    first = env.reset(index=3)
    other.reset(index=4)
    told = env.step(TurnAction(text=call))
    last = env.step(TurnAction(text="<answer>upper left</answer>"))
    print(json.dumps({
        "kinds": [block["type"] for message in first.observation.messages for block in message["content"]],
        "picture": first.observation.messages[-1]["content"][1]["image_url"]["url"][:22],
        "told": told.observation.messages[0]["content"][0]["text"], "early": told.done, "done": last.done,
        "reward": last.reward, "turns": env.state().step_count, "others": other.state().step_count,
    }))
"""


def test_a_package_is_written_whole_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "openenv", "scoutvqa"]) == 0
    assert "scoutvqa_env/server/app.py" in capsys.readouterr().out
    for file in Path("scoutvqa_env").rglob("*.py"):
        compile(file.read_text("utf-8"), str(file), "exec")
    assert main(["export", "trl", "scoutvqa", "--out", "scoutvqa_env"]) == 2
    assert "scoutvqa_env is there already; nothing was written" in capsys.readouterr().err
    assert main(["export", "trl", "scoutvqa", "--out", "no-name"]) == 2
    assert "'no-name' must be a name such as scoutvqa_env" in capsys.readouterr().err
    assert main(["export", "trl", "scoutvqua"]) == 2
    assert "no task matches 'scoutvqua'" in capsys.readouterr().err
    assert main(["export", "trl", "scoutvqa", "--split", "dev"]) == 2
    assert "has no split 'dev'" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scoutvqa_env"]


def test_a_tool_is_a_method_with_types_and_descriptions(tmp_path: Path) -> None:
    assert main(["export", "trl", "scoutvqa", "--out", str(tmp_path / "typed_env")]) == 0
    text = (tmp_path / "typed_env" / "__init__.py").read_text("utf-8")
    assert "def zoom(self, image: int, box: list[int]) -> list:" in text
    assert "preset: Optional[Literal['abdomen'," in text
    assert "            box: The part to enlarge, [left, top, right, bottom]" in text


def test_paths_go_in_whole_and_arguments_of_the_task_under_their_own_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("split").mkdir()  # a folder named as an argument's value is, which is no path
    Path("pictures").mkdir()
    PIL.Image.new("L", (9, 9)).save("pictures/a.png")
    Path('it"s.jsonl').write_text('{"image": "a.png", "question": "Is it dark?", "answer": "yes"}\n', "utf-8")
    said = ("--task-arg", "pictures=pictures", "--task-arg", "split=split", "--out", "own_env")
    assert main(["export", "trl", "--task-file", 'it"s.jsonl', *said]) == 0
    make = made(tmp_path / "own_env")
    assert make["task"] == str(tmp_path / 'it"s.jsonl')
    assert make["task_arguments"] == {"pictures": str(tmp_path / "pictures"), "split": "split"}
    project = tomllib.loads(Path("own_env/pyproject.toml").read_text("utf-8"))["project"]
    assert 'it"s.jsonl' in project["description"]
    named = ("--task-arg", "pictures=pictures", "--task-arg", 'it"s.jsonl.split=dev', "--out", "named_env")
    assert main(["export", "trl", './it"s.jsonl', *named]) == 2  # the name of another reference
    assert main(["export", "trl", 'it"s.jsonl', *named]) == 0
    assert made(tmp_path / "named_env")["task_arguments"] == {"pictures": str(tmp_path / "pictures"), "split": "dev"}


def made(package: Path) -> dict[str, Any]:
    """What the package makes its environment with."""
    text = (package / "__init__.py").read_text("utf-8")
    compile(text, str(package), "exec")
    (call,) = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "make"
    ]
    found = ast.literal_eval(call.keywords[0].value)
    assert isinstance(found, dict)
    return found


def schema(name: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "Looks.", "parameters": parameters}}


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (schema("reset"), "the tool 'reset' cannot be a method"),
        (schema("class"), "the tool 'class' cannot be a method"),
        (schema("_call"), "the tool '_call' cannot be a method"),
        (schema("read-file"), "the tool 'read-file' cannot be a method"),
        (schema("look", **{"from": {"type": "string"}}), "the argument 'from' of the tool look"),
    ],
)
def test_names_that_python_cannot_have_are_refused(tool: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trl_package(ExportedTask("own_env", "own", {}, "train", 3, "", [tool]))


def test_an_argument_that_may_be_null_is_optional() -> None:
    tool = schema("look", tool={"type": ["string", "null"]}, any={"type": ["string", "integer"]}, all={})
    text = trl_package(ExportedTask("own_env", "own", {}, "train", 3, "", [tool]))["__init__.py"]
    compile(text, "own_env", "exec")
    assert "def look(self, tool: Optional[str], any: Any, all: Any) -> list:" in text


def environment_with(requirement: str, package: Path, folder: Path) -> Path:
    """A virtual environment with a package of others and an exported one, which sees this one's packages behind its own."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
    fetch = [python, "-m", "pip", "install", "--quiet", requirement]
    fetched = subprocess.run(fetch, capture_output=True, timeout=600)
    if fetched.returncode:
        pytest.skip(f"{requirement} cannot be fetched")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", package]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    (site,) = (folder / "lib").glob("python3*/site-packages")
    behind = [path for path in sys.path if "site-packages" in path or Path(path).name == "src"]
    (site / "behind.pth").write_text("\n".join(behind), "utf-8")
    return python


@pytest.mark.slow
def test_openenv_serves_the_package_and_its_client_plays_it(tmp_path: Path) -> None:
    assert main(["export", "openenv", "scoutvqa", "--out", str(tmp_path / "scout_for_openenv")]) == 0
    python = environment_with("openenv==0.10.0", tmp_path / "scout_for_openenv", tmp_path / "venv")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-m", "scout_for_openenv.server.app", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, cwd=tmp_path / "venv", stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None
                time.sleep(0.5)
        done = subprocess.run(
            [python, "-c", PLAY, url],
            env=environment,
            cwd=tmp_path / "venv",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    finally:
        server.terminate()
        server.wait(30)
    seen = json.loads(done.stdout)
    assert seen["kinds"] == ["text", "text", "image_url", "text"]
    assert seen["picture"] == "data:image/png;base64,"
    assert seen["told"].startswith("mean ")
    assert (seen["early"], seen["done"], seen["turns"], seen["others"]) == (False, True, 2, 0)
    assert isinstance(seen["reward"], float)


class Model(BaseHTTPRequestHandler):
    """A chat model that measures, looks at what came back, and answers."""

    CALL = '<tool_call>{"name": "zoom", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}</tool_call>'

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)  # type: ignore[attr-defined]
        asked = [each for each in body["messages"] if each["role"] == "assistant"]
        text = "<answer>upper left</answer>" if asked else self.CALL
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        made = {"id": "x", "object": "chat.completion", "created": 1, "model": "fake", "choices": [choice]}
        raw = json.dumps({**made, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.mark.slow
def test_verifiers_evaluates_the_package_with_pictures_in_its_own_loop(tmp_path: Path) -> None:
    assert main(["export", "verifiers", "scoutvqa", "--out", str(tmp_path / "scout_for_verifiers")]) == 0
    python = environment_with("verifiers==0.4.0", tmp_path / "scout_for_verifiers", tmp_path / "venv")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.bodies = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [
        *(
            python.with_name("vf-eval"),
            "scout_for_verifiers",
            "-m",
            "fake",
            "-n",
            "3",
            "-r",
            "2",
            "--no-push",
            "--no-rich",
        ),
        *("--client.base-url", f"http://127.0.0.1:{server.server_address[1]}/v1", "-o", tmp_path / "out"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(
            list(map(str, command)), env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
    finally:
        server.shutdown()
        server.server_close()
    (file,) = (tmp_path / "out").rglob("traces.jsonl")
    traces = [trace for line in file.read_text("utf-8").splitlines() for trace in json.loads(line)["traces"]]
    assert len(traces) == 6
    assert all(trace["is_completed"] and not trace["errors"] for trace in traces)
    rewards = [trace["rewards"]["task_reward"]["score"] for trace in traces]
    right = [trace["metrics"]["correct"] for trace in traces]
    assert {trace["metrics"]["calls"] for trace in traces} == {1}
    assert all((reward > 0) is bool(correct) for reward, correct in zip(rewards, right, strict=True))
    second = next(body for body in server.bodies if len(body["messages"]) > 3)["messages"]  # type: ignore[attr-defined]
    assert [each["role"] for each in second] == ["system", "user", "assistant", "user"]
    assert second[2]["content"] == Model.CALL
    for message in (second[1], second[3]):
        urls = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
        assert [url[:22] for url in urls] == ["data:image/png;base64,"]
