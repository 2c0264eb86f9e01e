"""New tokens for a tiny model whose tools or task came after it was built.

A tiny model's tokenizer is made for one toolbox and one task. Anything else falls back to bytes, which the model never learnt
to read or write. So whole texts of what came later (a tool's schema, the stem of its calls, a question) get tokens of their
own. A new token begins with the mean weights of the older tokens of its kind: a new tool is then about as likely as an average
tool where the policy is undecided, and reinforcement learning tries it, without any demonstration. The stem of its calls begins
as those of tools that require the same arguments, where there are any: what has to be written after it is the same.

A prompt that is no longer the one that the model was made for gets a token as well, which begins as the former prompt's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from tokenizers import AddedToken

from medvistagym_trl.model._loaded_model import LoadedModel
from medvistagym_trl.model._tokenizer import INTEGER, frequent_texts, whole_texts

_ROUND: Final = 32
"""The number of embeddings is a multiple of it, as when the model was built."""


def extend_vocabulary(
    loaded: LoadedModel, schemas: Sequence[Mapping[str, Any]], words: Iterable[str], corpus: Iterable[str]
) -> list[str]:
    """Give a tiny model, in place, a token for every whole text of a toolbox and a task that it has none for.

    Args:
        loaded: The tiny model, with tied embeddings.
        schemas: The toolbox in the Hugging Face dialect.
        words: The task's vocabulary.
        corpus: Texts of the kind that the policy will read.

    Returns:
        The texts that are new; empty where the model knows all.
    """
    tokenizer = loaded.tokenizer
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    wanted = whole_texts(schemas, frequent_texts(corpus), words)
    new = {text: alone for text, alone in wanted.items() if text not in vocabulary}
    if not new:
        return []
    added: dict[str, int] = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
    kinds: dict[str, list[int]] = {}
    for text, number in added.items():
        for kind in (_kind(text), *_kind_of_call(text, schemas)):
            kinds.setdefault(kind, []).append(number)
    peers = {}
    for text in new:
        alike = (*_kind_of_call(text, schemas), _kind(text))
        peers[text] = next((kinds[kind] for kind in alike if kind in kinds), list(added.values()))
    _add_tokens(loaded, new, peers)
    return list(new)


def replace_prompt(loaded: LoadedModel, prompt: str, former: str) -> None:
    """Let a model whose prompt is one token, as a tiny model's is, read another prompt as one token too; in place.

    Spelt out, a prompt is hundreds of tokens, most of which such a model has never met. The token begins with the weights
    of the former prompt's. A model that spells its prompt out, or has a token for the other one, is left as it is.

    Args:
        loaded: The model, with tied embeddings.
        prompt: The prompt that it is to read.
        former: The prompt that it was made for.
    """
    vocabulary: dict[str, int] = loaded.tokenizer.get_vocab()
    if former in vocabulary and prompt not in vocabulary:
        _add_tokens(loaded, {prompt: False}, {prompt: [vocabulary[former]]})


def _add_tokens(loaded: LoadedModel, new: Mapping[str, bool], peers: Mapping[str, Sequence[int]]) -> None:
    """Give a model tokens for texts (and whether each is one as a word of its own only), with the mean weights of its peers."""
    tokenizer = loaded.tokenizer
    tokenizer.add_tokens([AddedToken(text, single_word=alone, normalized=False) for text, alone in new.items()])
    size = -(-len(tokenizer) // _ROUND) * _ROUND
    if size > loaded.model.get_input_embeddings().weight.shape[0]:
        loaded.model.resize_token_embeddings(size, mean_resizing=False)
    weights = loaded.model.get_input_embeddings().weight
    with torch.no_grad():
        for text in new:
            weights[tokenizer.convert_tokens_to_ids(text)] = weights[list(peers[text])].mean(0)


def _kind_of_call(text: str, schemas: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The kind of a stem by what its tool requires; nothing for other texts, and for stems of tools that are not given."""
    for schema in schemas:
        function = schema["function"]
        head, began, rest = text.partition(f'<tool_call>{{"name": {json.dumps(function["name"])}, "arguments": {{')
        if began and not head:
            return (f"stem {rest}of {sorted(function['parameters'].get('required', ()))}",)
    return ()


def _kind(text: str) -> str:
    """What a whole text stands for: tokens of one kind stand in one another's places."""
    if text.startswith('{"type": "function"'):
        return "schema"
    if text.startswith('<tool_call>{"name": '):
        return "stem " + text.partition('"arguments": {')[2]
    if text.endswith((": ", ": [")):
        return "key"
    if INTEGER.match(text):
        return "number " + text[-1]
    if text.endswith("?"):
        return "question"
    return "text" if " " in text and not text.replace(" ", "").isalnum() else "word"
