"""Makes the pictures of the page to try tools, `docs/play.png` and `docs/play-phone.png`, with Chromium and selenium.

    python docs/page_pictures.py              write them
    python docs/page_pictures.py --out DIR    write them into another folder

The images come with the packages `pydicom` and `pydicom-data`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import PIL.Image
from pydicom.data import get_testdata_file
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from medvistagym_core.cli._play import shell_script
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.play import PlayServer, PlaySession, find_sources
from medvistagym_core.plugins import Registry

ROOT: Final = Path(__file__).resolve().parents[1]
FILES: Final = {"693_UNCR.dcm": "head-ct.dcm", "RG1_UNCR.dcm": "chest-film.dcm", "MR2_UNCR.dcm": "shoulder-mr.dcm"}
BOX: Final = "form.fields.find((field) => field.name === 'box').write([560, 180, 860, 480])"
STEPS: Final = (
    "chooseTool('window'); form.fields.find((field) => field.name === 'preset').write('bone')",
    "chooseTool('distance'); before.show(0); form.fields[1].write([180, 470]); form.fields[2].write([840, 470])",
    f"chooseTool('zoom'); before.show(1); {BOX}",
)


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", type=Path, default=ROOT / "docs")
    out: Path = parser.parse_args().out.resolve()
    registry = Registry.discover()
    toolbox = registry.toolbox("*")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), LocalExecutor(toolbox) as executor:
        studies = Path("studies")
        studies.mkdir()
        for name, copied in FILES.items():
            shutil.copy(str(get_testdata_file(name)), studies / copied)
        # Each file in a folder of its own, as archives keep them; files without one would be read as one series.
        for file in list(studies.iterdir()):
            place = studies / file.stem
            place.mkdir()
            file.rename(place / file.name)
        session = PlaySession(toolbox, executor, shell=shell_script)
        with PlayServer(session, find_sources(studies), registry.readers, name="studies") as page:
            browser = _start(folder)
            try:
                browser.get(page.url)
                _play(browser)
                for name, width, height in (("play", 1280, 860), ("play-phone", 390, 1180)):
                    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
                    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
                    time.sleep(2)
                    picture = PIL.Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
                    picture.quantize(128, dither=PIL.Image.Dither.NONE).save(out / f"{name}.png", optimize=True)
            finally:
                browser.quit()


def _start(folder: str) -> Any:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/chromium"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1280, "height": 860, "deviceScaleFactor": 1, "mobile": False}
    )
    return browser


def _play(browser: Any) -> None:
    """Open the head CT and make the calls."""
    _wait(browser, "return document.body.dataset.begun")
    browser.execute_script("openSource(state.sources.findIndex((source) => source.name.includes('head')))")
    _wait(browser, "return state.before === 0")
    for turn, step in enumerate(STEPS, 1):
        browser.execute_script(f"{step}; runCall()")
        _wait(browser, f"return state.turns.length === {turn} && !state.busy")


def _wait(browser: Any, condition: str) -> None:
    end = time.monotonic() + 60
    while not browser.execute_script(condition):
        if time.monotonic() > end:
            raise TimeoutError(condition)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
