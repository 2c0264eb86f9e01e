"""The conformance kit: what every plugin must do, checked by name.

On the command line `medvistagym plugins check NAME|PATH`, in an author's tests one line:

    from medvistagym_core.testing import conformance

    test_conformance = conformance("my-plugin")

`check` gives the same as a `ConformanceReport`. What a failure means is in `policy`. The checks need the extra
`medvistagym-core[testing]`.
"""

from __future__ import annotations

from medvistagym_core.testing.judge import check
from medvistagym_core.testing.policy import RULES, Rule
from medvistagym_core.testing.pytest_cases import conformance
from medvistagym_core.testing.report import ConformanceReport, Outcome
from medvistagym_core.testing.subject import SubjectError

__all__ = ["RULES", "ConformanceReport", "Outcome", "Rule", "SubjectError", "check", "conformance"]
