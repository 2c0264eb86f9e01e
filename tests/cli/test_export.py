"""`medvistagym export`: a task as a package for other training loops. TRL's own loop is in the trainer's tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from medvistagym_core.cli import main

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


@pytest.mark.slow
def test_openenv_serves_the_package_and_its_client_plays_it(tmp_path: Path) -> None:
    """In an environment of its own, which sees this one's packages behind its own."""
    assert main(["export", "openenv", "scoutvqa", "--out", str(tmp_path / "scout_for_openenv")]) == 0
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    fetched = subprocess.run([python, "-m", "pip", "install", "--quiet", "openenv==0.10.0"], capture_output=True)
    if fetched.returncode:
        pytest.skip("openenv 0.10.0 cannot be fetched")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", tmp_path / "scout_for_openenv"]
    subprocess.run(install, check=True, capture_output=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    behind = [path for path in sys.path if "site-packages" in path or Path(path).name == "src"]
    (site / "behind.pth").write_text("\n".join(behind), "utf-8")
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
