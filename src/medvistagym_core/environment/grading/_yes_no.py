"""The kind "yes_no": a closed question, as VQA-RAD has them (Lau et al. 2018).

A text says yes or no by that word, alone or at the head of a clause of its own ("Yes, there is a nodule"; "No - clear lungs"),
when nothing behind it takes it back or weakens it. "No evidence of X", "no X is seen", "no X" and "without X" say no,
unless X itself says that something is amiss, or is a figure of speech: "no abnormality" may be a yes, and "no doubt" is none.
Where the question is known and asks for another finding than X, or whether all is well, "no X" says neither.
Behind a yes, what is not there beside it takes nothing back where a word says that it is beside it: "Yes, but no effusion",
"Yes, a nodule without calcification". The question is read to see that this is not what was asked for; where it asks for one
finding, a sentence that denies another one takes nothing back either ("Yes. No effusion." of a pneumothorax).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment.grading._form import unwrap_answer
from medvistagym_core.environment.grading._grade import CORRECT, WRONG, Grade
from medvistagym_core.environment.grading._normalize import fold_characters
from medvistagym_core.environment.grading._words import HEDGES, NEGATIONS, words

if TYPE_CHECKING:
    from medvistagym_core.environment._task import Answer

_YES: Final = frozenset(("yes", "y", "true", "yeah", "yep", "是", "是的", "对", "有"))
_NO: Final = frozenset(("no", "n", "false", "nope", "否", "不是", "不", "没有", "无"))
_HEAD: Final = re.compile(
    r"\W{0,8}([^\W\d_]{1,8})\s{0,3}"
    r"(?:\Z|[,.;:!\n()\[\]。，！]|[-–—]+\s|(?=\s(?:there|it|this|these|they|the|i|because|since|as)\s))"
)
_WORDS: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_RULED_OUT: Final = re.compile(r"\brule[sd]?\s+out\b|n't\b|\?")
_DOUBTED: Final = re.compile(
    r"\b(?:doubts?|doubted|doubtful|hardly|scarcely|barely|rarely|improbable|if|unless|lack|denies|deny|unable|insufficient)\b"
    r"|\blow\s(?:probability|likelihood|suspicion)\b|\bclear\s(?:of|from)\b"
    r"|\b(?:that|this|it|which)\s(?:is|would\sbe)\s(?:incorrect|wrong|untrue)\b"
)
"""What weakens a yes, or takes it back."""
_NONE_OF: Final = re.compile(
    r"(?:(?:there(?:\s(?:is|are)|'s)\s)?no|without)\s(?:(?:radiographic|imaging|radiological)\s)?"
    r"(?:(?:evidence|signs?|indications?)\sof\s)?(.+)",
    re.DOTALL,
)
_AMISS: Final = re.compile(r"abnormal|normal|patholog|disease|finding|lesion|change|problem|anomal|defect|difference")
_FIGURES: Final = words(
    """is was are would could doubt question questions longer other less more fewer matter wonder idea clue answer comment
    way image images picture information data one uncertainty reason need clear definite convincing conclusive obvious
    hesitation reservation reservations fail exception exceptions further prior comparison seeing knowing looking
    certainty confidence proof chance basis support sense guess opinion conclusion consensus agreement conviction means"""
)
_ARTICLES: Final = frozenset(("a", "an", "any", "the"))
_MAX_NOUN_WORDS: Final = 10
_CLAUSES: Final = re.compile(
    r"[.;,:!\n()\[\]。，！]|\s[-–—]\s|\b(?=(?:but|though|although|while|and|with)\s(?:there\s(?:is|are)\s)?no\s)|\b(?=without\s)"
)
_LEAD_COMMA: Final = re.compile(r"\b(however|also|additionally),\s")
_ASIDE: Final = re.compile(
    r"\s*(?P<lead>(?:but|however|though|although|while|and|with|also|additionally)\s)?(?:there\s(?:is|are)\s)?(?P<no>no|without)\s"
    r"(?:(?:(?:radiographic|imaging|radiological)\s)?(?:evidence|signs?)\sof\s)?(?P<absent>[^\W\d_][\w\s'/-]{0,120})",
)
_TAIL: Final = re.compile(
    r"\s(?:(?:is|are)\s)?(?:seen|noted|present|visible|identified|detected|evident|observed|demonstrated)\Z"
)
_BESIDE: Final = re.compile(r"\s(?:either|as\swell|too|though|however)\Z")
_CERTAIN: Final = re.compile(
    r"\s*(?:no|without)\s(?:a\s|any\s)?(?:doubt|question|hesitation|uncertainty|reservation)s?(?:\s(?:about|of)\sit)?\s*"
)
_OTHERS: Final = words("other additional associated accompanying concomitant further surrounding adjacent")
_SENTENCES: Final = re.compile(r"[.;!\n。！]")
_FINDINGS: Final = tuple(
    map(
        words,
        (
            "pneumothorax pneumothorace hydropneumothorax",
            "effusion fluid hydrothorax hemothorax haemothorax hydropneumothorax empyema ascite",
            "consolidation pneumonia infiltrate infiltration opacity opacitie opacification atelectasi collapse airspace",
            "nodule mass masse lesion tumor tumour cancer carcinoma metastasi metastase neoplasm malignancy cyst abscess",
            "fracture dislocation subluxation",
            "cardiomegaly heart",
            "edema oedema congestion",
            "hemorrhage haemorrhage bleed bleeding hematoma haematoma blood",
            "hernia herniation",
            "calcification stone calculu calculi",
            "aneurysm dissection",
            "embolism embolu emboli thrombu thrombi thrombosi clot",
            "infarct infarction ischemia ischaemia stroke",
            "hydrocephalu",
            "emphysema",
            "lymphadenopathy adenopathy",
        ),
    )
)
"""Words for findings, without the ending of a plural; those that may be one finding in other words stand together."""
_NO_NOUNS: Final = words(
    "it this that these those them such one ones same sign signs evidence indication all any there"
)
_NEGATIVE_QUESTION: Final = words(
    "no not without free clear absent absence normal negative unremarkable lack exclude excluded"
)
_FREE_OF: Final = re.compile(r"\bfree\s(?:of|from)\b")
_EXISTENCE: Final = re.compile(
    r"\b(?:is|are)\sthere\b|\bany\b|\bevidence\sof\b"
    r"|\b(?:seen|present|visible|visuali[sz]ed|identified|evident|noted|detected)\b"
    r"|\b(?:does|do)\b.*\b(?:show|demonstrate|reveal|contain|have)\b"
)
"""Questions whether something is there."""
_VERB: Final = (
    r"(?:is|are)\s(?:definitely\s|clearly\s|indeed\s)?(?:seen|present|visible|noted|identified|detected|evident|there)"
)
_WHERE: Final = r"(?:\s(?:in|on|at|within)\s(?P<where>[^\W\d_][\w\s'/-]{0,60}))?"
_STATED: Final = re.compile(
    rf"\s*(?:but\s)?(?:there\s(?:is|are)\s(?P<there>[^\W\d_][\w\s'/-]{{0,120}})"
    rf"|(?P<seen>[^\W\d_][\w\s'/-]{{0,120}}?)\s{_VERB}{_WHERE}"
    rf"|positive\sfor\s(?P<positive>[^\W\d_][\w\s'/-]{{0,120}}))\s*"
)
_IT_IS_THERE: Final = re.compile(
    rf"\s*(?:but\s)?(?:there\s(?:is|are)(?:\sone)?|(?:it|this|one)\s{_VERB}"
    r"|(?:definitely\s|clearly\s)?(?:present|positive))\s*"
)
_IS_NOT_THERE: Final = re.compile(
    r"(?P<absent>[^\W\d_][\w\s'/-]{0,120}?)\s(?:is|are)\snot\s(?:seen|present|visible|identified|there)"
)
_NOT_EXCLUDED: Final = re.compile(r"\b(?:cannot|can\snot|can't|could\snot|couldn't)\sbe\s(?:excluded|ruled\sout)\b")
_EXTENTS: Final = words(
    "small large big tiny mild moderate severe minimal marked slight massive subtle gross extensive trace displaced"
)
_PLACES: Final = words("left right bilateral both upper lower middle side sides")
_LEAD_YES: Final = re.compile(r"\s*(?:correct|indeed|right|certainly|absolutely)[,.]?\s+(?=yes\b)")


def grade_yes_no(answer: Answer, text: str, options: Sequence[str], question: str = "") -> Grade:
    """Right when the text says the same of yes and no.

    Args:
        answer: The right answer.
        text: What was answered.
        options: Not looked at.
        question: What was asked, where it is known.
    """
    expected = parse_yes_no(answer.value)
    if expected is None:
        raise ValueError(f"the answer {answer.value!r} of a yes/no question is not yes or no")
    return CORRECT if parse_yes_no(text, question) is expected else WRONG


def parse_yes_no(text: str, question: str = "") -> bool | None:
    """Whether a text says yes or no; None when it says neither, both, or not surely.

    Args:
        text: What was answered.
        question: What was asked, where it is known: a yes that says that just this is not there says neither, as does a no
            that says that it is there.
    """
    text = _LEAD_YES.sub("", fold_characters(unwrap_answer(text)).casefold().strip(), count=1)
    head = _HEAD.match(text)
    word = head[1] if head else ""
    if head is None or (word not in _YES and word not in _NO):
        return False if _says_none(text, question) else None
    question = fold_characters(question).casefold()
    asked = _stems(_WORDS.findall(question))
    asks_existence = bool(_EXISTENCE.search(question)) and asked.isdisjoint(_NEGATIVE_QUESTION)
    clauses = _CLAUSES.split(_LEAD_COMMA.sub(r"\1 ", text[head.end() :]))
    if word in _YES:
        sentences = {sentence.strip() for sentence in _SENTENCES.split(text[head.end(1) :])}
        clauses = [clause for clause in clauses if not _is_aside(clause, asked, clause.strip() in sentences)]
        contradicts = asks_existence and any(
            clause.split() in (["normal"], ["it", "is", "normal"]) for clause in clauses
        )
    else:
        is_there = _NOT_EXCLUDED.search(text) is not None or any(map(_IT_IS_THERE.fullmatch, clauses))
        contradicts = asks_existence and is_there
        contradicts = contradicts or bool(asked and any(_states(clause, asked) for clause in clauses))
    if contradicts:
        return None
    rest = " . ".join(clauses)
    others = set(_WORDS.findall(rest))
    if not others.isdisjoint(HEDGES) or "?" in text or "or" in others:
        return None
    if word in _NO:
        return None if others & _YES - {"y"} else False
    taken_back = others & (NEGATIONS | _NO) or _RULED_OUT.search(rest) or _DOUBTED.search(rest)
    return None if taken_back else True


def _is_aside(clause: str, asked: frozenset[str], is_sentence: bool) -> bool:
    """Whether a clause behind a yes says that something else is not there, or that there is no doubt."""
    if _CERTAIN.fullmatch(clause):
        return True
    match = _ASIDE.fullmatch(clause.rstrip())
    if match is None:
        return False
    noun = match["absent"]
    beside = _BESIDE.search(noun)
    noun = _TAIL.sub("", noun[: beside.start()] if beside else noun)
    absent = [word for word in _WORDS.findall(noun) if word not in _ARTICLES]
    is_other = bool(absent) and absent[0] in _OTHERS
    apart = beside or match["lead"] or match["no"] == "without" or is_other
    if not (apart or (is_sentence and _are_other_findings(absent, asked))) or not 0 < len(absent) <= _MAX_NOUN_WORDS:
        return False
    if not is_other and (absent[0] in _FIGURES or _AMISS.search(noun)):
        return False
    taken_back = NEGATIONS | HEDGES | _YES | _NO | _NO_NOUNS | {"but", "however", "except", "against", "contrary"}
    if not taken_back.isdisjoint(absent) or _RULED_OUT.search(noun):
        return False
    return is_other or asked.isdisjoint(_stems(absent))


def _are_other_findings(absent: Sequence[str], asked: frozenset[str]) -> bool:
    """Whether the question asks for findings, and what is absent are findings of which none can be one of them."""
    named = [{number for number, finding in enumerate(_FINDINGS) if word in finding} for word in _stems(absent)]
    wanted = {number for number, finding in enumerate(_FINDINGS) if not asked.isdisjoint(finding)}
    others = set().union(*named)
    return bool(wanted and others) and wanted.isdisjoint(others) and asked.isdisjoint(_NEGATIVE_QUESTION)


def _states(clause: str, asked: frozenset[str]) -> bool:
    """Whether a clause says that there is just what was asked for."""
    match = _STATED.fullmatch(clause)
    if match is None or not asked.isdisjoint(_NEGATIVE_QUESTION):
        return False
    named = " ".join(filter(None, match.groups()))
    stated = [word for word in _WORDS.findall(named) if word not in _ARTICLES]
    # That it is small, or on the left, is beside the question, unless that is what was asked.
    beside = (_EXTENTS if asked.isdisjoint(_EXTENTS) else frozenset()) | (
        _PLACES if asked.isdisjoint(_PLACES) else frozenset()
    )
    stated = [word for word in stated if word not in beside]
    return bool(stated) and NEGATIONS.isdisjoint(stated) and _stems(stated) <= asked


def _stems(terms: Sequence[str]) -> frozenset[str]:
    """Words without the ending of a plural."""
    return frozenset(term.removesuffix("s") if len(term) > 3 else term for term in terms)


def _says_none(text: str, question: str) -> bool:
    """Whether a text begins with "no" and goes on with what is not there, which is what was asked for where that is known."""
    match = _NONE_OF.fullmatch(text.rstrip(" .!"))
    if match is None:
        return _says_not_there(text.rstrip(" .!"), question)
    if _RULED_OUT.search(text):
        return False
    absent = _WORDS.findall(match[1])
    while absent and absent[0] in _ARTICLES:
        del absent[0]
    question = fold_characters(question).casefold()
    asked = _stems(_WORDS.findall(question))
    if _FREE_OF.search(question) or not asked.isdisjoint(_NEGATIVE_QUESTION - {"free"}):
        return False  # "no effusion" may be the yes of "Is the lung clear?"
    if _are_other_findings(absent, asked) or (asked and _EXTENTS.intersection(absent) - asked):
        return False
    return (
        0 < len(absent) <= _MAX_NOUN_WORDS
        and absent[0] not in _FIGURES
        and not _AMISS.search(match[1])
        and set(absent).isdisjoint(NEGATIONS | HEDGES | _YES | {"but", "however", "except", "against", "contrary"})
        and not any(mark in match[1] for mark in ".;:,!\n")
    )


def _says_not_there(text: str, question: str) -> bool:
    """Whether a text says that just what was asked for is not seen."""
    match = _IS_NOT_THERE.fullmatch(text)
    question = fold_characters(question).casefold()
    asked = _stems(_WORDS.findall(question))
    if match is None or not _EXISTENCE.search(question) or not asked.isdisjoint(_NEGATIVE_QUESTION):
        return False
    absent = [word for word in _WORDS.findall(match["absent"]) if word not in _ARTICLES]
    return bool(absent) and (NEGATIONS | HEDGES).isdisjoint(absent) and _stems(absent) <= asked
