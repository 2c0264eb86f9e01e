"""Driving Debian's chromium, headless and without a network."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

T = TypeVar("T")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--allow-file-access-from-files",
    "--window-size=1300,900",
)  # fmt: skip
ENTER, ESCAPE, RIGHT = "\ue007", "\ue00c", "\ue014"


def start() -> tuple["Chrome", str]:
    """A browser, or a skip that says what is missing; and the folder of its profile."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    folder = tempfile.mkdtemp(prefix="chromium-")
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER)), folder


def ready(browser: "Chrome") -> None:
    until(lambda: browser.execute_script("return page.begun && data.done && !document.getElementById('list').hidden"))


def until(condition: Callable[[], T], seconds: float = 30.0) -> T:
    """What a condition gives once it is true; an element that the page has drawn anew meanwhile is looked for again."""
    from selenium.common.exceptions import StaleElementReferenceException

    end = time.monotonic() + seconds
    while True:
        with suppress(StaleElementReferenceException):
            if value := condition():
                return value
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.02)


def found(browser: "Chrome", selector: str) -> list["WebElement"]:
    return browser.find_elements("css selector", selector)


def text(browser: "Chrome", selector: str) -> str:
    return until(lambda: [element.text for element in found(browser, selector)[:1]])[0]


def click(browser: "Chrome", selector: str, place: int = 0) -> None:
    """Click on one of the elements, by its place among them."""

    def clicked() -> bool:
        elements = found(browser, selector)[place:]
        for element in elements[:1]:
            element.click()
        return bool(elements)

    until(clicked)


def press(browser: "Chrome", *keys: str) -> None:
    browser.switch_to.active_element.send_keys(*keys)


def requests(browser: "Chrome") -> set[str]:
    log = browser.get_log("performance")  # type: ignore[no-untyped-call] # as selenium has it
    events: list[dict[str, Any]] = [json.loads(entry["message"])["message"] for entry in log]
    return {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
