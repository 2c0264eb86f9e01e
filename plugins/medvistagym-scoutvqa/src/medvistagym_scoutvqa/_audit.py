"""The audit: is the benchmark honest? Solvable with tools, and only with tools; nothing but the tools tells an answer.

Limits: an expert that reads only what a policy can read scores at least 97 % in every family; whatever reads scouts alone, or
file sizes, order and metadata, stays within 5 points of chance; another answer changes not one byte of a scout.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from medvistagym_core.environment import AuditCheck, Case, ToolScript
from medvistagym_core.imaging import Box, Image
from medvistagym_scoutvqa._argument_grid import CENTERS_HU, NARROW_WIDTHS_HU, WIDTHS_HU, ZOOM_SIZE, nearest_box
from medvistagym_scoutvqa._demonstrations import box_call, window_call
from medvistagym_scoutvqa._expert import SCOUT_SIDE
from medvistagym_scoutvqa._leak_classifier import (
    classify_by_network,
    classify_by_ridge,
    has_network,
    pattern_features,
)
from medvistagym_scoutvqa._scenes import ANSWERS, SceneGroundTruth
from medvistagym_scoutvqa._script_runner import run_scripts
from medvistagym_scoutvqa._studies import STUDIES, study_path
from medvistagym_scoutvqa._tool_calls import tool_image

if TYPE_CHECKING:
    import numpy as np

MIN_EXPERT_ACCURACY: Final = 0.97
MAX_ABOVE_CHANCE: Final = 0.05
OPEN_FAMILIES: Final = ("direct",)
"""Families that a scout is meant to answer."""
MIN_TEST_CASES: Final = 1000
"""On which a classifier is tested: one standard error is then 1.4 points."""
_UNINFORMATIVE_BASELINES: Final = {"zoom": ("window",), "measure": ("window", "zoom"), "chain": ("window", "zoom")}
"""Tools whose pictures, one call on the scout's image, tell nothing."""


class AuditableTask(Protocol):
    """What is audited."""

    @property
    def families(self) -> tuple[str, ...]:
        """Kinds of questions."""
        ...

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """Case `index` of a split."""
        ...

    def scene(
        self, split: str, index: int, seed: int, family: str, answer: str | None = None
    ) -> tuple[Image, SceneGroundTruth]:
        """The picture of a case, as it would be with another answer, and the truth about it."""
        ...

    def expert(self, question: str, images: tuple[Image, ...], rng: np.random.Generator) -> ToolScript:
        """A script that reads only what a policy can read."""
        ...


def run_audit(task: AuditableTask, n: int, *, min_test_cases: int = MIN_TEST_CASES) -> Iterator[AuditCheck]:
    """Findings one by one, as they are made.

    Args:
        task: What to audit.
        n: Cases of each family for the expert and for hiding; classifiers learn from `10 n` and are tested on `2 n`.
        min_test_cases: Cases that classifiers are tested on, if these are more than `2 n`.
    """
    yield _shared_studies_check()
    for family in task.families:
        yield _expert_check(task, family, n)
    for family in task.families:
        if family not in OPEN_FAMILIES:
            yield _answer_invariance_check(task, family, n)
    for family in task.families:
        if family in _UNINFORMATIVE_BASELINES:
            yield _tool_invariance_check(task, family, n)
    for family in task.families:
        yield from _classifier_checks(task, family, 10 * n, max(min_test_cases, 2 * n))
    yield _metadata_leak_check(task, n)


def _shared_studies_check() -> AuditCheck:
    """No object, series, study or patient in two splits."""
    import warnings

    from pydicom import dcmread

    split_of: dict[tuple[str, str], str] = {}
    shared = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these files have identifiers that no standard allows
        for split, names in STUDIES.items():
            for name in names:
                header = dcmread(study_path(name), stop_before_pixels=True)
                for key in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"):
                    shared += split_of.setdefault((key, str(header.get(key) or name)), split) != split
    total = sum(map(len, STUDIES.values()))
    return AuditCheck("studies shared by two splits", shared, "0", shared == 0, f"{total} files")


def _expert_check(task: AuditableTask, family: str, n: int) -> AuditCheck:
    import numpy as np

    cases = list(_cases(task, family, "test", n))
    rng = np.random.default_rng(0)
    records = run_scripts(cases, [task.expert(case.question, case.images, rng) for case in cases])
    right = sum(record.answer == case.answer.value for record, case in zip(records, cases, strict=True)) / n
    calls = sum(len(record.calls) for record in records) / n
    passed = right >= MIN_EXPERT_ACCURACY
    detail = f"{calls:.2f} calls, n = {n}"
    return AuditCheck(f"{family}: scripted expert", right, f">= {MIN_EXPERT_ACCURACY}", passed, detail)


def _answer_invariance_check(task: AuditableTask, family: str, n: int) -> AuditCheck:
    """Another answer changes no byte of the scout, nor of anything else that a policy has of the image."""
    changed = 0
    for i in range(n):
        seen = {_visible(task.scene("test", i, 0, family, answer)[0]) for answer in ANSWERS[family]}
        changed += len(seen) != 1
    detail = f"{n} scenes x {len(ANSWERS[family])} answers"
    return AuditCheck(f"{family}: scouts that another answer changes", changed, "0", changed == 0, detail)


def _tool_invariance_check(task: AuditableTask, family: str, n: int) -> AuditCheck:
    """Another answer changes no byte of what the tools that a family does not need show; of the chain, what one step shows."""
    import numpy as np

    changed = total = 0
    for i in range(n):
        rng = np.random.default_rng(i)
        x0, y0 = (int(v) for v in rng.integers(0, 901, 2))
        width, height = (int(v) for v in rng.integers(50, 1001, 2))
        window = window_call(int(rng.choice(CENTERS_HU)), int(rng.choice(WIDTHS_HU)))
        zoom = box_call("zoom", Box(x0, y0, min(1000, x0 + width), min(1000, y0 + height)))
        views: dict[str, set[bytes]] = {}
        for answer in ANSWERS[family]:
            image, truth = task.scene("test", i, 0, family, answer)
            zoom_call = box_call("zoom", nearest_box(truth.target, ZOOM_SIZE))
            narrow = window_call(truth.base, NARROW_WIDTHS_HU[0])
            for call in (window, narrow, zoom, zoom_call):
                if call.name in _UNINFORMATIVE_BASELINES[family]:
                    views.setdefault(repr(call), set()).add(tool_image(call, image).view(SCOUT_SIDE).tobytes())
        total += len(views)
        changed += sum(len(of_answers) > 1 for of_answers in views.values())
    tools = " or ".join(_UNINFORMATIVE_BASELINES[family])
    name = f"{family}: pictures by {tools} alone that another answer changes"
    return AuditCheck(name, changed, "0", changed == 0, f"{total} pictures x {len(ANSWERS[family])} answers")


def _classifier_checks(task: AuditableTask, family: str, learn: int, test: int) -> Iterator[AuditCheck]:
    """What classifiers make of scouts, and of everything about a case that is no picture."""
    import numpy as np

    options = ANSWERS[family]
    scouts, metadata, answers = _gather(task, family, "train", learn)
    test_scouts, test_metadata, truth = _gather(task, family, "test", test)
    counts = np.bincount(np.concatenate([answers, truth]), minlength=len(options))
    largest = float(counts.max() / counts.sum())
    chance = 1 / len(options)
    yield _chance_row(f"{family}: commonest answer", largest, chance, f"n = {learn + test}")
    accuracy = float((classify_by_ridge(metadata, answers, test_metadata) == truth).mean())
    detail = f"order, sizes, encoded size, spacing, modality; chance {chance:.2f}, n = {test}"
    yield _chance_row(f"{family}: metadata alone", accuracy, chance, detail)
    classifiers: dict[str, Callable[[], np.ndarray]] = {
        "linear": lambda: classify_by_ridge(pattern_features(scouts), answers, pattern_features(test_scouts), 0.1),
    }
    if has_network():
        classifiers["network"] = lambda: classify_by_network(scouts, answers, test_scouts)
    for classifier, classify in classifiers.items():
        accuracy = float((classify() == truth).mean())
        name = f"{family}: scout alone, {classifier}"
        detail = f"chance {chance:.2f}, learned from {learn}, n = {test}"
        if family in OPEN_FAMILIES:
            yield AuditCheck(name, accuracy, ">= 0.9", accuracy >= 0.9, detail + "; meant to be seen")
        else:
            yield _chance_row(name, accuracy, chance, detail)


def _gather(task: AuditableTask, family: str, split: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scouts `(n, 64, 64)` uint8, metadata `(n, d)`, and answers `(n,)` as numbers."""
    import numpy as np

    scouts, metadata = [], []
    answers: list[int] = []
    for case in _cases(task, family, split, n):
        scouts.append(case.images[0].view(SCOUT_SIDE))
        metadata.append(_metadata_features(case, scouts[-1], answers[-1] if answers else 0))
        answers.append(ANSWERS[family].index(case.answer.value))
    return np.stack(scouts), np.array(metadata), np.array(answers)


def _metadata_leak_check(task: AuditableTask, n: int) -> AuditCheck:
    """No question, identifier or attribute says an answer; options are the same list for every case of a family."""
    leaks = 0
    for i in range(n):
        case = task.case("test", i)
        text = " ".join([case.id, case.question, repr(case), *map(str, case.images[0].attributes.values())])
        text = text.replace(repr(case.options), "")
        leaks += case.answer.value in text or case.options != ANSWERS[case.family]
    return AuditCheck("cases whose text says the answer", leaks, "0", leaks == 0, f"n = {n}")


def _chance_row(name: str, accuracy: float, chance: float, detail: str) -> AuditCheck:
    limit = chance + MAX_ABOVE_CHANCE
    return AuditCheck(name, accuracy, f"<= {limit:.2f}", accuracy <= limit, detail)


def _cases(task: AuditableTask, family: str, split: str, n: int) -> Iterator[Case]:
    """The first `n` cases of a family in a split."""
    step, first = len(task.families), task.families.index(family)
    for k in range(n):
        yield task.case(split, first + k * step)


def _visible(image: Image) -> Any:
    """Everything of an image that reaches a policy, or that it may be told, before any call."""
    overlay = None if image.overlay is None else image.overlay.tobytes()
    facts = (image.shape, str(image.pixels.dtype), image.spacing, image.modality, image.unit, image.window)
    view = image.view(SCOUT_SIDE)
    return view.tobytes(), _count_file_bytes(view), overlay, facts, tuple(image.attributes.items())


def _metadata_features(case: Case, scout: np.ndarray, previous_answer: int) -> list[float]:
    """Numbers that surround a picture: place in the order, answer before, sizes, bytes when encoded, spacing, modality."""
    image = case.images[0]
    remainders = [float(case.index // 4 % m == r) for m in (2, 3, 4, 5) for r in range(m)]
    previous = [float(previous_answer == k) for k in range(5)]
    encoded = [float(_count_file_bytes(scout)), float(_count_file_bytes(scout, "JPEG"))]
    sizes = [*map(float, image.shape), *encoded, float(len(case.id))]
    spacing = image.spacing or (0.0, 0.0)
    modalities = [float(image.modality == m) for m in ("CT", "MR", "CR", "NM")]
    return [float(case.index), *remainders, *previous, *sizes, *spacing, *modalities]


def _count_file_bytes(view: np.ndarray, kind: str = "PNG") -> int:
    """Bytes of a picture as a file."""
    import PIL.Image

    out = io.BytesIO()
    PIL.Image.fromarray(view).save(out, kind)
    return out.tell()
