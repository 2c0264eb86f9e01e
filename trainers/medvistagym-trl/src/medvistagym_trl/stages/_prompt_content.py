"""What the messages of a prompt hold, as TRL keeps them: compared by content, and without texts that no template renders."""

from __future__ import annotations

import hashlib
from typing import Any, Final

_NOT_RENDERED: Final = "This text cannot be rendered."


def without_texts(prompt: Any) -> Any:
    """A prompt with its images, and one sentence in place of each text that is not the system prompt."""
    return [
        message
        if message["role"] == "system"
        else {
            **message,
            "content": [
                {"type": "text", "text": _NOT_RENDERED} if block["type"] == "text" and block["text"] else block
                for block in _as_blocks(message["content"])
            ],
        }
        for message in prompt
    ]


def _as_blocks(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def prompt_key(prompt: Any) -> Any:
    """Equal for prompts of equal texts and images."""
    return tuple((message["role"], content_key(message["content"])) for message in prompt)


def content_key(content: Any) -> Any:
    """Equal for contents of equal texts and images."""
    return content if isinstance(content, str) else tuple(map(_block_key, content))


def _block_key(block: Any) -> Any:
    if block["type"] != "image":
        return block["text"]
    image = block["image"]
    return image.mode, image.size, hashlib.blake2b(image.tobytes(), digest_size=16).digest()
