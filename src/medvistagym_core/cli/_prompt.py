"""`medvistagym prompt`: what a policy is told about its tools."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_common, add_selection, load_registry, select_toolbox

__all__ = ["configure"]

_EXAMPLE = """\
medvistagym prompt --tools window,zoom
medvistagym prompt --tools '*' --task scoutvqa --json
medvistagym prompt --tools window,zoom --model checkpoints/my-vlm"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    add_selection(parser)
    parser.add_argument("--task", metavar="NAME", help="say how this task abstains")
    parser.add_argument(
        "--think", choices=["required", "optional", "off"], default="optional", help="reasoning in a turn"
    )
    parser.add_argument(
        "--calls-per-turn", metavar="N", type=int, default=1, help="most tool calls in one turn (default: 1)"
    )
    parser.add_argument(
        "--model", metavar="PATH", help="through the chat template of this local checkpoint, and what it leaves out"
    )
    parser.set_defaults(execute=_prompt)


def _prompt(options: argparse.Namespace) -> int:
    from medvistagym_core.protocol import TextProtocol, system_prompt

    registry = load_registry(options)
    toolbox = select_toolbox(registry, options.tools)
    protocol = TextProtocol(options.think, options.calls_per_turn)
    abstention = registry.task(options.task).abstention if options.task else None

    def system(*, tools: bool) -> str:
        return system_prompt(toolbox.specs, rules=protocol.instructions, abstention=abstention, tools=tools)

    if options.model is not None:
        return _through_template(options, toolbox.schemas("huggingface"), system(tools=False), system(tools=True))
    if options.json:  # as for a chat template that shows the tools itself
        print_json({"system": system(tools=False), "tools": toolbox.schemas("huggingface")})
    else:
        print_text(system(tools=True))
    return 0


def _through_template(options: argparse.Namespace, schemas: Sequence[Any], short: str, whole: str) -> int:
    """Print the opening of an episode as a checkpoint would read it, and warn of what its template leaves out.

    Args:
        options: The command's options.
        schemas: The toolbox, for a template that shows tools.
        short: The system prompt without the schemas.
        whole: The system prompt with the schemas, for a template that does not show them.
    """
    from medvistagym_core.protocol import inspect_chat_template, load_template, render_chat

    try:
        template = load_template(options.model)
    except ValueError as error:
        raise UsageError(str(error)) from error
    report = inspect_chat_template(template, schemas)
    words = {"type": "text", "text": "QUESTION"}
    content: Any = (
        [{"type": "image"}, words] if report.images else [words] if report.accepts_content_blocks else "QUESTION"
    )
    system = whole if report.tools_not_rendered else short
    if report.system:
        first = {
            "role": "system",
            "content": [{"type": "text", "text": system}] if report.accepts_content_blocks else system,
        }
        messages = [first, {"role": "user", "content": content}]
    else:
        before = f"{system}\n"
        joined = [{"type": "text", "text": before}, *content] if report.accepts_content_blocks else before + content
        messages = [{"role": "user", "content": joined}]
    text = render_chat(template, messages, () if report.tools_not_rendered else schemas, generation=True)
    for problem in report.problems:
        print_stderr(f"medvistagym: warning: {problem}")
    if report.tools_not_rendered:
        print_stderr("medvistagym: the schemas are written into the system prompt instead")
    if options.json:
        schemas_in = "system prompt" if report.tools_not_rendered else "template"
        print_json({"prompt": text, "schemas_in": schemas_in, "problems": list(report.problems)})
    else:
        print_text(text)
    return 0
