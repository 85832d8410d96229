"""Reading that the exception of a signal handler ends, at whichever step: always as that one, at once."""

from __future__ import annotations

import pytest

from tests import children
from tests.drivers.servers import Server

_WAIT_SECONDS = 600
"""Far more than the child takes, and less than for ever."""

_AT_EACH_STEP = """
    import asyncio, collections, contextlib, gc, signal, sys, threading, traceback
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    import obstore
    from renku_store.drivers.objects import fetching, limiting, obstore_together

    signal.alarm(int(sys.argv[1]))
    names = [str(number) for number in range(fetching._FEW + 2)]
    library = ThreadPoolExecutor(2)  # in place of the library's own threads
    library.submit(int).result()

    large = bytes(fetching.LARGE_BYTES)

    class Reply:
        meta = {"size": len(large)}
        bytes_async = lambda self: replied(self)
        __len__ = lambda self: len(large)
        to_bytes = lambda self: large

    def replied(value):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        library.submit(reply, loop, future, value)
        return future

    def reply(loop, future, value):
        try:
            if not future.cancelled():
                loop.call_soon_threadsafe(finish, future, value)
        except RuntimeError:
            traceback.print_exc()

    def finish(future, value):
        if not future.cancelled():
            future.set_result(value)

    class Client:
        def fetches_of_one_thread(self):
            return obstore_together.Together(None)

    client = limiting.LimitedClient(Client(), limiting.Permits(4))

    class Workers:
        count = 4
        def each(self, action, items, queues):
            assert not [*items]
            return iter(())

    obstore.get_async = lambda _store, key: replied(Reply())
    # A signal's handler is called where a function begins and where one of the language's own has returned.
    watched = (obstore_together.__file__, fetching.__file__, limiting.__file__, str(Path(asyncio.__file__).parent))
    left = 0

    def strike(frame, event, argument):
        global left
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(watched):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    def read():
        return dict(fetching.fetch_each(names, None, Workers(), client, lambda name: name))

    async def nothing():
        return "fit"

    seen = collections.Counter()
    for step in range(1, 100_000):
        left = step
        sys.setprofile(strike)
        try:
            got = read()
        except BaseException as error:
            seen[type(error).__name__] += 1
        else:
            if left > 0:
                break  # it needs no more steps than so many
            seen["nothing"] += 1
        finally:
            sys.setprofile(None)
        assert asyncio.run(nothing()) == "fit"
    assert got == dict.fromkeys(names, large) == read()
    gc.collect()
    library.shutdown()
    free = [client.permits.one() for _ in range(client.permits.total)]
    print([*seen], seen["KeyboardInterrupt"] > 100, len(free))
"""


def test_an_interruption_at_any_step_ends_the_reading() -> None:
    """As KeyboardInterrupt, never as something else, at once, and all permits are free again."""
    ended = children.run(_AT_EACH_STEP, _WAIT_SECONDS, timeout_seconds=2 * _WAIT_SECONDS)
    assert (ended.code, ended.out, ended.err) == (0, "['KeyboardInterrupt'] True 4\n", "")


_BY_SIGNALS = """
    import asyncio, collections, gc, os, signal, sys, threading
    from pathlib import Path

    from renku_store.drivers.objects.driver import ObjectDriver
    from renku_store.drivers.objects.obstore_client import ObstoreClient
    from renku_store.drivers.objects.options import S3Place

    place = S3Place("renku", sys.argv[2], endpoint=sys.argv[1], region="us-east-1", path_style=True)
    client = ObstoreClient(place)
    driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=Path(sys.argv[3]))
    contents = {f"{number}": os.urandom(1_048_576) for number in range(12)}
    for name, data in contents.items():
        driver.replace(name, data)

    def raises(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, raises)
    seen = collections.Counter()
    for number in range(60):
        try:
            # SIGINT has the handler of the language, SIGALRM one of somebody else's.
            if number % 2:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 * (number + 1))
            else:
                threading.Timer(0.0005 * (number + 1), os.kill, (os.getpid(), signal.SIGINT)).start()
            while True:
                assert driver.read_many(contents) == contents
        except BaseException as error:
            seen[type(error).__name__] += 1
    assert driver.read_many(contents) == contents
    gc.collect()
    print(dict(seen))
"""


@pytest.mark.usefixtures("s3_environment")
def test_signals_that_come_at_any_moment_end_the_reading(seaweed: Server, tmp_path: object) -> None:
    """On a real server, whose replies come from the library's threads meanwhile."""
    ended = children.run(
        _BY_SIGNALS, seaweed.endpoint, seaweed.place().prefix, tmp_path, timeout_seconds=2 * _WAIT_SECONDS
    )
    assert (ended.code, ended.out, ended.err) == (0, "{'KeyboardInterrupt': 60}\n", "")
