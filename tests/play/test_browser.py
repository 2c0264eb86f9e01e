"""The page in a browser: opening, scrolling, drawing, calling, chaining, copying, saving, by pointer and by keys."""

import json
import time

import numpy as np
import pytest
from browsing import click, found, press, text, until

from medvistagym_core.cli._play import shell_script
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.imaging import Image, Window
from medvistagym_core.play import PlayServer, PlaySession, find_sources
from medvistagym_core.tools import Toolbox, tool
from medvistagym_core.trajectories import TrajectoryReader

pytestmark = pytest.mark.e2e

CONTROL_ENTER = "\ue009\ue007"
DOWN, END, BACKSPACE = "\ue015", "\ue010", "\ue003"
EVIL = '<img src=x onerror="document.title=1">'


@tool
def outline(image: Image, points: list[tuple[int, int]], name: str = "it") -> str:
    """Count the corners of an outline.

    Args:
        image: The image.
        points: Corners on the grid of 0 to 1000.
        name: What it is called.
    """
    return f"{len(points)} corners of {name}"


@tool
def length(image: Image, from_point: tuple[int, int], to_point: tuple[int, int]) -> float:
    """The distance of two points.

    Args:
        image: The image.
        from_point: One end.
        to_point: The other.
    """
    return abs(to_point[0] - from_point[0])


class Talker:
    """A policy that looks once and answers with markup."""

    name = "talker"

    def __init__(self):
        self.sampling = {}

    def act(self, observations):
        if observations[0].num_turns % 2 == 0:
            call = {"name": "crop", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}
            return [f"<think>I look.</think><tool_call>{json.dumps(call)}</tool_call>"]
        return [f"<answer>{EVIL}</answer>"]


def read_volume(path):
    if path.suffix != ".volume":
        return None
    values = np.arange(20, dtype=np.int16)[:, None, None] * 10 + np.zeros((20, 64, 64), np.int16)
    values[:, :32, 32:] += 500
    windows = (Window(300, 800, name="wide"), Window(100, 100))
    return [Image(pixels=values, unit="HU", modality="CT", spacing=(2.0, 0.5, 0.5), window=windows[0], windows=windows)]


@pytest.fixture
def play(browser, toolbox, tmp_path):
    """Show the page of a volume, opened."""
    (tmp_path / "scan.volume").write_text("")
    toolbox = Toolbox({**toolbox, "outline": outline, "length": length})
    sources = find_sources(tmp_path / "scan.volume")
    with (
        LocalExecutor(toolbox) as executor,
        PlayServer(
            session := PlaySession(toolbox, executor, policy=Talker(), shell=shell_script),
            sources,
            [read_volume],
            out=tmp_path / "out",
            name="scan",
        ) as page,
    ):
        browser.get(page.url)
        until(lambda: browser.execute_script("return document.body.dataset.begun && state.images.length"))
        yield session


def pointer(browser, *moves):
    """Press at the first place of the picture before, move to the others, and release; in fractions."""
    script = """
      const box = before.stage.getBoundingClientRect(), [moves] = arguments;
      const fire = (kind, [x, y]) => before.stage.dispatchEvent(new PointerEvent(kind, { bubbles: true, pointerId: 1,
        clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
      before.stage.setPointerCapture = () => {};
      fire("pointerdown", moves[0]);
      for (const place of moves.slice(1)) fire("pointermove", place);
      fire("pointerup", moves.at(-1));
    """
    browser.execute_script(script, moves)


def choose(browser, name):
    browser.execute_script("chooseTool(arguments[0])", name)


def run(browser, turns):
    click(browser, "#run")
    until(lambda: browser.execute_script("return state.turns.length") == turns)


def test_a_box_is_drawn_and_the_call_is_shown_before_and_after(browser, play):
    choose(browser, "crop")
    pointer(browser, (0.5, 0.0), (0.7, 0.3), (1.0, 0.5))
    assert browser.execute_script("return givenArguments()") == {"image": 0, "box": [500, 0, 1000, 500]}
    run(browser, 1)
    assert play.steps[0].calls[0].arguments == {"image": 0, "box": [500, 0, 1000, 500]}
    assert "32 × 32 × 20" in text(browser, "#after .caption")
    assert "window 300 / 800 (wide)" in text(browser, "#after .caption")
    assert "2 × 0.5 × 0.5 mm" in text(browser, "#after .caption")
    assert "0 scan.volume → 1 crop" in text(browser, "#after .line")
    assert found(browser, "#before .marks .cut")
    until(lambda: browser.execute_script("return [before, after].every((view) => view.picture.naturalWidth >= 32)"))


def test_calls_are_chained_by_handle_and_copied(browser, play):
    choose(browser, "crop")
    pointer(browser, (0.5, 0.0), (1.0, 0.5))
    run(browser, 1)
    click(browser, "#chain")
    choose(browser, "window")
    browser.execute_script(
        "form.fields.find((f) => f.name === 'center').write(40); form.fields.find((f) => f.name === 'width').write(10)"
    )
    run(browser, 2)
    assert play.store.images[2].window == Window(40, 10)
    assert [play.steps[1].calls[0].arguments["image"], browser.execute_script("return lineage(2)")] == [1, [0, 1, 2]]
    until(lambda: "0-crop.npy" in browser.execute_script("return copied.texts.shell ?? ''"))
    click(browser, ".tabs button", 2)
    assert text(browser, "#copied").startswith('<tool_call>{"name": "window"')


def test_a_text_that_arrives_leaves_the_tab_in_use_alone(browser, play):
    choose(browser, "crop")
    pointer(browser, (0.5, 0.0), (1.0, 0.5))
    tab = until(lambda: found(browser, ".tabs button")[2:])[0]
    tab.click()
    until(lambda: "500, 0, 1000, 500" in text(browser, "#copied"))
    browser.execute_script("form.fields[1].write([0, 0, 500, 500])")
    until(lambda: "0, 0, 500, 500" in text(browser, "#copied"))
    assert browser.switch_to.active_element == tab
    assert tab.get_attribute("aria-pressed") == "true"


def test_a_wrong_call_says_what_a_policy_would_read(browser, play):
    choose(browser, "crop")
    browser.execute_script("form.fields[1].write([1, 2])")
    run(browser, 1)
    assert "crop: box" in text(browser, "#result .fault")
    assert "bad_arguments" in text(browser, "#result .fault")


def test_points_and_outlines_are_drawn_corner_by_corner(browser, play):
    choose(browser, "outline")
    for place in ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9), (0.2, 0.2)):
        pointer(browser, place)
    found(browser, "#before .screen")[0].send_keys(BACKSPACE)
    assert browser.execute_script("return givenArguments().points") == [[100, 100], [900, 100], [500, 900]]
    run(browser, 1)
    assert "3 corners of it" in text(browser, "#result")
    assert found(browser, "#before .marks .shape")
    choose(browser, "length")
    pointer(browser, (0.1, 0.1))
    pointer(browser, (0.6, 0.1))
    run(browser, 2)
    assert "500" in text(browser, "#result .said")


def test_slices_turn_by_wheel_and_keys_and_tell_their_values(browser, play):
    count = lambda: text(browser, "#before .slices output")  # noqa: E731
    assert count() == "11 / 20"
    browser.execute_script(
        "before.screen.dispatchEvent(new WheelEvent('wheel', { deltaY: 100, bubbles: true, cancelable: true }))"
    )
    assert count() == "12 / 20"
    found(browser, "#before .screen")[0].send_keys(DOWN)
    assert count() == "13 / 20"
    found(browser, "#before .screen")[0].send_keys(END)
    assert count() == "20 / 20"
    pointer(browser, (0.75, 0.25), (0.76, 0.25))
    until(lambda: "690 HU" in text(browser, "#before .value"))
    until(lambda: browser.execute_script("return before.picture.src.includes('slice/0/19.png')"))


def test_it_is_worked_by_keys_alone(browser, play):
    found(browser, "#before .screen")[0].send_keys("/")
    assert browser.execute_script("return document.activeElement.id") == "tool"
    choose(browser, "crop")
    found(browser, "#field-box")[0].send_keys("0,0,500,500" + CONTROL_ENTER)
    until(lambda: browser.execute_script("return state.turns.length") == 1)
    browser.execute_script("document.activeElement.blur()")
    press(browser, "b")
    assert browser.execute_script("return state.before") == 1
    press(browser, "?")
    assert found(browser, "#help")[0].is_displayed()
    assert "call the tool" in text(browser, "#help")


def test_the_model_is_asked_and_its_turns_are_shown_as_text(browser, play):
    found(browser, "#question")[0].send_keys("Which quadrant is bright?")
    click(browser, "#ask .main")
    until(lambda: browser.execute_script("return state.turns.length") == 1)
    assert "I look." in text(browser, "#log")
    click(browser, "#step")
    until(lambda: browser.execute_script("return state.answered"))
    assert EVIL in text(browser, "#result .final")
    assert "MedVistaGym" in browser.title
    assert not found(browser, "#step")
    assert found(browser, "#run")[0].get_attribute("disabled")


def test_a_session_is_saved(browser, play, tmp_path):
    choose(browser, "crop")
    pointer(browser, (0.5, 0.0), (1.0, 0.5))
    run(browser, 1)
    click(browser, "#save-open")
    found(browser, "#save [name=question]")[0].send_keys("Where is it?")
    click(browser, "#save .main")
    until(lambda: "Saved to" in text(browser, "#status"))
    (file,) = (tmp_path / "out").glob("*.jsonl")
    (trajectory,) = TrajectoryReader(file)
    assert [block.text for block in trajectory.opening if block.text and "Where is it?" in block.text]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (900, 800), (390, 844)])
def test_it_fits_the_screen(browser, play, width, height):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 800},
    )
    try:
        choose(browser, "crop")
        pointer(browser, (0.5, 0.0), (1.0, 0.5))
        run(browser, 1)
        time.sleep(0.3)
        assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
        boxes = json.loads(
            browser.execute_script(
                "return JSON.stringify(['before', 'after'].map((id) => document.getElementById(id).getBoundingClientRect()))"
            )
        )
        beside = boxes[1]["left"] >= boxes[0]["right"]
        assert beside == (width >= 760)
        assert min(box["width"] for box in boxes) > 200
        assert browser.execute_script("return document.querySelector('.notice').getBoundingClientRect().height > 0")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
