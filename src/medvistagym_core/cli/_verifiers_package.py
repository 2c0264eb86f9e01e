"""The text of a package for verifiers, by path: a taskset, and a harness that plays its episodes in verifiers' own process.

A harness of verifiers 0.4 may run its loop in the process of the evaluation instead of launching a program, as long as every
call of the model goes through the address that it is given (docstring of `verifiers.v1.Harness.launch`). So nothing is
installed into a sandbox, and pictures reach the model as image parts of messages.
"""

from __future__ import annotations

from typing import Final

from medvistagym_core.cli._exported_task import ExportedTask, fill, pyproject, readme


def verifiers_package(what: ExportedTask) -> dict[str, str]:
    """A module for verifiers: tasks of which the data is a case's position, a harness, and an environment of one agent."""
    return {
        "pyproject.toml": pyproject(what, ['"verifiers>=0.4,<0.5"', '"httpx>=0.27"', '"pillow"'], [what.module]),
        "README.md": readme(what, _README),
        "__init__.py": fill(_MODULE, what),
    }


_README: Final = """\
# $module

The MedVistaGym task `$task` ($split; tools: $tools) for verifiers 0.4. For research only; nothing here is for clinical use.

```
pip install .
vf-eval $module -m MODEL --client.base-url http://127.0.0.1:8000/v1 -n 8 -r 4 --no-push
```

The model writes turns as text: `<tool_call>{...}</tool_call>`, or `<answer>...</answer>`; what a tool returns, pictures too, is
the next user's message. The episode runs in verifiers' own process, without a sandbox and without `uv`. The reward is the
task's; `correct`, `turns` and `calls` are metrics. `traces.jsonl` holds no right answer but those that the model gave.

In Python:

```python
from verifiers.v1.cli.eval.runner import run_eval
from verifiers.v1.configs.cli.eval import EvalConfig

config = EvalConfig.model_validate({
    "env": {"taskset": {"id": "$module"}}, "model": "MODEL", "push": False, "rich": None,
    "client": {"base_url": "http://127.0.0.1:8000/v1"}, "select": {"limit": 8},
})
episodes = await run_eval(config)
```
"""
_MODULE: Final = '''\
"""The MedVistaGym task $task for verifiers: `vf-eval $module`."""

import asyncio
import base64
import dataclasses
import io
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import verifiers.v1 as vf
from medvistagym_core.environment import Episode, step_episodes
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.gym import make

__all__ = ["TaskEnvironment", "TaskHarness", "Tasks"]

SIZE = $size
MAKE = $make
_ENV = make(**MAKE)
_ENV = make(**MAKE, settings=dataclasses.replace(_ENV.settings, style="text"))
_ENV.reset(options={"index": 0})
_EXECUTOR = LocalExecutor(_ENV.episode.toolbox)
_LOCK = threading.Lock()  # rollouts are played in threads, and a task and its tools are used by one at a time


class CaseData(vf.TaskData):
    """Which case is played; the picture and the question come from the task itself."""

    index: int


class EpisodeState(vf.State):
    """What an episode was worth, once it is over."""

    reward: float = 0.0
    measures: dict[str, float] = {}


class CaseTask(vf.Task[CaseData, EpisodeState]):
    """A case."""

    @vf.reward
    async def task_reward(self, trace: vf.Trace) -> float:
        """The task's own reward."""
        return trace.state.reward

    @vf.metric
    async def measures(self, trace: vf.Trace) -> dict[str, float]:
        """Whether the answer was right, and how many turns and calls it took."""
        return trace.state.measures


class TasksConfig(vf.TasksetConfig):
    """Options of `--env.taskset`: none but verifiers' own."""


class Tasks(vf.Taskset[CaseTask, TasksConfig]):
    """The cases, in their order."""

    def load(self) -> Iterator[CaseTask]:
        for index in range(SIZE):
            episode = _begin(index)
            data = CaseData(index=index, name=episode.case.id, prompt=episode.case.question)
            yield CaseTask(data, self.config.task)


class TaskHarnessConfig(vf.HarnessConfig):
    """Options of `--env.agent.harness`: none but verifiers' own."""


class TaskHarness(vf.Harness[TaskHarnessConfig]):
    """Plays an episode: the model's turns come from the address that verifiers gives, results from the task's tools."""

    APPENDS_SYSTEM_PROMPT = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: CaseData,
    ) -> vf.ProgramResult:
        episode = await asyncio.to_thread(_begin, data.index)
        conversation: list[dict[str, Any]] = []
        try:
            async with httpx.AsyncClient(headers={"Authorization": f"Bearer {secret}"}, timeout=None) as client:
                while not episode.done:
                    conversation += await asyncio.to_thread(_portable, episode.new_messages)
                    body = {"model": ctx.model, "messages": conversation}
                    answer = await client.post(f"{endpoint}/chat/completions", json=body)
                    answer.raise_for_status()
                    message = answer.json()["choices"][0]["message"]
                    # As it came, so that verifiers finds its own turn again in the next request.
                    conversation.append({"content": "", **{k: v for k, v in message.items() if v is not None}})
                    await asyncio.to_thread(_step, episode, message.get("content") or "")
        finally:
            episode.stop()
            correct = float(episode.grade.correct)
            trace.state.reward = episode.score.total
            trace.state.measures = {"correct": correct, "turns": len(episode.steps), "calls": episode.calls}
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


class TaskEnvironmentConfig(vf.EnvConfig):
    """One agent, which needs no sandbox."""

    agent: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())


class TaskEnvironment(vf.Env[TaskEnvironmentConfig]):
    """One agent plays one case."""

    async def run(self, task: CaseTask, agents: vf.Agents) -> None:
        await agents.agent.run(task)


def _begin(index: int) -> Episode:
    with _LOCK:
        _ENV.reset(options={"index": index})
        return _ENV.episode


def _step(episode: Episode, text: str) -> None:
    with _LOCK:
        step_episodes(_EXECUTOR, [episode], [text])


def _portable(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": each["role"], "content": [_part(block) for block in each["content"]]} for each in messages]


def _part(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] != "image":
        return {"type": "text", "text": block["text"]}
    out = io.BytesIO()
    block["image"].save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}
'''
