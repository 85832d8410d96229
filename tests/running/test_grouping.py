"""Questions that many tasks ask at once are answered together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import DamageError, LeaseLostError, Movie, StoreUnavailableError
from renku_store.durability import listening
from renku_store.finishing import in_thread_to_the_end
from renku_store.leases import AlreadyMade, ClaimAnswer, Claimed, HeldBy, Wanted
from renku_store.records.run import LeaseToken
from renku_store.running.claiming import Claims
from renku_store.running.grouping import Grouped
from renku_store.testing.loop_time import run

# Each task asks for its number at a moment, and may leave before it is answered.
ASKS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20)


@given(asks=ASKS, most=st.integers(1, 4), slow=st.integers(0, 3))
def test_each_question_is_answered_once_in_order(asks: list[tuple[int, bool]], most: int, slow: int) -> None:
    """Whoever leaves early changes nothing for the others; no group is larger than it may be, nor do two overlap."""
    asked: list[int] = []
    groups: list[list[int]] = []
    busy = 0

    async def work(questions: Sequence[int]) -> Sequence[int | Exception]:
        nonlocal busy
        busy += 1
        assert busy == 1
        groups.append(list(questions))
        await asyncio.sleep(slow)
        busy -= 1
        return [question * 10 if question % 3 else ValueError(str(question)) for question in questions]

    async def ask(grouped: Grouped[int, int], number: int, moment: int, *, leaves: bool) -> int | str | None:
        async def noted() -> int:
            asked.append(number)
            return await grouped.ask(number)

        await asyncio.sleep(moment)
        try:
            return await asyncio.wait_for(noted(), 0.5 if leaves else None)
        except ValueError as error:
            return str(error)
        except TimeoutError:
            return None

    async def go() -> list[int | str | None]:
        grouped = Grouped(work, most)
        tasks = [ask(grouped, number, moment, leaves=leaves) for number, (moment, leaves) in enumerate(asks)]
        answers = await asyncio.gather(*tasks)
        await grouped.flush()
        return answers

    answers = run(go())
    for number, (answer, (_, leaves)) in enumerate(zip(answers, asks, strict=True)):
        right = number * 10 if number % 3 else str(number)
        assert answer == right or (leaves and answer is None)
    assert [question for group in groups for question in group] == asked
    assert all(len(group) <= most for group in groups)


def test_what_fails_a_group_is_everybodys() -> None:
    """Each who asked hears of it; the next group is asked all the same."""

    async def work(questions: Sequence[int]) -> Sequence[int | Exception]:
        if 1 in questions:
            raise KeyError("all of them")
        return questions

    async def go() -> tuple[list[int | BaseException], int]:
        grouped = Grouped(work, 10)
        return await asyncio.gather(*map(grouped.ask, range(3)), return_exceptions=True), await grouped.ask(5)

    answers, later = asyncio.run(go())
    assert [type(answer) for answer in answers] == [KeyError] * 3
    assert later == 5


@pytest.fixture
def token(movie: Movie) -> Iterator[LeaseToken]:
    token = movie.leases.start("r", base_revision=None, edits_through=0)
    yield token
    movie.leases.release(token)


def claims(movie: Movie, token: LeaseToken) -> Claims:
    return Claims(movie.leases, token, lambda *_, **__: None)


def test_jobs_that_are_ready_at_once_share_one_commit(movie: Movie, token: LeaseToken) -> None:
    """A hundred claims are one sync of the disk, not a hundred."""
    commits = 0

    def count(moment: str, name: str) -> None:
        nonlocal commits
        commits += (moment, name) == ("after", "database commit")

    async def go() -> list[object]:
        asking = claims(movie, token)
        wanted = (asking.claim(f"{number:064x}", f"job[{number}]", forced=False) for number in range(100))
        return list(await asyncio.gather(*wanted))

    with listening(count):
        assert asyncio.run(go()) == [Claimed()] * 100
    assert commits == 1


def test_two_jobs_of_one_signature_in_a_group_make_one_call(movie: Movie, token: LeaseToken) -> None:
    """The second finds the claim of the first, as if it had come later."""
    same = [Wanted("0" * 64, "a"), Wanted("0" * 64, "b"), Wanted("1" * 64, "c")]
    first, second, other = movie.leases.claim_many(same, token)
    assert (first, other) == (Claimed(), Claimed())
    assert not isinstance(second, Claimed | AlreadyMade)
    assert second.run == "r"


def test_two_jobs_of_one_signature_make_one_call_though_the_lease_is_overdue(movie: Movie, token: LeaseToken) -> None:
    """After a pause of the machine, in one group or one after the other: nobody has taken what was claimed."""

    def overdue() -> None:
        with movie.metadata.write() as writer:
            assert writer.runs.renew(token, 0.0)

    overdue()
    answers = movie.leases.claim_many([Wanted("0" * 64, job) for job in "ab"], token)
    assert answers == [Claimed(), HeldBy("r")]
    overdue()
    assert movie.leases.claim("0" * 64, token, "c") == HeldBy("r")
    assert movie.leases.claim("0" * 64, token, "d", forced=True) == HeldBy("r")


def test_damage_that_one_claim_meets_is_that_jobs_alone(movie: Movie, token: LeaseToken) -> None:
    """The others of its group are claimed, though the row of the one's result cannot be read."""
    movie.metadata.connection.execute(  # type: ignore[attr-defined]
        "INSERT INTO traces (result, signature, job, outputs, cost, kept, created_at)"
        " VALUES ('r', ?, CAST(x'ff' AS TEXT), '{}', 0.0, 0, '2026')",
        (bytes.fromhex("1" * 64),),
    )

    async def go() -> list[object]:
        asking = claims(movie, token)
        wanted = (asking.claim(f"{number}" * 64, f"job[{number}]", forced=False) for number in range(3))
        return list(await asyncio.gather(*wanted, return_exceptions=True))

    first, second, third = asyncio.run(go())
    assert (first, third) == (Claimed(), Claimed())
    assert isinstance(second, DamageError)


def test_what_was_claimed_before_the_store_failed_is_told(
    movie: Movie, token: LeaseToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claimed alone after damage in its group: nobody would give it back if nobody knew of it."""
    claim_many, calls = movie.leases.claim_many, 0

    def failing(wanted: Sequence[Wanted], token: LeaseToken) -> Sequence[ClaimAnswer]:
        nonlocal calls
        calls += 1
        if len(wanted) > 1:
            raise DamageError("One of them cannot be read.")
        if calls > 2:
            raise StoreUnavailableError("busy", reason="busy")
        return claim_many(wanted, token)

    monkeypatch.setattr(movie.leases, "claim_many", failing)

    async def go() -> list[object]:
        asking = claims(movie, token)
        wanted = (asking.claim(f"{number}" * 64, f"job[{number}]", forced=False) for number in range(3))
        return list(await asyncio.gather(*wanted, return_exceptions=True))

    first, *rest = asyncio.run(go())
    assert first == Claimed()
    assert [type(answer) for answer in rest] == [StoreUnavailableError] * 2


def test_a_claim_is_given_up_though_whoever_does_that_is_cancelled(movie: Movie, token: LeaseToken) -> None:
    """Even where every thread is taken at that moment: nobody else could make what is claimed."""
    free, signature = threading.Event(), "0" * 64

    async def go() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        asking = claims(movie, token)
        assert await asking.claim(signature, "job", forced=False) == Claimed()
        busy = loop.run_in_executor(None, free.wait)
        giving_up = asyncio.create_task(asking.unclaim(signature, "job"))
        for _ in range(2):
            await asyncio.sleep(0)
            giving_up.cancel()
        await asyncio.sleep(0)
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await giving_up
        await busy

    asyncio.run(go())
    with movie.metadata.read() as reader:
        assert not reader.runs.holds_claim(signature, token)


def test_nothing_is_asked_for_in_another_loop() -> None:
    """What waited when a loop was closed is over, with those who asked."""
    asked: list[int] = []

    async def work(questions: Sequence[int]) -> Sequence[int | Exception]:
        asked.extend(questions)
        if questions[0] == 0:
            await asyncio.Event().wait()
        return questions

    grouped = Grouped(work, 1)

    async def leave() -> None:
        asking = [asyncio.ensure_future(grouped.ask(number)) for number in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in asking)
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert asyncio.run(grouped.ask(7)) == 7
    assert asked == [0, 7]


def test_who_asks_to_the_end_is_answered_by_a_loop_that_ends() -> None:
    """Also where that cancels who was to answer before he began."""
    got: list[object] = []

    async def work(questions: Sequence[int]) -> Sequence[int]:
        answers, _ = await in_thread_to_the_end(lambda: [2 * number for number in questions])
        return answers

    grouped: Grouped[int, int] = Grouped(work, 10)

    async def ask(begin: asyncio.Event) -> None:
        await begin.wait()
        got.append(await grouped.ask_to_the_end(21))

    async def main() -> asyncio.Task[None]:
        begin = asyncio.Event()
        asking = asyncio.create_task(ask(begin))
        await asyncio.sleep(0)
        begin.set()  # it asks in the loop's last round, and who is to answer would begin in the next one
        return asking

    asyncio.run(main())
    assert got == [(42, True)]


def test_a_lost_lease_ends_the_whole_group(movie: Movie, token: LeaseToken) -> None:
    """Nobody in it claims anything."""
    movie.leases.release(token)

    async def go() -> list[object]:
        asking = claims(movie, token)
        wanted = (asking.claim(f"{number}" * 64, f"job[{number}]", forced=False) for number in range(3))
        return list(await asyncio.gather(*wanted, return_exceptions=True))

    assert [type(answer) for answer in asyncio.run(go())] == [LeaseLostError] * 3


@pytest.mark.filterwarnings("ignore:.*was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_who_asks_in_another_loop_waits_for_nobody_of_one_that_was_left() -> None:
    """Ctrl-C leaves a loop amid a group; the next one that asks gets its answer, and `flush` comes to its end."""

    async def work(questions: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0 if 2 in questions else 3_600)
        return questions

    grouped: Grouped[int, int] = Grouped(work, 10)
    left = asyncio.new_event_loop()
    task = left.create_task(grouped.ask(1))
    left.call_soon(left.call_soon, left.stop)
    left.run_forever()
    assert not task.done()

    async def again() -> int:
        await grouped.flush()
        return await asyncio.wait_for(grouped.ask(2), 20)

    assert asyncio.run(again()) == 2
    for one in asyncio.all_tasks(left):
        one.cancel()
    left.run_until_complete(asyncio.gather(task, return_exceptions=True))
    left.run_until_complete(asyncio.sleep(0))
    left.close()
