"""The tasks: `ScoutVQA` deals out cases, and knows how to solve, demonstrate, show and audit them.

What it does is imported when it is first done, so that listing tasks stays quick.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from medvistagym_scoutvqa import studies

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.environment import AuditCheck, Case, PerceptionItem, ToolScript
    from medvistagym_core.imaging import Image
    from medvistagym_core.tools import ToolCall
    from medvistagym_scoutvqa.scene import Truth


class ScoutVQA:
    """Questions about real slices of which only a scout is shown: a small overview of the full range.

    Args:
        name: Name of the task.
        description: One line about it.
        families: Kinds of questions, dealt out by index in turn.
    """

    splits: tuple[str, ...] = tuple(studies.STUDIES)
    tools: tuple[str, ...] = ("window", "zoom", "measure")
    abstention: str | None = "unclear"

    def __init__(self, name: str, description: str, families: tuple[str, ...]) -> None:
        self.name = name
        self.description = description
        self.families = families

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """Case `index` of a split; its family is `families[index % len(families)]`, its answer follows from nothing.

        Raises:
            ValueError: There is no such split, or the index or seed is negative.
        """
        from medvistagym_core.environment import Answer, Case
        from medvistagym_scoutvqa.scene import ANSWERS, QUESTIONS

        family = self.families[index % len(self.families)]
        image, truth = self.scene(split, index, seed, family)
        return Case(
            id=f"{self.name}-{split}-{seed}-{index}",
            task=self.name,
            split=split,
            index=index,
            family=family,
            question=QUESTIONS[family],
            images=(image,),
            answer=Answer(truth.answer, "choice"),
            options=ANSWERS[family],
            truth=truth,
        )

    def scene(
        self, split: str, index: int, seed: int, family: str, answer: str | None = None, kind: str = "case"
    ) -> tuple[Image, Truth]:
        """The picture and the truth of a case; with `answer`, of the same case had it had that answer."""
        from medvistagym_scoutvqa.scene import scene

        rng = self.rng(split, index, seed, kind)
        return scene(family, split, rng, answer)

    def rng(self, split: str, index: int, seed: int, kind: str) -> np.random.Generator:
        """The stream of random numbers of one case or look; different for each task, split, index, seed and kind."""
        import numpy as np

        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        if index < 0 or seed < 0:
            raise ValueError(f"index and seed start at 0, not at {min(index, seed)}")
        return np.random.default_rng([zlib.crc32(f"{self.name} {split} {kind}".encode()), seed, index])

    def vocabulary(self) -> tuple[str, ...]:
        """Answers, tissues and the numbers of the argument grid."""
        from medvistagym_scoutvqa import grid
        from medvistagym_scoutvqa.scene import ABSTENTION, ANSWERS, BASES

        words = [word for family in self.families for word in ANSWERS[family]]
        words += [*ANSWERS["direct"], *BASES, ABSTENTION]
        corners = range(0, 1001, grid.STEP)
        return tuple(dict.fromkeys([*words, *map(str, (*corners, *grid.CENTERS, *grid.WIDTHS))]))

    def expert(self, question: str, images: tuple[Image, ...], rng: np.random.Generator) -> ToolScript:
        """A script that reads only the question, the scout and what its tools return; `rng` is not needed."""
        from medvistagym_scoutvqa.expert import expert

        return expert(question, images)

    def demonstrate(self, case: Case, rng: np.random.Generator, skill: float) -> ToolScript:
        from medvistagym_scoutvqa.demonstration import demonstrate

        return demonstrate(case, self.tools, rng, skill)

    def look(self, split: str, index: int, seed: int = 0) -> PerceptionItem:
        """A single look; families come in the weights that a small policy needs."""
        from medvistagym_scoutvqa import look
        from medvistagym_scoutvqa.scene import scene

        cycle = tuple(f for f in look.CYCLE if f in self.families) or self.families
        rng = self.rng(split, index, seed, "look")
        image, truth = scene(cycle[index % len(cycle)], split, rng)
        return look.look(image, truth, rng)

    def informative(self, case: Case, call: ToolCall) -> bool:
        from medvistagym_scoutvqa.information import informative

        return informative(case.truth, call, case.images[0].pixels)

    def needs_call(self, case: Case) -> bool:
        """Whether a case cannot be answered from its scout."""
        return case.family != "direct"

    def needed(self, case: Case) -> str | None:
        """The tool that answers a case: that of its family, none for `direct`, and no single one for the chain."""
        return {"direct": "", "chain": None}.get(case.family, case.family)

    def audit(self, n: int = 400) -> tuple[AuditCheck, ...]:
        """Proof that the task can be solved with tools, and that nothing else tells its answers; see `audit`."""
        from medvistagym_scoutvqa.audit import audit

        return tuple(audit(self, n))


SCOUTVQA: Final = ScoutVQA(
    "scoutvqa",
    "Real slices seen as a scout: window, zoom or measure to answer, or answer at once (quadrants, bars, tissues).",
    ("window", "zoom", "measure", "direct"),
)
CHAIN: Final = ScoutVQA(
    "scoutvqa_chain",
    "Real slices seen as a scout: faint bars that show only when zoomed in on and windowed.",
    ("chain",),
)
