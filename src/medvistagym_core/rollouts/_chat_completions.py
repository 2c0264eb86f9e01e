"""An OpenAI-compatible endpoint: a chat completion's body goes in, a message comes out, and what goes wrong on the way is tried
again where that can help.

Requests are at most so many at once and so many a minute. A request that the server refuses for now (408, 409, 425, 429, 5xx),
that does not come back in time, or that comes back as no chat completion is made again after a growing, random time, and not
before the server allows (`Retry-After`, RFC 9110, section 10.2.3). One it refuses for good is an `EndpointError` at once. The
key is read from an environment variable, goes into one header and into nothing else: no record, no message, no redirect.
"""

from __future__ import annotations

import email.utils
import json
import math
import os
import threading
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any, Final

import pydantic_core
import tenacity
import urllib3.exceptions

from medvistagym_core.rollouts._connections import Connections, HttpResponse, ResponseTooLargeError

KEY_VARIABLE: Final = "MEDVISTAGYM_API_KEY"
MAX_RESPONSE_BYTES: Final = 16 * 2**20
MAX_BACKOFF_S: Final = 120.0
_RETRYABLE_STATUS: Final = frozenset({408, 409, 425, 429})
_FATAL_STATUS: Final = frozenset({401, 403, 404, 405})
_SURROGATE_MARKS: Final = (b"\\u", b"\xed")
"""Without one of these no text of JSON holds a surrogate: as an escape, or as the first of the bytes that UTF-8 has none of."""
_WRITTEN: Final = ("content", "tool_calls", "function_call", "reasoning_content", "reasoning", "refusal")
"""What a model may have written, in the places that servers have for it; `reasoning` is vLLM's and OpenRouter's."""

_BROKEN_OFF: Final = frozenset(("error", "abort", "aborted", "cancelled", "insufficient_system_resource"))
"""Ends that are the server's and not the model's: those of OpenRouter, vLLM and SGLang, TGI, and DeepSeek."""


class EndpointError(Exception):
    """A request that was given up.

    Attributes:
        fatal: Whether every other request would fail like it: a wrong key, a wrong address, no server.

    Args:
        message: The sentence.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class _RetryableError(Exception):
    """Worth another try, after `retry_after_s` where the server says so."""

    def __init__(self, message: str, retry_after_s: float | None = None, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.unreachable = unreachable


class RateLimiter:
    """So many requests at a time and a minute, so many tokens a minute, and a pause of all when the server asks for one.

    How many tokens a request takes is known when it is answered. So the requests that may be under way together start, and the
    next wait until what those took is earned: the rate holds over every longer time.

    Args:
        concurrency: Most requests at once.
        per_minute: Most requests a minute, spread evenly; None for no limit.
        tokens_per_minute: Most tokens a minute, prompts included, over every longer time; None for no limit.

    Raises:
        ValueError: `concurrency` is below 1, or a rate is not above 0.
    """

    def __init__(
        self, concurrency: int, per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is at least 1, not {concurrency}")
        for what, limit in (("requests", per_minute), ("tokens", tokens_per_minute)):
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise ValueError(f"{what} a minute are above 0, not {limit}")
        self._token_s = 60.0 / tokens_per_minute if tokens_per_minute else 0.0  # a request's tokens are time to wait
        self._earned = 0.0  # when what was taken so far will have been
        self.slots = threading.BoundedSemaphore(concurrency)
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def reserve(self) -> float:
        """Seconds to wait before the next request; its place in the row is taken."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next, self._earned)
            self._next = at + self._gap
            return at - now

    def charge_tokens(self, tokens: int, began: float) -> None:
        """Note how many tokens a request took.

        Args:
            tokens: Of prompt and answer together.
            began: When it was sent, of `time.monotonic`, in seconds.
        """
        with self._lock:
            self._earned = max(self._earned, began) + tokens * self._token_s

    def pause_for(self, seconds: float) -> None:
        """Let nobody begin before so many seconds have passed."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class ChatCompletionsClient:
    """Chat completions of a server, such as vLLM's.

    Args:
        url: Where the API begins, such as "http://127.0.0.1:8000/v1".
        concurrency: Most requests at once.
        per_minute: Most requests a minute; None for no limit.
        tokens_per_minute: Most tokens a minute, as the server counts them in `usage`; None for no limit.
        retries: How often a request is made again.
        backoff_s: Mean wait before the first of them; it doubles with each.
        timeout_s: Seconds that one request may take.
        key_variable: Environment variable that holds the key, if one is needed.

    Attributes:
        url: Where the API begins.
        concurrency: Most requests at once.

    Raises:
        ValueError: The URL is none, or carries a key; a number is out of range; the key or a proxy cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        concurrency: int = 8,
        per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        retries: int = 6,
        backoff_s: float = 0.5,
        timeout_s: float = 120.0,
        key_variable: str = KEY_VARIABLE,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an endpoint is a URL such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(f"an endpoint's URL carries no key and no query; put the key into {key_variable}")
        if retries < 0 or backoff_s < 0 or timeout_s <= 0:
            raise ValueError("retries and backoff are at least 0, and a time limit is above 0")
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self.concurrency = concurrency
        self._rate = RateLimiter(concurrency, per_minute, tokens_per_minute)
        self._retries, self._backoff_s, self._timeout_s = retries, backoff_s, timeout_s
        self._key = os.environ.get(key_variable, "").strip()
        self._key_variable = key_variable
        self._stopped = threading.Event()
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "medvistagym-core"}
        if not self._key.isascii():
            raise ValueError(f"the key in {key_variable} holds characters that no key has")
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._connections = Connections(self.url, headers, concurrency, timeout_s, MAX_RESPONSE_BYTES)
        self._tools: tuple[Any, bytes] = (None, b"")

    def __repr__(self) -> str:
        return f"<endpoint {self.url}>"

    def stop(self) -> None:
        """Let requests that wait give up."""
        self._stopped.set()

    def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The assistant's message that answers a chat completion's body.

        Raises:
            EndpointError: It was refused, or no try succeeded.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_RetryableError),
            stop=tenacity.stop_after_attempt(self._retries + 1),
            # Full jitter (Brooker 2015): the mean doubles, and requests that failed together do not come back together.
            wait=tenacity.wait_random_exponential(multiplier=2 * self._backoff_s, max=MAX_BACKOFF_S),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._try_once, dict(body))
        except _RetryableError as error:
            tries = f"{self._retries + 1} tries" if self._retries else "one try"
            reason = self._without_key(str(error))
            raise EndpointError(f"{self.url}: {reason} (given up after {tries})", fatal=error.unreachable) from None

    def list_models(self) -> list[str]:
        """The names of the models that are served, as the endpoint lists them.

        Raises:
            EndpointError: It cannot be reached, refuses, or lists none.
        """
        try:
            content = self._request("GET", "/models")
        except _RetryableError as error:
            raise EndpointError(f"{self.url}: {error}", fatal=error.unreachable) from None
        try:
            return [str(model["id"]) for model in json.loads(content)["data"]]
        except (ValueError, LookupError, TypeError):
            raise EndpointError(f"{self.url}: it does not list its models") from None

    def _try_once(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._rate.slots:
            self._sleep(self._rate.reserve())
            began = time.monotonic()
            try:
                message, tokens = _parse_completion(self._request("POST", "/chat/completions", body))
            except _RetryableError as error:
                if error.retry_after_s is not None:
                    self._rate.pause_for(min(error.retry_after_s, MAX_BACKOFF_S))
                raise
            self._rate.charge_tokens(tokens, began)
            return message

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(max(seconds, 0.0)):
            raise EndpointError(f"{self.url}: stopped")

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        payload = None if body is None else self._encode_body(body)
        deadline = time.monotonic() + self._timeout_s
        try:
            response = self._connections.request(method, path, payload, deadline)
        except TimeoutError:
            raise _RetryableError(f"no answer within {self._timeout_s:g} s") from None
        except ResponseTooLargeError:
            raise _RetryableError(f"it answered with more than {MAX_RESPONSE_BYTES // 2**20} MiB") from None
        except (
            urllib3.exceptions.NewConnectionError,
            urllib3.exceptions.ProxyError,
            urllib3.exceptions.SSLError,
        ) as error:
            # No such host, nobody who listens, no trust in its certificate.
            reason = self._shorten(str(error.__cause__ or error))
            raise _RetryableError(f"it cannot be reached: {reason}", unreachable=True) from None
        except urllib3.exceptions.HTTPError as error:
            raise _RetryableError(f"the connection broke ({type(error.__cause__ or error).__name__})") from None
        if 200 <= response.status < 300:
            return response.content
        raise self._refusal(response)

    def _encode_body(self, body: dict[str, Any]) -> bytes:
        """A body as JSON; its tools, which are long and the same in every request of a policy, are encoded once."""
        tools = body.get("tools")
        if tools is None:
            return _encode(body)
        encoded, beginning = self._tools
        if encoded is not tools:
            beginning = _encode({"tools": tools})[:-1]
            self._tools = tools, beginning
        others = {name: part for name, part in body.items() if name != "tools"}
        return beginning + b"," + _encode(others)[1:] if others else beginning + b"}"

    def _refusal(self, response: HttpResponse) -> Exception:
        status = response.status
        message = self._shorten(_error_message(response.content))
        sentence = f"it answered {status}{f': {message}' if message else ''}"
        if status in _RETRYABLE_STATUS or status >= 500:
            return _RetryableError(sentence, _retry_after_s(response.headers.get("Retry-After")))
        if 300 <= status < 400:
            there = self._shorten(response.headers.get("Location", "")) or "no address"
            sentence += f", which sends elsewhere: {there}; give the address where the API is"
        if status in (401, 403):
            sentence += f" (the key is read from {self._key_variable}, which is {'set' if self._key else 'not set'})"
        return EndpointError(f"{self.url}: {sentence}", fatal=status in _FATAL_STATUS or 300 <= status < 400)

    def _shorten(self, text: str) -> str:
        """A server's words, short, and without the key, should it repeat that."""
        return " ".join(self._without_key(text).split())[:200]

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _encode(body: Mapping[str, Any]) -> bytes:
    """A body as JSON. Pictures are long texts, on which the standard library spends ten times as long."""
    try:
        return pydantic_core.to_json(body)
    except pydantic_core.PydanticSerializationError:  # half of a character, which only an escape can write
        return json.dumps(body).encode()


def _parse_completion(raw: bytes) -> tuple[dict[str, Any], int]:
    """The message of an answer, and the tokens that it and its prompt took; 0 where the server does not say.

    A message without content, calls, reasoning or refusal is an answer only of a model that was cut off before it wrote
    anything; otherwise nobody wrote it, and it is no wrong answer of the policy. Neither is one that no UTF-8 text can hold.
    """
    try:
        body = json.loads(raw)
        choice = body["choices"][0]
        message = choice["message"]
        usage = body.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else 0
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _RetryableError(_no_completion(raw)) from None
    if not isinstance(message, dict) or not _is_readable(message):
        raise _RetryableError(_no_completion(raw))
    _refuse_unfinished(choice, message)
    if choice.get("finish_reason") != "length" and not any(message.get(part) is not None for part in _WRITTEN):
        raise _RetryableError(
            "it answered with a message that holds nothing (its content is null, and it calls nothing)"
        )
    try:
        if any(mark in raw for mark in _SURROGATE_MARKS):
            json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _RetryableError(
            "it answered with half of a character (a lone surrogate), which no text can hold"
        ) from None
    return message, tokens if isinstance(tokens, int) and tokens > 0 else 0


def _refuse_unfinished(choice: Mapping[str, Any], message: Mapping[str, Any]) -> None:
    """Take what a server broke off, or held back, for no turn of the model's.

    Raises:
        _RetryableError: The server did.
    """
    reason, error = choice.get("finish_reason"), choice.get("error")
    if error or (isinstance(reason, str) and reason in _BROKEN_OFF):
        words = _error_message(json.dumps({"error": error}).encode()) if error else ""
        raise _RetryableError(f"it broke off its answer ({words or reason})")
    if reason == "content_filter" and not any(message.get(part) for part in _WRITTEN):
        raise _RetryableError("its content filter held the answer back")


def _is_readable(message: Mapping[str, Any]) -> bool:
    """Whether content and calls are of the kinds that the API has for them."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return (
        isinstance(content, str | list | None)
        and all(isinstance(part, dict | str) for part in parts)
        and isinstance(message.get("tool_calls"), list | None)
    )


def _no_completion(raw: bytes) -> str:
    """What to say of a response that holds no message, by what it says of an error or by how it begins."""
    text = " ".join((_error_message(raw) or raw[:400].decode("utf-8", "replace")).split())
    return f"it answered with something that is no chat completion: {json.dumps(text[:80]) if text else 'nothing'}"


def _error_message(raw: bytes) -> str:
    """What a response says of an error, as OpenAI's API has it, or as FastAPI's does; empty where it says nothing."""
    try:
        body = json.loads(raw)
        error = body.get("error", body)
        words = error if isinstance(error, str) else error.get("message") or error.get("detail") or ""
        return words if isinstance(words, str) else json.dumps(words)
    except (ValueError, AttributeError, RecursionError):
        return ""


def _retry_after_s(value: str | None) -> float | None:
    """Seconds, from a number or a date; None for neither."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
