import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import grade


@pytest.mark.parametrize(
    ("value", "text", "right"),
    [
        ("no", "No.", True),
        ("no", "nodule is seen", False),
        ("no", "not sure", False),
        ("no", "none", False),
        ("no", "no doubt there is a nodule", False),
        ("no", "No, nothing is seen.", True),
        ("no", "n", True),
        ("yes", "Yes, a nodule is seen", True),
        ("yes", "yes or no", False),
        ("no", "yes or no", False),
        ("no", "No, yes", False),
        ("yes", "Yes, no", False),
        ("yes", "True", True),
        ("yes", "yesterday", False),
        ("Yes", "YES!", True),
        ("yes", "", False),
    ],
)
def test_yes_no(value, text, right):
    assert grade(Answer(value, kind="yes_no"), text).correct is right


SAYING_SO = {
    "yes": (
        [
            "**Yes**.",
            "YES",
            "Yes.",
            "yes!",
            "Yes, there is.",
            "Yes – a nodule",
            "Yes; nodule seen",
            "Yes: nodule",
            "Yes\nThere is a nodule.",
            "Yes. There is a nodule.",
            "Yes there is a nodule",
            "Yes (mild)",
            "(Yes)",
            "\\boxed{Yes}",
            "\\text{Yes}",
            "$\\boxed{\\text{Yes}}$",
            '"Yes"',
            "Answer: Yes",
            "The answer is: **Yes**",
            "Final answer: yes",
            '{"answer": "yes"}',
            '{"answer": true}',
            "_Yes_",
            "### Yes",
            "```\nyes\n```",
            "<b>Yes</b>",
            "So, the answer is yes.",
            "Yes, a 5 mm nodule, left",
        ],
        [
            "no",
            "Yes and no",
            "yes/no",
            "Yes, no",
            "Yes?",
            "Maybe yes",
            "Probably yes",
            "Yes, maybe",
            "Yes, but it is not",
            "Yes, it is absent",
            "Yes, there is no nodule",
            "Yes, unlikely",
            "Not yes",
            "yes no",
            "yesno",
            "Yes, excluded",
            "Yes, it has been ruled out",
            "Yes, it isn't there",
            "The answer is not yes",
            "eyes",
            "Yes or no",
            "Either yes or no",
            "If yes then no",
            "I cannot say yes",
            "\\boxed{yes}\\boxed{no}",
            "Yes, possibly",
            "no evidence of yes",
            "nodule present",
        ],
    ),
    "no": (
        [
            "**No**",
            "No — the lungs are clear",
            "No, there is no fracture.",
            "No evidence of pneumothorax",
            "No evidence of pneumothorax.",
            "There is no evidence of fracture",
            "No pneumothorax is seen",
            "No pneumothorax",
            "No. The lungs are clear.",
            "No (normal)",
            "\\boxed{no}",
            "No, it is not seen",
            "no sign of fracture",
            "Without evidence of fracture",
            "without fracture.",
            "**No** evidence of fracture.",
            "No, cannot be excluded",
        ],
        [
            "yes",
            "No doubt",
            "no doubt there is a nodule",
            "No question, it is there",
            "No idea",
            "Without doubt",
            "without doubt a fracture",
            "Without a doubt.",
            "without any question",
            "without hesitation",
            "without exception",
            "without further imaging",
            "without a prior study",
            "without abnormality",
            "Without contrast, yes",
            "None",
            "Not sure",
            "nothing",
            "normal",
            "note",
            "Nodule",
            "No, yes",
            "No?",
            "No, but it may be",
            "know",
            "No abnormality",
            "No longer absent",
            "no nodule excluded",
            "No. Yes.",
            "No, actually yes",
            "unknown",
            "I do not know",
            "No evidence against it",
            "No evidence that excludes it",
            "Yes, it is not seen",
            "No pneumothorax can be excluded",
            "No way to tell",
            "No more than mild effusion",
        ],
    ),
}


@pytest.mark.parametrize("value", SAYING_SO)
def test_other_ways_to_say_it(value):
    answer = Answer(value, kind="yes_no")
    same, others = SAYING_SO[value]
    assert [text for text in same if not grade(answer, text).correct] == []
    assert [text for text in others if grade(answer, text).correct] == []


def test_no_text_says_both():
    opposite = {"yes": "no", "no": "yes"}
    for value, (same, _) in SAYING_SO.items():
        assert not any(grade(Answer(opposite[value], kind="yes_no"), text).correct for text in same)
