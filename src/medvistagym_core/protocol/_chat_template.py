"""What a checkpoint's chat template does with tools and images, found by rendering rather than from the model's name.

Many templates silently drop tool schemas, or the images of a tool's result; a policy trained on such a prompt never
sees them. `inspect_chat_template` renders small conversations and reports what is lost. transformers is imported when a
template is loaded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from medvistagym_core.protocol._bounded_processor import render_messages
from medvistagym_core.protocol._template_process import ChatTemplateError, try_chat_template
from medvistagym_core.tools import first_line

Message = dict[str, Any]
Schemas = Sequence[Mapping[str, Any]]
_QUESTION: Final = "vq17"
_ARGUMENT: Final = "vq23"
_RESULT: Final = "vq42"
_IMAGE: Final[Message] = {"type": "image"}


class ChatTemplate(Protocol):
    """A tokenizer or processor of transformers."""

    def apply_chat_template(self, conversation: list[Message], **options: Any) -> Any: ...


@dataclasses.dataclass(frozen=True)
class ChatTemplateReport:
    """What a chat template shows.

    Attributes:
        tools_not_rendered: Tools whose name or arguments it does not show.
        schemas_abridged: Tools that it shows without their exact JSON Schema, so without bounds or descriptions.
        accepts_content_blocks: Whether it takes content as a list of blocks; it takes text otherwise.
        system: Whether it takes a system message.
        images: Whether it shows images in a user's message.
        calls: Whether it shows the calls of an earlier turn.
        results: Whether it shows the text of a tool's result.
        result_images: Whether it shows images in a tool's result.
        prefix_preserving: Whether what is rendered stays unchanged when a tool's result follows (prefix-preserving).
        failures: What it raised, by what was tried.
    """

    tools_not_rendered: tuple[str, ...] = ()
    schemas_abridged: tuple[str, ...] = ()
    accepts_content_blocks: bool = True
    system: bool = True
    images: bool = True
    calls: bool = True
    results: bool = True
    result_images: bool = True
    prefix_preserving: bool = True
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each thing that a policy with tools would miss; empty when nothing is lost."""
        problems = []
        if self.tools_not_rendered:
            problems.append(f"the template does not show the schemas of {', '.join(self.tools_not_rendered)}")
        if self.schemas_abridged:
            problems.append(
                f"the template shows {', '.join(self.schemas_abridged)} without the exact schema (bounds, descriptions)"
            )
        for is_rendered, what in (
            (self.system, "takes no system message"),
            (self.images, "does not show images"),
            (self.calls, "leaves out earlier tool calls"),
            (self.results, "leaves out what tools return"),
            (self.result_images, "leaves out images that tools return"),
            (self.prefix_preserving, "rewrites earlier turns when a tool's result follows"),
        ):
            if not is_rendered:
                problems.append(f"the template {what}")
        return tuple(
            problems + [f"the template fails on {what} ({message})" for what, message in self.failures.items()]
        )


def load_template(path: str | Path) -> ChatTemplate:
    """The tokenizer of a local checkpoint, or its processor where only that has a chat template. Downloads nothing.

    Raises:
        ValueError: The folder holds no checkpoint with a chat template.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not the folder of a checkpoint")
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ValueError("chat templates are rendered by transformers: pip install transformers") from error
    # Importing the first takes a tenth of the time of the others, which need torch.
    kinds = {
        "PreTrainedTokenizerFast": ("tokenizer.json",),
        "AutoTokenizer": ("tokenizer_config.json", "config.json"),
        "AutoProcessor": ("processor_config.json", "preprocessor_config.json", "chat_template.json"),
    }
    reasons = []
    for kind, files in kinds.items():
        if not any((folder / file).is_file() for file in files):
            continue
        try:
            processor: Any = getattr(transformers, kind).from_pretrained(folder, local_files_only=True)
        except Exception as error:  # noqa: BLE001 a foreign folder can fail in any way
            reasons.append(first_line(error))
            continue
        if getattr(processor, "chat_template", None):
            template: ChatTemplate = processor
            return template
        reasons.append("it has no chat template")
    raise ValueError(f"{folder}: no chat template can be loaded: {reasons[0] if reasons else 'it holds no tokenizer'}")


def render_chat(
    template: ChatTemplate, messages: Sequence[Message], schemas: Schemas = (), *, generation: bool = False
) -> str:
    """The text of a conversation, images as the template's own marks.

    Args:
        template: A tokenizer or processor.
        messages: Chat messages with content blocks or text.
        schemas: Tools in the Hugging Face dialect.
        generation: Whether to open the assistant's turn at the end.

    Raises:
        ChatTemplateError: The template fails on the conversation.
        CostlyTemplateError: It takes more time or memory, or writes more, than it may.
    """
    return render_messages(template, messages, list(schemas) or None, generation=generation)


def inspect_chat_template(template: ChatTemplate, schemas: Schemas) -> ChatTemplateReport:
    """What the template shows of a toolbox, of calls and results, and of images.

    Args:
        template: A tokenizer or processor.
        schemas: The toolbox in the Hugging Face dialect.

    Raises:
        CostlyTemplateError: The template takes more time or memory than it may.
    """
    try_chat_template(getattr(template, "chat_template", None))
    return _Probe(template, schemas).report()


class _Probe:
    def __init__(self, template: ChatTemplate, schemas: Schemas) -> None:
        self._template = template
        self._schemas = list(schemas)
        self._failures: dict[str, str] = {}
        self._blocks = True
        plain = self._try([{"role": "user", "content": [_text(_QUESTION)]}], "")
        self._blocks = plain is not None and _QUESTION in plain and "'text'" not in plain and '"text"' not in plain

    def report(self) -> ChatTemplateReport:
        asked = self._message("user", _QUESTION)
        bare = self._try([asked], "a question")
        with_schemas = self._try([asked], "tool schemas", schemas=self._schemas)
        hidden, shortened = self._missing(bare or "", with_schemas or "")
        system = self._try([self._message("system", _RESULT), asked], "")
        mark = self._mark(bare)
        called = [asked, self._call()]
        before = self._try(called, "a tool call", schemas=self._schemas)
        result = [*called, self._message("tool", _RESULT)]
        after = self._try(result, "a tool's result", schemas=self._schemas)
        opened = self._try(result, "", schemas=self._schemas, generation=True)
        return ChatTemplateReport(
            tools_not_rendered=hidden,
            schemas_abridged=shortened,
            accepts_content_blocks=self._blocks,
            system=system is not None and _RESULT in system,
            images=bool(mark),
            calls=before is not None and _ARGUMENT in before,
            results=after is not None and _RESULT in after,
            result_images=self._shows_result_images(called, after, mark),
            prefix_preserving=before is not None and opened is not None and opened.startswith(before),
            failures=self._failures,
        )

    def _missing(self, bare: str, rendered: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        hidden, shortened = [], []
        squeezed = _without_whitespace(rendered)
        for schema in self._schemas:
            function = schema["function"]
            parts = [function["name"], *function["parameters"].get("properties", {})]
            if any(rendered.count(part) <= bare.count(part) for part in parts):
                hidden.append(function["name"])
            elif _without_whitespace(json.dumps(function["parameters"], ensure_ascii=False)) not in squeezed:
                shortened.append(function["name"])
        return tuple(hidden), tuple(shortened)

    def _mark(self, bare: str | None) -> str:
        """What the template writes for an image in a user's message."""
        if not self._blocks or bare is None:
            return ""
        with_image = self._try([{"role": "user", "content": [_text(_QUESTION), _IMAGE]}], "an image")
        return "" if with_image is None else _inserted_text(bare, with_image).strip()

    def _shows_result_images(self, called: list[Message], after: str | None, mark: str) -> bool:
        if not mark or after is None:
            return False
        message = {**self._message("tool", _RESULT), "content": [_IMAGE, _text(_RESULT)]}
        text = self._try([*called, message], "an image in a tool's result", schemas=self._schemas)
        return text is not None and text.count(mark) == after.count(mark) + 1

    def _message(self, role: str, text: str) -> Message:
        message: Message = {"role": role, "content": [_text(text)] if self._blocks else text}
        return {**message, "name": self._name} if role == "tool" else message

    @property
    def _name(self) -> str:
        return str(self._schemas[0]["function"]["name"]) if self._schemas else "tool"

    def _call(self) -> Message:
        call = {"type": "function", "function": {"name": self._name, "arguments": {"note": _ARGUMENT}}}
        return {"role": "assistant", "content": [] if self._blocks else "", "tool_calls": [call]}

    def _try(
        self, messages: list[Message], what: str, *, schemas: Schemas = (), generation: bool = False
    ) -> str | None:
        try:
            return render_chat(self._template, messages, schemas, generation=generation)
        except Exception as error:  # noqa: BLE001 a template can raise anything
            message = str(error).strip().split("\n")[0][:120]
            if what:
                name = "" if isinstance(error, ChatTemplateError) else type(error).__name__
                self._failures[what] = ": ".join(filter(None, (name, message)))
            return None


def _text(text: str) -> Message:
    return {"type": "text", "text": text}


def _without_whitespace(text: str) -> str:
    return "".join(text.split())


def _inserted_text(short: str, long: str) -> str:
    """What stands in `long` and not in `short`, which is otherwise the same."""
    start = next((k for k, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    end = len(long) - (len(short) - start)
    if not long.endswith(short[start:]):
        return ""
    while start and long[start - 1] == long[end - 1]:  # "<end>" and "<image><end>" share their first character
        start, end = start - 1, end - 1
    return long[start:end]
