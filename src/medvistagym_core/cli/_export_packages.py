"""The texts of exported environment packages, by path: a task as other projects' training loops take environments."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from string import Template
from typing import Any, Final, NamedTuple


class ExportedTask(NamedTuple):
    """What a package is about.

    Attributes:
        module: Name of the Python package.
        task: How the task is named, as `make_task` takes it.
        arguments: What the task is told.
        split: The split that is played.
        size: How many cases it has, or 1,000 of a task without an end.
        tools: The selection of tools.
        schemas: Their schemas in the form of Hugging Face.
    """

    module: str
    task: str
    arguments: Mapping[str, Any]
    split: str
    size: int
    tools: str
    schemas: Sequence[Mapping[str, Any]]


def openenv_package(what: ExportedTask) -> dict[str, str]:
    """A server and a client for OpenEnv: an action is the text of a turn, an observation is what is new to read."""
    return {
        "pyproject.toml": _pyproject(what, ['"openenv>=0.10"', '"uvicorn"'], [what.module, f"{what.module}.server"]),
        "openenv.yaml": _filled(_OPENENV_YAML, what),
        "README.md": _readme(what, _OPENENV_README),
        "__init__.py": '"""A MedVistaGym task for OpenEnv."""\n',
        "models.py": _OPENENV_MODELS,
        "client.py": _OPENENV_CLIENT,
        "server/__init__.py": '"""The server."""\n',
        "server/environment.py": _filled(_OPENENV_ENVIRONMENT, what),
        "server/app.py": _filled(_OPENENV_APP, what),
    }


def trl_package(what: ExportedTask) -> dict[str, str]:
    """A module for TRL's own `GRPOTrainer`: an environment with a method for each tool, a reward, and a data set.

    Raises:
        ValueError: A tool or an argument has a name that no Python method can have.
    """
    for schema in what.schemas:
        _check_names(schema["function"])
    methods = "\n".join(_method(schema["function"]) for schema in what.schemas)
    return {
        "pyproject.toml": _pyproject(what, ['"trl>=1.16"', '"datasets>=4"'], [what.module]),
        "README.md": _readme(what, _TRL_README),
        "__init__.py": _filled(_TRL_MODULE, what) + methods,
    }


PACKAGES: Final[Mapping[str, Callable[[ExportedTask], dict[str, str]]]] = {
    "openenv": openenv_package,
    "trl": trl_package,
}
"""What makes the package, by the name of the project that it is for."""


def module_name(task: str) -> str:
    """A name for the Python package of a task."""
    name = re.sub(r"\W+", "_", task.rsplit("/", 1)[-1].partition(".")[0]).strip("_").lower()
    return f"{name if name[:1].isalpha() and not keyword.iskeyword(name) else f'task_{name}'}_env"


def _filled(text: str, what: ExportedTask) -> str:
    make = {"task": what.task, "split": what.split, "tools": what.tools, "task_arguments": dict(what.arguments)}
    return Template(text).substitute(make=repr(make), module=what.module, size=what.size, task=_line(what.task))


def _pyproject(what: ExportedTask, requires: Sequence[str], packages: Sequence[str]) -> str:
    places = ", ".join(f'"{each}" = "{each.partition(".")[2] or "."}"' for each in packages)
    description = f"The MedVistaGym task {what.task}, as an environment (research use only, not for clinical use)."
    return f"""\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "{what.module.replace("_", "-")}"
version = "0.1.0"
description = {json.dumps(description, ensure_ascii=False)}
requires-python = ">=3.11"
dependencies = ["medvistagym-core>=0.1,<0.2", {", ".join(requires)}]

[tool.setuptools]
packages = [{", ".join(f'"{each}"' for each in packages)}]
package-dir = {{ {places} }}
"""


def _readme(what: ExportedTask, text: str) -> str:
    return Template(text).substitute(
        module=what.module, task=what.task, split=what.split, tools=what.tools or "no tools"
    )


def _check_names(function: Mapping[str, Any]) -> None:
    name = function["name"]
    if not _is_name(name) or name.startswith("_") or name in _RESERVED:
        raise ValueError(f"the tool {name!r} cannot be a method for TRL; leave it out of --tools")
    for argument in function["parameters"].get("properties", {}):
        if not _is_name(argument) or argument == "self":
            raise ValueError(
                f"the argument {argument!r} of the tool {name} cannot be one of a Python method; leave the tool out of --tools"
            )


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


def _method(function: Mapping[str, Any]) -> str:
    """A tool as a method of the environment, with its arguments, their types and their descriptions."""
    properties: Mapping[str, Any] = function["parameters"].get("properties", {})
    required = set(function["parameters"].get("required", ()))
    names = sorted(properties, key=lambda name: name not in required)
    arguments = "".join(f", {name}: {_annotation(properties[name], name in required)}" for name in names)
    described = "\n".join(f"            {name}: {_line(properties[name].get('description', name))}" for name in names)
    given = "".join(f", {name}={name}" for name in names)
    return f'''
    def {function["name"]}(self{arguments}) -> list:
        """{_line(function["description"])}

        Args:
{described}
        """
        return self._call("{function["name"]}"{given})
'''


def _line(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace('"', "'")


def _annotation(schema: Mapping[str, Any], required: bool) -> str:
    types = schema.get("type", ())
    named = [each for each in ([types] if isinstance(types, str) else types) if each != "null"]
    only = named[0] if len(named) == 1 else ""
    if "enum" in schema:
        kind = f"Literal[{', '.join(map(repr, schema['enum']))}]"
    elif only == "array":
        kind = f"list[{_annotation(schema.get('items', {}), True)}]"
    else:
        kinds = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "dict"}
        kind = kinds.get(only, "Any")
    if required and "null" in types:
        return f"Optional[{kind}]"
    return kind if required else f"Optional[{kind}] = {schema.get('default')!r}"


_RESERVED: Final = frozenset({"reset", "bool", "dict", "float", "int", "list", "str"})
"""Names of the environment's own method, and of the types that stand in the signatures of methods."""
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
_TRL_README: Final = """\
# $module

The MedVistaGym task `$task` ($split; tools: $tools) for TRL's own `GRPOTrainer`. For research only; nothing here is for
clinical use.

```python
from trl import GRPOConfig, GRPOTrainer
from $module import TaskEnvironment, dataset, reward

trainer = GRPOTrainer(
    model,
    reward_funcs=reward,
    args=GRPOConfig(...),
    train_dataset=dataset(),
    environment_factory=TaskEnvironment,
)
```

`medvistagym train` does the same with batched tool calls; see its documentation for what TRL's loop costs.
"""
_TRL_MODULE: Final = '''\
"""The MedVistaGym task $task for TRL: `TaskEnvironment`, `reward` and `dataset`."""

from typing import Any, Literal, Optional

from medvistagym_core.execution import LocalExecutor
from medvistagym_core.gym import make

__all__ = ["TaskEnvironment", "dataset", "reward"]

SIZE = $size
_ENV = make(**$make)
_ENV.reset(options={"index": 0})
_EXECUTOR = LocalExecutor(_ENV.episode.toolbox)


def dataset(cases: int = SIZE) -> Any:
    """The first cases, a row each; the picture and the question come from `TaskEnvironment.reset`."""
    from datasets import Dataset

    rows = [{"prompt": [{"role": "system", "content": _ENV.settings.prompt}], "index": k} for k in range(cases)]
    for row in rows:
        row["prompt"].append({"role": "user", "content": ""})
    return Dataset.from_list(rows)


def reward(completions: list, environments: list, **_: Any) -> list[float]:
    """What each episode is worth, by the task's own graders."""
    return [environment._finish(completion) for environment, completion in zip(environments, completions, strict=True)]


class TaskEnvironment:
    """One episode: `reset` begins it, each other public method is a tool."""

    def reset(self, index: int, **row: Any) -> list:
        """Begin case `index`; what the policy is shown."""
        _ENV.reset(options={"index": index})
        self._episode = _ENV.episode
        return list(self._episode.new_messages[-1]["content"])

    def _call(self, tool: str, /, **arguments: Any) -> list:
        given = {name: value for name, value in arguments.items() if value is not None}
        return self._episode.call_tool(tool, given, _EXECUTOR)

    def _finish(self, completion: list) -> float:
        last = completion[-1] if completion else {}
        if not self._episode.done and last.get("role") == "assistant" and not last.get("tool_calls"):
            self._episode.submit_turn(last)
        self._episode.stop()
        return self._episode.score.total
'''
