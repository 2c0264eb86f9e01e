"""An action format: how a policy writes a turn, and how it is read. Here a line for each part.

WHY It may be calcified.
CALL window {"image": 0, "preset": "bone"}

medvistagym eval --task lab_quadrants --policy lab_looker --action-format lab_lines
"""

import dataclasses
import json

from medvistagym_core import hookimpl


@dataclasses.dataclass(frozen=True)
class LineFormat:
    """One line for the reasoning, and one for a call or the answer."""

    think: str = "optional"
    max_calls_per_turn: int = 1
    stop_strings: tuple = ()
    instructions: str = (
        "In every turn you may write a line WHY with your reasoning. Then write either a line CALL with a tool's name and its "
        "arguments as a JSON object, or a line ANSWER with your answer."
    )

    def parse(self, text):
        """The turn that a text is; never raises, whatever the text."""
        from medvistagym_core import ToolCall, ToolError
        from medvistagym_core.protocol import Turn

        parts = dict(line.partition(" ")[::2] for line in text.splitlines() if line.strip())
        why = parts.pop("WHY", None)
        if set(parts) == {"ANSWER"} and parts["ANSWER"].strip():
            return Turn(text, why, answer=parts["ANSWER"].strip(), well_formed=True)
        name, _, arguments = parts.get("CALL", "").partition(" ")
        try:
            values = json.loads(arguments or "{}") if name and set(parts) == {"CALL"} else None
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            error = ToolError("malformed_call", 'Write one line: CALL NAME {"argument": value}, or ANSWER your answer.')
            return Turn(text, why, error=error)
        return Turn(text, why, calls=(ToolCall(name=name, arguments=values),), well_formed=True)

    def parse_message(self, message):
        """The turn in an assistant's chat message, whose calls may already be parsed."""
        from medvistagym_core.protocol import TextProtocol

        if message.get("tool_calls"):
            return TextProtocol(max_calls_per_turn=1).parse_message(message)
        return self.parse(str(message.get("content") or ""))

    def format_turn(self, think=None, calls=(), answer=None):
        """The text of a turn; `parse` reads it back."""
        if bool(calls) == (answer is not None) or len(calls) > 1:
            raise ValueError("a turn has either one call or an answer")
        lines = [f"WHY {' '.join(think.split())}"] if think else []
        lines += [f"CALL {call.name} {json.dumps(call.arguments)}" for call in calls]
        return "\n".join([*lines, *([f"ANSWER {answer}"] if answer is not None else [])])


@hookimpl
def medvistagym_action_formats():
    return {"lab_lines": LineFormat()}
