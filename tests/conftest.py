"""A toy world for the tests of episodes, three tools and a task that one of them solves; and a browser for pages."""

import random
import shutil
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import browsing
import numpy as np
import pytest
from pydantic import Field

from medvistagym_core.environment import Answer, Case
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.tools import Toolbox, ToolCall, ToolResult, tool

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

Script = Generator[ToolCall, ToolResult, str]


@pytest.fixture(scope="session", autouse=True)
def nothing_kept() -> Iterator[None]:
    """No test lists what another test had installed, and none writes to the cache folder of who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDVISTAGYM_CACHE", "0")
        yield


QUADRANTS = ("upper left", "upper right", "lower left", "lower right")


@tool
def window(image: Image, center: float, width: Annotated[float, Field(ge=1)]) -> Image:
    """Show an image with another window.

    Args:
        image: The image.
        center: Value shown as mid-grey.
        width: Range of values shown.
    """
    return image.with_window(Window(center, width))


@tool
def crop(image: Image, box: Box) -> Image:
    """Cut out a part of an image.

    Args:
        image: The image.
        box: What to cut out.
    """
    return image.crop(*image.box_to_pixels(box))


@tool(deterministic=False)
def broken(image: Image, how: Annotated[str, Field(max_length=20)] = "raise") -> str:
    """Fail in some way.

    Args:
        image: The image.
        how: In which way.
    """
    if how == "value":
        raise ValueError("this image has no scale")
    if how == "long":
        return "word " * 2000
    if how == "surrogate":
        return "\ud800"
    raise RuntimeError("out of order")


class Quadrants:
    """Which quadrant is brighter? On a window case the difference shows in a narrow window only, on a direct case at once."""

    name = "quadrants"
    description = "Find the bright quadrant."
    families = ("window", "direct")
    splits = ("train", "test")
    tools = ("window", "crop")
    abstention = "unclear"

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        rng = np.random.default_rng([self.splits.index(split), index, seed])
        which, family = int(rng.integers(4)), self.families[index % 2]
        values = np.zeros((32, 32), np.float32)
        rows, columns = slice(which // 2 * 16, which // 2 * 16 + 16), slice(which % 2 * 16, which % 2 * 16 + 16)
        values[rows, columns] = 2 if family == "window" else 600
        image = Image(
            pixels=values, unit="HU", modality="CT", window=Window(0, 2000), attributes={"PatientID": "SECRET"}
        )
        return Case(
            id=f"{split}-{index}-{seed}",
            task=self.name,
            split=split,
            index=index,
            family=family,
            question="Which quadrant is bright?",
            images=(image,),
            options=QUADRANTS,
            answer=Answer(QUADRANTS[which], kind="choice"),
            truth=which,
        )

    def vocabulary(self) -> tuple[str, ...]:
        return (*QUADRANTS, "unclear")

    def expert(self, question: str, images: Sequence[Image], rng: random.Random) -> Script:
        seen = brightest(images[0])
        if seen is None:
            result = yield ToolCall(name="window", arguments={"image": 0, "center": 1, "width": 10})
            seen = brightest(result.images[0]) if result.ok else None
        return seen or "unclear"

    def demonstrate(self, case: Case, rng: random.Random, skill: float) -> Script:
        if case.family == "direct":
            return QUADRANTS[case.truth]
        width = 10 if rng.random() < skill else 3000
        result = yield ToolCall(name="window", arguments={"image": 0, "center": 1, "width": width})
        return (brightest(result.images[0]) if result.ok else None) or "unclear"

    def informative(self, case: Case, call: ToolCall) -> bool:
        return call.name == "window" and call.arguments["width"] < 100

    def needs_call(self, case: Case) -> bool:
        return case.family == "window"


def brightest(image: Image) -> str | None:
    grey = image.view().astype(float)
    means = [grey[:16, :16].mean(), grey[:16, 16:].mean(), grey[16:, :16].mean(), grey[16:, 16:].mean()]
    return QUADRANTS[int(np.argmax(means))] if max(means) > min(means) + 5 else None


@pytest.fixture
def task() -> Quadrants:
    return Quadrants()


@pytest.fixture
def toolbox() -> Toolbox:
    return Toolbox({"window": window, "crop": crop, "broken": broken})


@pytest.fixture
def executor(toolbox: Toolbox) -> Iterator[LocalExecutor]:
    with LocalExecutor(toolbox, workers=4) as local:
        yield local


@pytest.fixture(scope="module")
def chromium() -> Iterator["Chrome"]:
    driver, folder = browsing.start()
    yield driver
    driver.quit()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def browser(chromium: "Chrome") -> Iterator["Chrome"]:
    """A browser with an empty page; the test ends without a complaint from the page."""
    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        chromium.get_log(kind)  # type: ignore[no-untyped-call] # as selenium has it
    yield chromium
    complaints = chromium.get_log("browser")  # type: ignore[no-untyped-call]
    assert [entry["message"] for entry in complaints] == []
