"""Nothing that a policy writes runs in the page, and the page asks nobody but its own server."""

import dataclasses
import json
import time

import pytest
from browsing import found, press, ready, requests, text, until

from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import ToolCall
from medvistagym_core.trajectories.viewer import export

from .plays import CROP, WINDOW, read

pytestmark = pytest.mark.e2e

PAYLOADS = (
    "<script>window.ran=1</script>", "<img src=x onerror=window.ran=2>", "</script><script>window.ran=3</script>",
    "<svg onload=window.ran=4>", "javascript:window.ran=5", "<!--<script>window.ran=6", "\u202eright to left",
)  # fmt: skip
PAYLOAD = " ".join(PAYLOADS)


@pytest.mark.parametrize("exported", [False, True])
def test_nothing_that_a_policy_writes_runs(browser, show, write, task, tmp_path, exported):
    class Hostile:
        abstention = None

        def case(self, split, index, seed=0):
            case = task.case(split, index, seed)
            return dataclasses.replace(case, question=PAYLOAD, family=PAYLOAD, options=(), id=PAYLOAD, task=PAYLOAD)

    say = ToolCall(name="echo", arguments={"image": 0, "said": PAYLOAD})
    unknown = ToolCall(name=PAYLOAD, arguments={PAYLOAD: PAYLOAD})
    thought = TextProtocol().format_turn(PAYLOAD.replace("<", "‹"), [say])
    plays = [say, unknown, PAYLOAD, thought, f"<answer>{PAYLOAD}</answer>"]
    folder = write(plays, policy=PAYLOAD, task=Hostile())
    (folder / "metrics.jsonl").write_text(json.dumps({"phase": PAYLOAD, "step": 1, PAYLOAD + "/accuracy": 1.0}))
    with (folder / "test.jsonl").open("a") as file:
        file.write(json.dumps({PAYLOAD: 1}) + "\n")
    if exported:
        export(read(folder), tmp_path / "page.html", [0])
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
        export(read(folder), tmp_path / "page.html", [0])
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


def test_it_asks_its_own_server_and_nobody_else(browser, show, write):
    page = show(write([CROP], [WINDOW]))
    press(browser, "j")
    press(browser, "r")
    until(lambda: found(browser, ".tile"))
    asked = requests(browser) - {"about:blank"}
    assert asked
    assert all(address.startswith((page.url, "data:")) for address in asked)


def test_an_exported_page_works_from_a_file_and_asks_nobody(browser, write, tmp_path):
    export(read(write([CROP], [WINDOW], [])), tmp_path / "page.html", [0, 1])
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
