"""An OpenAI-compatible endpoint: a chat completion's body goes in, a message comes out, and what goes wrong on the way is tried
again where that can help.

Requests are at most so many at once and so many a minute. A request that the server refuses for now (408, 409, 425, 429, 5xx),
that does not come back in time, or that comes back as no chat completion is made again after a growing, random time, and not
before the server allows (`Retry-After`, RFC 9110, section 10.2.3). One it refuses for good is an `EndpointError` at once. The
key is read from an environment variable, goes into one header and into nothing else: no record, no message, no redirect.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import os
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

KEY_VARIABLE: Final = "MEDVISTAGYM_API_KEY"
MAX_RESPONSE_BYTES: Final = 16 * 2**20
MAX_BACKOFF_S: Final = 120.0
_RETRYABLE_STATUS: Final = frozenset({408, 409, 425, 429})
_FATAL_STATUS: Final = frozenset({401, 403, 404, 405})


class EndpointError(Exception):
    """A request that was given up.

    Attributes:
        fatal: Whether every other request would fail like it: a wrong key, a wrong address, no server.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class _RetryableError(Exception):
    """Worth another try, after `wait` seconds where the server says so."""

    def __init__(self, message: str, wait: float | None = None, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.unreachable = unreachable


class RateLimiter:
    """So many requests at a time and a minute, so many tokens a minute, and a pause of all when the server asks for one.

    How many tokens a request takes is known when it is answered. So the requests that may be under way together start, and the
    next wait until what those took is earned: the rate holds over every longer time.

    Args:
        concurrency: Most requests at once.
        per_minute: Most requests a minute, spread evenly; None for no limit.
        tokens_per_minute: Most tokens a minute, prompts included, over every longer time; None for no limit.
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
        """Note how many tokens the request that began then (`time.monotonic`) took."""
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

    Raises:
        ValueError: The URL is none, or carries a key; a number is out of range.
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
        self._pace = RateLimiter(concurrency, per_minute, tokens_per_minute)
        self._retries, self._backoff, self._timeout = retries, backoff_s, timeout_s
        self._key = os.environ.get(key_variable, "").strip()
        self._key_variable = key_variable
        self._stopped = threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirects)

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
        payload = json.dumps(body).encode()
        for attempt in range(self._retries + 1):
            with self._pace.slots:
                self._wait(self._pace.reserve())
                try:
                    began = time.monotonic()
                    message, tokens = _parse_completion(self._post(payload))
                    self._pace.charge_tokens(tokens, began)
                    return message
                except _RetryableError as error:
                    last = error
            if attempt < self._retries:
                self._back_off(attempt, last.wait)
        tries = f"{self._retries + 1} tries" if self._retries else "one try"
        raise EndpointError(f"{self.url}: {last} (given up after {tries})", fatal=last.unreachable)

    def _back_off(self, attempt: int, asked: float | None) -> None:
        # Full jitter (Brooker 2015): the mean doubles, and requests that failed together do not come back together.
        wait = random.uniform(0, 2 * self._backoff * 2**attempt)
        if asked is not None:
            self._pace.pause_for(min(asked, MAX_BACKOFF_S))
        self._wait(min(wait, MAX_BACKOFF_S))

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(max(seconds, 0.0)) if seconds > 0 else self._stopped.is_set():
            raise EndpointError(f"{self.url}: stopped")

    def _post(self, payload: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "medvistagym-core"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", payload, headers)
        deadline = time.monotonic() + self._timeout
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return _read(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except TimeoutError:
            raise _RetryableError(f"no answer within {self._timeout:g} s") from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _RetryableError(f"no answer within {self._timeout:g} s") from None
            reason = self._said(str(error.reason))
            raise _RetryableError(f"it cannot be reached: {reason}", unreachable=True) from None
        except (OSError, http.client.HTTPException) as error:
            raise _RetryableError(f"the connection broke ({type(error).__name__})") from None

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        try:
            said = self._said(_error_message(error.read(4096)))
        except (OSError, http.client.HTTPException):
            said = ""
        sentence = f"it answered {error.code}{f': {said}' if said else ''}"
        if error.code in _RETRYABLE_STATUS or error.code >= 500:
            return _RetryableError(sentence, _retry_after(error.headers.get("Retry-After")))
        if error.code in (401, 403):
            sentence += f" (the key is read from {self._key_variable}, which is {'set' if self._key else 'not set'})"
        return EndpointError(f"{self.url}: {sentence}", fatal=error.code in _FATAL_STATUS)

    def _said(self, text: str) -> str:
        """A server's words, short, and without the key, should it repeat that."""
        text = text.replace(self._key, "***") if self._key else text
        return " ".join(text.split())[:200]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the key and the images are for one server."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise TimeoutError
        if size > MAX_RESPONSE_BYTES:
            raise _RetryableError(f"it answered with more than {MAX_RESPONSE_BYTES // 2**20} MiB")
    return b"".join(parts)


def _parse_completion(raw: bytes) -> tuple[dict[str, Any], int]:
    """The message of an answer, and the tokens that it and its prompt took; 0 where the server does not say."""
    try:
        body = json.loads(raw)
        message = body["choices"][0]["message"]
        usage = body.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else 0
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _RetryableError("it answered with something that is no chat completion") from None
    if not isinstance(message, dict):
        raise _RetryableError("it answered with something that is no chat completion")
    return message, tokens if isinstance(tokens, int) and tokens > 0 else 0


def _error_message(raw: bytes) -> str:
    try:
        body = json.loads(raw)
        error = body.get("error", body)
        return str(error.get("message", "") if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        return ""


def _retry_after(value: str | None) -> float | None:
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
