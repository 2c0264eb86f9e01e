"""A run folder of toy episodes, and a browser to look at it."""

import http.client
import shutil

import pytest

from medvistagym_core.environment import Episode, step_episodes
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.plugins import Registry
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import PolicyRecord, TrajectoryWriter
from medvistagym_core.trajectories.viewer import EpisodeIndex, ViewerServer

from .browsing import ready, start
from .plays import echo, tilted, trace, turned


@pytest.fixture
def tools(toolbox):
    """The toy tools, and some that show what the page must cope with."""
    return Toolbox({**toolbox, "echo": echo, "tilted": tilted, "trace": trace, "turned": turned})


@pytest.fixture
def write(task, tools, tmp_path):
    """Write episodes, each a list of turns, each turn a call or text; the run's folder."""

    def episodes(*plays, name="test", policy="hand", task=task, tools=tools, **changes):
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
def registry(task, tools):
    """The toy tools and their task, as if they were installed."""
    registry = Registry()
    for found in tools.values():
        registry.add_tool(found)
    registry.add_task(task)
    return registry


@pytest.fixture
def ask():
    """Ask a page for a path; the answer's head and body."""

    def get(page, path, method="GET", host=None):
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{page.port}")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body

    return get


@pytest.fixture(scope="module")
def chromium():
    driver, folder = start()
    yield driver
    driver.quit()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def browser(chromium):
    """A browser with an empty page; the test ends without a complaint from the page."""
    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    yield chromium
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


@pytest.fixture
def show(browser):
    """Show a run, all of it read and an episode open."""
    pages = []

    def open_page(run, full_resolution=None):
        page = ViewerServer(EpisodeIndex(run), full_resolution=full_resolution)
        page.start()
        pages.append(page)
        browser.get(page.url)
        ready(browser)
        return page

    yield open_page
    for page in pages:
        page.close()
