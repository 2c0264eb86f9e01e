"""A tokenizer made to measure for one toolbox and one task.

A tiny policy cannot afford a prompt of a thousand tokens, yet its prompt must carry the toolbox's JSON Schemas
exactly. So the vocabulary is built from what the policy will read and write: the instructions are one token and so is
every schema line, and so are the stem of a call (`<tool_call>{"name": ..., "arguments": {"image": `), every argument
key, every answer, and every number together with the separator that follows it (`250, `, `375]`, `80}`). Text is
still text: decoding the prompt gives back the schemas character for character, and anything unforeseen falls back to
byte-level BPE, digit by digit.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END_OF_TURN: Final = "<|im_end|>"
PADDING: Final = "<|endoftext|>"
IMAGE: Final = "<|image_pad|>"
SPECIAL: Final = (PADDING, "<|im_start|>", END_OF_TURN, "<|vision_start|>", "<|vision_end|>", IMAGE, "<|video_pad|>")
SUPPRESSED_TOKENS: Final = ("<|vision_start|>", "<|vision_end|>", IMAGE, "<|video_pad|>")
"""Tokens that stand for images: a policy that samples one would claim an image that is not there."""

_MARKS = ("<think>", "</think>", "<answer>", "</answer>", "\n<tools>\n", "</tools>", "<tool_call>", "</tool_call>")
_CLOSERS = ("}</tool_call>", "}}</tool_call>")
_ROLES = ("system\n", "user\n", "assistant\n", "tool\n")
_MIN_REPEATS: Final = 3
"""How often a text without digits must come in the corpus to become one token."""
_SEPARATORS = (", ", "]", "}")
INTEGER: Final = re.compile(r"-?\d+")


def schema_line(schema: Mapping[str, Any]) -> str:
    """One tool's JSON Schema exactly as the chat template writes it (`tojson`: insertion order, no ASCII escapes)."""
    return json.dumps(schema, ensure_ascii=False)


def tool_call_tokens(schemas: Iterable[Mapping[str, Any]]) -> list[str]:
    """The fixed text of every call a toolbox allows: stems, keys and enumerated values.

    Args:
        schemas: Tools in the Hugging Face dialect (`{"type": "function", "function": {...}}`).

    Returns:
        Strings of which the JSON text of any valid call is made, apart from numbers and free text.
    """
    tokens: list[str] = []
    for schema in schemas:
        function = schema["function"]
        head = f'<tool_call>{{"name": {json.dumps(function["name"])}, "arguments": {{'
        tokens.append(head)
        for key, value in function["parameters"].get("properties", {}).items():
            opening = "[" if _is_array(value) else ""
            tokens += [f"{head}{json.dumps(key)}: {opening}", f"{json.dumps(key)}: {opening}"]
            for option in _list_values(value):
                tokens += [json.dumps(option) + after for after in ("", *_SEPARATORS)]
    return tokens


def call_opening(schema: Mapping[str, Any], images: Collection[str]) -> str:
    """How a call of a tool begins, up to the first value that its schema requires and that is to be chosen.

    Each image that it requires is the first of the episode. Where a tool requires nothing else, the call begins with the key of
    its first argument.

    Args:
        schema: The tool in the Hugging Face dialect.
        images: Names of its arguments that are images.
    """
    stem, *opened = tool_call_tokens([schema])[:2]
    parameters = schema["function"]["parameters"]
    required = [key for key in parameters.get("properties", {}) if key in parameters.get("required", ())]
    chosen = next((number for number, key in enumerate(required) if key not in images), None)
    if chosen is None:
        return opened[0] if opened else stem
    handles = "".join(f"{json.dumps(key)}: 0, " for key in required[:chosen])
    key = required[chosen]
    return f"{stem}{handles}{json.dumps(key)}: {'[' if _is_array(parameters['properties'][key]) else ''}"


def build_tokenizer(
    schemas: Sequence[Mapping[str, Any]],
    texts: Iterable[str],
    words: Iterable[str],
    corpus: Iterable[str],
    size: int = 448,
) -> PreTrainedTokenizerFast:
    """Build a tokenizer for a toolbox and a task.

    Args:
        schemas: The toolbox's tools in the Hugging Face dialect; each becomes one token.
        texts: Recurring texts such as the instructions or a fixed question; each becomes one token.
        words: The task's vocabulary. A plain integer such as "-700" becomes its forms with a separator ("-700, ",
            "-700]", "-700}"), never a bare number, so that measured values are still read digit by digit.
        corpus: Texts of the kind the policy reads (questions, what tools say), from which byte-level BPE learns the rest.
        size: Number of BPE entries before the whole tokens are added, at least 256 + 7.
    """
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d|[^\d\s]+ ?|\s"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    model.decoder = decoders.ByteLevel()
    model.train_from_iterator(
        list(corpus),
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    whole = dict.fromkeys((*_MARKS, *_CLOSERS, *_ROLES), False) | whole_texts(schemas, texts, words)
    model.add_tokens(
        [AddedToken(text, single_word=alone, normalized=False, special=False) for text, alone in whole.items()]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=model,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        additional_special_tokens=list(SPECIAL[1:]),
        padding_side="left",
        truncation_side="left",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


def frequent_texts(corpus: Iterable[str]) -> list[str]:
    """Texts without digits that come in a corpus at least `_MIN_REPEATS` times."""
    return [
        text
        for text, count in Counter(corpus).items()
        if count >= _MIN_REPEATS and not any(letter.isdigit() for letter in text)
    ]


def whole_texts(schemas: Sequence[Mapping[str, Any]], texts: Iterable[str], words: Iterable[str]) -> dict[str, bool]:
    """Texts that are one token each, and whether only as words of their own; see `build_tokenizer`."""
    whole = dict.fromkeys((text for text in texts if text.strip()), False)
    whole |= dict.fromkeys((schema_line(schema) + "\n" for schema in schemas), False)
    whole |= dict.fromkeys(tool_call_tokens(schemas), False)
    for number in range(10):  # image handles
        whole[f"{number}, "] = False
    for word in words:
        if INTEGER.fullmatch(word):
            whole |= dict.fromkeys((word + after for after in _SEPARATORS), False)
        elif word.strip():
            whole[word] = word[0].isalnum() and word[-1].isalnum()
    return whole


def suppressed_token_ids(tokenizer: Any) -> list[int]:
    """Ids of `SUPPRESSED_TOKENS`, as far as the tokenizer has them."""
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in SUPPRESSED_TOKENS if token in vocabulary]


def _is_array(schema: Mapping[str, Any]) -> bool:
    return any(option.get("type") == "array" for option in (schema, *schema.get("anyOf", ())))


def _list_values(schema: Mapping[str, Any]) -> list[Any]:
    return [value for option in (schema, *schema.get("anyOf", ())) for value in option.get("enum", ())]
