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
            "Yes, but no effusion",
            "Yes, but no effusion is seen.",
            "Yes, but there is no effusion",
            "Yes, but no evidence of pneumothorax.",
            "Yes, but no pleural effusion or pneumothorax",
            "Yes - but no fracture",
            "Yes. No effusion either.",
            "Yes; no effusion as well",
            "Yes. However, no effusion.",
            "Yes, and no effusion",
            "Yes, with no associated fracture",
            "Yes (without effusion)",
            "Yes, a nodule without calcification",
            "Yes, there is a small nodule but no effusion",
            "Yes, no other abnormality",
            "Yes, but no additional findings",
            "Yes, no doubt",
            "Yes, without a doubt.",
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
            "Yes, but no",
            "Yes. No.",
            "Yes, and no",
            "Yes, no nodule",
            "Yes. No effusion.",
            "Yes, but not visible",
            "Yes, but no longer",
            "Yes, but none",
            "Yes, but no such lesion",
            "Yes, but no evidence of it",
            "Yes, but no sign of one",
            "Yes, but no abnormality",
            "Yes, but no real finding",
            "Yes, but no nodule excluded",
            "Yes, but no definite effusion",
            "Yes, but probably no effusion",
            "Yes, but no one can tell",
            "Yes, without certainty",
            "Yes, but no proof",
            "Yes, without question?",
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
            "No certainty",
            "without confidence",
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


@pytest.mark.parametrize(
    ("question", "value", "text", "right"),
    [
        ("Is there a pleural effusion?", "yes", "Yes, but no effusion", False),
        ("Is there a pleural effusion?", "yes", "Yes, without effusion", False),
        ("Is there a pleural effusion?", "yes", "Yes, but no effusions are seen", False),
        ("Is there a pleural effusion?", "yes", "Yes, but no nodule", True),
        ("Is there a pleural effusion?", "yes", "Yes, but no other effusion", True),
        ("Is there a pneumothorax?", "no", "No effusion.", False),
        ("Is there a pneumothorax?", "no", "No effusion or pneumothorax.", True),
        ("Is there pleural fluid?", "no", "No effusion.", True),
        ("Is there a mass in the liver?", "no", "No mass is seen", True),
        ("Is there free air under the diaphragm?", "no", "No air is seen", True),
        ("Is the lung clear?", "no", "No evidence of effusion", False),
        ("Is the lung free of effusion?", "no", "No effusion", False),
        ("Is the aorta normal?", "no", "No aneurysm", False),
        ("Are the lungs without consolidation?", "no", "No, they are not", True),
        ("Is there a pneumothorax?", "yes", "Yes. No effusion.", True),
        ("Is there a pneumothorax?", "yes", "Yes; no pleural effusion is seen", True),
        ("Is there a pneumothorax?", "yes", "Yes.\nThere is no fracture.", True),
        ("Is there a pneumothorax?", "yes", "Yes, a small one. No effusion or consolidation.", True),
        ("Is there a pneumothorax?", "yes", "Yes. No pneumothorax.", False),
        ("Is there a pneumothorax?", "yes", "Yes. No pneumothoraces or effusions.", False),
        ("Is there a pneumothorax?", "yes", "Yes, no effusion", False),
        ("Is there a pneumothorax?", "yes", "Yes. No finding.", False),
        ("Is there a pneumothorax?", "yes", "Yes. No.", False),
        ("Is there a pneumothorax?", "yes", "Yes. No effusion? No pneumothorax.", False),
        ("Is there a pneumothorax or an effusion?", "yes", "Yes. No effusion.", False),
        ("Is there a mass?", "yes", "Yes. No nodule.", False),
        ("Is there pleural fluid?", "yes", "Yes. No effusion.", False),
        ("Is the lung free of pneumothorax?", "yes", "Yes. No effusion.", False),
        ("Is there anything wrong?", "yes", "Yes. No effusion.", False),
        ("Is there a pleural effusion?", "no", "No, there is a pleural effusion", False),
        ("Is there a pleural effusion?", "no", "No. A pleural effusion is seen.", False),
        ("Is there a pleural effusion?", "no", "No, there is no pleural effusion", True),
        ("Is there a pleural effusion?", "no", "No, there is a nodule", True),
        ("Is the nodule in the left lung?", "no", "No, there is a nodule in the right lung", True),
        ("Is the lung clear of nodules?", "no", "No, there are nodules", True),
    ],
)
def test_what_was_asked_for_is_not_taken_back(question, value, text, right):
    assert grade(Answer(value, kind="yes_no"), text, question=question).correct is right


IS_THERE = "Is there a pleural effusion?"
TAKEN_BACK = {
    "yes": [
        "Yes, there is a lack of effusion", "Yes, normal", "Yes, that is incorrect", "Yes, if contrast had been given",
        "Yes, low probability", "Yes, doubtful", "Yes, I doubt it", "Yes, hardly", "Yes, clear of effusion",
    ],
    "no": [
        "No, there is", "No, but there is one", "No, a large effusion is present", "No small effusion", "No is wrong",
        "No, effusion cannot be excluded", "No. An effusion is seen on the left.", "No, it is seen", "No, it is present",
        "No, definitely present", "No, positive for effusion",
    ],
}  # fmt: skip
SAID = {
    "yes": ["Correct, yes", "Indeed, yes.", "The answer is yes because the angle is blunted.", "Yes, no doubt"],
    "no": ["There's no pleural effusion", "Pleural effusion is not present", "No, it is not seen"],
}  # fmt: skip


@pytest.mark.parametrize("value", TAKEN_BACK)
def test_what_says_the_opposite_behind_a_yes_or_no_is_no_answer(value):
    answer = Answer(value, kind="yes_no")
    assert [text for text in TAKEN_BACK[value] if grade(answer, text, question=IS_THERE).correct] == []
    assert [text for text in SAID[value] if not grade(answer, text, question=IS_THERE).correct] == []


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Has the tumor resolved?", "No, it is present"),
        ("Is there a large effusion?", "No, there is a small effusion"),
        ("Is there an effusion on the left?", "No, an effusion is seen on the right"),
        ("Is the effusion absent?", "No, it is present"),
        ("Can an effusion be excluded?", "No, cannot be excluded"),
    ],
)
def test_a_no_may_go_on_with_what_is_there_instead(question, text):
    assert grade(Answer("no", kind="yes_no"), text, question=question).correct
