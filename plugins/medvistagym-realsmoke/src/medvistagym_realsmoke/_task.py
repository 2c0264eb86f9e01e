"""The tasks: `RealSmoke` deals out questions, and can solve and audit them.

What it does is imported when it is first done, so that listing tasks stays quick.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.environment import AuditCheck, Case, Provenance, ToolScript
    from medvistagym_core.imaging import Image
    from medvistagym_realsmoke._draft import Draft, Family

TEST_PER_FAMILY: Final = 12
TRAIN_PER_FAMILY: Final = 120


class RealSmoke:
    """Questions about real pictures; the answer follows from a header, a label or a mask that is not shown.

    Args:
        name: Name of the task.
        description: One line about it.
        families: Kinds of questions, dealt out by index in turn.
        tools: The tools it is meant to be solved with.
        source: Where the pictures are from: name and licence.
        module: Module of the families.
    """

    splits: tuple[str, ...] = ("train", "test")
    abstention: str | None = None

    def __init__(
        self,
        name: str,
        description: str,
        families: tuple[str, ...],
        tools: tuple[str, ...],
        source: tuple[str, str],
        module: str,
    ) -> None:
        self.name = name
        self.description = description
        self.families = families
        self.tools = tools
        self._source = source
        self._module = module

    def size(self, split: str) -> int:
        """How many questions a split has.

        Raises:
            ValueError: There is no such split.
        """
        self._check_split(split)
        return len(self.families) * (TEST_PER_FAMILY if split == "test" else TRAIN_PER_FAMILY)

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """Case `index` of a split; its family is `families[index % len(families)]`. See `Task.case`.

        Args:
            split: One of `splits`.
            index: Position in the split, 0 to `size(split) - 1`.
            seed: 0 or more; another seed deals other questions.

        Raises:
            ValueError: There is no such split or index, the seed is negative, or the pictures are not on this machine.
        """
        from medvistagym_core.environment import Case

        size = self.size(split)
        if not 0 <= index < size:
            raise ValueError(f"{self.name} has {size} questions in {split}, 0 to {size - 1}; not {index}")
        if seed < 0:
            raise ValueError(f"a seed starts at 0, not at {seed}")
        family = self.families[index % len(self.families)]
        draft = self.draft(split, index // len(self.families), seed, family)
        return Case(
            id=f"{self.name}-{split}-{seed}-{index}",
            task=self.name,
            split=split,
            index=index,
            family=family,
            question=draft.question,
            images=draft.images,
            answer=draft.answer,
            options=draft.options,
        )

    def draft(self, split: str, number: int, seed: int, family: str) -> Draft:
        """Question `number` of a family.

        Args:
            split: One of `splits`.
            number: Which question of the family, from 0.
            seed: Seed of the questions, 0 or more.
            family: One of `families`.

        Raises:
            ValueError: There is no such split, or the pictures are not on this machine.
        """
        import numpy as np

        self._check_split(split)
        key = zlib.crc32(f"{self.name} {split} {family}".encode())
        return self.family(family).make(np.random.default_rng([key, seed, number]), split)

    def family(self, name: str) -> Family:
        """A family by its name."""
        return next(family for family in self._families() if family.name == name)

    def vocabulary(self) -> tuple[str, ...]:
        """Options and the words of questions' units."""
        words = [word for family in self.families for word in self.draft("train", 0, 0, family).options]
        return tuple(dict.fromkeys([*words, "HU", "mm", "mm2", "ml"]))

    def expert(self, question: str, images: tuple[Image, ...], rng: np.random.Generator) -> ToolScript:
        """A script that reads only the question, views of the pictures, and what its tools return. See `HasExpert.expert`.

        Args:
            question: The question of a case.
            images: Its pictures.
            rng: Not needed.
        """
        from medvistagym_realsmoke._expert import run_expert

        return run_expert(question, images)

    def needed(self, case: Case) -> str | None:
        """The tool that answers a case; empty where looking is enough, None where it takes several."""
        return self.family(case.family).tool

    def provenance(self, split: str) -> Provenance:
        """Where the pictures are from."""
        from medvistagym_core.environment import Provenance

        total = hashlib.sha256()
        for index in range(self.size(split)):
            case = self.case(split, index)
            total.update(f"{case.question}\n{case.answer.value}\n".encode())
            for image in case.images:
                total.update(image.digest.encode())
        label, licence = self._source
        return Provenance(label=label, questions=self.size(split), checksum=total.hexdigest(), licence=licence)

    def audit(self, n: int = 400) -> tuple[AuditCheck, ...]:
        """Proof that the task can be solved with tools, and that nothing but pictures and tools tells its answers.

        Args:
            n: Questions of each family that guessers learn from and are tested on.
        """
        from medvistagym_realsmoke._audit import run_audit

        return tuple(run_audit(self, n))

    def _families(self) -> Sequence[Family]:
        import importlib

        families: Sequence[Family] = importlib.import_module(self._module).FAMILIES
        return families

    def _check_split(self, split: str) -> None:
        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")


REALSMOKE: Final = RealSmoke(
    "realsmoke",
    "Real CT, MR, films and ultrasound: values, sizes, sides, text; answers from headers and labels that are not shown.",
    (
        "tissue", "mean_value", "dense", "distance", "area", "width", "wider", "brightest", "modality", "burned_text",
        "marker_side", "frame",
    ),
    ("acquisition", "area", "distance", "measure", "read_text", "reformat", "window", "zoom"),
    ("pydicom-data 1.0.0 and pydicom's test files", "MIT"),
    "medvistagym_realsmoke._pieces",
)  # fmt: skip
REALSMOKE_MASKS: Final = RealSmoke(
    "realsmoke_masks",
    "Real lung CT and head MR with masks that are not shown: planes, matter, which slice holds a tumour, its size.",
    ("plane", "matter", "tumour_slice", "tumour_volume", "tumour_area"),
    ("acquisition", "measure", "reformat", "segment", "window", "zoom"),
    ("pyradiomics 3.0.1 (data) and nilearn 0.14.1 (MNI152)", "BSD-3-Clause; the scans' own terms apply"),
    "medvistagym_realsmoke._masks",
)
