"""Scoring by protocol: what a file of stored answers is worth under the rules of those who publish numbers.

It may use `environment` and below; no plugin, no model, no network.

A score is never just "accuracy": the same answers give 68.8, 63.2 or 55.0 % on VQA-RAD under three harnesses. So a score has a
name, and everything here is a pure function over stored answers:

- A `ScoredItem` is a question with its right answer and the text that was answered: what a trajectory file holds.
- A `ScoringProtocol` turns one item into an `ItemScore`: a verdict (right, wrong, measured, drawn, unjudged, error, excluded),
  a score in 0 to 1, the answer as the protocol read it, and measures of the words (exact match, F1, precision, recall,
  BLEU-1). It then sums rows up into `Denominator`s: how many questions count, how many of them are right, a Wilson interval,
  and how many the published figures count, so that a difference is seen before two numbers are compared.
- `score` does that for many items under several protocols at once; nothing runs a model again.
- `PROTOCOLS` are the ones that come with the core: `strict` (the house grade), `llava-med`, `medevalkit`, `medvlthinker`,
  `lmms-eval` and `mmmu-official`. Where a harness has known faults, `NAME` is the repaired rule and `NAME@as-published` the
  rule with its faults, so that a printed number can be reproduced and corrected. Each is written from a description of its
  rules, names the commit that was read, and lists what is unverified.
- Some rules ask a language model. A `Judge` is a function from a prompt to a reply that the caller passes. A call that fails
  is an error row and no wrong answer; without a judge such rows are unjudged, their denominators have no value, and one
  sentence says so.
- Measures of free text are reported beside the verdict and never rounded into "right".

docs/scoring.md has the rules with worked examples.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
