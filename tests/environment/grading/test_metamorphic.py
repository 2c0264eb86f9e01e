"""What changes the meaning of a report sentence makes it wrong; what changes its form only leaves it right."""

import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import answer_key, canonical_finding, grade

from .report_sentences import FORMS, MEANINGS, sentences

SENTENCES = sentences()


def right(truth, text):
    return grade(Answer(truth, kind="text"), text).correct


def test_there_are_five_hundred_sentences():
    assert len(SENTENCES) >= 500


@pytest.mark.parametrize("form", FORMS)
def test_a_form_changes_nothing(form):
    template = FORMS[form]
    assert [s.text for s in SENTENCES if not right(s.text, template.format(s.text))] == []


@pytest.mark.parametrize("edit", [str.upper, str.title, str.capitalize], ids=lambda edit: edit.__name__)
def test_capitals_change_nothing(edit):
    assert [s.text for s in SENTENCES if not right(s.text, edit(s.text))] == []


def test_another_wording_is_the_same_finding():
    refused = [(s.text, w) for s in SENTENCES for w in s.wordings if not (right(s.text, w) and right(w, s.text))]
    assert refused == []


@pytest.mark.parametrize("meaning", MEANINGS)
def test_another_meaning_is_wrong_whichever_is_the_truth(meaning):
    template = MEANINGS[meaning]
    rewarded = []
    for sentence in SENTENCES:
        edited = template.format(sentence.text, sentence.text)
        if right(sentence.text, edited) or (edited and right(edited, sentence.text)):
            rewarded.append((sentence.text, edited))
    assert rewarded == []


def test_another_finding_is_wrong_in_every_form():
    """As it is, and in one of the other forms in turn: the form changes with each pair."""
    forms = [FORMS[name] for name in ("there is a", "boxed answer", "bold", "json")]
    pairs = [(s.text, other) for s in SENTENCES for other in s.others]
    assert len(pairs) > 1000
    said = [(text, form.format(o)) for k, (text, o) in enumerate(pairs) for form in (FORMS["same"], forms[k % 4])]
    assert [(text, other) for text, other in said if right(text, other)] == []
    assert [(s.text, o) for s in SENTENCES for o in s.others if right(o, s.text)] == []


def test_no_two_sentences_are_the_same():
    for form in (answer_key, canonical_finding):
        assert len({form(s.text) for s in SENTENCES}) == len(SENTENCES)


def test_a_list_of_findings_is_none_of_them():
    listed = ", ".join(s.text for s in SENTENCES[:40])
    assert not any(right(s.text, listed) or right(s.text, listed.replace(", ", " or ")) for s in SENTENCES[:40])


def test_sentences_are_told_apart_as_options():
    """From each other, and from a third of the other meanings in turn, all of which are tried as texts above."""
    meanings = list(MEANINGS.values())
    for start in range(0, len(SENTENCES) - 4, 4):
        options = tuple(s.text for s in SENTENCES[start : start + 4])
        for index, option in enumerate(options):
            answer = Answer(option, kind="choice")
            letters = [grade(answer, letter, options=options).correct for letter in "ABCD"]
            assert letters == [place == index for place in range(4)]
            assert [grade(answer, text, options=options).correct for text in options] == letters
            edits = [template.format(option, option) for template in meanings[start // 4 % 3 :: 3]]
            assert not any(grade(answer, edit, options=options).correct for edit in edits)


def test_a_sentence_and_its_opposites_are_told_apart_as_options():
    for sentence in SENTENCES:
        options = (sentence.text, *sentence.others)
        for option in options:
            assert grade(Answer(option, kind="choice"), option, options=options).correct
            assert grade(Answer(option, kind="choice"), sentence.text, options=options).correct is (
                option == sentence.text
            )
