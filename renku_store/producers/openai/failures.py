"""What a failed call means: asked to pause, may pass, never will, or the prompt's own fault."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Final

from renku_store.errors import BadInputError, ProducerError, RateLimitedError, StoreError

_SENTENCE_MAX_CHARS: Final = 500
_PASSING: Final = frozenset({408, 409, 425})
_NO_MORE_MONEY: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_PROMPT_REFUSED: Final = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})


@contextmanager
def translated(sdk: ModuleType, model: str) -> Iterator[None]:
    """Let errors of the SDK, and of the connection below it, leave as errors of the house.

    Raises `RateLimitedError` where the provider asks for a pause, `ProducerError` otherwise, retryable where it may
    pass, and `BadInputError` for a prompt that the provider will not answer.
    """
    transport = _transport(sdk)
    try:
        yield
    except sdk.APITimeoutError as error:
        raise ProducerError(f"{model} did not answer in time.", hint=_cause(error), retryable=True) from error
    except sdk.APIConnectionError as error:
        raise ProducerError(f"The connection to {model} failed.", hint=_cause(error), retryable=True) from error
    except sdk.APIStatusError as error:
        raise _refusal(model, error.status_code, error.response.headers, error) from error
    except sdk.APIError as error:
        if _code(error) in _PROMPT_REFUSED:
            raise _prompt_refused(model, error) from error
        raise ProducerError(f"{model} broke off: {_sentence(error)}", retryable=True) from error
    except sdk.OpenAIError as error:
        raise ProducerError(f"The call of {model} failed: {error}") from error
    except (transport.HTTPError, transport.StreamError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ProducerError(
            f"The answer of {model} broke off.", hint=f"{type(error).__name__}: {error}"[:_SENTENCE_MAX_CHARS],
            retryable=True,
        ) from error  # fmt: skip


def _transport(sdk: ModuleType) -> ModuleType:
    """The HTTP library of the SDK: a body that breaks off in its middle raises what that does."""
    names = (base.__module__.partition(".")[0] for base in sdk.DefaultAsyncHttpxClient.__mro__)
    return importlib.import_module(next(name for name in names if name.startswith("httpx")))


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a provider asks to wait, by `retry-after-ms` or `Retry-After`; None where it does not say.

    A date is held against the provider's own `Date`, where it has sent one: clocks differ.
    Source: RFC 9110, sections 5.6.7 and 10.2.3.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    until = _date(headers.get("retry-after"))
    if until is None:
        return None
    return max(0.0, (until - (_date(headers.get("date")) or now or datetime.now(UTC))).total_seconds())


def _refusal(model: str, status: int, headers: Mapping[str, str], error: Exception) -> StoreError:
    pause, said = retry_after(headers), f"{model} answered {status}: {_sentence(error)}"
    if status == 429 and _code(error) not in _NO_MORE_MONEY:
        return RateLimitedError(said, retry_after=pause)
    if status == 503 and pause is not None:
        return RateLimitedError(said, retry_after=pause)
    if status >= 500 or status in _PASSING:
        return ProducerError(said, retryable=True)
    if _code(error) in _PROMPT_REFUSED:
        return _prompt_refused(model, error)
    return ProducerError(said, hint=_HINTS.get(status, ""))


_HINTS: Final = {
    401: "Check the secret: OPENAI_API_KEY, or the one that the config names.",
    403: "The key may not use this model.",
    404: "Check the model and the base URL.",
    429: "The account has no credit left.",
}


def _prompt_refused(model: str, error: Exception) -> BadInputError:
    return BadInputError(f"{model} will not answer this prompt: {_sentence(error)}", hint="Change the prompt.")


def _code(error: Exception) -> str | None:
    return getattr(error, "code", None) or getattr(error, "type", None)


def _sentence(error: Exception) -> str:
    """What the provider says, in its own words."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    text = said if isinstance(said, str) and said else str(getattr(error, "message", error))
    return " ".join(text.split())[:_SENTENCE_MAX_CHARS]


def _cause(error: BaseException) -> str:
    cause = error.__cause__
    return f"{type(cause).__name__}: {cause}"[:_SENTENCE_MAX_CHARS] if cause is not None else ""


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC) if found else None
