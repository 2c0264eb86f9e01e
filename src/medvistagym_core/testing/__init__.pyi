from ._pytest import conformance as conformance
from ._report import CheckResult as CheckResult
from ._report import ConformanceReport as ConformanceReport
from ._rules import HEAVY as HEAVY
from ._rules import RULES as RULES
from ._rules import Rule as Rule
from ._runner import check_plugin as check_plugin
from ._target import SubjectError as SubjectError
