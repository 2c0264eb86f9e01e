"""What the page shows, and how it is moved about in."""

import json

import pytest
from browsing import ENTER, ESCAPE, RIGHT, found, press, text, until

from medvistagym_core.rollouts import FullResolutionReplayer

from .plays import CROP, CROP_OF_CROP, OUTSIDE, WINDOW, forget_expected, read

pytestmark = pytest.mark.e2e


def test_an_episode_is_shown_with_its_boxes_windows_reward_and_times(browser, show, write):
    show(write([CROP, CROP_OF_CROP, WINDOW, OUTSIDE]))
    assert "Which quadrant is bright?" in text(browser, "#episode h2")
    shown = text(browser, "#episode")
    parts = ("Let me look.", "window C 1 W 10 HU", "bad_value", "there is no image 7", "efficiency", "Turn 5", "250 ms")
    for part in (*parts, "from image 1"):
        assert part in shown
    # Both crops are drawn on the source: the second through the first.
    viewed = browser.execute_script(
        "return [...document.querySelectorAll('.sources .mark')].map(m => "
        "[m.querySelector('.edge').getAttribute('points'), m.querySelector('text').textContent])"
    )
    assert viewed == [["500,0 1000,0 1000,500 500,500", "1"], ["500,250 750,250 750,500 500,500", "2"]]
    # The picture under the boxes is whole and unscaled in its file.
    until(lambda: browser.execute_script("return document.querySelector('.sources img').naturalWidth") == 32)
    assert browser.execute_script("return document.querySelectorAll('.missing').length") == 0
    assert "not for clinical use" in text(browser, ".notice")


def test_an_answer_that_nobody_grades_is_shown_as_answered(browser, show, write):
    show(forget_expected(write([WINDOW])))
    assert text(browser, ".heading .badge") == "answered"
    shown = text(browser, "#episode")
    assert "Answered upper left." in shown
    assert not {"wrong", "expected", "Reward", "REWARD"} & set(shown.split())


def test_the_caption_of_an_image_tells_its_lookup_table_by_its_range(browser, show, write):
    folder = write([WINDOW])
    show(folder)
    image = read(folder).episode(0)["images"][1]
    table = {"window_center": 127.5, "window_width": 256, "window_function": "table", "window_name": "lookup table"}
    said = browser.execute_script("return caption(arguments[0], 1)", {**image, **table})
    assert "lookup table from 0 to 255 HU" in said
    assert "window" not in said


def test_filters_keep_the_episodes_that_fit(browser, show, write):
    show(write([WINDOW], [CROP], [OUTSIDE], ["hm"], []))

    def shown(**wanted):
        browser.execute_script(
            "clearFilters(); for (const [name, value] of Object.entries(arguments[0])) list.fields[name].value = value;"
            "applyFilters()", wanted,
        )  # fmt: skip
        return browser.execute_script("return list.shown"), text(browser, "#count")

    assert shown()[0] == [0, 1, 2, 3, 4]
    assert shown(tool="window") == ([0], "1 of 5 episodes")
    assert shown(tool="crop")[0] == [1, 2]
    assert shown(error="malformed_call")[0] == [3]
    assert shown(error="bad_value", tool="crop")[0] == [2]
    assert shown(family="direct")[0] == [1, 3]
    assert shown(task="quadrants")[0] == [0, 1, 2, 3, 4]
    outcomes = browser.execute_script("return data.rows.map(r => data.outcomes[cell(r, 'outcome')])")
    assert shown(outcome="wrong")[0] == [n for n, outcome in enumerate(outcomes) if outcome == "wrong"]
    assert shown(search="test-3-0")[0] == [3]
    assert shown(search="nothing like it") == ([], "0 of 5 episodes")
    assert "No episode fits." in text(browser, "#rows")


def test_keys_walk_through_it(browser, show, write):
    show(write([CROP, WINDOW], [WINDOW], [], []))
    chosen = lambda: browser.execute_script("return list.chosen")  # noqa: E731
    until(lambda: chosen() == 0)
    for key, expected in (("j", 1), ("j", 2), ("k", 1), ("k", 0), ("k", 0)):
        press(browser, key)
        until(lambda expected=expected: chosen() == expected)
    until(lambda: browser.execute_script("return shownEpisode.record && shownEpisode.record.number") == 0)
    press(browser, RIGHT)
    assert until(lambda: "image 0" in text(browser, "#large figcaption"))
    press(browser, RIGHT)
    until(lambda: "image 1" in text(browser, "#large figcaption"))
    press(browser, ESCAPE)
    until(lambda: not browser.execute_script("return document.getElementById('large').open"))
    press(browser, "?")
    assert "next and previous episode" in text(browser, "#help")
    press(browser, ESCAPE)
    until(lambda: not browser.execute_script("return document.getElementById('help').open"))
    press(browser, "/")
    assert browser.switch_to.active_element.get_attribute("id") == "search"
    press(browser, "test-2", ENTER)
    until(lambda: chosen() == 2)
    press(browser, ESCAPE)
    press(browser, "x")
    press(browser, "r")
    until(lambda: found(browser, ".tile"))
    press(browser, "e")
    until(lambda: not found(browser, "#episodes[hidden]"))


def test_the_run_is_shown_as_a_whole_and_its_charts_lead_to_episodes(browser, show, write):
    folder = write(*[[WINDOW], [CROP], [OUTSIDE], ["hm"], []] * 5)
    lines = [
        {"phase": "grpo", "step": k, "accuracy": k / 9, "reward": k / 9, "tool/window": k, "loss": 1} for k in range(9)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    show(folder)
    press(browser, "r")
    until(lambda: len(found(browser, ".chart")) > 5)
    titles = [e.text for e in found(browser, ".chart > figcaption b")]
    for title in (
        "Accuracy",
        "Reward",
        "Tool use",
        "Number of calls",
        "Errors",
        "Tool chosen by family",
        "Accuracy by family",
    ):
        assert title in titles
    assert len(found(browser, "svg polyline.series")) == 4
    wanted = browser.execute_script(
        "return [...data.rows.keys()].filter(n => "
        "text(data.rows[n], 'family') === 'direct' && firstTool(data.rows[n]) === 'crop')"
    )
    button = next(b for b in found(browser, ".matrix button") if b.get_attribute("title").startswith("direct: crop"))
    assert button.text.split()[0] == str(len(wanted)) != "0"
    button.click()
    assert browser.execute_script("return list.shown") == wanted
    assert "family direct, first call crop" in text(browser, ".chip")


def test_a_training_is_drawn_by_what_it_logged(browser, show, write):
    folder = write([WINDOW])
    metrics = {
        "tool/window": 0.5,
        "tool/crop": 0.25,
        "tools/call_frequency": 0.7,
        "error/timeout": 0,
        "error/bad_value": 0.1,
    }
    lines = [{"phase": "grpo", "step": k, "accuracy": (k % 2) / 2, **metrics} for k in range(100)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    show(folder)
    press(browser, "r")
    until(lambda: found(browser, ".chart"))
    charts = {c.find_element("tag name", "b").text: c for c in reversed(found(browser, ".chart"))}
    legend = " ".join(charts["Tool use"].text.split())
    assert legend.endswith("crop 0.25 window 0.5 bold: mean over ±4 points")
    assert "timeout" not in charts["Errors"].text
    assert "bad_value" in charts["Errors"].text
    assert "Tool calls" not in charts
    # The raw points lie faint behind a mean that swings less than they do.
    drawn = [charts["Accuracy"].find_elements("css selector", f"polyline.{kind}") for kind in ("raw", "series")]
    heights = [{p.split(",")[1] for p in line.get_attribute("points").split()} for (line,) in drawn]
    assert len(heights[0]) == 2
    assert max(map(float, heights[1])) - min(map(float, heights[1])) < 0.5 * (
        max(map(float, heights[0])) - min(map(float, heights[0]))
    )


def test_a_run_of_several_policies_is_shown_one_by_one_at_a_touch(browser, show, write):
    write([WINDOW], [CROP], name="one", policy="first")
    show(write([CROP], name="two", policy="second"))
    press(browser, "r")
    until(lambda: found(browser, ".picks"))
    state = """
        return [document.querySelector(".tile b").textContent,
                ...[...document.querySelectorAll(".picks [aria-pressed=true]")].map(b => b.textContent)]"""
    click = "[...document.querySelectorAll('.picks button')].find(b => b.textContent === arguments[0]).click()"
    for name, episodes in (("second", "1"), ("first", "2"), ("All policies", "3")):
        browser.execute_script(click, name)
        until(lambda expected=[episodes, name]: browser.execute_script(state) == expected)


def test_what_a_running_run_adds_appears_and_the_rows_in_sight_stay(browser, show, write):
    folder = write([WINDOW], [CROP])
    show(folder)
    before = found(browser, ".row")
    line = (folder / "test.jsonl").read_text().splitlines()[0]
    with (folder / "test.jsonl").open("a") as file:
        file.write(line.replace('"id":"', '"id":"later-', 1) + "\n")
    browser.execute_script("follow()")
    until(lambda: len(found(browser, ".row")) == 3)
    assert found(browser, ".row")[:2] == before
    assert text(browser, "#count") == "3 episodes"


def test_the_tool_chosen_is_set_against_the_tool_needed_where_that_is_known(browser, show, write):
    show(write([WINDOW], [CROP], [CROP], []))
    browser.execute_script(
        "const at = data.strings.push('window') - 1, none = data.strings.push('') - 1;"
        "data.rows.forEach((row, n) => { row[data.columns.needed] = n % 2 ? none : at; }); view('run')"
    )
    chart = until(lambda: [c for c in found(browser, ".chart") if "Tool chosen against tool needed" in c.text])[0]
    body = [
        [c.text.split()[0] for c in row.find_elements("css selector", "td")]
        for row in chart.find_elements("tag name", "tr")[1:]
    ]
    assert [h.text for h in chart.find_elements("css selector", "thead th")] == [
        "needed",
        "crop",
        "window",
        "(no call)",
    ]
    assert body == [["1", "1", "0"], ["1", "0", "1"]]
    assert len(chart.find_elements("css selector", ".hit")) == 2


def test_an_enlarged_image_is_shown_in_full_resolution(browser, show, write, registry):
    show(write([CROP], view_side=8), full_resolution=FullResolutionReplayer(lambda: registry).png)
    press(browser, RIGHT)
    size = "return document.querySelector('#large img').naturalWidth"
    until(lambda: browser.execute_script(size) == 8)
    press(browser, "f")
    until(lambda: browser.execute_script(size) == 32)
    assert len(found(browser, "#large .mark")) == 1
