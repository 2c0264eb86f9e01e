"""The families that are tested, and the table of them in the documentation.

`python trainers/medvistagym-trl/tests/families.py docs/training.md` writes the table; a test says when it is out of date.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Final


@dataclasses.dataclass(frozen=True)
class TestedFormat:
    """A checkpoint that the tests train: SFT, GRPO with a tool's image, log-probabilities, one pixel, one turn read alike.

    Attributes:
        family: Model type, as `tests/checkpoints.py` makes it.
        template: The checkpoint's own chat template.
        action_format: How calls are written.
        name: What the table calls the family.
        calls: How calls look.
        shown: Which template the run uses.
        slow: Whether `make test` leaves it to `make test-slow`.
    """

    __test__ = False
    family: str
    template: str
    action_format: str
    name: str
    calls: str
    shown: str = "its own"
    slow: bool = False

    @property
    def id(self) -> str:
        """Name in the reports of tests."""
        return f"{self.template}-{self.action_format}"


_SHIPPED: Final = "one that ships here: its own shows no tools"
TESTED_FORMATS: Final = (
    TestedFormat("qwen3_vl", "qwen3_vl", "native", "Qwen3-VL", "JSON in `<tool_call>`"),
    TestedFormat("qwen3_5", "qwen3_5_think", "native", "Qwen3.5, Qwen3.6", "XML in `<tool_call>`"),
    TestedFormat("qwen3_5", "qwen3_5_think", "text", "Qwen3.5, Qwen3.6", "JSON in `<tool_call>`"),
    TestedFormat("qwen2_5_vl", "qwen2_5_vl", "native", "Qwen2.5-VL", "JSON in `<tool_call>`", _SHIPPED),
    TestedFormat("qwen2_5_vl", "qwen2_5_vl", "text", "Qwen2.5-VL", "JSON in `<tool_call>`"),
    TestedFormat(
        "gemma4",
        "gemma4_v5",
        "native",
        "Gemma 4",
        "`call:NAME{...}` in `<|tool_call>`",
        "its own; Google's of July 2026 where its own loses images",
    ),
    TestedFormat("gemma4", "gemma4_v5", "text", "Gemma 4", "JSON in `<tool_call>`", slow=True),
    TestedFormat("internvl", "internvl", "native", "InternVL 3, 3.5 (`-hf`)", "JSON in `<tool_call>`", _SHIPPED),
    TestedFormat("internvl", "internvl", "text", "InternVL 3, 3.5 (`-hf`)", "JSON in `<tool_call>`", slow=True),
    TestedFormat("smolvlm", "smolvlm", "native", "SmolVLM", "JSON in `<tool_call>`", _SHIPPED),
    TestedFormat("smolvlm", "smolvlm", "text", "SmolVLM", "JSON in `<tool_call>`", slow=True),
    TestedFormat("lfm2_vl", "lfm2_2_5_vl", "native", "LFM2.5-VL", "`[NAME(...)]` in `<|tool_call_start|>`"),
    TestedFormat("lfm2_vl", "lfm2_2_5_vl", "text", "LFM2.5-VL", "JSON in `<tool_call>`", slow=True),
)
_BEGIN, _END = "<!-- families: begin -->\n", "<!-- families: end -->\n"


def render_table() -> str:
    """The table, in Markdown."""
    lines = ["| family | `episode.action_format` | calls | chat template |", "| --- | --- | --- | --- |"]
    cells = [(each.name, f"`{each.action_format}`", each.calls, each.shown) for each in TESTED_FORMATS]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """A page with the table between its marks."""
    head, _, rest = page.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    return f"{head}{_BEGIN}{render_table()}{_END}{tail}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_table(target.read_text("utf-8")), encoding="utf-8")
