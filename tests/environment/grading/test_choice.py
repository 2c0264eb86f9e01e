import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import grade

OPTIONS = ("upper left", "upper right", "lower left", "lower right")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("upper right", True),
        ("Upper-right.", True),
        ("B", True),
        ("(b)", True),
        ("b) upper right", True),
        ("B. Upper right", True),
        ("Option B", True),
        ("B: lower left", False),
        ("A", False),
        ("E", False),
        ("upper left or upper right", False),
        ("upper left, upper right, lower left, lower right", False),
        ("A, B, C, D", False),
        ("not upper right", False),
        ("right", False),
        ("", False),
        ("é", False),
    ],
)
def test_choice(text, right):
    assert grade(Answer("upper right", kind="choice"), text, options=OPTIONS).correct is right
    assert grade(Answer("B", kind="choice"), text, options=OPTIONS).correct is right


def test_choice_without_options_is_exact():
    assert grade(Answer("fat", kind="choice"), "fat").correct


NAMES = [
    (
        Answer("Pneumothorax", kind="choice"),
        ("Pneumonia", "Pneumothorax", "Pleural effusion", "Normal"),
        [
            "b",
            "B",
            "[B]",
            "{B}",
            "B)",
            "B.",
            "B:",
            "B,",
            "Option B",
            "option (B)",
            "Choice B",
            "Answer B",
            "The correct option is B",
            "The answer is (B).",
            "B - Pneumothorax",
            "B: Pneumothorax",
            "(B) Pneumothorax",
            "**(B)** Pneumothorax",
            "**B.** Pneumothorax",
            "Pneumothorax (B)",
            "Pneumothorax.",
            "pneumothorax",
            "The answer is pneumothorax",
            "It is a pneumothorax.",
            "There is a pneumothorax.",
            "\\text{B}",
            "$B$",
            "\\boxed{\\text{B}}",
            "\\boxed{B. Pneumothorax}",
            "The final answer is $\\boxed{B}$",
            '"B"',
            "'B'",
            "`B`",
            "```\nB\n```",
            '{"answer": "B"}',
            "<answer>B</answer>",
            "B because the lung edge is visible",
            "B\n\nExplanation: the lung edge is visible.",
            "B. Pneumothorax\nRationale: option A is wrong.",
            "B. Pneumothorax, because the lung edge is visible",
            "The answer is B because A is wrong",
            "B, since options A, C and D are incorrect.",
            "B. Pneumothorax, because A is not correct and C is wrong",
            "B is correct",
            "Option B is correct.",
            "B is the correct answer",
            "I choose B",
            "Final Answer: B",
            "Answer: **B**",
            "B\n",
            "  B  ",
            "B\nPneumothorax",
            "Ｂ",
            "(b) pneumothorax",
        ],
        [
            "A",
            "not B",
            "B is wrong",
            "B is not correct",
            "B or C",
            "A or B",
            "B and C",
            "B, C",
            "B/C",
            "A B C D",
            "ABCD",
            "B. Pneumonia",
            "A. Pneumothorax",
            "A: Pneumothorax",
            "(A) Pneumothorax",
            "A - Pneumothorax",
            "A\nPneumothorax",
            "Pneumothorax (A)",
            "Pneumonia (B)",
            "Pneumothorax or pneumonia",
            "no pneumothorax",
            "Not pneumothorax",
            "pneumothorax?",
            "B?",
            "possible pneumothorax",
            "probably B",
            "I think it might be B",
            "B because A is wrong, or A",
            "B\n\nExplanation: it could be A.",
            "B because B is wrong",
            "B because A and B are wrong",
            "B because A is wrong and C is right",
            "B because A is not wrong",
            "B because A is wrong, so C",
            "B because A is wrong?",
            "A because B is wrong",
            "B is wrong because A is wrong",
            "B. But it could be A",
            "B, no, A",
            "B (A)",
            "The answer is A. B",
            "\\boxed{A}\\boxed{B}",
            "Not B, A",
            "all of them",
            "Pneumothora",
            "pneumo",
            "",
            "Pneumonia, Pneumothorax, Pleural effusion, Normal",
            "tension pneumothorax",
            "B. Tension pneumothorax",
            "The answer is not B",
            "Any but B",
            "Everything except B",
            "B is incorrect",
            "~~A~~ B",
        ],
    ),
    (
        Answer("A", kind="choice"),
        ("Pneumonia", "Pneumothorax", "Pleural effusion", "Normal"),
        ["A", "Pneumonia", "A. Pneumonia", "A pneumonia", "a"],
        ["A pneumothorax"],
    ),
    (
        Answer("Hepatitis A", kind="choice"),
        ("Hepatitis A", "Hepatitis B", "Hepatitis"),
        ["Hepatitis A", "A", "hepatitis a", "A. Hepatitis A"],
        ["Hepatitis B", "Hepatitis", "B", "A. Hepatitis B"],
    ),
    (Answer("No pneumonia", kind="choice"), ("Pneumonia", "No pneumonia"), ["No pneumonia", "B"], ["Pneumonia", "A"]),
    (Answer("1.0", kind="choice"), ("1.0", "10", "1"), ["1.0", "A"], ["10", "1"]),
    (
        Answer("Grade 2", kind="choice"),
        ("Grade 1", "Grade 2", "Grade 12"),
        ["Grade 2", "B", "grade II"],
        ["2", "Grade 12", "grade I", "grade III", "grade XII"],
    ),
    (Answer("10^3", kind="choice"), ("10^3", "103"), ["10^3", "10³"], ["103", "B"]),
    (Answer("T2*", kind="choice"), ("T2", "T2*"), ["T2*", "**T2***", "B"], ["T2", "*T2*"]),
    (Answer("+", kind="choice"), ("+", "-"), ["+", "A"], ["-", "B"]),
    (
        Answer("L4-L5", kind="choice"),
        ("L3-L4", "L4-L5", "L5-S1"),
        ["L4-L5", "L4/L5", "L4-5", "L4–L5"],
        ["L5-S1", "L3-L4", "L4"],
    ),
    (
        Answer("None of the above", kind="choice"),
        ("a x", "b y", "c z", "None of the above"),
        ["None of the above", "D"],
        ["above", "none"],
    ),
    (Answer("↑", kind="choice"), ("↑", "↓"), ["↑"], ["↓"]),
    (
        Answer("≥ 5 mm", kind="choice"),
        ("> 5 mm", "≥ 5 mm", "≤5 mm", "5 mm"),
        ["≥5 mm", ">= 5mm", "B"],
        ["> 5 mm", "≤5 mm", "5 mm"],
    ),
    (
        Answer("Left", kind="choice"),
        ("Left", "Right", "Bilateral"),
        ["left", "Left side"],
        ["right", "Left and right", "bilateral"],
    ),
    (Answer("120/80", kind="choice"), ("120/80", "12080"), ["120/80"], ["120 80", "12080"]),
    (Answer("Yes", kind="choice"), ("Yes", "No"), ["Yes", "Yes.", "A"], ["yes, there is", "No"]),
    (Answer("p53", kind="choice"), ("p53", "P53"), ["p53"], ["P53", "B"]),
]


@pytest.mark.parametrize(("answer", "options", "same", "others"), NAMES, ids=lambda value: getattr(value, "value", ""))
def test_other_ways_to_name_an_option(answer, options, same, others):
    assert [text for text in same if not grade(answer, text, options=options).correct] == []
    assert [text for text in others if grade(answer, text, options=options).correct] == []


@pytest.mark.parametrize(
    "options",
    [
        ("<3 cm", ">3 cm", "3 cm", "≤3 cm", "≥3 cm"),
        ("HER2+", "HER2-", "HER2"),
        ("T1", "T2", "T2*"),
        ("10", "100", "1000", "10.0 cm", "1.0"),
        ("left", "right", "left and right", "left or right", "not left"),
        ("Pneumonia", "No pneumonia", "Pneumonia is unlikely"),
        ("A and B", "A", "B", "Neither"),
        ("D", "C", "B", "A"),
        ("1", "2", "3"),
        ("p53", "P53"),
        ("a", "the a", "an a"),
        ("x.", "x", "x!"),
        ("All of the above", "None of the above", "the above"),
        ("5 mm", "5mm", "0.5 cm"),
    ],
)
def test_options_never_collapse(options):
    for place, option in enumerate(options):
        assert [grade(Answer(other, kind="choice"), option, options=options).correct for other in options] == [
            index == place for index in range(len(options))
        ]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("effusion. The lung base is dense.", True),
        ("B. effusion\n\nThe lung base is dense.", True),
        ("(B) effusion. Explanation: fluid collects at the base.", True),
        ("B. effusion. It is not a nodule.", False),
        ("B. effusion. A mass cannot be told from it.", False),
        ("effusion. Or a mass.", False),
        ("effusion. This is a guess.", False),
        ("effusion. Is it?", False),
        ("B. Fluid collects at the base, which is dense.", False),
        ("effusion. nodule", False),
        ("A. effusion. The lung base is dense.", False),
        ("The base is dense. effusion", False),
    ],
)
def test_an_explanation_may_follow_the_text_of_an_option(text, right):
    assert grade(Answer("effusion", kind="choice"), text, options=("nodule", "effusion", "mass")).correct is right


def test_options_that_are_the_same_text_are_one():
    options = ("lung", "liver", "lung")
    assert grade(Answer("lung", kind="choice"), "lung", options=options).correct
    assert not grade(Answer("lung", kind="choice"), "B", options=options).correct


def test_a_letter_and_a_text_that_differ_by_a_sign():
    options = ("T2", "T2*", "")
    assert grade(Answer("T2*", kind="choice"), "B. T2*", options=options).correct
    for text in ("A. T2*", "B. T2", "C. T2*"):
        assert not any(grade(Answer(option, kind="choice"), text, options=options).correct for option in options[:2])


def test_options_that_carry_their_own_letters():
    options = (" A:Diffuse uptake pattern ", " B: Focal uptake", "C:None")
    for text in ("B", "Focal uptake", "B: Focal uptake", "B. focal uptake"):
        assert grade(Answer("Focal uptake", kind="choice"), text, options=options).correct
    assert not grade(Answer("Focal uptake", kind="choice"), "A: Focal uptake", options=options).correct


def test_a_text_that_is_an_option_is_no_letter():
    options = ("C", "B", "A")
    assert grade(Answer("C", kind="choice"), "C", options=options).correct
    assert grade(Answer("B", kind="choice"), "B", options=options).correct
    assert not grade(Answer("C", kind="choice"), "A", options=options).correct
    assert grade(Answer("C", kind="choice"), "Option A", options=options).correct
