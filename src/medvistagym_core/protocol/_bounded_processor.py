"""Tokenizers and processors of transformers whose chat templates are rendered within limits (`_template_process`).

What is rendered stands in the first message, and transformers is given a template that writes that and nothing else. So it
tokenizes, and looks at images, as it does with the checkpoint's own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from medvistagym_core.protocol._template_process import render_template

_RENDERED: Final = "rendered_chat"
_WRITES_RENDERED: Final = f"{{{{ messages[0]['{_RENDERED}'] }}}}"
_REASONING_KEYS: Final = ("reasoning_content", "thinking", "reasoning")
_OPTIONS: Final = (
    "add_special_tokens",
    "audio_kwargs",
    "common_kwargs",
    "images_kwargs",
    "load_audio_from_video",
    "max_length",
    "pad_to_multiple_of",
    "padding",
    "padding_side",
    "processor_kwargs",
    "return_attention_mask",
    "return_dict",
    "return_mm_token_type_ids",
    "return_offsets_mapping",
    "return_tensors",
    "return_token_type_ids",
    "text_kwargs",
    "tokenizer_kwargs",
    "truncation",
    "videos_kwargs",
)
"""Options of transformers, whatever words a template is made of."""
_UNSUPPORTED: Final = ("continue_final_message", "return_assistant_tokens_mask", "sanitize_control_tokens")


class BoundedChatTemplate:
    """Mixed into a tokenizer or processor of transformers, before it.

    Attributes:
        trusted_templates: Templates that are not a stranger's, which transformers renders itself.
    """

    chat_template: Any
    trusted_templates: ClassVar[frozenset[str]] = frozenset()

    def apply_chat_template(
        self,
        conversation: Any,
        chat_template: str | None = None,
        tools: Any = None,
        documents: Any = None,
        add_generation_prompt: bool = False,
        tokenize: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Render, and tokenize, a conversation or several, as transformers does.

        Args:
            conversation: Chat messages, or a list of conversations.
            chat_template: A template, or the name of one, in place of its own.
            tools: Schemas in the Hugging Face dialect.
            documents: Passed to the template.
            add_generation_prompt: Whether to open the assistant's turn at the end.
            tokenize: Whether to go on to tokens.
            **kwargs: Further variables of the template, and options of transformers.

        Raises:
            ChatTemplateError: The template fails.
            CostlyTemplateError: It exceeds a limit.
            NotImplementedError: An option is asked for that needs the template itself.
            TypeError: A tool is a function, not a schema.
            ValueError: There is no chat template, or none of that name.
        """
        source = _select_template(self, chat_template, tools)
        options = {"tools": tools, "documents": documents, "add_generation_prompt": add_generation_prompt}
        if source in self.trusted_templates:
            return self._apply_template(conversation, chat_template=source, tokenize=tokenize, **options, **kwargs)
        if asked := [name for name in _UNSUPPORTED if kwargs.pop(name, False)]:
            raise NotImplementedError(f"{asked[0]} needs the chat template itself, which is rendered elsewhere")
        if function := next(filter(callable, tools or ()), None):
            name = getattr(function, "__name__", type(function).__name__)
            raise TypeError(f"the tool {name} is a function; give its JSON schema (transformers.utils.get_json_schema)")
        is_single = not conversation or isinstance(conversation[0], Mapping)
        chats = [conversation] if is_single else conversation
        variables = {**_special_tokens(self), **kwargs, **options}
        rendered = [render_template(source, {**variables, "messages": _normalize(chat)}) for chat in chats]
        if not tokenize:
            return rendered[0] if is_single else rendered
        marked = [
            [{**message, _RENDERED: text} if k == 0 else message for k, message in enumerate(chat)]
            for chat, text in zip(chats, rendered, strict=True)
        ]
        others = {name: value for name, value in kwargs.items() if name in _OPTIONS or not _names(source, name)}
        return self._apply_template(
            marked[0] if is_single else marked, chat_template=_WRITES_RENDERED, tokenize=True, **others
        )

    def _apply_template(self, *args: Any, **kwargs: Any) -> Any:
        """What transformers does with a template that is not the checkpoint's."""
        return super().apply_chat_template(*args, **kwargs)  # type: ignore[misc]


def load_bounded_processor(folder: str | Path) -> Any:
    """The processor of a local checkpoint, as transformers finds it, with its chat template rendered within limits.

    It is of a class of the same name, which is what is saved of it.
    """
    from transformers import AutoProcessor

    auto: Any = AutoProcessor
    processor = auto.from_pretrained(folder, local_files_only=True)
    kind: Any = type(processor)
    if issubclass(kind, BoundedChatTemplate):
        return processor
    return _bind(kind).from_pretrained(folder, local_files_only=True)


@functools.cache
def _bind(kind: Any) -> Any:
    """A class of the same name with a bounded template. It is in no module, so its objects are pickled by the class bound."""

    def reduce(self: Any) -> tuple[Any, ...]:
        return _new, (kind,), self.__getstate__()

    return type(kind.__name__, (BoundedChatTemplate, kind), {"__module__": kind.__module__, "__reduce__": reduce})


def _new(kind: type) -> Any:
    bounded = _bind(kind)
    return bounded.__new__(bounded)


def render_messages(processor: Any, messages: Sequence[Mapping[str, Any]], tools: Any, *, generation: bool) -> str:
    """The text of a conversation through the chat template of a tokenizer or processor of any kind.

    Args:
        processor: One without a Jinja template renders as it does.
        messages: Chat messages.
        tools: Schemas in the Hugging Face dialect, or None.
        generation: Whether to open the assistant's turn at the end.

    Raises:
        ChatTemplateError: The template fails.
        CostlyTemplateError: It exceeds a limit.
    """
    options = {"tools": tools, "add_generation_prompt": generation}
    template = getattr(processor, "chat_template", None)
    if isinstance(processor, BoundedChatTemplate) or not isinstance(template, str | Mapping) or not template:
        return str(processor.apply_chat_template(list(messages), tokenize=False, **options))
    source = _select_template(processor, None, tools)
    return render_template(source, {**_special_tokens(processor), **options, "messages": _normalize(messages)})


def _select_template(processor: Any, name: str | None, tools: Any) -> str:
    """The template of a name, or the template itself that is given in its place; without either, as transformers selects it.

    Raises:
        ValueError: There is none.
    """
    template = processor.chat_template
    if isinstance(template, Mapping):
        is_tokenizer = not hasattr(processor, "tokenizer")  # processors keep to the default one
        if name is None and tools is not None and is_tokenizer and "tool_use" in template:
            name = "tool_use"
        source = template.get(name or "default", name)
    else:
        source = name or template
    if not isinstance(source, str):
        raise ValueError("there is no chat template" + (" called default" if isinstance(template, Mapping) else ""))
    return source


def _names(source: str, variable: str) -> bool:
    """Whether a template names a variable, so that it is none of the options of transformers."""
    return re.search(rf"\b{re.escape(variable)}\b", source) is not None


def _special_tokens(processor: Any) -> dict[str, Any]:
    tokenizer = getattr(processor, "tokenizer", processor)
    return dict(getattr(tokenizer, "special_tokens_map", {}))


def _normalize(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as transformers hands them to a template: without empty entries, reasoning under each of its names."""
    normalized = []
    for message in messages:
        present = {key: value for key, value in message.items() if value is not None}
        reasoning = next((present[key] for key in _REASONING_KEYS if key in present), None)
        if reasoning is not None:
            present = {"thinking": reasoning, **present, "reasoning_content": reasoning}
        normalized.append(present)
    return normalized
