"""A run folder of toy episodes, and a browser to look at it."""

import http.client
import shutil

import pytest

from medvistagym_core.episode import Episode, step_episodes
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.page import Page, Run
from medvistagym_core.protocol import Protocol
from medvistagym_core.registry import Registry, Toolbox
from medvistagym_core.trajectory import PolicyRecord, TrajectoryWriter

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
                episode = Episode.of(task, "test", index, tools, **changes)
                for turn in (*turns, "<answer>upper left</answer>"):
                    said = turn if isinstance(turn, str) else Protocol().render("Let me look.", [turn])
                    if not episode.done:
                        step_episodes(executor, [episode], [said], seconds=0.25)
                writer.write(episode.finish(PolicyRecord(name=policy)), episode.pictures())
        return file.parent

    return episodes


@pytest.fixture
def registry(task, tools):
    """The toy tools and their task, as if they were installed."""
    registry = Registry()
    for found in tools.values():
        registry.register(found)
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

    def open_page(run, restorer=None):
        page = Page(Run(run), restorer=restorer)
        page.start()
        pages.append(page)
        browser.get(page.url)
        ready(browser)
        return page

    yield open_page
    for page in pages:
        page.close()
