"""Asking a language model whether an answer means the same as the right one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Final

from medvistagym_core.scoring._item import ScoredItem
from medvistagym_core.tools import encodable_text, escape_control_marks

Judge = Callable[[str], str]
"""From a prompt to the model's reply. It raises when the call fails; what is tried again, and how often, is its own matter."""

_TAG: Final = re.compile(r"<judge>\s*([01])\s*</judge>", re.IGNORECASE)
_MAX_SHOWN_CHARS: Final = 200
_PROMPT: Final = """\
You compare a model's answer to a question about a medical image with the right answer.
Question: {question}
Right answer: {gold}
Model's answer: {answer}
Does the model's answer mean the same as the right answer? A different wording is fine; another finding, side, number or \
negation is not. Reply with <judge>0</judge> if it is correct and <judge>1</judge> if it is not, and with nothing else."""


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """One question to a judge, kept with the score.

    Attributes:
        prompt: What was asked.
        reply: What the judge wrote; empty when the call failed.
        right: Its verdict; None when there is none.
        error: Why there is none; empty otherwise.
    """

    prompt: str
    reply: str = ""
    right: bool | None = None
    error: str = ""


def ask_judge(judge: Judge, item: ScoredItem, answer: str) -> Judgement:
    """Ask whether an answer is right. A call that fails, or a reply that says nothing, is a judgement without a verdict.

    Control marks in the texts are escaped: none of them speaks with another's voice.
    """
    texts = {"question": item.question, "gold": item.gold, "answer": answer}
    prompt = _PROMPT.format(**{name: escape_control_marks(encodable_text(text)) for name, text in texts.items()})
    try:
        reply = judge(prompt)
    except Exception as error:  # noqa: BLE001 of whatever the caller's client raises
        return Judgement(prompt, error=f"the judge's call failed: {type(error).__name__}: {error}")
    verdicts = set(_TAG.findall(reply))
    if len(verdicts) != 1:
        return Judgement(prompt, reply, error=f"the judge's reply has no verdict: {reply[:_MAX_SHOWN_CHARS]!r}")
    return Judgement(prompt, reply, right=verdicts == {"0"})
