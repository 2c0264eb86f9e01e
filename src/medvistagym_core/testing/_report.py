"""What a conformance check found."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, ConfigDict, Field

from medvistagym_core.testing._rules import BY_ID, RULESET_VERSION, Status


class CheckResult(BaseModel):
    """The result of one check of a plugin, or of one of its tools."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str = Field(description="Name of the check.")
    tool: str = Field(default="", description="Name of the tool, or whatever else was checked; empty for the plugin.")
    kind: str = Field(default="", description="What that is: tool, task, reward, ...; empty for the plugin.")
    status: Status = Field(description="PASS, FAIL, SKIP (does not apply), or ERROR (could not be checked).")
    detail: str = Field(default="", description="What was found.")
    remedy: str = Field(default="", description="One sentence: what to do. Empty when it passed.")
    blocks: bool = Field(default=False, description="Whether it is a failure that the policy counts as blocking.")

    @classmethod
    def from_rule(
        cls, check: str, status: Status, detail: str = "", *, tool: str = "", remedy: str = ""
    ) -> CheckResult:
        """An outcome judged by the policy; `remedy` in place of the rule's own.

        Args:
            check: Id of the rule.
            status: What came of it.
            detail: What was found.
            tool: Name of what was checked; empty for the plugin.
            remedy: What to do about it; the rule's own sentence when empty.
        """
        rule = BY_ID[check]
        bad = status in ("FAIL", "ERROR")
        return cls(
            check=check,
            tool=tool,
            kind=rule.scope if tool else "",
            status=status,
            detail=detail,
            remedy=(remedy or rule.remedy) if bad else "",
            blocks=status == "FAIL" and rule.severity == "blocks",
        )


class ConformanceReport(BaseModel):
    """What was found of one plugin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: int = Field(default=RULESET_VERSION, description="Version of the policy it was judged by.")
    plugin: str = Field(description="Name of the plugin.")
    distribution: str = Field(description="Distribution it comes from; empty for a file.")
    version: str = Field(description="Version of the distribution.")
    core: str = Field(description="Version of medvistagym-core.")
    tools: tuple[str, ...] = Field(default=(), description="Its tools.")
    offers: dict[str, tuple[str, ...]] = Field(default={}, description="Names of all that it offers, by kind.")
    outcomes: tuple[CheckResult, ...] = Field(description="The outcomes, in the order of the policy.")

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The outcomes that block."""
        return tuple(outcome for outcome in self.outcomes if outcome.blocks)

    @property
    def exit_code(self) -> int:
        """0 when all that blocks passed, 1 when something blocks, 3 when something could not be checked."""
        if self.failures:
            return 1
        return 3 if any(outcome.status == "ERROR" for outcome in self.outcomes) else 0

    def __str__(self) -> str:
        lines = [f"{self.plugin} {self.version}, by conformance policy {self.policy}"]
        width = max((len(outcome.tool) for outcome in self.outcomes), default=0)
        for o in self.outcomes:
            detail = f"  {o.detail}" if o.detail else ""
            lines.append(f"{o.status:5}  {o.tool:{width}}  {o.check:19}{detail}".rstrip())
            if o.remedy:
                advice = "to do" if o.blocks or o.status == "ERROR" else "advice"
                lines.append(f"{'':9}{'':{width}}{advice}: {o.remedy}")
        count = Counter(o.status for o in self.outcomes)
        counts = ", ".join(f"{count[status]} {status}" for status in ("PASS", "FAIL", "SKIP", "ERROR") if count[status])
        verdict = {0: "conforms", 1: "does not conform", 3: "could not be checked"}[self.exit_code]
        return "\n".join([*lines, f"{counts}: {self.plugin} {verdict}"])
