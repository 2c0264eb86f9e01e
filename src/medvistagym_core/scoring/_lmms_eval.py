"""lmms-eval's evaluation of SLAKE and MMMU."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from medvistagym_core.scoring._item import ScoredItem, benchmark_key, final_answer
from medvistagym_core.scoring._judge import Judge
from medvistagym_core.scoring._measures import measure_text
from medvistagym_core.scoring._mmmu import score_letter, score_mmmu
from medvistagym_core.scoring._mmmu_rule import find_letter_without_blank
from medvistagym_core.scoring._protocol import Denominator, ItemScore, by_benchmark, excluded, summarize, verdict_of

_EXPECTED: Final = {
    ("en", "overall"): 1061, ("en", "open"): 645, ("en", "closed"): 416,
    ("zh", "overall"): 1033, ("zh", "open"): 613, ("zh", "closed"): 420,
}  # fmt: skip
_BRACKETS: Final = re.compile(r"\([^()]*\)|（[^（）]*）|\[[^\[\]]*\]|【[^【】]*】")
_PUNCTUATION: Final = re.compile(r"[!-/:-@\[-`{-~、。，；：？！“”‘’《》·…—]")
_XRAY: Final = re.compile(r"\bx ?ray\b")
_YES: Final = frozenset(("yes", "yeah", "yep", "true", "是", "是的", "有", "包含", "可以", "能", "会"))
_NO: Final = frozenset(("no", "nope", "false", "否", "不是", "没有", "无", "不包含", "不能", "不会", "不可以"))
_NORMAL, _ABNORMAL = "正常", frozenset(("不正常", "异常"))


def normalize_slake(text: str, *, as_published: bool) -> str:
    """SLAKE's answers in one form, written from the description of the task.

    Lower case, bracketed parts gone, punctuation to blanks, "x ray" to "xray", words for yes and no to these. As published, the
    Chinese words for normal and abnormal are a yes and a no as well.
    """
    text = _BRACKETS.sub(" ", text.lower())
    text = _XRAY.sub("xray", " ".join(_PUNCTUATION.sub(" ", text).split()))
    if text in _YES or (as_published and text == _NORMAL):
        return "yes"
    return "no" if text in _NO or (as_published and text in _ABNORMAL) else text


@dataclasses.dataclass(frozen=True)
class LmmsEvalProtocol:
    """Exact match on SLAKE, the letter parser on MMMU.

    Args:
        as_published: Whether the rule keeps its faults.
    """

    as_published: bool = False
    source: str = "EvolvingLMMs-Lab/lmms-eval 75571cfe (2026-08-06); described in docs/scoring.md"
    faults: tuple[str, ...] = (
        "SLAKE: the Chinese for 'normal' counts as a yes and for 'abnormal' as a no, whatever was asked.",
        "MMMU: a letter before a blank is taken from inside a word: 'CTA shows' names option A.",
        "MMMU: a response that names no option draws one at random; here worth one over the number of options.",
        (
            "MMMU: the answer of an open question is compared character by character, so that no open question "
            "is ever right."
        ),
    )
    unverified: tuple[str, ...] = (
        (
            "The task lets a model write 32 tokens, which cuts whoever reasons; an answer stored from a longer "
            "reply is scored as it is."
        ),
    )

    @property
    def name(self) -> str:
        return "lmms-eval@as-published" if self.as_published else "lmms-eval"

    @property
    def rules(self) -> str:
        slake = (
            "the Chinese for normal is yes and for abnormal no"
            if self.as_published
            else "the Chinese for normal and abnormal stay"
        )
        mmmu = (
            "MMMU: the last '(X)', else 'X ' even inside a word, else 'X.', else an option's text in a response "
            "of six words or more, else a random draw (worth its expectation); open questions are never right."
            if self.as_published
            else "MMMU: the official rule; a response that names no option is wrong."
        )
        return (
            "SLAKE: exact match after lower case, bracketed parts removed, punctuation to blanks, 'x ray' to "
            f"'xray', and words for yes and no to these ({slake}). {mmmu} No judge."
        )

    def exclusion(self, item: ScoredItem) -> str | None:
        key = benchmark_key(item.benchmark)
        if key == "slake":
            return None if item.kind != "choice" else "lmms-eval asks SLAKE without options"
        return None if key == "mmmu" and item.kind in ("choice", "open") else "lmms-eval scores SLAKE and MMMU"

    def needs_judge(self, item: ScoredItem) -> bool:
        return False

    def score_item(self, item: ScoredItem, judge: Judge | None = None) -> ItemScore:
        reason = self.exclusion(item)
        if reason is not None:
            return excluded(item, reason)
        if benchmark_key(item.benchmark) == "mmmu":
            return self._score_mmmu(item)
        answer = final_answer(item.text)
        gold, given = (normalize_slake(text, as_published=self.as_published) for text in (item.gold, answer))
        verdict, score = verdict_of(gold == given != "")
        group = "open" if item.kind == "open" else "closed"
        return ItemScore(item, verdict, score, group, answer, measures=measure_text(item.gold, answer))

    def _score_mmmu(self, item: ScoredItem) -> ItemScore:
        if not self.as_published:
            return score_mmmu(item, draws=False)
        answer = final_answer(item.text)
        if item.kind == "open":
            return ItemScore(item, "wrong", 0.0, "open", answer, "open questions are compared character by character")
        letters = "".join(chr(ord("A") + place) for place in range(len(item.options)))
        return score_letter(item, find_letter_without_blank(answer, letters, item.options), draws=True)

    def aggregate(self, rows: Sequence[ItemScore]) -> tuple[Denominator, ...]:
        denominators: list[Denominator] = []
        for benchmark, group in by_benchmark(rows).items():
            if benchmark_key(benchmark) == "mmmu":
                denominators.append(summarize(benchmark, "Health and Medicine", group))
                continue
            for language in sorted({row.item.language for row in group}):
                part = [row for row in group if row.item.language == language]
                denominators += _slake_denominators(benchmark, language, part)
        return tuple(denominators)


def _slake_denominators(benchmark: str, language: str, rows: Sequence[ItemScore]) -> list[Denominator]:
    groups = {
        "overall": rows,
        "open": [row for row in rows if row.group == "open"],
        "closed": [row for row in rows if row.group == "closed"],
    }
    for field in ("modality", "category"):
        for value in sorted({getattr(row.item, field) for row in rows} - {""}):
            groups[f"{field} {value}"] = [row for row in rows if getattr(row.item, field) == value]
    return [
        summarize(benchmark, f"{name} ({language})", part, expected=_EXPECTED.get((language, name)))
        for name, part in groups.items()
        if part
    ]
