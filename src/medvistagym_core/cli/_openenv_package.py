"""The texts of a package for OpenEnv, by path: a server and a client."""

from __future__ import annotations

from typing import Final

from medvistagym_core.cli._exported_task import ExportedTask, fill, pyproject, readme


def openenv_package(what: ExportedTask) -> dict[str, str]:
    """A server and a client for OpenEnv: an action is the text of a turn, an observation is what is new to read."""
    return {
        "pyproject.toml": pyproject(what, ['"openenv>=0.10"', '"uvicorn"'], [what.module, f"{what.module}.server"]),
        "openenv.yaml": fill(_OPENENV_YAML, what),
        "README.md": readme(what, _OPENENV_README),
        "__init__.py": '"""A MedVistaGym task for OpenEnv."""\n',
        "models.py": _OPENENV_MODELS,
        "client.py": _OPENENV_CLIENT,
        "server/__init__.py": '"""The server."""\n',
        "server/environment.py": fill(_OPENENV_ENVIRONMENT, what),
        "server/app.py": fill(_OPENENV_APP, what),
    }


_OPENENV_YAML: Final = """\
spec_version: 1
name: $module
type: space
runtime: fastapi
app: server.app:app
port: 8000
"""
_OPENENV_README: Final = """\
# $module

The MedVistaGym task `$task` ($split; tools: $tools) for OpenEnv. For research only; nothing here is for clinical use.

```
pip install .
python -m $module.server.app --port 8000
```

An action is the text of a turn: `<tool_call>{...}</tool_call>`, or `<answer>...</answer>`. An observation holds the chat
messages that are new, images as PNG data URLs. `reset(index=7)` picks a case; otherwise the seed draws one. The reward comes at
the end.

```python
from $module.client import TaskEnv
from $module.models import TurnAction

with TaskEnv(base_url="http://127.0.0.1:8000").sync() as env:
    result = env.reset(index=0)
    while not result.done:
        result = env.step(TurnAction(text=model(result.observation.messages)))
```
"""
_OPENENV_MODELS: Final = '''\
"""What goes over the wire."""

from typing import Any

from openenv.core.env_server.types import Action, Observation
from pydantic import Field


class TurnAction(Action):
    """A turn of the policy."""

    text: str = Field(description="What it wrote: a tool call in its tags, or the answer in its tags.")


class TurnObservation(Observation):
    """What the policy has not read yet."""

    messages: list[dict[str, Any]] = Field(default_factory=list, description="Chat messages, images as data URLs.")
    info: dict[str, Any] = Field(default_factory=dict, description="The case's name, turns, calls, the last error.")
'''
_OPENENV_CLIENT: Final = '''\
"""The client."""

from typing import Any

from openenv.core import EnvClient
from openenv.core.client_types import StepResult
from openenv.core.env_server.types import State

from .models import TurnAction, TurnObservation


class TaskEnv(EnvClient[TurnAction, TurnObservation, State]):
    """A connection to the server; each has episodes of its own."""

    def _step_payload(self, action: TurnAction) -> dict[str, Any]:
        return {"text": action.text}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[TurnObservation]:
        seen = payload.get("observation", {})
        done, reward = payload.get("done", False), payload.get("reward")
        observation = TurnObservation(
            messages=seen.get("messages", []), info=seen.get("info", {}), done=done, reward=reward
        )
        return StepResult(observation=observation, reward=reward, done=done)

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(episode_id=payload.get("episode_id"), step_count=payload.get("step_count", 0))
'''
_OPENENV_ENVIRONMENT: Final = '''\
"""The task as an OpenEnv environment: MedVistaGym's own, with images as data URLs."""

import base64
import io
from typing import Any

from medvistagym_core.gym import make
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import State

from ..models import TurnAction, TurnObservation

MAKE = $make


class TaskEnvironment(Environment):
    """One episode after another."""

    SUPPORTS_CONCURRENT_SESSIONS: bool = True

    def __init__(self) -> None:
        super().__init__()
        self._env = make(**MAKE)
        self._state = State(episode_id=None, step_count=0)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> TurnObservation:
        """Begin an episode: of case `index` where that is given."""
        _, info = self._env.reset(seed=seed, options={"index": options["index"]} if "index" in options else None)
        self._state = State(episode_id=episode_id or self._env.episode.id, step_count=0)
        return self._observation(info, done=False, reward=None)

    def step(self, action: TurnAction, **_: Any) -> TurnObservation:
        """Play a turn."""
        _, reward, answered, cut, info = self._env.step(action.text)
        self._state.step_count += 1
        done = answered or cut
        return self._observation(info, done=done, reward=reward if done else None)

    @property
    def state(self) -> State:
        """Name of the episode, and turns so far."""
        return self._state

    def close(self) -> None:
        """Stop the tools."""
        self._env.close()

    def _observation(self, info: dict[str, Any], *, done: bool, reward: float | None) -> TurnObservation:
        messages = [] if done else [_portable(message) for message in self._env.episode.new_messages]
        return TurnObservation(messages=messages, info=_plain(info), done=done, reward=reward)


def _portable(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "content": [_block(block) for block in message["content"]]}


def _block(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] != "image":
        return block
    out = io.BytesIO()
    block["image"].save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def _plain(info: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if isinstance(value, str | int | float | bool | dict | None)}
'''
_OPENENV_APP: Final = '''\
"""The server: `python -m $module.server.app --port 8000`, or `uvicorn $module.server.app:app`."""

import argparse

from openenv.core.env_server.http_server import create_app

from ..models import TurnAction, TurnObservation
from .environment import TaskEnvironment

app = create_app(TaskEnvironment, TurnAction, TurnObservation, env_name="$module", max_concurrent_envs=16)


def main() -> None:
    """Serve on loopback."""
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(app, host=options.host, port=options.port)


if __name__ == "__main__":
    main()
'''
