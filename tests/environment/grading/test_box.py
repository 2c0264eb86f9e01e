import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import grade


@pytest.mark.parametrize(
    ("text", "credit"),
    [
        ("[100, 100, 300, 300]", 1.0),
        ("100 100 300 300", 1.0),
        ("The bounding box is (100, 100, 300, 300).", 1.0),
        ("[100, 100, 300, 200]", 0.5),
        ("[200, 100, 400, 300]", 1 / 3),
        ("[100.0, 100.0, 300.0, 250.5]", 0.7525),
        ("[300, 300, 400, 400]", 0.0),
        ("[0, 0, 1000, 1000]", 0.04),
        ("[300, 300, 100, 100]", 0.0),
        ("[100, 100, 300]", 0.0),
        ("[100, 100, 300, 300] or [500, 500, 600, 600]", 0.0),
        ("[100, 100, 300, 300, 400]", 0.0),
        ("[100, 100, 300, 300)", 0.0),
        ("[-100, 100, 300, 300]", 0.0),
        ("[100, 100, 300, 3000]", 0.0),
        ("[100, 100, 300, nan]", 0.0),
        ("upper left", 0.0),
        ("", 0.0),
    ],
)
def test_box(text, credit):
    graded = grade(Answer("[100, 100, 300, 300]", kind="box"), text)
    assert graded.credit == pytest.approx(credit)
    assert graded.correct is (credit >= 0.5)


def test_the_threshold_of_a_box_can_be_another():
    text = "[100, 100, 300, 200]"
    assert not grade(Answer("[100, 100, 300, 300]", kind="box", threshold=0.75), text).correct
    assert grade(Answer("[500, 500, 600, 600]", kind="box", aliases=("[100, 100, 300, 200]",)), text).correct
    with pytest.raises(ValueError, match="threshold"):
        grade(Answer("[100, 100, 300, 300]", kind="box", threshold=0), text)
    with pytest.raises(ValueError, match="within 0 to 1000"):
        grade(Answer("upper left", kind="box"), text)


@pytest.mark.parametrize(
    "text",
    [
        "x0=100, y0=200, x1=300, y1=400",
        "x1: 100, y1: 200, x2: 300, y2: 400",
        "(xmin=100, ymin=200, xmax=300, ymax=400)",
        "left=100; top=200; right=300; bottom=400",
        "<|object_ref_start|>nodule<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>",
    ],
)
def test_named_sides(text):
    assert grade(Answer("[100, 200, 300, 400]", kind="box"), text).partial_credit == 1


@pytest.mark.parametrize(
    "text", ["x=100, y=200, w=200, h=200", "y0=200, x0=100, y0=400, x1=300", "a0=1, b0=2, c0=3, d0=4"]
)
def test_other_names(text):
    assert not grade(Answer("[100, 200, 300, 400]", kind="box"), text).correct


BOXES = [
    (
        Answer("[100, 200, 300, 400]", kind="box"),
        [
            "[100,200,300,400]",
            "(100, 200, 300, 400)",
            "100 200 300 400",
            "100, 200, 300, 400",
            "[[100,200],[300,400]]",
            "[[100,200,300,400]]",
            "(100,200),(300,400)",
            "(100, 200) to (300, 400)",
            '{"bbox": [100,200,300,400]}',
            '{"x1":100,"y1":200,"x2":300,"y2":400}',
            "{'bbox_2d': [100, 200, 300, 400]}",
            "<box>100, 200, 300, 400</box>",
            "<|box_start|>(100,200),(300,400)<|box_end|>",
            "**[100, 200, 300, 400]**",
            "\\boxed{[100, 200, 300, 400]}",
            "The answer is [100, 200, 300, 400].",
            "The bounding box is [100, 200, 300, 400]",
            "The lesion is at [100, 200, 300, 400]",
            "bbox_2d: [100, 200, 300, 400]",
            '```json\n{"bbox_2d": [100, 200, 300, 400]}\n```',
            '```json\n[{"bbox_2d": [100, 200, 300, 400], "label": "nodule"}]\n```',
            "[0.1,0.2,0.3,0.4]",
            '{"answer": "[100, 200, 300, 400]"}',
            '{"answer": [100, 200, 300, 400]}',
            "$[100, 200, 300, 400]$",
            "[100.0, 200.0, 300.0, 400.0]",
            "[1e2,2e2,3e2,4e2]",
        ],
        [
            "[100,200,300,400],[500,500,600,600]",
            '[{"bbox_2d": [100,200,300,400]},{"bbox_2d": [0,0,1000,1000]}]',
            '{"bbox_2d":[100,200,300,400],"bbox":[1,2,3,4]}',
            '{"bbox_2d":[100,200,300,400],"bbox_2d":[1,2,3,4]}',
            "[100,200,200,200]",
            "not [100, 200, 300, 400]",
            "[400,300,200,100]",
            "[NaN,200,300,400]",
            '{"bbox_2d": ["100","200","300","400"]}',
            "[true,false,true,true]",
            "pixels [100,200,300,400]",
        ],
    ),
]


@pytest.mark.parametrize(("answer", "same", "others"), BOXES)
def test_other_ways_to_write_a_box(answer, same, others):
    assert [text for text in same if grade(answer, text).partial_credit != 1] == []
    assert [text for text in others if grade(answer, text).correct] == []
