"""Calls that are polled: begun once, noted before they are waited for, adopted by whoever comes after a crash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from renku_store.calls import JobContext, RememberedCall
from renku_store.errors import NotFoundError, ProducerError

T = TypeVar("T")


async def polled_call(
    context: JobContext,
    begin: Callable[[], Awaitable[RememberedCall]],
    fetch: Callable[[RememberedCall], Awaitable[T]],
) -> T:
    """Return what `fetch` makes of the call in flight, or, where there is none, of the one that `begin` has made.

    `fetch` waits until the provider is done. It raises `NotFoundError` where the provider does not know the call: an
    adopted one is then forgotten and another begun, once. It raises `ProducerError`, retryable, for what may pass, so
    that the call stays remembered; not retryable only where the provider says that the call has failed.
    """
    adopted = context.remembered
    if adopted is not None:
        try:
            return await fetch(adopted)
        except NotFoundError as error:
            context.logger.info("%s: the call %s is gone: %s", context.job_id, adopted.request_id, error.message)
            await context.forget()
    call = await begin()
    await context.remember(call.request_id, call.data)
    try:
        return await fetch(call)
    except NotFoundError as error:
        await context.forget()
        raise ProducerError(
            f"The provider does not know the call {call.request_id}, which it has just begun.",
            hint=error.message,
            retryable=True,
        ) from error
