"""Known flaws of benchmarks, printed beside every score on them."""

from __future__ import annotations

from typing import Final

from medvistagym_core.scoring._item import benchmark_key

_NOTES: Final = {
    "vqarad": (
        (
            "A text-only reinforcement-trained model kept 81 % of its VQA-RAD performance with blank images "
            "(arXiv:2603.03437): report the score without images beside this one."
        ),
        (
            "A question of the test split may have its paraphrase in the training split; the same images are in "
            "both by design."
        ),
    ),
    "slake": (
        (
            "19.8 % of SLAKE's English pictures have an extreme near neighbour in PMC-OA under SigLIP-B-16, 4.2 "
            "% under SO400M: overlap of sources rather than duplicates (arXiv:2606.10066)."
        ),
    ),
    "pathvqa": (
        (
            "A model did better on PathVQA with the wrong picture than with the right one (visual reliance "
            "-0.09, arXiv:2603.03437)."
        ),
        "Open answers were cut from captions by rules; many cannot be read from the picture.",
    ),
    "omnimedvqa": (
        "All five models tested knew the order of OmniMedVQA's questions (arXiv:2606.10066): they have seen it.",
    ),
    "pmcvqa": ("'PMC-VQA' names test_clean (2,000 questions) in some papers and test_2 (33,430) in others.",),
    "mmmu": ("Test answers are not public; harnesses carry a copy whose origin they do not state.",),
}


def validity_notes(benchmark: str) -> tuple[str, ...]:
    """Sentences to print beside a score of a benchmark; none for one that nothing is known of."""
    return _NOTES.get(benchmark_key(benchmark), ())
