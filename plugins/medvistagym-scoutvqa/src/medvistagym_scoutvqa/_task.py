"""The tasks: `ScoutVQA` deals out cases, and can solve, demonstrate, show and audit them.

What it does is imported when it is first done, so that listing tasks stays quick.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from medvistagym_scoutvqa._studies import STUDIES

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.environment import AuditCheck, Case, PerceptionItem, ToolScript
    from medvistagym_core.imaging import Image
    from medvistagym_core.tools import ToolCall
    from medvistagym_scoutvqa._scenes import SceneGroundTruth


class ScoutVQA:
    """Questions about real slices of which only a scout is shown: a small overview of the full range.

    Args:
        name: Name of the task.
        description: One line about it.
        families: Kinds of questions, dealt out by index in turn.
    """

    splits: tuple[str, ...] = tuple(STUDIES)
    tools: tuple[str, ...] = ("window", "zoom", "measure")
    abstention: str | None = "unclear"

    def __init__(self, name: str, description: str, families: tuple[str, ...]) -> None:
        self.name = name
        self.description = description
        self.families = families

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """Case `index` of a split; its family is `families[index % len(families)]`, its answer follows from nothing.

        Args:
            split: One of `splits`.
            index: Position in the split, 0 or more; there is no end.
            seed: 0 or more; another seed deals other cases.

        Raises:
            ValueError: There is no such split, or the index or seed is negative.
            FileNotFoundError: The studies are not on this machine; the sentence says how to get them.
        """
        from medvistagym_core.environment import Answer, Case
        from medvistagym_scoutvqa._scenes import ANSWERS, QUESTIONS

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
        self, split: str, index: int, seed: int, family: str, answer: str | None = None
    ) -> tuple[Image, SceneGroundTruth]:
        """The picture of a case, and the truth that it was drawn from.

        Args:
            split: One of `splits`.
            index: Position in the split, 0 or more.
            seed: Seed of the cases, 0 or more.
            family: One of `families`.
            answer: The answer that the case is to have, all else equal; None for its own.

        Raises:
            ValueError: There is no such split, or the index or seed is negative.
            FileNotFoundError: The studies are not on this machine.
        """
        from medvistagym_scoutvqa._scenes import render_scene

        return render_scene(family, split, self._rng(split, index, seed, "case"), answer)

    def vocabulary(self) -> tuple[str, ...]:
        """Answers, tissues and the numbers of the argument grid."""
        from medvistagym_scoutvqa._argument_grid import CENTERS_HU, GRID_STEP, WIDTHS_HU
        from medvistagym_scoutvqa._scenes import ABSTENTION, ANSWERS, TISSUE_CENTERS_HU

        words = [word for family in self.families for word in ANSWERS[family]]
        words += [*ANSWERS["direct"], *TISSUE_CENTERS_HU, ABSTENTION]
        corners = range(0, 1001, GRID_STEP)
        return tuple(dict.fromkeys([*words, *map(str, (*corners, *CENTERS_HU, *WIDTHS_HU))]))

    def expert(self, question: str, images: tuple[Image, ...], rng: np.random.Generator) -> ToolScript:
        """A script that reads only the question, the scout and what its tools return. See `HasExpert.expert`.

        Args:
            question: The question of a case.
            images: Its scout alone.
            rng: Not needed.
        """
        from medvistagym_scoutvqa._expert import run_expert

        return run_expert(question, images)

    def demonstrate(self, case: Case, rng: np.random.Generator, skill: float) -> ToolScript:
        """A script that makes the informative call with probability `skill`, else a plausible one.

        See `HasDemonstrations.demonstrate`.

        Args:
            case: A case of this task, with its truth.
            rng: Draws the call and its arguments.
            skill: Probability, 0 to 1.
        """
        from medvistagym_scoutvqa._demonstrations import demonstrate

        return demonstrate(case, self.tools, rng, skill)

    def look(self, split: str, index: int, seed: int = 0) -> PerceptionItem:
        """A perception item; families come in the weights that a small policy needs. See `HasPerceptionItems.look`.

        Args:
            split: One of `splits`.
            index: Position among the items, 0 or more.
            seed: Seed of the items, 0 or more.

        Raises:
            ValueError: There is no such split, or the index or seed is negative.
            FileNotFoundError: The studies are not on this machine.
        """
        from medvistagym_scoutvqa._perception import FAMILY_SCHEDULE, make_perception_item
        from medvistagym_scoutvqa._scenes import CASE_SLICES, WIDE_SLICES, render_scene

        schedule = tuple(family for family in FAMILY_SCHEDULE if family in self.families) or self.families
        rng = self._rng(split, index, seed, "look")
        family = schedule[index % len(schedule)]
        image, truth = render_scene(family, split, rng, variety=WIDE_SLICES if family == "chain" else CASE_SLICES)
        return make_perception_item(image, truth, rng)

    def argument_questions(self, tool: str) -> tuple[str, ...]:
        """Perception questions that are answered by arguments of a tool."""
        from medvistagym_scoutvqa._perception import ARGUMENT_QUESTIONS, CHAIN_ARGUMENT_QUESTIONS

        questions = CHAIN_ARGUMENT_QUESTIONS if self.families == ("chain",) else ARGUMENT_QUESTIONS
        return questions.get(tool, ())

    def informative(self, case: Case, call: ToolCall) -> bool:
        """Whether the result of a call tells the answer. See `HasInformativeCalls.informative`.

        Args:
            case: A case of this task, with its truth.
            call: A call that succeeded.
        """
        from medvistagym_scoutvqa._informativeness import is_informative_call

        return is_informative_call(case.truth, call, case.images[0].pixels)

    def needs_call(self, case: Case) -> bool:
        """Whether a case cannot be answered from its scout."""
        return case.family != "direct"

    def needed(self, case: Case) -> str | None:
        """The tool that answers a case: that of its family, none for `direct`, and no single one for the chain."""
        return {"direct": "", "chain": None}.get(case.family, case.family)

    def audit(self, n: int = 400) -> tuple[AuditCheck, ...]:
        """Proof that the task can be solved with tools, and that nothing else tells its answers.

        Args:
            n: Cases of each family for the expert and for hiding; classifiers learn from `10 n` and are tested on at least
                1,000.
        """
        from medvistagym_scoutvqa._audit import run_audit

        return tuple(run_audit(self, n))

    def _rng(self, split: str, index: int, seed: int, kind: str) -> np.random.Generator:
        """The stream of random numbers of one case or look; different for each task, split, index, seed and kind."""
        import numpy as np

        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        if index < 0 or seed < 0:
            raise ValueError(f"index and seed start at 0, not at {min(index, seed)}")
        return np.random.default_rng([zlib.crc32(f"{self.name} {split} {kind}".encode()), seed, index])


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
