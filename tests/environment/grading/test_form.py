import pytest

from medvistagym_core.environment.grading import unwrap_answer


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("The answer is **B**.", "B."),
        ("So, the answer is B", "B"),
        ("The correct option is: B", "B"),
        ("Final Answer:\n\nB", "B"),
        ("**Final Answer:** B", "B"),
        ("**Answer: B. lung**", "B. lung"),
        ("Answer - B", "B"),
        ("I choose B", "B"),
        ("答案：A", "A"),
        ("最终答案是 A", "A"),
        ("It is fat", "fat"),
        ("Impression: nodule", "nodule"),
        (r"$\boxed{\text{left lung}}$", "left lung"),
        (r"Answer: \boxed{5}", "5"),
        (r"The final answer is $\boxed{5\text{ mm}}$.", "5 mm"),
        (r"\boxed{\frac{1}{2}}", "1/2"),
        (r"$5\,\text{mm}$", "5 mm"),
        (r"5 \times 10^{3}", "5 × 10^3"),
        (r"30^\circ", "30°"),
        (r"\leq 5", "≤ 5"),
        (r"50\%", "50%"),
        ("```\nyes\n```", "yes"),
        ("```json\n[1, 2]\n```", "[1, 2]"),
        ('{"answer": "B"}', "B"),
        ('{"final_answer": true}', "true"),
        ('{"answer": [1, 2, 3, 4]}', "[1, 2, 3, 4]"),
        ('{"answer": ["nodule", "cyst"]}', "nodule; cyst"),
        ("<answer>a < b</answer>", "a < b"),
        ("<b>Yes</b>", "Yes"),
        ("10<sup>3</sup>", "10^3"),
        ("&lt;3 cm", "<3 cm"),
        ('"Yes".', "Yes"),
        ("“Yes”", "Yes"),
        ("- Yes", "Yes"),
        ("### Yes", "Yes"),
        ("_left_", "left"),
        ("*T2*", "T2"),
        ("**T2***", "T2*"),
        ("**Yes**, there is **a** nodule", "Yes, there is a nodule"),
        ("\u200byes\ufeff", "yes"),
    ],
)
def test_presentation_is_taken_off(text, inner):
    assert unwrap_answer(text) == inner
    assert unwrap_answer(inner) == inner


@pytest.mark.parametrize(
    "text",
    [
        "T2*",
        "a_b_c",
        "< 3 cm",
        "> 3 cm",
        "- 5",
        "Answer -5",
        "# rib",
        "~~left~~ right",
        r"\boxed{A}\boxed{B}",
        r"\boxed{A} or B",
        r"\boxed{A",
        '{"answer": "A", "answer": "B"}',
        '{"answer": "A", "note": "not sure"}',
        '{"bbox_2d": [1, 2, 3, 4]}',
        "<answer>A</answer><answer>B</answer>",
        '"A" or "B"',
        "it is",
        "Answer:",
        "options are A and B",
        "{" * 3000,
        "$5 and more",
    ],
)
def test_what_is_no_presentation_stays(text):
    assert unwrap_answer(text) == text


def test_what_denies_the_box_stays_with_it():
    assert unwrap_answer(r"It is not \boxed{A}") == r"not \boxed{A}"
