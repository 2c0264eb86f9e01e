"""The audit: is the benchmark honest? Solvable with tools, and only with tools; nothing but the tools tells an answer.

Limits: an expert that reads only what a policy can read scores at least 97 % in every family; whatever reads scouts alone, or
file sizes, order and metadata, stays within 5 points of chance; another answer changes not one byte of a scout.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.environment import AuditCheck, Case
from medvistagym_core.imaging import Box, Image
from medvistagym_scoutvqa import classifier, grid, studies, viewer
from medvistagym_scoutvqa.demonstration import box_call, window_call
from medvistagym_scoutvqa.expert import SCOUT
from medvistagym_scoutvqa.play import play
from medvistagym_scoutvqa.scene import ANSWERS

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_scoutvqa.task import ScoutVQA

EXPERT: Final = 0.97
MARGIN: Final = 0.05
OPEN: Final = ("direct",)
"""Families that a scout is meant to answer."""
_USELESS: Final = {"zoom": ("window",), "measure": ("window", "zoom"), "chain": ("window", "zoom")}
"""Tools whose pictures, one call on the scout's image, tell nothing."""
TESTED: Final = 1000
"""Least number of cases on which a classifier is tested: one standard error is then 1.4 points."""


def audit(task: ScoutVQA, n: int) -> Iterator[AuditCheck]:
    """Findings one by one, as they are made.

    Args:
        task: What to audit.
        n: Cases of each family for the expert and for hiding; classifiers learn from `10 n` and are tested on at least 1,000.
    """
    yield _studies()
    for family in task.families:
        yield _expert(task, family, n)
    for family in task.families:
        if family not in OPEN:
            yield _hidden(task, family, n)
    for family in task.families:
        if family in _USELESS:
            yield _hidden_from_others(task, family, n)
    for family in task.families:
        yield from _classified(task, family, 10 * n, max(TESTED, 2 * n))
    yield _unsaid(task, n)


def _studies() -> AuditCheck:
    """No object, series, study or patient in two splits."""
    import warnings

    from pydicom import dcmread

    seen: dict[tuple[str, str], str] = {}
    shared = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these files have identifiers that no standard allows
        for split, names in studies.STUDIES.items():
            for name in names:
                head = dcmread(studies.path(name), stop_before_pixels=True)
                for key in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"):
                    shared += seen.setdefault((key, str(head.get(key) or name)), split) != split
    total = sum(map(len, studies.STUDIES.values()))
    return AuditCheck("studies shared by two splits", shared, "0", shared == 0, f"{total} files")


def _expert(task: ScoutVQA, family: str, n: int) -> AuditCheck:
    import numpy as np

    cases = list(_cases(task, family, "test", n))
    rng = np.random.default_rng(0)
    played = play(cases, [task.expert(case.question, case.images, rng) for case in cases])
    right = sum(p.answer == case.answer.value for p, case in zip(played, cases, strict=True)) / n
    calls = sum(len(p.calls) for p in played) / n
    return AuditCheck(
        f"{family}: scripted expert", right, f">= {EXPERT}", right >= EXPERT, f"{calls:.2f} calls, n = {n}"
    )


def _hidden(task: ScoutVQA, family: str, n: int) -> AuditCheck:
    """Another answer changes no byte of the scout, nor of anything else that is known of the image."""
    changed = 0
    for i in range(n):
        seen = {_visible(task.scene("test", i, 0, family, answer)[0]) for answer in ANSWERS[family]}
        changed += len(seen) != 1
    pictures = f"{n} scenes x {len(ANSWERS[family])} answers"
    return AuditCheck(f"{family}: scouts that another answer changes", changed, "0", changed == 0, pictures)


def _hidden_from_others(task: ScoutVQA, family: str, n: int) -> AuditCheck:
    """Another answer changes no byte of what the tools that a family does not need show; of the chain, what one step shows."""
    import numpy as np

    changed = shown = 0
    for i in range(n):
        rng = np.random.default_rng(i)
        x0, y0 = (int(v) for v in rng.integers(0, 901, 2))
        width, height = (int(v) for v in rng.integers(50, 1001, 2))
        window = window_call(int(rng.choice(grid.CENTERS)), int(rng.choice(grid.WIDTHS)))
        zoom = box_call("zoom", Box(x0, y0, min(1000, x0 + width), min(1000, y0 + height)))
        pictures: dict[str, set[bytes]] = {}
        for answer in ANSWERS[family]:
            image, truth = task.scene("test", i, 0, family, answer)
            near = box_call("zoom", grid.nearest(truth.target, grid.ZOOM))
            narrow = window_call(truth.base, grid.NARROW[0])
            for step in (window, narrow, zoom, near):
                if step.name in _USELESS[family]:
                    pictures.setdefault(repr(step), set()).add(viewer.picture(step, image).view(SCOUT).tobytes())
        shown += len(pictures)
        changed += sum(len(views) > 1 for views in pictures.values())
    name = f"{family}: pictures by {' or '.join(_USELESS[family])} alone that another answer changes"
    return AuditCheck(name, changed, "0", changed == 0, f"{shown} pictures x {len(ANSWERS[family])} answers")


def _classified(task: ScoutVQA, family: str, learn: int, test: int) -> Iterator[AuditCheck]:
    """What classifiers make of scouts, and of everything about a case that is no picture."""
    import numpy as np

    known = ANSWERS[family]
    scouts, facts, answers = _gathered(task, family, "train", learn)
    tests, test_facts, truth = _gathered(task, family, "test", test)
    counts = np.bincount(np.concatenate([answers, truth]), minlength=len(known))
    largest = float(counts.max() / counts.sum())
    chance = 1 / len(known)
    yield _within(f"{family}: commonest answer", largest, chance, f"n = {learn + test}")
    said = classifier.ridge(facts, answers, test_facts)
    detail = f"order, sizes, encoded size, spacing, modality; chance {chance:.2f}, n = {test}"
    yield _within(f"{family}: metadata alone", float((said == truth).mean()), chance, detail)
    readers: dict[str, Callable[[], np.ndarray]] = {
        "linear": lambda: classifier.ridge(classifier.patterns(scouts), answers, classifier.patterns(tests), 0.1),
    }
    if classifier.has_network():
        readers["network"] = lambda: classifier.network(scouts, answers, tests)
    for reader, read in readers.items():
        score = float((read() == truth).mean())
        name = f"{family}: scout alone, {reader}"
        detail = f"chance {chance:.2f}, learned from {learn}, n = {test}"
        if family in OPEN:
            yield AuditCheck(name, score, ">= 0.9", score >= 0.9, detail + "; meant to be seen")
        else:
            yield _within(name, score, chance, detail)


def _gathered(task: ScoutVQA, family: str, split: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scouts `(n, 64, 64)` uint8, surrounding facts `(n, d)`, and answers `(n,)` as numbers."""
    import numpy as np

    scouts, facts = [], []
    answers: list[int] = []
    for case in _cases(task, family, split, n):
        scouts.append(case.images[0].view(SCOUT))
        facts.append(_facts(case, scouts[-1], answers[-1] if answers else 0))
        answers.append(ANSWERS[family].index(case.answer.value))
    return np.stack(scouts), np.array(facts), np.array(answers)


def _unsaid(task: ScoutVQA, n: int) -> AuditCheck:
    """No question, identifier or attribute says an answer; options are the same list for every case of a family."""
    said = 0
    for i in range(n):
        case = task.case("test", i)
        text = " ".join([case.id, case.question, repr(case), *map(str, case.images[0].attributes.values())])
        text = text.replace(repr(case.options), "")
        said += case.answer.value in text or case.options != ANSWERS[case.family]
    return AuditCheck("cases whose text says the answer", said, "0", said == 0, f"n = {n}")


def _within(name: str, value: float, chance: float, detail: str) -> AuditCheck:
    limit = chance + MARGIN
    return AuditCheck(name, value, f"<= {limit:.2f}", value <= limit, detail)


def _cases(task: ScoutVQA, family: str, split: str, n: int) -> Iterator[Case]:
    """The first `n` cases of a family in a split."""
    step, first = len(task.families), task.families.index(family)
    for k in range(n):
        yield task.case(split, first + k * step)


def _visible(image: Image) -> Any:
    """Everything that reaches a policy, or is known, of an image before any call."""
    overlay = None if image.overlay is None else image.overlay.tobytes()
    facts = (image.shape, str(image.pixels.dtype), image.spacing, image.modality, image.unit, image.window)
    return image.view(SCOUT).tobytes(), _encoded(image.view(SCOUT)), overlay, facts, tuple(image.attributes.items())


def _facts(case: Case, scout: np.ndarray, before: int) -> list[float]:
    """Numbers that surround a picture: place in the order, answer before, sizes, bytes when encoded, spacing, modality."""
    image = case.images[0]
    rests = [float(case.index // 4 % m == r) for m in (2, 3, 4, 5) for r in range(m)]
    spacing = image.spacing or (0.0, 0.0)
    kinds = [float(image.modality == m) for m in ("CT", "MR", "CR", "NM")]
    sizes = [*map(float, image.shape), float(_encoded(scout)), float(_encoded(scout, "JPEG")), float(len(case.id))]
    last = [float(before == k) for k in range(5)]
    return [float(case.index), *rests, *last, *sizes, *spacing, *kinds]


def _encoded(picture: np.ndarray, kind: str = "PNG") -> int:
    """Bytes of a picture as a file."""
    import PIL.Image

    out = io.BytesIO()
    PIL.Image.fromarray(picture).save(out, kind)
    return out.tell()
