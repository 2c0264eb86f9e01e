"""A grader: an answer kind, which says whether a text is the right answer. `Answer(kind="lab_quadrant")` asks for it."""

from medvistagym_core import hookimpl

ROWS = {"upper": "upper", "top": "upper", "lower": "lower", "bottom": "lower"}


def quadrant(answer, text, options):
    """Right when it names the quadrant, with top for upper and bottom for lower."""
    from medvistagym_core.environment.grading import Grade, unwrap_answer

    def key(words):
        return [ROWS.get(word, word) for word in unwrap_answer(words).casefold().replace("-", " ").split()]

    return Grade(correct=key(text) == key(answer.value))


@hookimpl
def medvistagym_graders():
    return {"lab_quadrant": quadrant}
