"""Two processes, each with the cache of a machine of its own, publish to one bucket of a real server at once.

And collect there, with no grace time: what they are about to publish was put long before, by the server's own clock, so
that nothing but what they say of it keeps it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from renku_store import Movie, collect, open_store
from renku_store.drivers.objects.options import S3Place
from renku_store.testing.invariants import check_invariants
from tests import children
from tests.authoring import LONG
from tests.drivers.servers import Server, seaweed_server, started

RACER = """
    import os, sys, time
    from pathlib import Path
    url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ["RENKU_STORE_CACHE"] = sys.argv[4]

    from renku_store import BlobMissingError, ManifestConflictError, RevisionExistsError, StoreUnavailableError
    from renku_store import collect, open_store
    from tests.authoring import artefact_event
    from tests.test_racing_machines import text_of

    turns = Path(sys.argv[4]).parent
    other = "there" if name == "here" else "here"
    lost = unanswered = removed = 0

    def together(number):
        (turns / f"{name}{number}").touch()
        while not (turns / f"{other}{number}").exists():
            time.sleep(0.001)

    def until_answered(action):
        global unanswered
        deadline = time.monotonic() + 300
        while True:
            try:
                return action()
            except StoreUnavailableError:
                unanswered += 1
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def append(number):
        while True:
            event = until_answered(lambda: artefact_event(movie, f"{name}{number}", text_of(name, number)))
            try:
                until_answered(lambda: movie.events.append_artefact(event))
                return
            except BlobMissingError:
                pass  # a collection took it before anything had named it

    def publish(number):
        global lost, unanswered
        artefact, met = f"{name}{number}", False
        for attempt in range(1_000):
            until_answered(movie.committer.repair)
            current, digest = until_answered(movie.manifests.load_current)
            if artefact in current.artefacts:
                return  # it was published, and the answer was lost
            following = f"rev-{int(current.revision.removeprefix('rev-')) + 1:04d}"
            try:
                manifest = until_answered(lambda: movie.manifests.build_from_events(following))
                if not met:
                    together(f"{number}-built")
                    met = True
                movie.manifests.save_manifest(manifest, previous_hash=digest)
                return
            except (ManifestConflictError, RevisionExistsError):
                lost += 1
            except StoreUnavailableError:
                unanswered += 1
                time.sleep(0.1)

    with open_store(url) as store:
        movie = store.movie("film")
        for number in range(count):
            append(number)
            together(number)
            publish(number)
            if number % 7 == 6:
                removed += until_answered(lambda: collect(movie, grace_seconds=0.0, force=True)).removed
                for following in range(number + 2, min(number + 8, count)):
                    until_answered(lambda: movie.blobs.put(text_of(name, following).encode()))
    print(lost, unanswered, removed)
"""


def text_of(name: str, number: int) -> str:
    """What a racer publishes."""
    return f"{LONG}{name}{number}"


def put_long_ago(movie: Movie, texts: Iterable[str]) -> None:
    """Put texts that nothing names, and wait until the clock of the server has gone on, which counts seconds."""
    blobs = movie.blobs.put_many(text.encode() for text in texts)
    seen = movie.driver.stat(movie.blobs.stat(blobs[-1]).path)
    assert seen is not None
    while movie.announcer.sweep().now <= seen.modified:
        time.sleep(0.01)


def url_of(place: S3Place) -> str:
    """The root as a user names it."""
    options = f"endpoint={quote(place.endpoint or '', safe='')}&region={place.region}&path_style=true"
    return f"s3://{place.bucket}/{place.prefix}?{options}"


def race(
    place: S3Place,
    folder: Path,
    publishes: int,
    monkeypatch: pytest.MonkeyPatch,
    in_the_middle: Callable[[], None] = lambda: None,
) -> list[tuple[int, int]]:
    """So many publishes by two processes; checks what a third machine then sees.

    Gives of each process how often it lost, and how often it got no answer.
    """
    url = url_of(place)
    monkeypatch.setenv("RENKU_STORE_CACHE", str(folder / "onlooker"))
    with open_store(url) as store:
        movie = store.create_movie("film")
        movie.events.append_input("voice", "en")
        movie.manifests.save_manifest(movie.manifests.build_from_events("rev-0001"), previous_hash=None)
        put_long_ago(movie, (text_of(name, number) for name in ("here", "there") for number in range(publishes // 2)))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
        racers = [children.start(RACER, url, name, publishes // 2, folder / name) for name in ("here", "there")]
        middle = folder / f"here{publishes // 4}"
        while not middle.exists() and all(racer.poll() is None for racer in racers):
            time.sleep(0.01)
        in_the_middle()
        ended = [children.finish(racer, timeout_seconds=300 + 30 * publishes) for racer in racers]
        assert [one.code for one in ended] == [0, 0], "\n".join(one.err for one in ended)
        movie.committer.repair()
        check_invariants(movie)
    counted = [[*map(int, one.out.split())] for one in ended]
    raced = [(lost, unanswered) for lost, unanswered, _ in counted]
    assert sum(unanswered + removed for _, unanswered, removed in counted) > 0, "no collection had anything to take"
    monkeypatch.setenv("RENKU_STORE_CACHE", str(folder / "a third machine"))
    with open_store(url) as store:
        movie = store.movie("film")
        chain = [entry.revision for entry, _ in movie.manifests.revisions()]
        assert chain == [f"rev-{number:04d}" for number in range(publishes + 1, 0, -1)]
        newest = movie.manifests.load_current()[0]
        made = Counter(name.rstrip("0123456789") for name in newest.artefacts)
        assert made == {"here": publishes // 2, "there": publishes // 2}
        assert collect(movie).removed == 0
        collect(movie, grace_seconds=0.0, force=True)
        for artefact in newest.artefacts.values():
            movie.blobs.read(artefact.hash)
        check_invariants(movie)
        assert [found.name for found in movie.driver.list("gc/")] == []
        # Who got no answer may have announced what it did not publish then: that stays for its time.
        assert len([*movie.driver.list("intents/")]) <= sum(unanswered for _, unanswered in raced)
    return raced


def test_of_racing_publishes_on_two_machines_none_is_lost(
    seaweed_place: S3Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One chain without a gap, everything that anybody published in its end, and nothing left of how it came about."""
    raced = race(seaweed_place, tmp_path, 20, monkeypatch)
    assert sum(lost for lost, _ in raced) > 0, "nobody met anybody: that was no race"


@pytest.fixture
def own_server(tmp_path: Path, s3_environment: Mapping[str, str]) -> Iterator[Server]:
    """A server that nobody else is harmed by if it is killed."""
    server = started(seaweed_server, tmp_path / "server")
    yield server
    server.stop()


@pytest.mark.long
def test_of_two_hundred_racing_publishes_none_is_lost_though_the_server_is_killed(
    own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed in the middle, and comes back some seconds later; whoever asked meanwhile asks again."""

    def killed_and_restarted() -> None:
        own_server.kill()
        time.sleep(5)
        assert own_server.start(), own_server.log.read_text(errors="replace")[-2_000:]

    raced = race(own_server.place(), tmp_path, 200, monkeypatch, killed_and_restarted)
    assert sum(lost for lost, _ in raced) > 0, "nobody met anybody: that was no race"
