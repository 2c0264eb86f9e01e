"""The page in a browser: Debian's chromium, headless, without a network."""

import dataclasses
import json
import os
import shutil
import tempfile
import time

import pytest

from medvistagym_core.episode import Episode, step_episodes
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.image import Image
from medvistagym_core.page import Page, Restorer, Run, export
from medvistagym_core.protocol import Protocol
from medvistagym_core.registry import Registry, Toolbox
from medvistagym_core.tool import ToolCall, tool
from medvistagym_core.trajectory import PolicyRecord, TrajectoryWriter

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
if not (CHROMIUM and DRIVER):
    pytest.skip(
        "chromium and chromedriver are not installed (Debian: chromium, chromium-driver)", allow_module_level=True
    )

from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--allow-file-access-from-files",
    "--window-size=1300,900",
)  # fmt: skip
WINDOW = ToolCall(name="window", arguments={"image": 0, "center": 1, "width": 10})
CROP = ToolCall(name="crop", arguments={"image": 0, "box": [500, 0, 1000, 500]})
CROP_OF_CROP = ToolCall(name="crop", arguments={"image": 1, "box": [0, 500, 500, 1000]})
OUTSIDE = ToolCall(name="crop", arguments={"image": 7, "box": [0, 0, 500, 500]})
PAYLOADS = (
    "<script>window.ran=1</script>", "<img src=x onerror=window.ran=2>", "</script><script>window.ran=3</script>",
    "<svg onload=window.ran=4>", "javascript:window.ran=5", "<!--<script>window.ran=6", "\u202eright to left",
)  # fmt: skip
PAYLOAD = " ".join(PAYLOADS)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    folder = tempfile.mkdtemp(prefix="chromium-")
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def fresh(browser):
    """Begin each test with an empty page, and end it without a complaint from the page."""
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    yield
    severe = [entry["message"] for entry in browser.get_log("browser")]
    assert severe == []


@tool
def echo(image: Image, said: str) -> str:
    """Say it again.

    Args:
        image: The image.
        said: What to say.
    """
    return said


@pytest.fixture
def write(task, toolbox, tmp_path):
    """Write episodes, each a list of turns, each turn a call or text; the run's folder."""

    def episodes(*plays, policy="hand", task=task, **changes):
        tools, folder = Toolbox({**toolbox, "echo": echo}), tmp_path / "run"
        with LocalExecutor(tools, workers=2) as executor, TrajectoryWriter(folder / "test.jsonl", tools) as writer:
            for index, turns in enumerate(plays):
                episode = Episode.of(task, "test", index, tools, **changes)
                for turn in (*turns, "<answer>upper left</answer>"):
                    said = turn if isinstance(turn, str) else Protocol().render("Let me look.", [turn])
                    if not episode.done:
                        step_episodes(executor, [episode], [said], seconds=0.25)
                writer.write(episode.finish(PolicyRecord(name=policy)), episode.pictures())
        return folder

    return episodes


@pytest.fixture
def show(browser):
    """Show a run, all of it read and an episode open; what is found by a selector."""
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


def ready(browser):
    until(lambda: browser.execute_script("return page.begun && data.done && !document.getElementById('list').hidden"))


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.02)
    return value


def found(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def text(browser, selector):
    return until(lambda: found(browser, selector))[0].text


def press(browser, *keys):
    browser.switch_to.active_element.send_keys(*keys)


# -- what it shows


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
    press(browser, Keys.ARROW_RIGHT)
    assert until(lambda: "image 0" in text(browser, "#large figcaption"))
    press(browser, Keys.ARROW_RIGHT)
    until(lambda: "image 1" in text(browser, "#large figcaption"))
    press(browser, Keys.ESCAPE)
    until(lambda: not browser.execute_script("return document.getElementById('large').open"))
    press(browser, "?")
    assert "next and previous episode" in text(browser, "#help")
    press(browser, Keys.ESCAPE)
    until(lambda: not browser.execute_script("return document.getElementById('help').open"))
    press(browser, "/")
    assert browser.switch_to.active_element.get_attribute("id") == "search"
    press(browser, "test-2", Keys.ENTER)
    until(lambda: chosen() == 2)
    press(browser, Keys.ESCAPE)
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


def test_the_tool_chosen_is_set_against_the_tool_needed_where_that_is_known(browser, show, write):
    show(write([WINDOW], [CROP], [CROP], []))
    browser.execute_script(
        "const at = data.strings.push('window') - 1, none = data.strings.push('') - 1;"
        "data.rows.forEach((row, n) => { row[data.columns.needed] = n % 2 ? none : at; }); view('run')"
    )
    chart = until(lambda: [c for c in found(browser, ".chart") if "Tool chosen against tool needed" in c.text])[0]
    body = [
        [c.text.split()[0] for c in row.find_elements(By.CSS_SELECTOR, "td")]
        for row in chart.find_elements(By.TAG_NAME, "tr")[1:]
    ]
    assert [h.text for h in chart.find_elements(By.CSS_SELECTOR, "thead th")] == [
        "needed",
        "crop",
        "window",
        "(no call)",
    ]
    assert body == [["1", "1", "0"], ["1", "0", "1"]]
    assert len(chart.find_elements(By.CSS_SELECTOR, ".hit")) == 2


def test_an_enlarged_image_is_shown_in_full_resolution(browser, show, write, task, toolbox):
    registry = Registry()
    for found_tool in (*toolbox.values(), echo):
        registry.register(found_tool)
    registry.add_task(task)
    show(write([CROP], view_side=8), restorer=Restorer(lambda: registry))
    press(browser, Keys.ARROW_RIGHT)
    size = "return document.querySelector('#large img').naturalWidth"
    until(lambda: browser.execute_script(size) == 8)
    press(browser, "f")
    until(lambda: browser.execute_script(size) == 32)
    assert len(found(browser, "#large .mark")) == 1


# -- what it must not do


@pytest.mark.parametrize("exported", [False, True])
def test_nothing_that_a_policy_writes_runs(browser, show, write, task, tmp_path, exported):
    class Hostile:
        abstention = None

        def case(self, split, index, seed=0):
            case = task.case(split, index, seed)
            return dataclasses.replace(case, question=PAYLOAD, family=PAYLOAD, options=(), id=PAYLOAD, task=PAYLOAD)

    say = ToolCall(name="echo", arguments={"image": 0, "said": PAYLOAD})
    unknown = ToolCall(name=PAYLOAD, arguments={PAYLOAD: PAYLOAD})
    thought = Protocol().render(PAYLOAD.replace("<", "‹"), [say])
    plays = [say, unknown, PAYLOAD, thought, f"<answer>{PAYLOAD}</answer>"]
    folder = write(plays, policy=PAYLOAD, task=Hostile())
    (folder / "metrics.jsonl").write_text(json.dumps({"phase": PAYLOAD, "step": 1, PAYLOAD + "/accuracy": 1.0}))
    with (folder / "test.jsonl").open("a") as file:
        file.write(json.dumps({PAYLOAD: 1}) + "\n")
    if exported:
        run = Run(folder)
        run.read()
        export(run, tmp_path / "page.html", [0])
        browser.get((tmp_path / "page.html").as_uri())
        ready(browser)
    else:
        show(folder)
    elements = browser.execute_script("return document.querySelectorAll('script').length")
    for part in PAYLOADS[:3]:
        until(lambda part=part: part in browser.execute_script("return document.getElementById('episode').textContent"))
    assert PAYLOADS[0] in browser.execute_script("return document.getElementById('list').textContent")
    for details in found(browser, "#episode details"):
        browser.execute_script("arguments[0].open = true", details)
    press(browser, "r")
    until(lambda: found(browser, ".chart"))
    assert PAYLOADS[0] in browser.execute_script("return document.getElementById('run').textContent")
    press(browser, "e")
    time.sleep(0.3)
    assert browser.execute_script("return window.ran") is None
    assert browser.execute_script("return document.querySelectorAll('script').length") == elements
    strange = """
        const known = new Set(["title", "aria-label", "value", "alt"]);
        return [...document.querySelectorAll("*")].filter(e =>
            [...e.attributes].some(a => !known.has(a.name) && (/^on/i.test(a.name) || /javascript:/i.test(a.value)))
            || (e.localName === "img" && e.src && !/^(http:\\/\\/127|data:image\\/png)/.test(e.src)))
            .map(e => e.outerHTML)"""
    assert browser.execute_script(strange) == []


@pytest.mark.parametrize("exported", [False, True])
def test_the_policy_of_the_page_stops_what_would_run(browser, show, write, tmp_path, exported):
    folder = write([WINDOW])
    if exported:
        run = Run(folder)
        run.read()
        export(run, tmp_path / "page.html", [0])
        browser.get((tmp_path / "page.html").as_uri())
        ready(browser)
    else:
        show(folder)
    tried = browser.execute_async_script(
        """
        const done = arguments[0], refused = [];
        setTimeout(() => { // the driver itself may evaluate what it likes; a timer of the page may not
        for (const attempt of [
          () => { document.body.innerHTML += "<img src=x onerror=window.ran=1>"; },
          () => { const s = document.createElement("script"); s.textContent = "window.ran=2"; document.body.append(s); },
          () => { window.eval("window.ran=3"); },
          () => { document.body.setAttribute("onclick", "window.ran=4"); document.body.click(); throw new Error("harmless"); },
        ]) { try { attempt(); refused.push("done"); } catch (e) { refused.push(e.name); } }
        const image = new Image();
        const sending = () => fetch("https://example.invalid/").then(() => "sent", () => "not sent");
        image.onerror = () => sending().then((what) => done([...refused, what]));
        image.onload = () => done(["loaded"]);
        image.src = "https://example.invalid/x.png";
        });
        """
    )
    assert tried[-1] == "not sent"
    assert tried[:3] == ["TypeError", "TypeError", "EvalError"]
    assert browser.execute_script("return window.ran") is None
    complaints = [entry["message"] for entry in browser.get_log("browser")]
    assert all("Content Security Policy" in complaint or "Trusted" in complaint for complaint in complaints), complaints
    assert len(complaints) >= 5


def requests(browser):
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}


def test_it_asks_its_own_server_and_nobody_else(browser, show, write):
    page = show(write([CROP], [WINDOW]))
    press(browser, "j")
    press(browser, "r")
    until(lambda: found(browser, ".tile"))
    asked = requests(browser) - {"about:blank"}
    assert asked
    assert all(address.startswith((page.url, "data:")) for address in asked)


def test_an_exported_page_works_from_a_file_and_asks_nobody(browser, write, tmp_path):
    run = Run(write([CROP], [WINDOW], []))
    run.read()
    export(run, tmp_path / "page.html", [0, 1])
    address = (tmp_path / "page.html").as_uri()
    browser.get(address)
    ready(browser)
    assert text(browser, "#count") == "2 episodes of 3"
    until(lambda: browser.execute_script("return document.querySelector('.sources img')?.naturalWidth") == 32)
    assert len(found(browser, ".sources .mark")) == 1
    press(browser, "j")
    until(lambda: "window C 1 W 10 HU" in text(browser, "#episode"))
    press(browser, "r")
    assert until(lambda: "Over all 3 episodes" in text(browser, "#run"))
    assert {a for a in requests(browser) if not a.startswith("data:")} <= {address, "about:blank"}


# -- how it copes


def test_images_are_loaded_as_they_scroll_in(browser, show, write):
    show(write([CROP] * 5, *[[]] * 60))
    started = "return [...document.querySelectorAll('.conversation img')].map(i => Boolean(i.getAttribute('src')))"
    until(lambda: any(browser.execute_script(started)))
    begun = browser.execute_script(started)
    assert not begun[-1]
    assert len(found(browser, ".row")) < 40
    browser.execute_script("document.getElementById('episode').scrollTop = 1e6")
    until(lambda: browser.execute_script(started)[-1])


def test_ten_thousand_episodes_open_within_three_seconds_and_scroll(browser, write):
    folder = write([CROP], [WINDOW, OUTSIDE], ["hm"], [])
    lines = (folder / "test.jsonl").read_text().splitlines()
    many = (line.replace('"id":"', f'"id":"{k}-', 1) for k in range(2500) for line in lines)
    (folder / "test.jsonl").write_text("\n".join(many) + "\n")
    taken = []
    for _ in range(4):  # other work on the machine may hold one up
        begin = time.monotonic()
        with Page(Run(folder)) as page:
            browser.get(page.url)
            until(lambda: found(browser, ".row") and found(browser, ".heading"))
            until(lambda: browser.execute_script("return data.done && data.rows.length") == 10_000)
            taken.append(time.monotonic() - begin)
            browser.execute_script("document.getElementById('list').scrollTop = 1e9")
            until(lambda: "2499-" in browser.execute_script("return text(data.rows[list.shown.at(-1)], 'id')"))
            until(lambda: found(browser, "#row-9999"))
            assert len(found(browser, ".row")) < 60
        if min(taken) < 3:
            break
    if min(taken) >= 3 and os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1):
        pytest.skip(f"the machine is busy with other work (load {os.getloadavg()[0]:.1f}): it took {min(taken):.1f} s")
    assert min(taken) < 3, taken


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390])
def test_it_fits_a_laptop_and_a_phone_in_dark_and_light(browser, show, write, theme, width):
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 800}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        show(write([CROP, CROP_OF_CROP], [WINDOW], [OUTSIDE]))
        background = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
        dark = browser.execute_script(background) < 100
        assert dark == (theme == "dark")
        overflow = "return document.documentElement.scrollWidth - innerWidth"
        for move in ("openEpisode(0)", "view('run')", "view('episodes'); back()"):
            browser.execute_script(move)
            time.sleep(0.2)
            assert browser.execute_script(overflow) <= 0
            assert browser.execute_script("return document.querySelector('.notice').getBoundingClientRect().height > 0")
        if width < 800:
            assert not found(browser, "#episode")[0].is_displayed()
            found(browser, ".row")[1].click()
            until(
                lambda: found(browser, "#episode")[0].is_displayed() and not found(browser, "aside")[0].is_displayed()
            )
            until(lambda: found(browser, ".back"))[0].click()
            until(lambda: found(browser, "aside")[0].is_displayed())
        browser.execute_script("document.getElementById('theme').click()")
        assert (browser.execute_script(background) < 100) != dark
        browser.execute_script("localStorage.clear()")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
