"""A task: where cases come from, each a question, images and a hidden answer.

medvistagym tasks show lab_quadrants
medvistagym eval --task lab_quadrants --policy expert
"""

from medvistagym_core import hookimpl

QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
CASES = {"train": 400, "test": 100}


class Quadrants:
    """Which quadrant is the bright one? A split has an end, which `size` tells."""

    name = "lab_quadrants"
    description = "Find the bright quadrant of a grey image."
    families = ("quadrant",)
    splits = tuple(CASES)
    tools = ("brightest",)  # what it is meant to be solved with
    abstention = "unclear"

    def size(self, split):
        return CASES[split]

    def case(self, split, index, seed=0):
        """The same case for the same split, index and seed, always."""
        import numpy as np

        from medvistagym_core import Answer, Case, Image

        if index >= CASES[split]:
            raise IndexError(f"{split} has {CASES[split]} cases")
        rng = np.random.default_rng([self.splits.index(split), index, seed])
        which = int(rng.integers(4))
        pixels = rng.integers(0, 100, (64, 64)).astype(np.uint8)
        pixels[which // 2 * 32 :, which % 2 * 32 :][8:24, 8:24] += 120
        return Case(
            id=f"{split}-{index}-{seed}",  # says nothing about the answer
            task=self.name,
            split=split,
            index=index,
            family="quadrant",
            question="Which quadrant is bright?",
            images=(Image(pixels=pixels),),
            options=QUADRANTS,
            answer=Answer(QUADRANTS[which], kind="lab_quadrant"),  # compared by grader.py
        )

    def vocabulary(self):
        return (*QUADRANTS, self.abstention)

    def expert(self, question, images, rng):
        """A script that reads only what its tools return; a task need not have one."""
        from medvistagym_core import ToolCall

        result = yield ToolCall(name="brightest", arguments={"image": 0})
        return result.data["quadrant"] if result.ok else self.abstention


@hookimpl
def medvistagym_tasks():
    return [Quadrants()]
