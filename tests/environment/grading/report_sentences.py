"""Report sentences made from parts: an edit of a part is known to change the meaning, and an edit of the wording not to."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

SIDES = ("left", "right")
SEVERITIES = ("mild", "moderate", "severe")
SIZES = ("small", "large")
LOBES = ("upper", "lower")
ACUITY = ("acute", "chronic")
TURNED = (  # a word, and one that says something else with nearly the same letters
    ("hypodense", "hyperdense"), ("hypointense", "hyperintense"), ("hypoechoic", "hyperechoic"),
    ("anechoic", "echoic"), ("intracranial", "extracranial"), ("intraperitoneal", "extraperitoneal"),
    ("supratentorial", "infratentorial"), ("subdural", "epidural"), ("suprahepatic", "subhepatic"),
    ("nondisplaced", "displaced"), ("unchanged", "changed"), ("incomplete", "complete"), ("unstable", "stable"),
    ("antegrade", "retrograde"), ("preoperative", "postoperative"), ("prevertebral", "paravertebral"),
    ("asymmetric", "symmetric"), ("atypical", "typical"), ("inoperable", "operable"), ("noncalcified", "calcified"),
    ("unilocular", "multilocular"), ("benign", "malignant"), ("increased", "decreased"), ("enlarging", "shrinking"),
)  # fmt: skip
MASSES = ("nodule", "mass", "cyst", "opacity", "lesion", "granuloma")
EFFUSIONS = ("pleural effusion", "pneumothorax", "hydronephrosis", "hip joint effusion")
ORGANS = ("kidney", "femoral neck", "carotid artery", "frontal lobe", "adrenal gland")
BARE = (
    "pneumothorax",
    "fracture",
    "consolidation",
    "free air",
    "lymphadenopathy",
    "hemorrhage",
    "dissection",
    "stenosis",
)
VERTEBRAE = ("C5", "C6", "T11", "T12", "L1", "L3", "L4")
MARKERS = ("HER2", "ER", "PR", "CD20")


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A sentence, other wordings of it, and sentences that say something else."""

    text: str
    wordings: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def other(choices: Sequence[str], value: str) -> str:
    return choices[(choices.index(value) + 1) % len(choices)]


def nodules() -> Iterator[Sentence]:
    for size, finding, side, lobe in itertools.product((3, 5, 12, 25), MASSES, SIDES, LOBES):
        place = f"{side} {lobe} lobe"
        yield Sentence(
            f"{size} mm {finding} in the {place}",
            (
                f"{size}mm {finding} in the {place}",
                f"{size / 10:g} cm {finding} in the {place}",
                f"{size}-mm {finding} in the {place}",
                f"{size}.0 mm {finding} in the {place}",
                f"{place} {size} mm {finding}",
                f"{size} mm {place} {finding}",
                f"a {finding} measuring {size} mm in the {place}",
                f"a {size} mm {finding} is located in the {lobe} {side} lobe",
            ),
            (
                f"{size + 4} mm {finding} in the {place}",
                f"{size} cm {finding} in the {place}",
                f"{size} ml {finding} in the {place}",
                f"<{size} mm {finding} in the {place}",
                f">{size} mm {finding} in the {place}",
                f"{size}-{size + 1} mm {finding} in the {place}",
                f"{size} x {size} mm {finding} in the {place}",
                f"0.{size} mm {finding} in the {place}",
                f"{finding} in the {place}",
                f"{size} mm {finding} in the {other(SIDES, side)} {lobe} lobe",
                f"{size} mm {finding} in the {side} {other(LOBES, lobe)} lobe",
                f"{size} mm {finding} in the {side} or {other(SIDES, side)} {lobe} lobe",
                f"{size} mm {finding} in the {side} and {other(SIDES, side)} {lobe} lobe",
                f"{size} mm {finding} in the bilateral {lobe} lobes",
                f"{size} mm {finding} in both {lobe} lobes",
                f"{size} mm {finding} in the {lobe} lobe",
                f"{size} mm {finding} in the {side} lung",
                f"{size} mm {finding} near the {place}",
                f"{size} mm {other(MASSES, finding)} in the {place}",
                f"{size} mm {finding}s in the {place}",
                f"{size} mm calcified {finding} in the {place}",
                f"{size} mm {finding} in the {place}, increased from {size - 1} mm",
            ),
        )


def effusions() -> Iterator[Sentence]:
    for severity, finding, side in itertools.product((*SIZES, *SEVERITIES), EFFUSIONS, SIDES):
        scale = SEVERITIES if severity in SEVERITIES else SIZES
        yield Sentence(
            f"{severity} {side} {finding}",
            (
                f"{severity} {finding} on the {side} side",
                f"{severity} {finding} on the {side}",
                f"{side} {severity} {finding}",
                f"{severity} {side}-sided {finding}",
            ),
            (
                f"{other(scale, severity)} {side} {finding}",
                f"{severity} to {other(scale, severity)} {side} {finding}",
                f"{severity} {other(SIDES, side)} {finding}",
                f"{severity} bilateral {finding}",
                f"{severity} {finding}",
                f"{side} {finding}",
                f"{severity} {side} and {other(SIDES, side)} {finding}",
                f"{severity} {side} or {other(SIDES, side)} {finding}",
                f"{severity} {side} {other(EFFUSIONS, finding)}",
                f"not {severity} {side} {finding}",
            ),
        )


def organs() -> Iterator[Sentence]:
    for (word, turned), organ, side in itertools.product(TURNED, ORGANS, SIDES):
        yield Sentence(
            f"{word} lesion of the {side} {organ}",
            (
                f"{word} lesion in the {side} {organ}",
                f"{side} {organ} {word} lesion",
                f"a {word} lesion within the {side} {organ}",
            ),
            (
                f"{turned} lesion of the {side} {organ}",
                f"{word} lesion of the {other(SIDES, side)} {organ}",
                f"{word} lesion of the {side} {other(ORGANS, organ)}",
                f"lesion of the {side} {organ}",
                f"{word} or {turned} lesion of the {side} {organ}",
                f"{word} lesion adjacent to the {side} {organ}",
            ),
        )


def absences() -> Iterator[Sentence]:
    for first, second in itertools.permutations(BARE, 2):
        if first < second:
            yield Sentence(
                f"no {first} or {second}",
                (
                    f"no {second} or {first}",
                    f"no {first}, no {second}",
                    f"no evidence of {first} or {second}",
                    f"without {first} or {second}",
                    f"without evidence of {first} or {second}",
                    f"there is no {first} or {second}",
                    f"no {first} or {second} is seen",
                    f"no {first} and no {second}",
                ),
                (
                    f"{first} or {second}",
                    f"{first} and {second}",
                    f"no {first}, {second}",
                    f"no {first}. {second}",
                    f"no {first}; {second}",
                    f"no {first}. Or {second}",
                    f"no {first} but {second}",
                    f"no {first} without {second}",
                    f"without {first} but {second}",
                    f"{first} without {second}",
                    f"not without {first} or {second}",
                    f"without no {first} or {second}",
                    f"{first}, no {second}",
                    f"no {first} and {second}",
                    f"no {first}",
                    f"no {second}",
                    f"{second} or no {first}",
                    f"evidence of {first} or {second}",
                ),
            )


def long_absences() -> Iterator[Sentence]:
    for first, second, third in itertools.combinations(BARE[:6], 3):
        yield Sentence(
            f"no {first}, {second}, or {third}",
            (
                f"no {third}, {first} or {second}",
                f"no {first}, no {second}, no {third}",
                f"there is no {first}, {second} or {third}",
            ),
            (
                f"no {first}. {second} or {third}",
                f"no {first}; {second}, or {third}",
                f"no {first}, {second}. Or {third}",
                f"no {first}, {second}, and {third}",
                f"no {first}, {second}, {third}",
                f"no {first} or {second}, {third}",
                f"{first}, {second}, or {third}",
                f"no {first} or {second}",
                f"{first}, no {second}, or {third}",
            ),
        )


def pairs() -> Iterator[Sentence]:
    for side, first, second in itertools.product(SIDES, EFFUSIONS, MASSES):
        opposite = other(SIDES, side)
        yield Sentence(
            f"{side} {first} and {opposite} {second}",
            (f"{opposite} {second} and {side} {first}", f"{side} {first}, {opposite} {second}"),
            (
                f"{opposite} {first} and {side} {second}",
                f"{side} {first} and {side} {second}",
                f"{side} {first} or {opposite} {second}",
                f"{side} {first} without {opposite} {second}",
                f"{side} {first}, no {opposite} {second}",
                f"{side} {first}",
                f"{opposite} {second}",
                f"{side} {first} and {opposite} {second} and {side} {second}",
            ),
        )


def levels() -> Iterator[Sentence]:
    for level, acuity, (word, turned) in itertools.product(
        VERTEBRAE, ACUITY, (("compression", "burst"), ("wedge", "stress"))
    ):
        near = other(VERTEBRAE, level)
        yield Sentence(
            f"{acuity} {word} fracture of the {level} vertebral body",
            (
                f"{acuity} {level} vertebral body {word} fracture",
                f"{acuity} {word} fracture at the {level} vertebral body",
            ),
            (
                f"{acuity} {word} fracture of the {near} vertebral body",
                f"{acuity} {word} fracture of the {level}-{near} vertebral body",
                f"{acuity} {word} fracture of the {level} and {near} vertebral body",
                f"{other(ACUITY, acuity)} {word} fracture of the {level} vertebral body",
                f"{acuity} {turned} fracture of the {level} vertebral body",
                f"{acuity} {word} fracture of the vertebral body",
                f"{acuity} {word} fracture of the {level[0]}{level[1:]}0 vertebral body",
                f"{acuity} on {other(ACUITY, acuity)} {word} fracture of the {level} vertebral body",
            ),
        )


def relations() -> Iterator[Sentence]:
    for first, second in itertools.permutations(("tumor", "bladder wall", "uterus", "rectum"), 2):
        yield Sentence(
            f"the {first} invades the {second}",
            (),
            (f"the {second} invades the {first}", f"the {first} abuts the {second}", f"the {first} and the {second}"),
        )
        yield Sentence(
            f"the {first} is larger than the {second}",
            (),
            (
                f"the {second} is larger than the {first}",
                f"the {first} is smaller than the {second}",
                f"larger {first}",
            ),
        )
        yield Sentence(
            f"{first} with {second} involvement",
            (),
            (f"{first} without {second} involvement", f"{second} with {first} involvement"),
        )


def signs() -> Iterator[Sentence]:
    for marker, size in itertools.product(MARKERS, (3, 5, 10)):
        yield Sentence(
            f"{marker}+ tumor <{size} mm",
            (
                f"{marker} positive tumor <{size} mm",
                f"{marker}-positive tumor < {size}mm",
                f"{marker}+ tumor &lt;{size} mm",
                f"{marker}+ tumor less than {size} mm",
                f"{marker}+ tumor smaller than {size}mm",
            ),
            (
                f"{marker}- tumor <{size} mm",
                f"{marker}-negative tumor <{size} mm",
                f"{marker} tumor <{size} mm",
                f"{marker}+ tumor >{size} mm",
                f"{marker}+ tumor more than {size} mm",
                f"{marker}+ tumor not less than {size} mm",
                f"{marker}+ tumor no less than {size} mm",
                f"{marker}+ tumor at most {size} mm",
                f"{marker}+ tumor at least {size} mm",
                f"{marker}+ tumor less than or equal to {size} mm",
                f"{marker}+ tumor less than {size} cm",
                f"{marker}+ tumor never less than {size} mm",
                f"{marker}+ tumor ≤{size} mm",
                f"{marker}+ tumor {size} mm",
                f"{marker}+ tumor <{size}0 mm",
            ),
        )
    for weighting, intensity in itertools.product(("T1", "T2", "T2*"), ("hyperintense", "hypointense")):
        changed = {"T1": "T2", "T2": "T2*", "T2*": "T2"}[weighting]
        yield Sentence(
            f"{weighting} {intensity} signal",
            (f"{weighting}-{intensity} signal", f"T {weighting[1:]} {intensity} signal"),
            (f"{changed} {intensity} signal", f"{weighting} isointense signal", f"{intensity} signal"),
        )


def grades() -> Iterator[Sentence]:
    numerals = ("I", "II", "III", "IV", "V")
    for kind, value in itertools.product(("grade", "stage", "type", "class"), range(1, 6)):
        turned = value % 5 + 1
        yield Sentence(
            f"{kind} {value} disease",
            (f"{kind} {numerals[value - 1]} disease", f"{kind.title()} {numerals[value - 1].lower()} disease"),
            (
                f"{kind} {turned} disease",
                f"{kind} {numerals[turned - 1]} disease",
                f"{kind} {value}0 disease",
                f"{kind} {numerals[value - 1]}A disease",
                f"{kind} {numerals[value - 1]} or {numerals[turned - 1]} disease",
                f"{kind} {numerals[value - 1]}-{numerals[turned - 1]} disease",
                f"not {kind} {numerals[value - 1]} disease",
                f"no {kind} {numerals[value - 1]} disease",
                f"{kind} {value} or {turned} disease",
                f"{kind} disease",
            ),
        )


def bounds() -> Iterator[Sentence]:
    for first, last, finding in itertools.product((2, 3), (5, 8), MASSES[:3]):
        yield Sentence(
            f"{first}-{last} cm {finding}",
            (f"{first} to {last} cm {finding}", f"{first} cm to {last} cm {finding}", f"{first}–{last} cm {finding}"),
            (
                f"{last} to {first} cm {finding}",
                f"{first} to {last} mm {finding}",
                f"{first} to {last + 1} cm {finding}",
                f"{first} or {last} cm {finding}",
                f"{first} and {last} cm {finding}",
                f"{first} x {last} cm {finding}",
                f"{first} cm {finding}",
                f"not {first} to {last} cm {finding}",
                f"{finding} grown from {first} to {last} cm",
                f"{finding} shrunk from {last} to {first} cm",
            ),
        )
        for sign, phrases, turned in (
            (">", ("more than", "greater than", "larger than"), ("less than", "up to", "at least", "no more than")),
            ("≥", ("at least", "no less than", "not less than"), ("more than", "at most", "less than", "not at least")),
            ("≤", ("at most", "up to", "no more than"), ("less than", "at least", "more than", "no less than")),
        ):
            yield Sentence(
                f"{finding} {sign}{first}{last} mm",
                tuple(f"{finding} {phrase} {first}{last} mm" for phrase in phrases),
                tuple(f"{finding} {phrase} {first}{last} mm" for phrase in turned),
            )


def sentences() -> list[Sentence]:
    made = [
        *nodules(),
        *effusions(),
        *organs(),
        *absences(),
        *long_absences(),
        *pairs(),
        *levels(),
        *relations(),
        *signs(),
        *grades(),
        *bounds(),
    ]
    assert len({sentence.text for sentence in made}) == len(made)
    return made


# Edits of any sentence. Each says something else, or nothing sure.
MEANINGS = {
    "negated": "no {}",
    "not": "not {}",
    "there isn't": "there isn't a {}",
    "there is not": "there is not a {}",
    "not seen": "{} is not seen",
    "absent": "{} is absent",
    "without": "without {}",
    "no evidence": "no evidence of {}",
    "no longer": "{} is no longer seen",
    "excluded": "{} excluded",
    "excluded, behind": "{} has been excluded",
    "ruled out": "{} ruled out",
    "rule out": "rule out {}",
    "cannot exclude": "cannot exclude {}",
    "not excluded": "{} cannot be excluded",
    "unlikely": "{} is unlikely",
    "likely": "{} is likely",
    "possible": "possible {}",
    "probable": "probable {}",
    "may": "there may be a {}",
    "question mark": "{}?",
    "question mark before": "?{}",
    "suspected": "suspected {}",
    "versus": "{} versus artifact",
    "or": "{} or artifact",
    "history": "history of {}",
    "resolved": "resolved {}",
    "resolved, behind": "{} has resolved",
    "negative": "negative for {}",
    "unless": "unless {}",
    "yes": "yes",
    "empty": "",
    "twice, once denied": "{}. No {}",
    "taken back": "{}, no",
    "both": "{} and no {}",
    "struck out": "~~{}~~",
    "more": "{} and metastases",
    "two boxes": "\\boxed{{{}}} \\boxed{{normal}}",
    "denied box": "It is not \\boxed{{{}}}",
}
FORMS = {
    "same": "{}",
    "full stop": "{}.",
    "exclamation": "{}!",
    "blanks": "  {}\n",
    "article": "a {}",
    "there is": "There is {}.",
    "there is a": "There is a {}",
    "seen": "{} is seen.",
    "seen, alone": "{} seen",
    "present": "{} is present",
    "image shows": "The image shows {}.",
    "bold": "**{}**",
    "italic": "_{}_",
    "code": "`{}`",
    "fence": "```\n{}\n```",
    "fence, text": "```text\n{}\n```",
    "heading": "### {}",
    "bullet": "- {}",
    "quotes": '"{}"',
    "curly quotes": "“{}”",
    "answer": "Answer: {}",
    "bold answer": "**Answer:** {}",
    "final answer": "Final answer: {}",
    "the answer is": "The answer is {}.",
    "finding": "Finding: {}",
    "impression": "Impression: {}",
    "it is": "It is {}",
    "boxed": "\\boxed{{{}}}",
    "boxed text": "$\\boxed{{\\text{{{}}}}}$",
    "boxed answer": "The final answer is \\boxed{{{}}}.",
    "latex": "\\text{{{}}}",
    "json": '{{"answer": "{}"}}',
    "tag": "<answer>{}</answer>",
    "html": "<b>{}</b>",
}
