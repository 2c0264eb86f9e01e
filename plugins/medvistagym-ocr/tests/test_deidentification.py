"""What of burned-in text may be told, and what is withheld."""

from __future__ import annotations

import pytest

from medvistagym_ocr._deidentification import withholding_reason

HARMLESS = (
    "LYMPH NODE", "RIGHT KIDNEY 10.4 cm", "+ Dist A 3.45 cm", "TIS<0.4 MI=0.8 AO=100%", "120 kV 200 mA", "W 400 C 40", "IM#2",
    "CINE 0118", "22G22", "78DR78", "AP SUPINE PORTABLE", "HR 65 bpm", "LAO 30 CRAN 10", "C5-C6", "L3", "T1", "R", "0.5",
    "11cm", "28Hz", "Page 1/3", "d 10.2mm", "right  kidney",
    "HEAD", "Max 4.5 cm", "Wall thickness", "R L",
)  # fmt: skip
WITHHELD = {
    "DOE^JANE": "name",
    "Doe, Jane": "name",
    "Patient: unknown": "name",
    "MAX STONE": "name",
    "Page, Max": "name",
    "S M I T H": "name",
    "JANE DOE": "other words",
    "J0HN": "other words",
    "HEAD JANE": "other words",
    "MA 42": "other words",
    "田中太郎": "other words",
    "Müller": "other words",
    "BAPTIST MED CTR": "place",
    "12/05/1980": "date",
    "2026-11-22": "date",
    "19800512": "date",
    "3. Mar 71": "date",
    "MAY 1980": "date",
    "1980": "date",
    "11-05-25-142825": "date",
    "2:56:22 PM": "time",
    "+2:09:04": "time",
    "045Y": "age",
    "67 yrs": "age",
    "78 F": "age",
    "M/78": "age",
    "M 78": "age",
    "F45": "age",
    "1234567": "number",
    "123 456 789": "number",
    "630P630": "number",
    "R 12345": "number",
    "R 1234 5678": "number",
    "123-45-6789": "date",
}


@pytest.mark.parametrize("text", HARMLESS)
def test_settings_measurements_and_labels_pass(text: str) -> None:
    assert withholding_reason(text) is None


@pytest.mark.parametrize(("text", "reason"), WITHHELD.items())
def test_anything_else_is_withheld(text: str, reason: str) -> None:
    assert withholding_reason(text) == reason


@pytest.mark.parametrize("harmless", HARMLESS)
@pytest.mark.parametrize("added", ["Jane", "DOE^J", "12.05.1980", "9876543"])
def test_a_line_is_withheld_whole(harmless: str, added: str) -> None:
    assert withholding_reason(f"{harmless} {added}") is not None
    assert withholding_reason(f"{added} {harmless}") is not None
