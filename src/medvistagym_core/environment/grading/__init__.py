"""Grading: is a text the right answer? What lives here: answer kinds and the normal forms in which texts are compared.

It may use `task` (the right answer), and nothing else of the project. Strict on purpose: a text is right when it *says* the
answer, not when it contains it, and never when it says the opposite, several answers, or an answer it takes back.
How it is presented (Markdown, LaTeX, JSON, "The answer is") changes no grade. docs/scoring.md has the rules and examples.
"""

from medvistagym_core.environment.grading._finding import canonical_finding
from medvistagym_core.environment.grading._form import MAX_ANSWER_CHARS, unwrap_answer
from medvistagym_core.environment.grading._grade import Grade, Grader
from medvistagym_core.environment.grading._graders import GRADERS, grade, with_builtin_graders
from medvistagym_core.environment.grading._normalize import answer_key, normalize_answer
from medvistagym_core.environment.grading._text import word_f1
from medvistagym_core.environment.grading._units import Unit, parse_unit
from medvistagym_core.environment.grading._yes_no import parse_yes_no

__all__ = [
    "GRADERS",
    "MAX_ANSWER_CHARS",
    "Grade",
    "Grader",
    "Unit",
    "answer_key",
    "canonical_finding",
    "grade",
    "normalize_answer",
    "parse_unit",
    "parse_yes_no",
    "unwrap_answer",
    "with_builtin_graders",
    "word_f1",
]
