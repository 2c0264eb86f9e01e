"""A run folder of toy episodes, and a browser to look at it."""

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsing import ready

from medvistagym_core.environment import Episode, Task, step_episodes
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.plugins import Registry
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import Toolbox, ToolCall
from medvistagym_core.trajectories import PolicyRecord, TrajectoryWriter
from medvistagym_core.trajectories.viewer import EpisodeIndex, ViewerServer

from .plays import echo, tilted, trace, turned

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture
def tools(toolbox: Toolbox) -> Toolbox:
    """The toy tools, and some that show what the page must cope with."""
    return Toolbox({**toolbox, "echo": echo, "tilted": tilted, "trace": trace, "turned": turned})


@pytest.fixture
def write(task: Task, tools: Toolbox, tmp_path: Path) -> Callable[..., Path]:
    """Write episodes, each a list of turns, each turn a call or text; the run's folder."""

    def episodes(
        *plays: list[str | ToolCall],
        name: str = "test",
        policy: str = "hand",
        task: Task = task,
        tools: Toolbox = tools,
        **changes: Any,
    ) -> Path:
        file = tmp_path / "run" / f"{name}.jsonl"
        with LocalExecutor(tools, workers=2) as executor, TrajectoryWriter(file, tools) as writer:
            for index, turns in enumerate(plays):
                episode = Episode.from_task(task, "test", index, tools, **changes)
                for turn in (*turns, "<answer>upper left</answer>"):
                    said = turn if isinstance(turn, str) else TextProtocol().format_turn("Let me look.", [turn])
                    if not episode.done:
                        step_episodes(executor, [episode], [said], seconds=0.25)
                writer.write(episode.to_trajectory(PolicyRecord(name=policy)), episode.rendered_images())
        return file.parent

    return episodes


@pytest.fixture
def registry(task: Task, tools: Toolbox) -> Registry:
    """The toy tools and their task, as if they were installed."""
    registry = Registry()
    for found in tools.values():
        registry.add_tool(found)
    registry.add_task(task)
    return registry


@pytest.fixture
def ask() -> Callable[..., tuple[http.client.HTTPResponse, bytes]]:
    """Ask a page for a path; the answer's head and body."""

    def get(
        page: ViewerServer, path: str, method: str = "GET", host: str | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{page.port}")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body

    return get


@pytest.fixture
def show(browser: "Chrome") -> Iterator[Callable[..., ViewerServer]]:
    """Show a run, all of it read and an episode open."""
    pages: list[ViewerServer] = []

    def open_page(run: Path, full_resolution: Any = None) -> ViewerServer:
        page = ViewerServer(EpisodeIndex(run), full_resolution=full_resolution)
        page.start()
        pages.append(page)
        browser.get(page.url)
        ready(browser)
        return page

    yield open_page
    for page in pages:
        page.close()
