"""Measures of how many words two texts share. They say nothing about being right: "no effusion" and "effusion" share a lot."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections import Counter
from typing import Final

from medvistagym_core.environment.grading import normalize_answer

_WORD: Final = re.compile(r"\S+")


@dataclasses.dataclass(frozen=True, slots=True)
class Measures:
    """Measures of an answer against the right one, each in 0 to 1, over the words of `grading.normalize_answer`.

    Attributes:
        exact_match: 1 when the texts are the same.
        f1: Harmonic mean of precision and recall (SQuAD, Rajpurkar et al. 2016).
        precision: Share of the answer's words that are in the right answer, each as often as it is there.
        recall: Share of the right answer's words that are in the answer.
        bleu1: BLEU with single words: the precision, times a penalty exp(1 - right / given) for an answer that is shorter
            (Papineni et al. 2002).
    """

    exact_match: float = 0.0
    f1: float = 0.0
    precision: float = 0.0
    recall: float = 0.0
    bleu1: float = 0.0


@functools.lru_cache(1024)
def measure_text(gold: str, answer: str) -> Measures:
    """Measure an answer against the right one.

    Args:
        gold: The right answer; both are normalised first.
        answer: The answer that was given.
    """
    normal_gold, normal_answer = normalize_answer(gold), normalize_answer(answer)
    right, given = _WORD.findall(normal_gold), _WORD.findall(normal_answer)
    shared = sum((Counter(right) & Counter(given)).values())
    if not shared:
        return Measures()
    precision, recall = shared / len(given), shared / len(right)
    brevity = 1.0 if len(given) >= len(right) else math.exp(1 - len(right) / len(given))
    return Measures(
        exact_match=float(normal_gold == normal_answer),
        f1=2 * precision * recall / (precision + recall),
        precision=precision,
        recall=recall,
        bleu1=precision * brevity,
    )
