"""The conformance kit: what every plugin must do, as named checks.

May use `rollouts`, `scoring`, `interactive` and below. The checks need the extra `medvistagym-core[testing]`.

On the command line `medvistagym plugins check NAME|PATH`, in an author's tests one line:

    from medvistagym_core.testing import conformance

    test_conformance = conformance("my-plugin")

`check_plugin` returns the same as a `ConformanceReport`. `RULES` says of each check what it asks for, whether a failure
blocks or advises, and how to mend it.
"""

from __future__ import annotations

from medvistagym_core.testing._pytest import conformance
from medvistagym_core.testing._report import CheckResult, ConformanceReport
from medvistagym_core.testing._rules import RULES, Rule
from medvistagym_core.testing._runner import check_plugin
from medvistagym_core.testing._target import SubjectError

__all__ = ["RULES", "CheckResult", "ConformanceReport", "Rule", "SubjectError", "check_plugin", "conformance"]
