"""What a short report sentence states, in a form that two wordings of one statement share and two statements never do.

Words are kept as they are: left and right, L4 and L5, mild and severe, hypodense and hyperdense, "excluded" and "unlikely" are
simply different words. Only these are taken as one:

- what adds nothing: articles, "there is", "is seen", "the image shows", "side" behind left and right, "located";
- a noun phrase and its turned form: "nodule in the right upper lobe", "right upper lobe nodule" (in, of, at, on, within);
- the place of a size or degree before or behind the words of place: "small right effusion", "right small effusion";
- neighbouring words of place: "left lower", "lower left";
- a quantity in any unit: "5 mm nodule", "nodule measuring 0.5 cm";
- a negation and its scope: "no effusion is seen", "effusion is not seen", "no evidence of effusion", "without effusion"; "no
  effusion or nodule", "no effusion, no nodule";
- a bound, a range, a grade and a level in signs and digits, or in words: "<5 mm", "less than 5 mm"; "3-5 cm", "3 to 5 cm";
  "grade 2", "grade II"; "T1", "T 1";
- the parts of a list, in any order, when they have the same kinds of qualifiers, so that none can be meant for its neighbour.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Final

from medvistagym_core.environment.grading._form import MAX_ANSWER_CHARS, unwrap_answer
from medvistagym_core.environment.grading._normalize import answer_key, fold_characters
from medvistagym_core.environment.grading._units import parse_unit
from medvistagym_core.environment.grading._words import words

Finding = tuple[object, ...]

_MAX_CACHED_CHARS: Final = 256
_NEGATED_VERB: Final = re.compile(r"\b(is|are|was|were|does|do|did|has|have|can|could)n't\b")
_LEAD_IN: Final = re.compile(
    r"(?:(?:the|this)\s)?(?:image|scan|ct|mri|radiograph|x-ray|film|study|picture)\s(?:shows|demonstrates|reveals)\s"
)
_SENTENCES: Final = re.compile(r"[;!\n]|\.(?![\d\w])")
_LOOSE_COMMA: Final = re.compile(r",\s(?=(?:in|on|at|of|within)\s)")
_CONNECTORS: Final = re.compile(r"((?<!\S)(?:and|or|nor)(?!\S)|,(?!\d)|&)")

_COPULAS: Final = frozenset(("is", "are"))
_OBSERVATION_VERBS: Final = words(
    "seen noted present visible identified visualized visualised observed demonstrated detected evident found"
)
_PREPOSITIONS: Final = words("in of at on within")
_RELATORS: Final = words(
    """with without due from to by than causing because after before but not no which that for as into onto through
    between against versus like until during while x ?"""
)
_QUALIFIERS: Final = {
    word: kind
    for kind, terms in {
        "side": "left right bilateral unilateral midline central peripheral ipsilateral contralateral",
        "height": "upper middle mid lower superior inferior apical basal basilar cranial caudal",
        "front": "anterior posterior ventral dorsal",
        "depth": "medial lateral",
        "end": "proximal distal",
        "size": "tiny small large huge mild moderate severe minimal marked slight massive subtle gross extensive trace",
        "time": "acute subacute chronic new old",
    }.items()
    for word in terms.split()
}
_FLOATING: Final = frozenset(("size", "time"))
_NAMES: Final = frozenset(  # of which "small" and "large" are a part
    (size, noun)
    for size in ("small", "large")
    for noun in ("bowel", "intestine", "cell", "vessel", "airway", "airways")
)
_LEVEL: Final = re.compile(r"[ctls]\d{1,2}(?:-\d{1,2})?")
_NUMBER: Final = re.compile(r"[<>≤≥~±]?[-+]?\d{1,20}(?:\.\d{1,20})?%?")
_QUANTITY: Final = re.compile(r"([<>≤≥~±]?)([-+]?\d{1,20}(?:\.\d{1,20})?)")
_NO_UNITS: Final = words("in a d g h s t v y")
_PREFIXES: Final = words(
    """non hyper hypo intra extra inter sub supra infra retro peri para endo epi ante anti pre post trans iso multi
    poly hemi semi bi uni mono macro micro re de un over under"""
)
_PREFIXED: Final = re.compile(rf"\b({'|'.join(sorted(_PREFIXES))})-(?=[^\W\d_])|\b(non)\s(?=[^\W\d_])")
_XRAY: Final = re.compile(r"\bx[- ](?=rays?\b)")


def canonical_finding(text: str) -> Finding:
    """The statements of a text; two texts that make the same ones have equal forms."""
    return _canonical_cached(text) if len(text) <= _MAX_CACHED_CHARS else _canonical(text[:MAX_ANSWER_CHARS])


def says_same(right: str, given: str) -> bool:
    """Whether two texts make the same statements, and no other."""
    # What adds nothing is a few words a clause: a text many times as long says more, and need not be taken apart.
    if given.count(" ") > 3 * right.count(" ") + 12:
        return False
    return canonical_finding(right) == canonical_finding(given)


def _canonical(text: str) -> Finding:
    text = " ".join(fold_characters(unwrap_answer(text)).casefold().replace("\n", " ; ").split())
    text = _NEGATED_VERB.sub(r"\1 not", text).replace("can not", "cannot")
    text = _LOOSE_COMMA.sub(" ", text)
    text = _LEAD_IN.sub("", text, count=1)
    text = _PREFIXED.sub(lambda m: m[1] or m[2], _XRAY.sub("x", text))
    return tuple(_sentence(part) for part in _SENTENCES.split(text) if part.strip())


_canonical_cached = functools.lru_cache(8192)(_canonical)


@dataclasses.dataclass(frozen=True, slots=True)
class _Clause:
    """A statement without "and", "or" and commas.

    Attributes:
        negated: Whether it says that something is not there.
        phrases: Its noun phrases in one form each, with the words that relate them ("with", "due") between them.
        qualifiers: The kinds of qualifiers in it, such as side and size.
        relates: Whether there are such words.
    """

    negated: bool
    phrases: tuple[object, ...]
    qualifiers: frozenset[str]
    relates: bool

    @property
    def form(self) -> Finding:
        return ("no" if self.negated else "", *self.phrases)


def _sentence(text: str) -> object:
    """A sentence: one clause, or several with what joins them."""
    clauses: list[_Clause] = []
    joints: list[str] = []
    joint = ""
    parts = _CONNECTORS.split(text)
    for index, part in enumerate(parts):
        if index % 2:  # "a, b, and c": a comma beside an "and" is that "and"
            joint = "and" if part == "&" else part if part != "," or not joint else joint
        elif part.strip():
            joints.append(joint)
            clauses.append(_clause(part, alone=len(parts) == 1))
            joint = ""
    if len(clauses) <= 1:
        return clauses[0].form if clauses else ()
    between_words = set(joints[1:]) - {","}
    scattered = len(between_words) > 1 or bool(between_words and joints[-1] == ",")  # "a or b, c"
    if scattered or any(clause.relates for clause in clauses):
        return ("in order", *zip(joints, (clause.form for clause in clauses), strict=True))
    between = between_words.pop() if between_words else "and"
    if between in ("or", "nor") and clauses[0].negated:  # "no a, b or c": none of them
        clauses, between = [_negate(clause) for clause in clauses], "and"
    forms = [clause.form for clause in clauses]
    if len({clause.qualifiers for clause in clauses}) == 1:
        forms.sort(key=repr)
    return (between, *forms)


def _negate(clause: _Clause) -> _Clause:
    return dataclasses.replace(clause, negated=True, qualifiers=clause.qualifiers | {"negation"})


def _clause(text: str, alone: bool) -> _Clause:
    tokens = answer_key(text).split()
    negated, tokens = _negation(tokens, alone)
    tokens = _quantities(_significant(tokens))
    qualifiers = {_qualifier(token) for token in tokens} | ({"negation"} if negated else set())
    return _Clause(negated, _phrases(tokens), frozenset(qualifiers - {""}), not _RELATORS.isdisjoint(tokens))


def _qualifier(token: str) -> str:
    kind = _QUALIFIERS.get(token, "")
    return kind or ("level" if _LEVEL.fullmatch(token) else "number" if _NUMBER.match(token) else "")


def _negation(tokens: list[str], alone: bool) -> tuple[bool, list[str]]:
    """Whether a clause says as a whole that something is not there, and its words without that.

    "... is not seen" is read where the clause stands alone: behind a list it may be meant for all of it.
    """
    there = len(tokens) > 2 and tokens[0] == "there" and tokens[1] in _COPULAS
    tokens = tokens[2:] if there else tokens
    if tokens[:1] in (["no"], ["without"]) or (there and tokens[0] == "not"):
        rest = tokens[1:]
        about = rest[:1] in (["evidence"], ["sign"], ["signs"]) and rest[1:2] == ["of"]
        return True, rest[2:] if about else rest
    for index in range(1, len(tokens) - 1 if alone else 0):
        if tokens[index] == "not" and tokens[index + 1] in _OBSERVATION_VERBS and "no" not in tokens:
            start = index - (tokens[index - 1] in _COPULAS)
            rest = tokens[index + 2 :]
            if start and (not rest or rest[0] in _PREPOSITIONS):
                return True, tokens[:start] + rest
            break
    return False, tokens


def _significant(tokens: list[str]) -> list[str]:
    """The words of a clause that say something."""
    significant: list[str] = []
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else ""
        if token in _COPULAS or token == "located":
            continue
        if token in _OBSERVATION_VERBS and significant and (before in _COPULAS or index == len(tokens) - 1):
            continue
        if token in ("side", "sided") and before in ("left", "right"):
            continue
        if before == "both" and len(token) > 3 and token.endswith("s"):
            significant[-1:] = ["bilateral"] if token == "sides" else ["bilateral", token[:-1]]
            continue
        significant.append(token)
    return significant


def _quantities(tokens: list[str]) -> list[str]:
    """Numbers and their units as one word each, in the dimension's own unit."""
    joined: list[str] = []
    for token in _sides_with_units(tokens):
        number = _QUANTITY.fullmatch(joined[-1]) if joined and token not in _NO_UNITS else None
        unit = parse_unit(token) if number else None
        if number and unit:
            dimension = " ".join(f"{name}{power}" for name, power in unit.dimension)
            joined[-1] = f"{number[1]}{float(number[2]) * unit.factor:.9g} {dimension}"
        else:
            joined.append(token)
    return joined


def _sides_with_units(tokens: list[str]) -> list[str]:
    """Sides with a unit each: "2 cm x 3 cm" for "2 x 3 cm"."""
    spread: list[str] = []
    for token in reversed(tokens):
        sides = len(spread) > 2 and spread[-1] == "x" and _QUANTITY.fullmatch(spread[-2])
        if sides and _QUANTITY.fullmatch(token) and token not in _NO_UNITS and parse_unit(spread[-3]):
            spread.append(spread[-3])
        spread.append(token)
    return spread[::-1]


def _phrases(tokens: list[str]) -> tuple[object, ...]:
    parts: list[object] = []
    phrase: list[str] = []
    for token in tokens:
        if token in _RELATORS:
            parts += [_phrase(phrase), token]
            phrase = []
        else:
            phrase.append(token)
    return (*parts, _phrase(phrase))


def _phrase(tokens: list[str]) -> tuple[str, ...]:
    """A noun phrase, with its places before what is there and sizes, ages and quantities first."""
    tokens = _join_names(tokens)
    if "on" in tokens and sum(token in _PREPOSITIONS for token in tokens) > 1:
        return tuple(tokens)  # "slip of L4 on L5": which is on which matters
    segments: list[list[str]] = [[]]
    for index, token in enumerate(tokens):
        measured = token in ("measuring", "measures") and " " in "".join(tokens[index + 1 : index + 2])
        if token in _PREPOSITIONS or measured:
            segments.append([])
        else:
            segments[-1].append(token)
    if not all(segments):
        return tuple(tokens)
    head, *places = segments
    floating = [token for token in head if _floats(token)]
    floating += [place[0] for place in places if len(place) == 1 and " " in place[0]]
    kinds = [_QUALIFIERS.get(token, "number") for token in floating]
    if len(set(kinds)) < len(kinds):
        return tuple(tokens)
    # A size in a place belongs to it: "mass in a large vessel" is no large mass.
    located = [
        [f"|{token}" if _floats(token) else token for token in place]
        for place in reversed(places)
        if not (len(place) == 1 and " " in place[0])
    ]
    rest = [token for token in head if not _floats(token)]
    return (*sorted(floating), *(token for part in (*located, rest) for token in _sort_neighbours(part)))


def _floats(token: str) -> bool:
    return _QUALIFIERS.get(token) in _FLOATING or " " in token


def _join_names(tokens: list[str]) -> list[str]:
    joined: list[str] = []
    for token in tokens:
        if joined and (joined[-1], token) in _NAMES:
            joined[-1] += f"_{token}"
        else:
            joined.append(token)
    return joined


def _sort_neighbours(tokens: list[str]) -> list[str]:
    """Put neighbouring words of place in one order, where each says something of its own."""
    ordered: list[str] = []
    run: list[str] = []
    for token in [*tokens, ""]:
        if token in _QUALIFIERS and not _floats(token):
            run.append(token)
            continue
        kinds = [_QUALIFIERS[word] for word in run]
        ordered += sorted(run) if len(set(kinds)) == len(kinds) else run
        run = []
        ordered.append(token)
    return ordered[:-1]
