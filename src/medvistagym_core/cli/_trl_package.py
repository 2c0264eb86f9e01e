"""The text of a module for TRL's own `GRPOTrainer`, by path: an environment with a method for each tool."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any, Final

from medvistagym_core.cli._exported_task import ExportedTask, fill, one_line, pyproject, readme


def trl_package(what: ExportedTask) -> dict[str, str]:
    """A module for TRL's own `GRPOTrainer`: an environment with a method for each tool, a reward, and a data set.

    Raises:
        ValueError: A tool or an argument has a name that no Python method can have.
    """
    for schema in what.schemas:
        _check_names(schema["function"])
    methods = "\n".join(_method(schema["function"]) for schema in what.schemas)
    return {
        "pyproject.toml": pyproject(what, ['"trl>=1.16"', '"datasets>=4"'], [what.module]),
        "README.md": readme(what, _TRL_README),
        "__init__.py": fill(_TRL_MODULE, what) + methods,
    }


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
    described = "\n".join(
        f"            {name}: {one_line(properties[name].get('description', name))}" for name in names
    )
    given = "".join(f", {name}={name}" for name in names)
    return f'''
    def {function["name"]}(self{arguments}) -> list:
        """{one_line(function["description"])}

        Args:
{described}
        """
        return self._call("{function["name"]}"{given})
'''


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
