"""How the page copes with many episodes, small screens and the dark."""

import os
import time

import pytest
from browsing import click, found, until

from medvistagym_core.trajectories.viewer import EpisodeIndex, ViewerServer

from .plays import CROP, CROP_OF_CROP, OUTSIDE, WINDOW

pytestmark = pytest.mark.e2e


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
        with ViewerServer(EpisodeIndex(folder)) as page:
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
        assert found(browser, "#selects")[0].is_displayed() == (width >= 800)
        if width < 800:
            click(browser, "#more")
            assert found(browser, "#selects")[0].is_displayed()
            click(browser, "#more")
            assert not found(browser, "#episode")[0].is_displayed()
            click(browser, ".row", 1)
            until(
                lambda: found(browser, "#episode")[0].is_displayed() and not found(browser, "aside")[0].is_displayed()
            )
            click(browser, ".back")
            until(lambda: found(browser, "aside")[0].is_displayed())
        browser.execute_script("document.getElementById('theme').click()")
        assert (browser.execute_script(background) < 100) != dark
        browser.execute_script("localStorage.clear()")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
