import pytest

from medvistagym_core.environment.grading import answer_key, normalize_answer


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The upper-left  lobe.", "upper left lobe"),
        ("  Soft Tissue!", "soft tissue"),
        ("−3.5 HU", "-3.5 hu"),
        ("1,200", "1200"),
        ("T1-weighted", "t1 weighted"),
        ("a", "a"),
        ("ﬁbrosis", "fibrosis"),
        ("left_lung", "left lung"),
        ("...", ""),
        ("5.", "5"),
        ("straße", "strasse"),
        ("HER2+", "her2+"),
        ("HER2 -.", "her2-"),
        ("ER+/PR-", "er+/pr-"),
        ("< 3 cm", "<3 cm"),
        (">= 3 cm", "≥3 cm"),
        ("T2*", "t2*"),
        ("10³", "10^3"),
        ("cm³", "cm3"),
        ("2½", "2 1/2"),
        ("3 – 4", "3-4"),
        ("3–4", "3-4"),
        ("L4/5", "l4-5"),
        ("C5–C6", "c5-6"),
        ("hepatitis A", "hepatitis a"),
        ("Type A dissection of a lung", "type a dissection of lung"),
        ("an-echoic", "an echoic"),
        ("left,right", "left right"),
        ("Crohn’s disease", "crohns disease"),
        ("pneumonia?", "pneumonia ?"),
        ("+ve", "positive"),
        ("肝脏。", "肝脏"),
    ],
)
def test_normalize(text, normal):
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("**twenty-five** nodules.", "25 nodules"),
        ("one hundred and twenty", "120"),
        ("two three", "two three"),
        ("twenty eleven", "twenty eleven"),
        ("5mm", "5 mm"),
        ("5.0 mm", "5 mm"),
        ("2,5 cm", "2.5 cm"),
        ("segments 1,2", "segments 1,2"),
        ("HER2+", "her2 positive"),
        ("oedema", "edema"),
        ("30 °", "30°"),
    ],
)
def test_key(text, key):
    assert answer_key(text) == key
