"""Questions with answers, for the tests of the protocols."""

import itertools

from medvistagym_core.scoring import ScoredItem

OPTIONS = ("Diffuse uptake pattern", "Focal uptake pattern", "No uptake", "Not stated")
_NUMBERS = itertools.count()
_ANSWER = "Model's answer"


def item(response, gold="yes", kind="yes_no", benchmark="vqa_rad", **more):
    return ScoredItem(str(next(_NUMBERS)), benchmark, "Is there a nodule?", gold, response, kind, **more)


def choice(response, gold="Focal uptake pattern", benchmark="pmc_vqa", options=OPTIONS, **more):
    return item(response, gold, "choice", benchmark, options=options, **more)


def judge_by_equality(prompt):
    """A judge that compares the two texts it is shown."""
    lines = dict(line.split(": ", 1) for line in prompt.splitlines() if ": " in line)
    return f"<judge>{int(lines['Right answer'].lower() != lines[_ANSWER].lower())}</judge>"


def value_of(score, name):
    return next(each for each in score.denominators if each.name == name)
