"""A reward term: a number for what happened in an episode.

medvistagym eval --task lab_quadrants --policy expert --reward scout,lab_brief=0.5
"""

from medvistagym_core import hookimpl


def brief(outcome):
    """Minus the share of words beyond 50, at most 1: long turns cost."""
    words = sum(len(turn.text.split()) for turn in outcome.turns)
    return -min(max(words - 50, 0) / 50, 1.0)


@hookimpl
def medvistagym_rewards():
    return {"lab_brief": brief}
