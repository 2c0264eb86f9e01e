"""A toolbox and a task so small that every contract can be tried with them. The tools stand at the top of this module, so that
an executor may run them in another process.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from medvistagym_core.environment import Answer, Case
from medvistagym_core.imaging import Box, Image
from medvistagym_core.testing._sample_images import SAMPLE_IMAGES
from medvistagym_core.tools import Toolbox, ToolCall, tool


@tool
def toy_cut(image: Image, box: Box) -> Image:
    """Cut out a part of an image.

    Args:
        image: The image to cut from.
        box: What to cut out.
    """
    return image.crop(*image.box_to_pixels(box))


@tool
def toy_count(images: list[Image], add: Annotated[int, Field(ge=0, le=9)] = 0) -> str:
    """Count images.

    Args:
        images: The images to count.
        add: A number to add to the count.
    """
    return str(len(images) + add)


@tool
def toy_refuse(image: Image) -> str:
    """Refuse an image with a sentence.

    Args:
        image: The image to refuse.
    """
    raise ValueError(f"an image of {image.shape[1]} columns is refused")


TOY_TOOLBOX: Final = Toolbox({"toy_cut": toy_cut, "toy_count": toy_count, "toy_refuse": toy_refuse})
TOY_CALLS: Final = (
    ToolCall(name="toy_cut", arguments={"image": 0, "box": [0, 0, 500, 500]}),
    ToolCall(name="toy_count", arguments={"images": [0, 1], "add": 3}),
    ToolCall(name="toy_refuse", arguments={"image": 1}),
    ToolCall(name="toy_cut", arguments={"image": 0}),
    ToolCall(name="no_such_tool", arguments={}),
)


class ToyTask:
    """Asks whether an image is wider than high."""

    name = "toy"
    description = "Is the image wider than high?"
    families = ("shape",)
    splits = ("train", "test")
    tools = ("toy_cut", "toy_count", "toy_refuse")
    abstention = "unclear"

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        image = list(SAMPLE_IMAGES.values())[index % 4]()
        answer = "yes" if image.shape[1] > image.shape[0] else "no"
        return Case(
            id=f"toy-{split}-{index}-{seed}",
            task=self.name,
            split=split,
            index=index,
            family="shape",
            question="Is the image wider than high?",
            images=(image,),
            answer=Answer(answer, kind="yes_no"),
            options=("yes", "no"),
        )

    def vocabulary(self) -> tuple[str, ...]:
        return ("yes", "no", "unclear")
