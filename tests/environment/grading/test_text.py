import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import grade


@pytest.mark.parametrize(
    ("value", "text", "right"),
    [
        ("a small nodule in the left lung", "Small nodule in left lung.", True),
        ("a small nodule in the left lung", "There is a small nodule in the left lung", True),
        ("small round nodule in left upper lobe", "a small nodule in the left upper lobe", False),
        ("small round nodule in left upper lobe", "small round nodule in right upper lobe", False),
        ("small round nodule in left upper lobe", "no small round nodule in left upper lobe", False),
        ("no pleural effusion is seen", "pleural effusion is seen", False),
        ("no pleural effusion is seen", "no pleural effusion seen", True),
        ("nodule", "nodule nodule nodule nodule", False),
        ("nodule", "", False),
        ("left upper lobe", "left or right upper or lower lobe or segment", False),
    ],
)
def test_free_text(value, text, right):
    assert grade(Answer(value, kind="text"), text).correct is right


def test_the_overlap_of_the_words_is_a_measure_and_no_credit():
    close = grade(Answer("bone marrow edema", kind="text"), "bone edema")
    assert close.overlap == pytest.approx(0.8)
    assert (close.correct, close.partial_credit) == (False, 0.0)
    assert (
        grade(Answer("fat", kind="text"), "fat").overlap
        == grade(Answer("fat", kind="text"), "fat").partial_credit
        == 1.0
    )
    assert grade(Answer("fat", kind="text"), "fluid").overlap == 0.0


def test_an_abstention_in_words():
    assert grade(Answer("not clear", kind="text"), "unclear", abstention="unclear").abstained


def test_an_answer_without_words_is_refused():
    with pytest.raises(ValueError, match="no words"):
        grade(Answer("", kind="text"), "x")


FINDINGS = [
    (
        "5 mm nodule in the right upper lobe",
        [
            "A 5 mm nodule is seen in the right upper lobe.",
            "There is a 5mm nodule in the right upper lobe",
            "0.5 cm nodule in the right upper lobe",
            "right upper lobe 5 mm nodule",
            "nodule measuring 5 mm in the right upper lobe",
            "5-mm nodule in the right upper lobe",
            "**5 mm nodule** in the right upper lobe",
            "five mm nodule in the right upper lobe",
            "5.0 mm nodule in the right upper lobe",
            "\\boxed{\\text{5 mm nodule in the right upper lobe}}",
            "5 MM NODULE IN THE RIGHT UPPER LOBE",
            "The image shows a 5 mm nodule in the right upper lobe",
            "Impression: 5 mm nodule in the right upper lobe.",
            "A 5 mm nodule is located in the right upper lobe",
            "5 mm nodule of the right upper lobe",
            "5 mm right upper lobe nodule",
            "5 mm nodule within the right upper lobe",
            "Finding: 5 mm nodule in right upper lobe",
        ],
        [
            "9 mm nodule in the right upper lobe",
            "5 cm nodule in the right upper lobe",
            "5 mm nodule in the left upper lobe",
            "5 mm nodule in the right lower lobe",
            "5 mm nodules in the right upper lobe",
            "no 5 mm nodule in the right upper lobe",
            "5 mm nodule in the right upper lobe excluded",
            "5 mm nodule in the right upper lobe is unlikely",
            "possible 5 mm nodule in the right upper lobe",
            "5 mm mass in the right upper lobe",
            "5 mm nodule in both upper lobes",
            "5 mm nodule in the right or left upper lobe",
            "5 mm nodule in the upper lobe",
            "nodule in the right upper lobe",
            "<5 mm nodule in the right upper lobe",
            "5-6 mm nodule in the right upper lobe",
            "5 mm nodule near the right upper lobe",
            "5 mm nodule outside the right upper lobe",
            "5 mm nodule in the right upper lobe has resolved",
            "5 mm nodule in the right upper lobe?",
            "calcified 5 mm nodule in the right upper lobe",
            "5 mm nodule in the right upper lobe and left lower lobe",
            "5 mm nodule not in the right upper lobe",
            "no longer a 5 mm nodule in the right upper lobe",
            "previously 5 mm nodule in the right upper lobe",
            "50 mm nodule in the right upper lobe",
            "5 mm nodule in the right upper lobe, no",
            "5 ml nodule in the right upper lobe",
            ".5 mm nodule in the right upper lobe",
            "there isn't a 5 mm nodule in the right upper lobe",
            "a 5 mm nodule is not seen in the right upper lobe",
            "5 mm nodule cannot be excluded in the right upper lobe",
        ],
    ),
    (
        "no pleural effusion or pneumothorax",
        [
            "No pleural effusion or pneumothorax.",
            "no pneumothorax or pleural effusion",
            "no evidence of pleural effusion or pneumothorax",
            "No pleural effusion, no pneumothorax",
            "There is no pleural effusion or pneumothorax",
            "no pleural effusion and no pneumothorax",
            "No pleural effusion or pneumothorax is seen",
        ],
        [
            "pleural effusion or pneumothorax",
            "pleural effusion, no pneumothorax",
            "no pleural effusion, pneumothorax",
            "no pleural effusion but pneumothorax",
            "pneumothorax or no pleural effusion",
            "no pleural effusion. Pneumothorax.",
            "no pleural effusion",
            "pleural effusion and pneumothorax",
            "no pleural effusion and pneumothorax",
            "pneumothorax and no pleural effusion",
            "not no pleural effusion or pneumothorax",
        ],
    ),
    (
        "left pleural effusion and right pneumothorax",
        [
            "right pneumothorax and left pleural effusion",
            "Left pleural effusion & right pneumothorax",
            "left pleural effusion, right pneumothorax",
        ],
        [
            "right pleural effusion and left pneumothorax",
            "left pleural effusion or right pneumothorax",
            "left pleural effusion",
            "right pneumothorax",
            "left pleural effusion and left pneumothorax",
            "left pneumothorax and right pleural effusion",
        ],
    ),
    (
        "mass with calcification",
        ["a mass with calcification"],
        ["mass without calcification", "calcification with mass", "mass and calcification", "calcification"],
    ),
    ("tumor invades the bladder", [], ["bladder invades the tumor", "tumor does not invade the bladder"]),
    ("liver metastasis of lung cancer", [], ["lung metastasis of liver cancer", "lung cancer metastasis"]),
    (
        "anterolisthesis of L4 on L5",
        [],
        ["anterolisthesis of L5 on L4", "retrolisthesis of L4 on L5", "L4 on L5 retrolisthesis"],
    ),
    ("left to right shunt", ["left-to-right shunt"], ["right to left shunt", "right-to-left shunt"]),
    ("midline shift to the left", [], ["midline shift to the right", "left midline shift to"]),
    ("mass in the small bowel", ["small bowel mass"], ["small mass in the bowel", "mass in the large bowel"]),
    ("mass in a large vessel", [], ["large mass in a vessel"]),
    (
        "small right pleural effusion",
        [
            "small pleural effusion on the right",
            "small pleural effusion on the right side",
            "right small pleural effusion",
            "a small right-sided pleural effusion",
        ],
        [
            "large right pleural effusion",
            "small left pleural effusion",
            "right pleural effusion",
            "small pleural effusion",
            "small bilateral pleural effusion",
        ],
    ),
    (
        "nodules in both lungs",
        ["Nodules in both lungs."],
        ["nodules in the left lung", "nodules in the right lung", "nodule in one lung"],
    ),
    (
        "non-displaced fracture of the distal radius",
        ["nondisplaced fracture of the distal radius", "non displaced fracture of the distal radius"],
        [
            "displaced fracture of the distal radius",
            "nondisplaced fracture of the proximal radius",
            "nondisplaced fracture of the distal ulna",
            "minimally displaced fracture of the distal radius",
        ],
    ),
    (
        "hyperdense lesion",
        ["hyper-dense lesion"],
        ["hypodense lesion", "isodense lesion", "hyperintense lesion", "dense lesion"],
    ),
    (
        "intracranial hemorrhage",
        ["intracranial haemorrhage", "intra-cranial hemorrhage"],
        ["extracranial hemorrhage", "no intracranial hemorrhage"],
    ),
    ("postoperative change", ["post-operative change"], ["preoperative change", "operative change"]),
    (
        "T2 hyperintense signal",
        ["T2-hyperintense signal"],
        ["T1 hyperintense signal", "T2* hyperintense signal", "T2 hypointense signal"],
    ),
    ("BI-RADS 4", ["BI-RADS 4."], ["BI-RADS 5", "BI-RADS 4a", "BI-RADS <4"]),
    (
        "HER2+ tumor",
        ["HER2 positive tumor", "HER2-positive tumor"],
        ["HER2- tumor", "HER2 negative tumor", "HER2 tumor"],
    ),
    ("effusion is absent", [], ["effusion is present", "effusion"]),
    ("the effusion has increased", [], ["the effusion has decreased", "the effusion has not increased", "effusion"]),
    ("unchanged nodule", [], ["changed nodule", "nodule"]),
    (
        "fracture of the left femoral neck",
        ["left femoral neck fracture", "There is a fracture of the left femoral neck"],
        [
            "there isn't a fracture of the left femoral neck",
            "fracture of the right femoral neck",
            "no fracture of the left femoral neck",
            "left femoral head fracture",
            "there is not a fracture of the left femoral neck",
        ],
    ),
    (
        "no fracture",
        [
            "there isn't a fracture",
            "there is no fracture",
            "fracture is not seen",
            "no fracture seen",
            "no evidence of fracture",
        ],
        ["fracture", "no displaced fracture", "not no fracture", "no fracture is not seen"],
    ),
    (
        "mild to moderate stenosis",
        ["mild-to-moderate stenosis"],
        ["moderate to severe stenosis", "mild stenosis", "moderate to mild stenosis"],
    ),
    (
        "atelectasis, effusion, and edema",
        ["effusion, atelectasis and oedema"],
        [
            "atelectasis, effusion, or edema",
            "atelectasis and effusion",
            "no atelectasis, effusion, and edema",
            "atelectasis, no effusion, and edema",
        ],
    ),
    ("liver larger than spleen", [], ["spleen larger than liver", "liver smaller than spleen"]),
    (
        "C5-C6 disc herniation",
        ["C5/C6 disc herniation", "C5-6 disc herniation", "disc herniation at C5-C6"],
        ["C6-C7 disc herniation", "C5 disc herniation", "L5-L6 disc herniation"],
    ),
    (
        "pneumonia",
        ["Pneumonia.", "Diagnosis: pneumonia", "It is pneumonia"],
        [
            "no pneumonia",
            "pneumonia or edema",
            "pneumonia unlikely",
            "pneumonia ruled out",
            "pneumonia excluded",
            "rule out pneumonia",
            "pneumonia vs edema",
            "pneumonia/edema",
            "pneumonitis",
            "cannot exclude pneumonia",
            "history of pneumonia",
            "possible pneumonia",
            "?pneumonia",
            "pneumonia?",
            "viral pneumonia",
            "not pneumonia",
            "pneumonia not seen",
            "pneumonia is not present",
            "negative for pneumonia",
            "without pneumonia",
            "resolved pneumonia",
            "pneumonia, edema, nodule, mass, effusion",
        ],
    ),
    ("grade II", ["Grade II"], ["grade III", "grade I"]),
    ("10,000 cells", ["10000 cells"], ["1,000 cells", "100,000 cells"]),
    (
        "2.5 cm cyst in the left kidney",
        ["25 mm cyst in the left kidney", "left kidney 2.5 cm cyst", "2,5 cm cyst in the left kidney"],
        ["2.5 mm cyst in the left kidney", "25 cm cyst in the left kidney"],
    ),
]


@pytest.mark.parametrize(("value", "same", "others"), FINDINGS, ids=[finding[0] for finding in FINDINGS])
def test_a_finding_in_other_words(value, same, others):
    answer = Answer(value, kind="text")
    assert [text for text in same if not grade(answer, text).correct] == []
    assert [text for text in others if grade(answer, text).correct] == []


SPELLINGS = [
    ("haematuria", "hematuria"),
    ("haemosiderin deposition", "hemosiderin deposition"),
    ("hydrohaemothorax", "hydrohemothorax"),
    ("subarachnoid haemorrhages", "subarachnoid hemorrhages"),
    ("hypoxaemia", "hypoxemia"),
    ("aetiology unknown", "etiology unknown"),
    ("coeliac artery stenosis", "celiac artery stenosis"),
    ("oestrogen receptor positive", "estrogen receptor positive"),
    ("amenorrhoea", "amenorrhea"),
    ("manoeuvre", "maneuver"),
    ("motion artefact", "motion artifact"),
    ("localised thickening", "localized thickening"),
    ("mineralisation", "mineralization"),
    ("paralysed diaphragm", "paralyzed diaphragm"),
    ("leucocytosis", "leukocytosis"),
    ("remodelled bone", "remodeled bone"),
    ("centred on T8", "centered on T8"),
    ("neighbouring vertebra", "neighboring vertebra"),
    ("grey matter", "gray matter"),
    ("Sjögren syndrome", "Sjogren syndrome"),
    ("α-synuclein", "alpha-synuclein"),
]


@pytest.mark.parametrize(("british", "american"), SPELLINGS)
def test_spellings_of_one_word_are_the_same(british, american):
    for kind in ("text", "exact"):
        assert grade(Answer(british, kind=kind), american).correct
        assert grade(Answer(american, kind=kind), british).correct


@pytest.mark.parametrize(
    ("value", "same", "others"),
    [
        ("third rib fracture", ["3rd rib fracture"], ["fourth rib fracture", "13th rib fracture"]),
        ("2 x 3 cm mass", ["2x3 cm mass", "20 x 30 mm mass", "2 cm x 3 cm mass"], ["2 x 4 cm mass", "2 x 3 mm mass"]),
        ("segment VIII lesion", ["segment 8 lesion"], ["segment VII lesion", "segment 18 lesion"]),
        ("valgus deformity", ["***Valgus deformity***"], ["varus deformity"]),
        ("> stage 2", [">stage 2"], ["stage 2", "< stage 2"]),
        ("hyperaemia", ["hyperemia"], ["hypoaemia", "hypoemia", "anaemia"]),
        ("oesophageal tumour", ["esophageal tumor"], ["no oesophageal tumour", "oesophageal tumours"]),
    ],
)  # fmt: skip
def test_ordinals_sides_and_segments(value, same, others):
    for text in same:
        assert grade(Answer(value, kind="text"), text).correct, text
        assert grade(Answer(text, kind="text"), value).correct, text
    for text in others:
        assert not grade(Answer(value, kind="text"), text).correct, text
        assert not grade(Answer(text, kind="text"), value).correct, text
