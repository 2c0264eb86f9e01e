"""Checks that run a tool: on every kind of picture, with arguments drawn from its schema."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.execution import batch_key
from medvistagym_core.imaging import Image
from medvistagym_core.testing._finding import Finding, Say, several
from medvistagym_core.testing._rules import RELATIVE_TOLERANCE
from medvistagym_core.testing._sample_images import image_snapshot
from medvistagym_core.testing._strategies import argument_strategy, resolved, with_images
from medvistagym_core.tools import Tool, ToolError, ToolResult

if TYPE_CHECKING:
    import numpy as np


SETUP_S: Final = 120.0
UNLIMITED_S: Final = 120.0
BUDGET_S: Final = 30.0
OWN_PICTURES: Final = (
    "Give some of its kind: `medvistagym plugins check NAME --image FILE`, or conformance(..., images=[FILE])."
)
EDGE: Final = 1.0  # pixels of the source that rounding may cost


@dataclasses.dataclass(frozen=True)
class TrialCall:
    """A call that succeeded: the picture's name, the arguments with handles, and the digest of what it gave."""

    picture: str
    arguments: dict[str, Any]
    digest: str


class ToolTrials:
    """A tool tried out, once for all checks that look at what it gave.

    Args:
        tool: The tool.
        say: Told before each call.
        examples: About how many arguments are drawn for each picture.
        limit_s: Seconds that a call may take, if the tool itself does not declare fewer.
        pictures: What it is tried on, by name (`sample_pictures`).
        author_pictures: Names of those that its author gave.
    """

    def __init__(
        self,
        tool: Tool,
        say: Say,
        *,
        examples: int,
        limit_s: float,
        pictures: Mapping[str, Callable[[], Image]],
        author_pictures: Sequence[str] = (),
    ) -> None:
        self.tool = tool
        self.pictures = pictures
        self._author_pictures = author_pictures
        self.samples: list[TrialCall] = []
        self.faults: dict[str, list[str]] = {"result": [], "input": [], "output": [], "lineage": []}
        self.refused: list[str] = []  # arguments that its own validators do not take
        self.declined: list[str] = []  # pictures that it does not take, with its sentence
        self._say = say
        self._limit_s = min(tool.spec.timeout_s or UNLIMITED_S, limit_s)
        self._run(examples)

    def _run(self, examples: int) -> None:
        self._say("setup", SETUP_S)
        try:
            self.tool.setup()
        except Exception as error:  # noqa: BLE001 the author's code
            self.faults["result"].append(f"setup raises {type(error).__name__}: {error}")
            return
        end = time.monotonic() + BUDGET_S
        for name in self.pictures:
            seen: set[str] = set()

            def tried(arguments: dict[str, Any], name: str = name, seen: set[str] = seen) -> None:
                key = json.dumps(arguments, sort_keys=True)
                if key not in seen and (not seen or time.monotonic() < end):
                    seen.add(key)
                    self._try(name, with_images(self.tool.spec, arguments))

            argument_strategy(self.tool.spec, examples, tried)
            if not self.samples and not self.faults["result"]:  # arguments that go together are rarely drawn at once
                argument_strategy(self.tool.spec, 10 * examples, tried)

    def _try(self, picture: str, arguments: dict[str, Any]) -> None:
        call_text = f"{json.dumps(arguments)} on {picture}"
        try:
            values = self.tool.validate(arguments)
        except ToolError as error:
            self.refused.append(f"{call_text}: {error.message}")
            return
        except Exception as error:  # noqa: BLE001 a validator of the author's
            self.faults["result"].append(f"{call_text}: validation raises {type(error).__name__}")
            return
        images = {handle: self.pictures[picture]() for handle in range(2)}
        before = [list(image_snapshot(image)) for image in images.values()]
        self._say(call_text, self._limit_s)
        result = self.tool.run(resolved(self.tool, values, images))
        if before != [list(image_snapshot(image)) for image in images.values()]:
            self.faults["input"].append(call_text)
        if result.error is not None:
            if result.error.code == "bad_value":
                self.declined.append(f"{picture}: {result.error.message}")
            else:
                self.faults["result"].append(f"{call_text}: {result.error.message}")
            return
        try:
            for image in result.images:
                image.view(16)
        except Exception as error:  # noqa: BLE001 an image that cannot be shown is the tool's fault
            self.faults["result"].append(f"{call_text}: its image cannot be shown: {type(error).__name__}: {error}")
            return
        self.faults["output"] += [f"{call_text}: {fault}" for fault in _find_undeclared(self.tool, result)]
        self.faults["lineage"] += [
            f"{call_text}: {fault}" for image in result.images for fault in _lineage_violation(image)
        ]
        self.samples.append(TrialCall(picture, arguments, digest(result)))

    # -- what was found

    def valid_calls(self) -> Finding:
        """Results or sentences, on every picture."""
        if self.faults["result"] or self.samples:
            return several(sorted(self.faults["result"], key=len))
        declined = [line for line in self.declined if line.partition(":")[0] in self._author_pictures]
        if declined:
            return Finding("FAIL", f"no call succeeded, on the pictures given neither; {declined[0]}")
        if self.declined:
            return Finding("ERROR", f"it takes none of the sample pictures; {self.declined[0]}", OWN_PICTURES)
        return Finding(
            "FAIL", f"no call succeeded on any picture; {self.refused[0] if self.refused else 'none was made'}"
        )

    def judge_faults(self, kind: str) -> Finding:
        """The faults of a kind: "input", "output" or "lineage"."""
        if not self.samples and not self.faults[kind]:
            return Finding("SKIP", "no call succeeded")
        return several(sorted(self.faults[kind], key=len))

    def chosen(self, max_calls: int = 12) -> list[TrialCall]:
        """Some of the calls that succeeded, spread over the pictures."""
        rank: dict[str, int] = {}
        order: list[tuple[int, int]] = []
        for sample in self.samples:
            rank[sample.picture] = rank.get(sample.picture, -1) + 1
            order.append((rank[sample.picture], len(order)))
        return [self.samples[k] for _, k in sorted(order)[:max_calls]]

    def repeated(self) -> Finding:
        """The same again in this process."""
        faults = []
        for sample in self.chosen():
            self._say(f"again, {json.dumps(sample.arguments)} on {sample.picture}", self._limit_s)
            if digest(run(self.tool, sample, self.pictures)) != sample.digest:
                faults.append(
                    f"{json.dumps(sample.arguments)} on {sample.picture} gives something else the second time"
                )
        return several(faults)

    def batch_equals_loop(self) -> Finding:
        """One kernel for several calls gives what the calls give."""
        kernel = self.tool.batch_kernel
        if kernel is None:
            return Finding("SKIP", "it has no batched kernel")
        groups: dict[Any, list[TrialCall]] = {}
        for sample in self.chosen(8):
            resolved = _resolve(self.tool, sample, self.pictures)
            groups.setdefault(batch_key(self.tool, resolved), []).extend([sample] * 2)
        if not groups:
            return Finding("SKIP", "no call succeeded")
        raised: list[str] = []

        def noted(*given: Any) -> Sequence[Any]:
            try:
                return list(kernel(*given))
            except Exception as error:
                raised.append(f"the batched kernel raises {type(error).__name__}: {error}")
                raise

        twin = self.tool.with_metadata()
        twin.batch(noted)
        faults = []
        for samples in groups.values():  # a kernel is promised images that agree in shape and type of value
            names = ", ".join(dict.fromkeys(sample.picture for sample in samples))
            self._say(f"a batch of {len(samples)} on {names}", self._limit_s * len(samples))
            batch = twin.run_batch([_resolve(self.tool, sample, self.pictures) for sample in samples])
            if raised:
                return Finding("FAIL", f"{raised[0]} for {len(samples)} calls on {names}")
            for sample, result in zip(samples, batch, strict=True):
                if difference := result_difference(run(self.tool, sample, self.pictures), result):
                    faults.append(f"{json.dumps(sample.arguments)} on {sample.picture}: {difference}")
        return several(faults)


def run(tool: Tool, sample: TrialCall, pictures: Mapping[str, Callable[[], Image]]) -> ToolResult:
    """The sample's call, made again."""
    return tool.run(_resolve(tool, sample, pictures))


def _resolve(tool: Tool, sample: TrialCall, pictures: Mapping[str, Callable[[], Image]]) -> dict[str, Any]:
    images = {handle: pictures[sample.picture]() for handle in range(2)}
    return resolved(tool, tool.validate(sample.arguments), images)


def digest(result: ToolResult) -> str:
    """SHA-256 of all that a result says, as hexadecimal text."""
    import hashlib

    parts = (result.text, repr(result.data), str(result.error), [image.digest for image in result.images])
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _find_undeclared(tool: Tool, result: ToolResult) -> list[str]:
    held = {"image": bool(result.images), "text": bool(result.text), "data": result.data is not None}
    declared = set(tool.spec.returns)
    faults = [f"gives {kind}, which the return annotation does not declare" for kind, is_held in held.items()
              if is_held and kind not in declared]  # fmt: skip
    if declared == {"image"} and not result.images:
        faults.append("gives no image, which is all that the return annotation declares")
    return faults


def _lineage_violation(image: Image) -> list[str]:
    a, b, c, d, e, f = image.to_source
    if not all(map(math.isfinite, image.to_source)) or abs(a * e - b * d) < 1e-12:
        return [f"to_source {image.to_source} is no way back"]
    h, w = image.shape
    height, width = image.source_shape or image.shape
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (0, w) for y in (0, h)]
    if min(abs(a), abs(e)) > 1e-6 and max(abs(b), abs(d)) > 1e-6:
        # Turned by an angle, it has corners that lie outside, unless they were cut off; its middle does not.
        corners = [(a * w / 2 + b * h / 2 + c, d * w / 2 + e * h / 2 + f)]
    if all(-EDGE <= x <= width + EDGE and -EDGE <= y <= height + EDGE for x, y in corners):
        return []
    x, y = max(corners, key=lambda corner: max(-corner[0], corner[0] - width, -corner[1], corner[1] - height))
    return [f"a corner lies at {x:.1f}, {y:.1f} of a source of {width} x {height}"]


def result_difference(one: ToolResult, other: ToolResult) -> str:
    """How the results differ beyond the tolerance; empty when they do not."""
    if str(one.error) != str(other.error):
        return f"{other.error or 'a result'} instead of {one.error or 'a result'}"
    if one.text != other.text and one.data is None:
        return f"the text {other.text[:60]!r} instead of {one.text[:60]!r}"
    if not _close(one.data, other.data):
        return f"the data {str(other.data)[:80]} instead of {str(one.data)[:80]}"
    if len(one.images) != len(other.images):
        return f"{len(other.images)} images instead of {len(one.images)}"
    for a, b in zip(one.images, other.images, strict=True):
        if a.pixels.shape != b.pixels.shape or a.pixels.dtype != b.pixels.dtype:
            return f"pixels {b.pixels.shape} {b.pixels.dtype} instead of {a.pixels.shape} {a.pixels.dtype}"
        if a.to_source != b.to_source or a.spacing != b.spacing or a.window != b.window:
            return "another geometry or window"
        if not _same_pixels(a.pixels, b.pixels):
            return "other pixels"
    return ""


def _same_pixels(a: np.ndarray, b: np.ndarray) -> bool:
    import numpy as np

    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    finite = a[np.isfinite(a)]
    scale = float(np.ptp(finite)) if finite.size else 0.0
    return bool(np.allclose(a, b, rtol=RELATIVE_TOLERANCE, atol=RELATIVE_TOLERANCE * scale, equal_nan=True))


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_close, a, b))
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE, abs_tol=RELATIVE_TOLERANCE) or (a != a and b != b)
    return bool(a == b)
