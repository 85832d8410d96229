"""Pools of resources: made when needed, used again, replaced when broken, closed in the end."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import ResourcePool, StoreUnavailableError
from renku_store.testing.loop_time import run


class Page:
    """Something dear that remembers what became of it."""

    def __init__(self) -> None:
        self.users = 0
        self.closed = 0
        self.sound = True


class Browser:
    """Makes pages, and keeps them all for the tests to look at."""

    def __init__(self) -> None:
        self.pages: list[Page] = []

    async def create(self) -> Page:
        await asyncio.sleep(0.1)
        self.pages.append(Page())
        return self.pages[-1]

    async def close(self, page: Page) -> None:
        await asyncio.sleep(0.1)
        page.closed += 1

    async def healthy(self, page: Page) -> bool:
        await asyncio.sleep(0)
        return page.sound

    def pool(self, size: int) -> ResourcePool[Page]:
        return ResourcePool(size, self.create, close=self.close, healthy=self.healthy)


@given(seed=st.integers(0, 2**32), size=st.integers(1, 4))
def test_a_resource_has_one_user_at_a_time_and_is_closed_once(seed: int, size: int) -> None:
    """Whatever fails, breaks or is cancelled."""
    chance = random.Random(seed)
    browser = Browser()

    async def use(pool: ResourcePool[Page]) -> None:
        async with pool.use() as page:
            page.users += 1
            assert (page.users, page.closed, page.sound) == (1, 0, True)
            await asyncio.sleep(chance.random())
            page.sound = chance.random() < 0.8
            page.users -= 1
            if chance.random() < 0.2:
                raise ValueError("a failed use")

    async def main() -> None:
        async with browser.pool(size) as pool:
            tasks = [asyncio.create_task(use(pool)) for _ in range(20)]
            for task in chance.sample(tasks, 4):
                await asyncio.sleep(chance.random())
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert not [error for error in ended if isinstance(error, AssertionError)]
            alive = [page for page in browser.pages if not page.closed]
            assert len(alive) <= size
            assert pool.idle == len(alive)

    run(main())
    assert [page.closed for page in browser.pages] == [1] * len(browser.pages)


def test_one_after_another_share_one() -> None:
    """A second is only made where two are needed at once."""

    async def main() -> int:
        browser = Browser()
        async with browser.pool(4) as pool:
            for _ in range(5):
                async with pool.use():
                    await asyncio.sleep(1)
        return len(browser.pages)

    assert run(main()) == 1


def test_what_is_in_use_when_the_pool_closes_is_closed_when_it_comes_back() -> None:
    """And nobody gets one any more, not even who was waiting."""

    async def main() -> None:
        browser = Browser()
        pool = browser.pool(1)

        async def use() -> None:
            async with pool.use():
                await asyncio.sleep(1)

        first, second = asyncio.create_task(use()), asyncio.create_task(use())
        await asyncio.sleep(0.5)
        await pool.close()
        await first
        with pytest.raises(StoreUnavailableError, match="closed"):
            await second
        assert [page.closed for page in browser.pages] == [1]

    run(main())


def test_a_resource_that_cannot_be_made_takes_no_place() -> None:
    """The error is the user's, and the next one tries again."""

    async def main() -> None:
        attempts = 0

        async def create() -> str:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise ConnectionError("not yet")
            return "page"

        pool = ResourcePool(1, create)
        with pytest.raises(ConnectionError):
            async with pool.use():
                raise AssertionError("there is nothing to use")
        async with pool.use() as page:
            assert page == "page"

    run(main())
