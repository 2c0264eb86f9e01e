import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import grade, parse_unit


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        (Answer("3", kind="number"), "3", True),
        (Answer("3", kind="number"), "three", True),
        (Answer("3", kind="number"), "3.0", True),
        (Answer("3", kind="number"), "3 nodules", True),
        (Answer("3", kind="number"), "3 or 4", False),
        (Answer("3", kind="number"), "2-3", False),
        (Answer("3", kind="number"), "not 3", False),
        (Answer("3", kind="number"), "33", False),
        (Answer("3", kind="number"), "twice 3", False),
        (Answer("3", kind="number"), "", False),
        (Answer("3", kind="number"), "many", False),
        (Answer("0.3", kind="number", tolerance=0.1), "0.4", True),
        (Answer("0.3", kind="number", tolerance=0.1), "0.41", False),
        (Answer("12", kind="number", unit="mm", tolerance=1), "12.9", True),
        (Answer("12", kind="number", unit="mm", tolerance=1), "about 1.25 cm", True),
        (Answer("12", kind="number", unit="mm", tolerance=1), "1.25", False),
        (Answer("12", kind="number", unit="mm", tolerance=1), "12 ml", False),
        (Answer("12", kind="number", unit="mm", tolerance=1), "12 apples", False),
        (Answer("12 mm", kind="number", tolerance=1), "1.2 centimetres.", True),
        (Answer("-40", kind="number", unit="HU", tolerance=5), "−42 hu", True),
        (Answer("-40", kind="number", unit="HU", tolerance=5), "40 HU", False),
        (Answer("1200", kind="number", unit="mm3"), "1,200 mm³", True),
        (Answer("1200", kind="number", unit="mm3"), "1.2 mL", True),
        (Answer("12.5", kind="number"), "12,5", True),
        (Answer("40", kind="number", unit="%"), "40 percent", True),
        (Answer("1e3", kind="number"), "1000", True),
        (Answer("1", kind="number"), "1e999", False),
        (Answer("1", kind="number"), "nan", False),
        (Answer("25", kind="number", unit="mm2"), "0.25 cm^2", True),
    ],
)
def test_number(answer, text, right):
    assert grade(answer, text).correct is right


QUANTITIES = [
    (
        Answer("5", kind="number", unit="mm", tolerance=0.1),
        [
            "5 mm in diameter",
            "5mm",
            "5-mm",
            "5.0 mm",
            "five mm",
            "Five millimeters",
            "0.5 cm",
            "0,5 cm",
            "5000 µm",
            "5000 um",
            "5000 micrometers",
            "0.005 m",
            "approximately 5 mm",
            "~5 mm",
            "about 5 mm.",
            "≈5 mm",
            "The nodule measures 5 mm.",
            "Diameter: 5 mm",
            "size = 5 mm",
            "**5** mm",
            "$5$ mm",
            "$5\\,\\text{mm}$",
            "\\boxed{5\\text{ mm}}",
            "5 mm (0.5 cm)",
            "0.5 cm (5 mm)",
            "5 mm = 0.5 cm",
            "5 (mm)",
            "5 MM",
            "5 millimetre",
            '"5 mm"',
            '{"answer": 5}',
            '{"answer": "5 mm"}',
            "The L4 nodule measures 5 mm",
            "5",
            "5.",
            "It is 5 mm",
            "length (cm): 0.5",
            "500e-2 mm",
            "0.5 × 10^1 mm",
            "5 mm long",
        ],
        [
            "\\boxed{5} mm",
            "<5 mm",
            "> 5 mm",
            "≤5 mm",
            "at least 5 mm",
            "less than 5 mm",
            "more than 5 mm",
            "up to 5 mm",
            "5 mm or more",
            "5+ mm",
            "5-6 mm",
            "4-6 mm",
            "4 to 6 mm",
            "5 or 6 mm",
            "between 5 and 6 mm",
            "5 x 4 mm",
            "5 ± 1 mm",
            "not 5 mm",
            "5 cm",
            "5 m",
            "5 ml",
            "5 inches",
            "5 mm2",
            "5 mm (6 mm)",
            "5 mm (5 cm)",
            "5 mm, 6 mm",
            "maybe 5 mm",
            "5 mm?",
            "-5 mm",
            "isn't 5 mm",
            "4 5 6",
            "1 2 3 4 5",
            "5 mm, not 6",
            "15 mm",
            "50 mm",
            "no 5 mm nodule",
            "length (cm): 5",
            "5 and 6",
            "under 5 mm",
            "nearly 5 mm",
            "5 apples",
            "5 to 5.5 mm",
        ],
    ),
    (
        Answer("1234.5", kind="number"),
        ["1,234.5", "1.234,5", "1 234.5", "1'234.5", "1234,5", "1.2345e3", "1.2345 x 10^3", "1.2345 × 10³"],
        [],
    ),
    (Answer("0.5", kind="number"), ["1/2", "½", "0,5", ".5", "\\frac{1}{2}", "0.50"], ["5", "1/3"]),
    (Answer("2.5", kind="number"), ["2½", "2 1/2"], ["21/2"]),
    (
        Answer("-40", kind="number", unit="HU", tolerance=5),
        ["minus 40", "–40 HU", "−40", "-40 Hounsfield units", "negative 40 HU", "HU: -40", "-40HU"],
        ["40 HU", "-40 mm"],
    ),
    (Answer("120", kind="number"), ["one hundred twenty", "one hundred and twenty", "120 bpm"], ["2 min"]),
    (Answer("120", kind="number", unit="s"), ["2 min", "120 seconds", "2 minutes", "120000 ms"], ["2 h"]),
    (
        Answer("2", kind="number", unit="nodules"),
        ["2 nodules", "two nodules", "two", "Two nodules are seen", "There are two nodules"],
        ["2 masses", "two or three", "2-3", "twenty-two", "at least two nodules", "second"],
    ),
    (Answer("1", kind="number"), [], ["1e9999", "1e999", "1/0", "1:30", "1.1.1"]),
    (Answer("5", kind="number", unit="mSv"), ["5 mSv", "0.005 Sv", "5 msv"], []),
    (Answer("370", kind="number", unit="MBq", tolerance=1), ["10 mCi", "370 MBq"], ["370 mBq"]),
    (
        Answer("1500", kind="number", unit="ml"),
        ["1.5 l", "1500 cc", "1500 cm3", "1.5 dm3", "1500 cm³", "1,500 mL", "1.5L", "150 cl", "1500 cubic centimeters"],
        [],
    ),
    (Answer("12", kind="number", unit="months"), ["1 year", "12 months", "12 mo", "1 yr"], ["12 years", "12 days"]),
    (
        Answer("90", kind="number", unit="degrees", tolerance=0.1),
        ["90°", "90 degrees", "90 deg", "1.5708 rad"],
        ["90%"],
    ),
    (Answer("60", kind="number", unit="mmHg", tolerance=0.1), ["60 mm Hg", "60 mmHg"], ["1 mmHg"]),
    (
        Answer("50", kind="number", unit="%", tolerance=0.1),
        ["50%", "50 percent", "50 per cent", "50 pct"],
        ["0.5", "0.5%"],
    ),
    (Answer("3", kind="number", unit="T"), ["3 T", "3T", "3 tesla", "3000 mT"], []),
    (Answer("<5", kind="number", unit="mm"), ["<5 mm", "less than 5 mm"], ["5 mm", ">5 mm"]),
]


@pytest.mark.parametrize(("answer", "same", "others"), QUANTITIES, ids=lambda value: getattr(value, "value", ""))
def test_a_quantity_in_other_words(answer, same, others):
    assert [text for text in same if not grade(answer, text).correct] == []
    assert [text for text in others if grade(answer, text).correct] == []


@pytest.mark.parametrize(
    "text", ["two and a half", "2 dozen", "2 thousand", "2 million", "a couple", "2 in 5", "2 or so"]
)
def test_what_is_another_number(text):
    assert not grade(Answer("2", kind="number"), text).correct


def test_what_is_counted_has_its_own_name():
    answer = Answer("3 lung nodules", kind="number")
    assert all(grade(answer, text).correct for text in ("3", "three lung nodules", "3 calcified lung nodules"))
    assert not any(grade(answer, text).correct for text in ("3 micronodules", "3 lung masses", "3 nodules", "3 ribs"))


@pytest.mark.parametrize(
    ("one", "factor", "other"),
    [
        ("cm", 10, "mm"), ("inch", 25.4, "mm"), ("ft", 12, "in"), ("m", 1e6, "µm"), ("μm", 1, "micron"),
        ("nm", 1e-3, "um"), ("l", 1000, "ml"), ("dl", 100, "mL"), ("ml", 1, "cm3"), ("cc", 1, "cm³"),
        ("cubic millimetre", 1, "µl"), ("cm^2", 100, "mm2"), ("square centimeters", 100, "sq mm"),
        ("Gy", 100, "cGy"), ("mGy", 1e-3, "Gy"), ("mSv", 1000, "µSv"), ("kBq/ml", 1000, "Bq/ml"),
        ("MBq", 1000, "kBq"), ("MBq", 1e9, "mBq"), ("mCi", 37, "MBq"), ("s", 1000, "ms"), ("hours", 60, "minutes"),
        ("week", 7, "days"), ("years", 12, "months"), ("kg", 1000, "g"), ("mg/dl", 10, "mg/l"),
        ("g/l", 1, "mg per ml"), ("m/s", 100, "cm/s"), ("ml/min", 0.06, "l/h"), ("kPa", 7.500616827, "mmHg"),
        ("MHz", 1000, "kHz"), ("T", 1000, "mT"), ("rad", 57.29577951308232, "degrees"), ("%", 1, "per cent"),
        ("Hounsfield units", 1, "HU"), ("°C", 1, "degrees Celsius"),
    ],
)  # fmt: skip
def test_units_convert(one, factor, other):
    assert parse_unit(one).conversion_to(parse_unit(other)) == pytest.approx(factor)
    assert parse_unit(other).conversion_to(parse_unit(one)) == pytest.approx(1 / factor)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mm", "ml"),
        ("mm", "mm2"),
        ("Gy", "Sv"),
        ("years", "days"),
        ("°C", "°F"),
        ("°C", "degrees"),
        ("%", "HU"),
        ("ml/min", "ml"),
    ],
)
def test_units_of_different_things_do_not(one, other):
    assert parse_unit(one).conversion_to(parse_unit(other)) is None


@pytest.mark.parametrize("name", ["", "apples", "mm mm", "mBQ", "square ml", "mm4", "kin", "/", "per", "x" * 500])
def test_what_is_no_unit(name):
    assert parse_unit(name) is None
