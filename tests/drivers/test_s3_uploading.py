"""New objects whose reply is lost: what is there is looked at, whole, before it counts as written."""

from __future__ import annotations

from pathlib import Path

import pytest

from renku_store import StoreUnavailableError
from renku_store.drivers.objects.client import ObjectHead, UncertainError
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.errors import BlobCorruptError
from tests.drivers.servers import Server, credentials

pytestmark = pytest.mark.usefixtures("short_pauses")


class Careless(ObstoreClient):
    """Loses the replies to the first `losses` new objects, which arrive `damaged`; or finds `theirs` in their place."""

    losses = 1
    damaged = True
    theirs: bytes | None = None
    marks = True
    tags = True

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None, mark: str | None = None
    ) -> str | None:
        """The same write, without a reply."""
        kept = mark if self.marks else None
        if not if_absent or self.losses == 0:
            return super().put(key, data, if_absent=if_absent, if_match=if_match, mark=kept)
        self.losses -= 1
        sent = self.theirs if self.theirs is not None else bytes(len(data)) if self.damaged else data
        super().put(key, sent, mark=kept if self.theirs is None else None if not self.marks else "theirs")
        raise UncertainError("no reply") from StoreUnavailableError(f"Cannot write {key}: no reply.")

    def head(self, key: str) -> ObjectHead | None:
        """The same look; without tags, one that is no digest of the bytes."""
        return self._without_tag(super().head(key))

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, ObjectHead] | None:
        """The same read."""
        found = super().get(key, start=start, length=length)
        head = self._without_tag(found[1]) if found else None
        return (found[0], head) if found and head else None

    def _without_tag(self, head: ObjectHead | None) -> ObjectHead | None:
        if head is None or self.tags:
            return head
        return ObjectHead(head.key, head.size, head.modified, '"encrypted"', head.mark)


class Storage:
    """A root through a careless client."""

    def __init__(self, place: S3Place, folder: Path, **careless: object) -> None:
        self.client = Careless(place, credentials=credentials)
        self.client.__dict__ |= careless
        self.driver = ObjectDriver(self.client, url=place.url, prefix=place.prefix, workspace=folder)

    def write(self, **objects: bytes) -> frozenset[str]:
        """Write a batch of objects, those of others left alone."""
        with self.driver.batch() as batch:
            for name, data in objects.items():
                staged = batch.stage()
                staged.write(data)
                batch.name(staged, name)
            return batch.commit()


@pytest.mark.parametrize("tags", [True, False])
def test_a_damaged_object_whose_reply_was_lost_is_sent_again(seaweed: Server, tmp_path: Path, tags: bool) -> None:
    """It has the size of what was sent, so that only its bytes tell; also where tags are no digests (encryption)."""
    storage = Storage(seaweed.place(), tmp_path, tags=tags)
    if not tags:
        storage.client.losses = 0
        storage.write(before=b"by this the driver learns what tags are worth here")
        storage.client.losses = 1
    assert storage.write(x=b"the film") == frozenset()
    assert storage.driver.read("x") == b"the film"


def test_a_whole_object_whose_reply_was_lost_is_ours(seaweed: Server, tmp_path: Path) -> None:
    """It is not sent again."""
    storage = Storage(seaweed.place(), tmp_path, damaged=False)
    assert storage.write(x=b"the film") == frozenset()
    assert storage.driver.read("x") == b"the film"


def test_what_arrives_damaged_for_ever_is_removed_and_named(seaweed: Server, tmp_path: Path) -> None:
    """It does not stay under a name that says what it holds."""
    storage = Storage(seaweed.place(), tmp_path, losses=10**9)
    with pytest.raises(BlobCorruptError, match="did not hold what was sent"):
        storage.write(x=b"the film")
    assert storage.driver.stat("x") is None


def test_what_another_has_written_meanwhile_is_left_alone(seaweed: Server, tmp_path: Path) -> None:
    """By its mark, though a reply was lost: the same content may be compressed in another way."""
    storage = Storage(seaweed.place(), tmp_path, theirs=b"another")
    assert storage.write(x=b"the film") == frozenset({"x"})
    assert storage.driver.read("x") == b"another"


def test_where_marks_are_not_kept_nobody_guesses_whose_an_object_is(seaweed: Server, tmp_path: Path) -> None:
    """One that is not what was sent is neither taken for it nor removed."""
    storage = Storage(seaweed.place(), tmp_path, marks=False)
    with pytest.raises(StoreUnavailableError, match="Nobody knows whose"):
        storage.write(x=b"the film")
    assert storage.driver.read("x") == bytes(8)
    storage = Storage(seaweed.place(), tmp_path, marks=False, damaged=False)
    assert storage.write(x=b"the film") == frozenset()
