"""A policy that is served by an OpenAI-compatible endpoint, such as a vLLM server.

Calls and their schemas go through the API's own `tools`; a result's images follow it in a user's message, since the API takes
text alone from a tool. What comes back is put into the wire format, so that records and rewards do not depend on who acted.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import cachetools

from medvistagym_core.environment import Observation, ShownMessages
from medvistagym_core.imaging import RenderedImage, encode_png
from medvistagym_core.protocol import (
    THINK,
    TOOL_CALL_TAGS,
    ActionFormat,
    Block,
    Message,
    TextProtocol,
    ToolMessageStyle,
    Turn,
)
from medvistagym_core.rollouts._chat_completions import ChatCompletionsClient, EndpointError
from medvistagym_core.rollouts._policy import PolicyUnavailableError
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import SamplingParams

_THREADS: Final = 64
_MAX_URL_CHARS: Final = 64 * 2**20


class EndpointPolicy:
    """Asks an endpoint for turns, many at once.

    An episode whose request failed for good ends with the reason on record. When all requests of a batch fail because there is
    no server, or because it refuses the key or the address, `act` raises `PolicyUnavailableError`, and the rollout stops there.

    Args:
        endpoint: Where the model is served.
        model: Its name there.
        toolbox: The tools that may be called.
        protocol: How turns are written.
        style: "tools" for a server that takes tools, "text" for one that does not; the episodes' settings have the same.
        temperature: Sampling temperature; 0 is greedy.
        top_p: Share of the probability that is sampled from.
        max_tokens: Longest turn in tokens.
        seed: Seed of the sampling, where the server heeds it.
        name: What reports call it; the model's name unless given.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        endpoint: ChatCompletionsClient,
        model: str,
        toolbox: Toolbox,
        protocol: ActionFormat | None = None,
        *,
        style: ToolMessageStyle = "tools",
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_tokens: int = 1024,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        if temperature < 0 or not 0 < top_p <= 1 or max_tokens < 1:
            given = f"{temperature}, {top_p} and {max_tokens}"
            raise ValueError(f"temperature is at least 0, top_p in (0, 1] and max_tokens at least 1, not {given}")
        self.name = name or model
        self.sampling: SamplingParams = {
            "endpoint": endpoint.url,
            "model": model,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
        }
        self._endpoint = endpoint
        self._protocol: ActionFormat = protocol or TextProtocol()
        self._seed = seed
        self._pictures = PictureUrls()
        self._body: dict[str, Any] = {
            "model": model,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
        }
        if style == "tools" and len(toolbox):
            self._body["tools"] = toolbox.schemas("openai")
            if self._protocol.max_calls_per_turn == 1:
                self._body["parallel_tool_calls"] = False
        elif style == "text":
            self._body["stop"] = [TOOL_CALL_TAGS[1]]

    @property
    def concurrency(self) -> int:
        """How many requests may be under way at once."""
        return self._endpoint.concurrency

    def act_one(self, observation: Observation) -> Turn:
        """A turn for one observation.

        Raises:
            PolicyUnavailableError: There is no server, or it refuses the key or the address.
            EndpointError: The request was refused, or no try succeeded.
        """
        try:
            return self._act(observation)
        except EndpointError as error:
            if error.fatal:
                raise PolicyUnavailableError(str(error)) from error
            raise

    def stop(self) -> None:
        """Let requests that wait give up."""
        self._endpoint.stop()

    def act(self, observations: Sequence[Observation]) -> list[Turn | Exception]:
        """A turn for each observation, or why there is none.

        Raises:
            PolicyUnavailableError: The endpoint cannot be used at all.
        """
        if not observations:
            return []
        turns: list[Turn | Exception] = [EndpointError("not asked")] * len(observations)
        todo = deque(enumerate(observations))

        def work() -> None:
            with contextlib.suppress(IndexError):  # nothing is left to do
                while True:
                    k, observation = todo.popleft()
                    turns[k] = self._act_or_error(observation)

        # Daemons: a run that is interrupted does not wait for what is still being asked.
        threads = [threading.Thread(target=work, daemon=True) for _ in observations[:_THREADS]]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            todo.clear()
            self._endpoint.stop()
            raise
        failed = [turn for turn in turns if isinstance(turn, EndpointError)]
        if len(failed) == len(turns) and all(error.fatal for error in failed):
            raise PolicyUnavailableError(str(failed[0]))
        return turns

    def _act_or_error(self, observation: Observation) -> Turn | Exception:
        try:
            return self._act(observation)
        except Exception as error:  # noqa: BLE001 - one request that fails must not cost the others theirs
            return error

    def _act(self, observation: Observation) -> Turn:
        named = repr((self._seed, observation.seed, observation.num_turns)).encode()
        seed = int.from_bytes(hashlib.sha256(named).digest()[:4], "big") >> 1
        messages = list(to_openai_messages(*self._prepare_pictures(observation)))
        return self._to_turn(self._endpoint.complete({**self._body, "messages": messages, "seed": seed}))

    def _prepare_pictures(self, observation: Observation) -> tuple[Sequence[Message], Callable[[Any], str]]:
        """The messages, and what gives the URL of what stands in their image blocks."""
        messages = observation.messages
        if isinstance(messages, ShownMessages):
            rendered = messages.rendered
            return messages.messages, lambda handle: self._pictures.get(rendered[handle])
        return messages, self._pictures.get

    def _to_turn(self, message: dict[str, Any]) -> Turn:
        """The turn that the endpoint's message is."""
        if isinstance(message.get("content"), list):
            message = _without_parts(message)
        if isinstance(message.get("function_call"), dict) and not message.get("tool_calls"):  # the API before `tools`
            message = {**message, "tool_calls": [message["function_call"]]}
        content = message.get("content") or message.get("refusal") or ""
        if isinstance(content, str) and content.lstrip().startswith(THINK[0]) and THINK[1] in content:
            # some servers give the reasoning twice
            message = {key: value for key, value in message.items() if key not in ("reasoning_content", "reasoning")}
        if not isinstance(content, str):
            return self._protocol.parse_message(message)
        if message.get("tool_calls") and content.strip() and "<" not in content and self._protocol.think != "off":
            content = f"{THINK[0]}{content.strip()}{THINK[1]}"  # what a model says before a call is its reasoning
        elif content.count(TOOL_CALL_TAGS[0]) > content.count(TOOL_CALL_TAGS[1]) and "stop" in self._body:
            content += TOOL_CALL_TAGS[1]  # servers leave out the text that they stop at
        return self._protocol.parse_message({**message, "content": content})


def _without_parts(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose content is a list of parts, with those that are calls, reasoning or a refusal where the API has them.

    Servers that translate from other APIs leave them there: Anthropic's `tool_use` and `thinking`, Mistral's `thinking`.
    """
    texts, calls, thoughts = [], list(message.get("tool_calls") or ()), []
    for part in message["content"]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "tool_use":
            calls.append({key: part.get(key) for key in ("id", "name")} | {"arguments": part.get("input")})
        elif kind in ("thinking", "reasoning"):
            thoughts.append(_part_text(part.get("thinking") or part.get("text")))
        elif kind == "refusal":
            texts.append({"type": "text", "text": part.get("refusal")})
        else:
            texts.append(part)
    moved: dict[str, Any] = {"content": texts, "tool_calls": calls or None}
    if thoughts and not (message.get("reasoning_content") or message.get("reasoning")):
        moved["reasoning_content"] = "".join(thoughts)
    return {**message, **moved}


def _part_text(value: Any) -> str:
    parts = value if isinstance(value, list) else [value]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


class PictureUrls:
    """Pictures as data URLs. Those used last are kept: every turn sends its pictures again, and episodes of a case share them.

    Args:
        max_chars: Most characters of URLs that are kept.
    """

    def __init__(self, max_chars: int = _MAX_URL_CHARS) -> None:
        # By identity, with the picture itself so that no other one can have it.
        self._urls: cachetools.LRUCache[int, tuple[Any, str]] = cachetools.LRUCache(
            max_chars, lambda entry: len(entry[1])
        )
        self._lock = threading.Lock()

    def get(self, picture: Any) -> str:
        """The PNG file of a rendered image or an RGB Pillow image as a data URL; one that is grey is sent in grey."""
        with self._lock:
            found = self._urls.get(id(picture))
        if found is not None:
            return found[1]
        png = picture.png if isinstance(picture, RenderedImage) else _png(picture)
        url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        with self._lock, contextlib.suppress(ValueError):  # larger than all that is kept
            self._urls[id(picture)] = picture, url
        return url


def to_openai_messages(messages: Sequence[Message], picture_url: Callable[[Any], str]) -> Iterator[Message]:
    """A conversation as the chat completions API takes it.

    Args:
        messages: Messages whose image blocks hold pictures of any kind.
        picture_url: Gives such a picture as the API takes it.
    """
    calls, due = 0, 0
    images: list[Block] = []
    for message in messages:
        content = [_to_openai_part(block, picture_url) for block in message["content"]]
        if message["role"] != "tool" and images:
            yield {"role": "user", "content": images}
            images = []
        if message["role"] == "tool":
            texts = [part["text"] for part in content if part["type"] == "text"]
            yield {"role": "tool", "tool_call_id": f"call_{due}", "content": "\n".join(texts)}
            due += 1
            if len(texts) < len(content):
                images += content
        elif message["role"] == "assistant":
            reply: Message = {"role": "assistant", "content": "".join(part["text"] for part in content)}
            if "tool_calls" in message:
                due = calls
                reply["tool_calls"] = [
                    _call(call["function"], calls + k) for k, call in enumerate(message["tool_calls"])
                ]
                calls += len(message["tool_calls"])
            yield reply
        elif all(part["type"] == "text" for part in content):
            yield {"role": message["role"], "content": "\n".join(part["text"] for part in content)}
        else:
            yield {"role": message["role"], "content": content}
    if images:
        yield {"role": "user", "content": images}


def _png(picture: Any) -> bytes:
    """The PNG file of an RGB picture, of one channel where all three are the same."""
    import numpy as np

    values = np.asarray(picture)
    first = values[..., 0]
    is_grey = bool((first == values[..., 1]).all()) and bool((first == values[..., 2]).all())
    return encode_png(first if is_grey else values)


def _call(function: dict[str, Any], number: int) -> dict[str, Any]:
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {"id": f"call_{number}", "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _to_openai_part(block: Block, picture_url: Callable[[Any], str]) -> dict[str, Any]:
    if block["type"] != "image":
        return {"type": "text", "text": block["text"]}
    return {"type": "image_url", "image_url": {"url": picture_url(block["image"])}}
