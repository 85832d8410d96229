"""Manifests: canonical bytes, pages, verification, the newest one, and the pointer that only goes forward."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.drivers.base import Driver
from renku_store.drivers.local import LocalDriver
from renku_store.encoding import (
    KeptPage,
    PageCuts,
    blobs_moved,
    cut_pages,
    encode_manifest,
    named_blobs,
    newly_named,
    parted,
)
from renku_store.errors import (
    BlobCorruptError,
    BlobMissingError,
    DamageError,
    NotFoundError,
    StoreError,
    UnsupportedFormatError,
)
from renku_store.hashing import canonical_document, canonical_json, content_hash, hash_bytes, hash_value
from renku_store.manifests import ManifestStore
from renku_store.planner import Planner
from renku_store.records.graph import ProducerGraph
from renku_store.records.manifest import ArchiveRef, Manifest, ManifestArtefact, ManifestInput, PageRef
from tests import children
from tests.roots import Root

pytestmark = pytest.mark.long_away
NOW = "2026-03-04T05:06:07.890Z"
RUN = "01890a5d-ac96-774b-bcce-b302099a8057"
PAGE = hash_bytes(b"page")


def artefact(text: str, *, blob: bool = False) -> ManifestArtefact:
    digest = hash_bytes(text.encode())
    where: dict[str, Any] = {"blob": digest} if blob else {"inline": text}
    return ManifestArtefact(hash=digest, size=len(text.encode()), mime_type="text/plain", job="j", **where)


def given_input(value: Any) -> ManifestInput:
    return ManifestInput(hash=hash_value(value), value=value)


def manifest(
    number: int = 1,
    *,
    artefacts: dict[str, ManifestArtefact] | None = None,
    inputs: dict[str, ManifestInput] | None = None,
    base_hash: str | None = None,
) -> Manifest:
    artefacts, inputs = artefacts or {}, inputs or {}
    return Manifest(
        format=1,
        movie="film",
        revision=f"rev-{number:04d}",
        base_revision=f"rev-{number - 1:04d}" if number > 1 else None,
        base_hash=base_hash,
        run=RUN,
        created_at=NOW,
        content_hash=content_hash(inputs, artefacts, None),
        inputs=inputs,
        artefacts=artefacts,
    )


class Shelf:
    """A manifest store whose blobs are a dict."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.blobs: dict[str, bytes] = {}
        self.store = ManifestStore(driver, self.read)

    def read(self, digest: str) -> bytes:
        if digest not in self.blobs:
            raise BlobMissingError(f"There is no blob {digest}.")
        if hash_bytes(self.blobs[digest]) != digest:
            raise BlobCorruptError(f"The blob {digest} is damaged.")
        return self.blobs[digest]

    def add(self, present: Manifest) -> str:
        encoded = encode_manifest(present)
        self.blobs.update(encoded.pages)
        assert self.store.create(int(present.revision[4:]), encoded.data)
        return encoded.hash

    def chain(self, count: int) -> list[str]:
        hashes: list[str] = []
        for number in range(1, count + 1):
            hashes.append(self.add(manifest(number, base_hash=hashes[-1] if hashes else None)))
        return hashes

    def write(self, name: str, data: bytes) -> None:
        self.driver.replace(name, data)


@pytest.fixture
def shelf(any_root: Root) -> Shelf:
    return Shelf(any_root.driver())


many = st.integers(bounds.MANIFEST_PAGE_MIN_ARTEFACTS + 1, 3_000)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def same_json(left: Any, right: Any) -> bool:
    return canonical_document(left) == canonical_document(right)


# Bytes


def test_fields_that_are_always_written_are_null_where_there_is_nothing() -> None:
    """A reader in another language finds every field of the first revision that the model lists."""
    document = json.loads(encode_manifest(manifest(artefacts={"a": artefact("x")})).data)
    assert {"format", "movie", "revision", "run", "createdAt", "contentHash", "inputs", "artefacts", "metrics"} <= {
        *document
    }
    for key in ("baseRevision", "baseHash", "archive", "graph", "timeline"):
        assert document[key] is None
    assert set(document["artefacts"]["a"]) == {"hash", "size", "mimeType", "inline", "job"}


@pytest.mark.parametrize("base_hash", [None, hash_bytes(b"base")])
def test_the_json_form_of_a_manifest_without_pages_is_its_file(shelf: Shelf, base_hash: str | None) -> None:
    """The hash of the canonical JSON of `to_json()` is that of the file, of a first revision and of later ones."""
    present = manifest(2 if base_hash else 1, artefacts={"a": artefact("x")}, base_hash=base_hash)
    digest = shelf.add(present)
    for known in (present, shelf.store.load(2 if base_hash else 1, digest)[0]):
        assert hash_bytes(canonical_json(known.to_json())) == digest
        assert json.loads(known.to_bytes()) == known.to_json()


def test_the_same_manifest_has_the_same_bytes_whatever_the_order_of_its_parts() -> None:
    """Canonical JSON: sorted keys, no blanks."""
    parts = {key: artefact(key) for key in ("b", "a", "ä", "c")}
    data = encode_manifest(manifest(artefacts=parts)).data
    assert data == encode_manifest(manifest(artefacts=dict(reversed(parts.items())))).data
    assert data == canonical_document(json.loads(data))


@given(values=st.dictionaries(st.text("ab@[]", min_size=1, max_size=4), json_values, max_size=4))
def test_every_value_of_an_input_survives_the_way_to_disk_and_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    """Null, nested nulls, and whole floats beyond 2^53 included; what was read can be written again."""
    shelf = Shelf(LocalDriver(tmp_path_factory.mktemp("movie")))
    shelf.add(manifest(inputs={key: given_input(value) for key, value in values.items()}))
    loaded, digest = shelf.store.load(1, None)
    assert loaded.inputs.keys() == values.keys()
    for key, value in values.items():
        assert same_json(loaded.inputs[key].value, value)
        assert hash_value(loaded.inputs[key].value) == loaded.inputs[key].hash
    assert encode_manifest(loaded).hash == digest


# Pages


@given(count=many, long=st.integers(0, 40))
def test_large_maps_are_cut_into_pages_that_come_to_the_whole(count: int, long: int) -> None:
    """Sorted, disjoint, complete; about 256 entries each; every cut where the hash of an id says so."""
    artefacts = dict.fromkeys((f"shot[{n}]{'x' * long}.image" for n in range(count)), "entry")
    pages = [*cut_pages(artefacts)]
    assert [key for page in pages for key in page] == sorted(artefacts)
    assert all(hash_bytes(next(iter(page)).encode()).startswith("00") for page in pages[1:])
    assert 60 < count / len(pages) < 1_100


@given(count=many, changed=st.integers(0, 10**6))
def test_an_edit_changes_one_page_only(count: int, changed: int) -> None:
    """All other pages are the blobs of before."""
    artefacts = {f"shot[{n}].image": n for n in range(count)}
    before = [*cut_pages(artefacts)]
    artefacts[f"shot[{changed % count}].image"] = -1
    after = [*cut_pages(artefacts)]
    assert len(before) == len(after)
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


@given(count=many, edits=st.dictionaries(st.integers(0, 10**6), st.sampled_from(["", "new"]), max_size=4))
def test_what_is_shared_with_the_base_makes_no_difference_to_the_bytes(count: int, edits: dict[int, str]) -> None:
    """Known pages and cuts save work only: edited, added to or cut down, bytes and new pages are the same."""
    base = manifest(artefacts={f"shot[{n}].image": artefact(str(n)) for n in range(count)})
    cuts = PageCuts()
    first = encode_manifest(base, None, cuts)
    pages = zip(first.page_hashes, cut_pages(base.artefacts), strict=True)
    known = {next(iter(page)): (digest, KeptPage.of(page)) for digest, page in pages}
    changed = dict(base.artefacts)
    for place, text in edits.items():
        changed[f"shot[{place % (count + 2)}].image"] = artefact(text or f"{place}")
        changed.pop(f"shot[{place % 7}].image", None)
    present = manifest(2, artefacts=changed, base_hash=first.hash)
    plain, quick = encode_manifest(present), encode_manifest(present, known, cuts)
    assert (quick.data, quick.hash, quick.page_hashes) == (plain.data, plain.hash, plain.page_hashes)
    assert quick.pages == {digest: data for digest, data in plain.pages.items() if digest not in first.page_hashes}


@given(count=many, pages=st.sets(st.integers(0, 10**6), max_size=3), shared=st.booleans())
def test_what_is_newly_named_and_no_longer_named_is_the_difference(count: int, pages: set[int], shared: bool) -> None:
    """Of two manifests, for edits, inputs, graphs, and blobs that several artefacts share."""
    before = {f"shot[{n}].image": artefact(str(n // 2 if shared else n), blob=True) for n in range(count % 50 + 2)}
    after = {**before, **{f"shot[{n % 60}].image": artefact(f"new {n}", blob=True) for n in pages}}
    after.pop("shot[1].image", None)
    large = {"x": ManifestInput(hash=hash_bytes(b"x"), blob=hash_bytes(b"x"))}
    base = manifest(artefacts=before, inputs=large).replace(graph=hash_bytes(b"graph"))
    present = manifest(2, artefacts=after)
    old, new = named_blobs(base, ()), named_blobs(present, [PAGE])
    assert new - old <= newly_named(present, [PAGE], base) <= new
    named = present.replace(pages=[PageRef(first="shot[0].image", hash=PAGE)])
    came, gone = blobs_moved(named, base, *parted(present.artefacts, base.artefacts))
    assert new - old <= came <= new
    assert gone == old - new


@given(count=many, added=st.text("xyz[0]", min_size=1, max_size=8))
def test_an_insertion_or_removal_touches_at_most_two_pages(count: int, added: str) -> None:
    """An id that is a cut parts a page in two; any other makes one page longer."""
    artefacts = {f"shot[{n}].image": n for n in range(count)}
    small = [tuple(page.items()) for page in cut_pages(artefacts)]
    large = [tuple(page.items()) for page in cut_pages({**artefacts, added: 0})]
    assert len(set(large) - set(small)) <= 2
    assert len(set(small) - set(large)) <= 1


@pytest.mark.parametrize(("count", "paged"), [(bounds.MANIFEST_PAGE_MIN_ARTEFACTS, False), (1_025, True)])
def test_only_large_manifests_have_pages(shelf: Shelf, count: int, paged: bool) -> None:
    """Up to 1,024 artefacts it is one plain file; above, the file names pages; both read the same."""
    artefacts = {f"a[{n}]": artefact(str(n), blob=n % 2 == 0) for n in range(count)}
    present = manifest(artefacts=artefacts)
    encoded = encode_manifest(present)
    document = json.loads(encoded.data)
    assert ("pages" in document, "artefacts" in document, bool(encoded.pages)) == (paged, not paged, paged)
    digest = shelf.add(present)
    loaded, said = shelf.store.load(1, digest)
    assert (loaded.artefacts, said) == (artefacts, digest)
    assert encode_manifest(loaded) == encoded
    if paged:
        assert [page["first"] for page in document["pages"]] == [min(json.loads(p)) for p in encoded.pages.values()]


@pytest.mark.parametrize("count", [0, 3, bounds.MANIFEST_PAGE_MIN_ARTEFACTS + 1])
def test_a_plan_names_the_hash_of_the_file_that_its_base_was_read_from(shelf: Shelf, count: int) -> None:
    """Who gives the planner a loaded manifest need not give its hash: it follows from what it says, pages or none."""
    artefacts = {f"a[{n}]": artefact(str(n), blob=n % 2 == 0) for n in range(count)}
    first = shelf.add(manifest(artefacts=artefacts))
    second = shelf.add(manifest(2, artefacts=artefacts, inputs={"pi": given_input(3.5)}, base_hash=first))
    for number, digest in ((1, first), (2, second)):
        base, _ = shelf.store.load(number, digest)
        plan = Planner.compute_plan(graph=ProducerGraph(nodes=[]), manifest=base, inputs={})
        assert plan.manifest_base_hash == digest
    assert Planner.compute_plan(graph=ProducerGraph(nodes=[]), manifest=None, inputs={}).manifest_base_hash is None


def test_what_a_reader_does_with_his_manifest_is_his_alone(shelf: Shelf) -> None:
    """One who remembers what he read hands it out whole each time, whatever became of what he handed out before."""
    pictures = {f"picture[{place:04}].image": artefact(str(place)) for place in range(1_100)}
    inputs = {"scenes": given_input(["a", {"b": [1]}]), "tone": given_input({"of": "film"}), "title": given_input("x")}
    digest = shelf.add(manifest(artefacts=pictures, inputs=inputs))
    count = len([*cut_pages(pictures)])
    reader = shelf.store.remembering()
    following = manifest(2, base_hash=digest)
    for _ in range(3):
        read, _ = reader.load(1, digest)
        base = reader.base_of(following)
        assert base is not None
        for known in (read, base):
            assert (known.inputs, known.artefacts, len(known.pages or ())) == (inputs, pictures, count)
        values: dict[str, Any] = {name: entry.value for name, entry in read.inputs.items()}
        values["scenes"][1]["b"].append(2)
        values["scenes"].append("draft")
        values["tone"]["of"] = "draft"
        read.inputs.clear()
        read.artefacts.clear()
        assert read.pages
        read.pages.clear()


@settings(max_examples=20)
@given(
    gone=st.sets(st.integers(0, 1_999), max_size=4),
    altered=st.sets(st.integers(0, 1_999), max_size=4),
    added=st.sets(st.integers(2_000, 2_999), max_size=4),
)
def test_by_their_pages_two_revisions_differ_as_by_all_their_artefacts(
    tmp_path_factory: pytest.TempPathFactory, gone: set[int], altered: set[int], added: set[int]
) -> None:
    """Whoever remembers both passes over the pages that they share; whoever does not finds the same."""
    shelf = Shelf(LocalDriver(tmp_path_factory.mktemp("movie")))
    places = {place: f"a[{place}]" for place in range(2_000)}
    base = manifest(artefacts={key: artefact(key) for key in places.values()})
    after = {key: artefact(f"{key} anew" if place in altered else key) for place, key in places.items()}
    after = {key: held for place, (key, held) in enumerate(after.items()) if place not in gone}
    after |= {f"a[{place}]": artefact("new") for place in added}
    digest = shelf.add(base)
    second = shelf.add(manifest(2, artefacts=after, base_hash=digest))
    for store in (shelf.store, shelf.store.remembering()):
        old, new = store.load(1, digest)[0], store.load(2, second)[0]
        assert store.parted(new, old) == parted(new.artefacts, old.artefacts)
        assert store.parted(old, new) == parted(old.artefacts, new.artefacts)
        assert store.parted(new, None) == (new.artefacts, {})


def test_every_blob_that_a_manifest_needs_is_named() -> None:
    """Graph, large inputs, artefacts that are not inline, pages; nothing else."""
    graph, large, page = (hash_bytes(name) for name in (b"graph", b"input", b"page"))
    present = manifest(
        artefacts={"in": artefact("inline"), "out": artefact("blob", blob=True)},
        inputs={"small": given_input(None), "large": ManifestInput(hash=large, blob=large)},
    ).replace(graph=graph)
    assert named_blobs(present, [page]) == {graph, large, page, hash_bytes(b"blob")}


@pytest.mark.parametrize("damage", ["missing", "altered", "cut short"])
def test_a_damaged_page_is_named_as_damage(shelf: Shelf, damage: str) -> None:
    """The reader of blobs finds it; no artefact is silently left out."""
    digest = shelf.add(manifest(artefacts={f"a[{n}]": artefact(str(n)) for n in range(2_000)}))
    name = next(iter(shelf.blobs))
    data = shelf.blobs.pop(name)
    if damage != "missing":
        shelf.blobs[name] = data[:-1] if damage == "cut short" else data.replace(b"text", b"texd", 1)
    with pytest.raises(DamageError, match=name):
        shelf.store.load(1, digest)


# Verification


@given(data=st.data())
def test_one_altered_byte_is_found_where_the_hash_is_known(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever byte, whatever value."""
    shelf = Shelf(LocalDriver(tmp_path_factory.mktemp("movie")))
    digest = shelf.add(manifest(artefacts={"a": artefact("x")}))
    raw = bytearray(shelf.store.raw(1) or b"")
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    shelf.write("manifests/rev-0001.json", bytes(raw))
    with pytest.raises(BlobCorruptError, match="rev-0001"):
        shelf.store.load(1, digest)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: '{"format":1}',
        lambda text: text.replace('"text/plain"', '"text/x"'),
        lambda text: text.replace('"job":"j"', '"job":7'),
        lambda text: text.replace(":", ": ", 1),
        lambda text: text + "\n",
        lambda text: text.replace("rev-0001", "rev-0002"),
        lambda text: text.replace('"hash":"', '"hash":"0', 1),
    ],
)
def test_an_edit_by_hand_is_found_even_where_nobody_knows_the_hash(shelf: Shelf, edit: Any) -> None:
    """Truncated, not canonical, of another revision, or with another content than its own `contentHash`."""
    shelf.add(manifest(artefacts={"a": artefact("x")}))
    text = (shelf.store.raw(1) or b"").decode()
    assert edit(text) != text
    shelf.write("manifests/rev-0001.json", edit(text).encode())
    with pytest.raises(BlobCorruptError, match="rev-0001"):
        shelf.store.load(1, None)


def test_fields_of_a_later_writer_are_tolerated(shelf: Shelf) -> None:
    """The same format may gain fields; they change the hash, not the content."""
    document = json.loads(encode_manifest(manifest(artefacts={"a": artefact("x")})).data)
    document["later"] = {"x": None}
    document["artefacts"]["a"]["later"] = 1
    data = canonical_document(document)
    assert shelf.store.create(1, data)
    assert shelf.store.load(1, hash_bytes(data))[0].artefacts == {"a": artefact("x")}
    assert shelf.store.load(1, None)[1] == hash_bytes(data)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_refused_by_name(shelf: Shelf, version: int | str | None) -> None:
    """Before any field is looked at."""
    shelf.store.create(1, canonical_document({"format": version}))
    with pytest.raises(UnsupportedFormatError, match="rev-0001"):
        shelf.store.load(1, None)


def test_an_unknown_revision_is_not_damage(shelf: Shelf) -> None:
    """There is none, which is the caller's mistake."""
    with pytest.raises(NotFoundError, match="rev-0007"):
        shelf.store.load(7, None)


def test_what_a_manifest_must_be_is_said_by_the_pointer_or_by_the_next_one(shelf: Shelf) -> None:
    """Neither has to be readable."""
    first, second, third = shelf.chain(3)
    assert [shelf.store.expected(number) for number in (1, 2, 3)] == [first, second, None]
    shelf.store.advance(3, third, NOW)
    assert shelf.store.expected(3) == third
    shelf.write("manifests/rev-0002.json", b"[1")
    assert shelf.store.expected(1) is None
    shelf.write("manifests/rev-0002.json", b"[]")
    assert shelf.store.expected(1) is None


def test_a_name_is_taken_once(shelf: Shelf) -> None:
    """The second creator is told, and changes nothing."""
    shelf.add(manifest())
    before = shelf.store.raw(1)
    assert not shelf.store.create(1, b"{}")
    assert shelf.store.raw(1) == before


# The newest


POINTERS = {
    "missing": None,
    "garbage": b"\xff\x00",
    "empty": b"",
    "a list": b"[]",
    "of no revision": canonical_document({"revision": "x", "manifest": "x", "hash": "0" * 64, "updatedAt": NOW}),
    "behind": canonical_document({"revision": "rev-0001", "manifest": "x", "hash": "0" * 64, "updatedAt": NOW}),
    "ahead": canonical_document({"revision": "rev-0009", "manifest": "x", "hash": "0" * 64, "updatedAt": NOW}),
}


@pytest.mark.parametrize("pointer", POINTERS.values(), ids=POINTERS)
def test_the_newest_is_found_whatever_the_pointer_says(shelf: Shelf, pointer: bytes | None) -> None:
    """It is a hint; the manifests are the truth, and advancing makes it right."""
    hashes = shelf.chain(4)
    if pointer is not None:
        shelf.write("current.json", pointer)
    assert shelf.store.newest() == 4
    assert shelf.store.advance(4, hashes[-1], NOW)
    assert not shelf.store.advance(4, hashes[-1], NOW)
    found = shelf.store.pointer()
    assert found is not None
    assert (found.revision, found.hash, found.manifest) == ("rev-0004", hashes[-1], "manifests/rev-0004.json")


def test_the_newest_is_found_beyond_a_gap_without_a_pointer(shelf: Shelf) -> None:
    """Where an old revision is gone, its number is not given out again."""
    shelf.chain(5)
    shelf.driver.delete("manifests/rev-0002.json")
    assert shelf.store.newest() == 5


def test_only_names_of_revisions_count(shelf: Shelf) -> None:
    """Neither rev-0000, nor a number written otherwise, nor anything else that lies there."""
    shelf.chain(2)
    for name in ("rev-0000.json", "rev-00003.json", "rev-0003.json.bak", "rev-0003.expired.json", "rev-٠٠٠٤.json"):
        shelf.write(f"manifests/{name}", b"{}")
    assert sorted(shelf.store.numbers()) == [1, 2]
    assert shelf.store.newest() == 2


@given(steps=st.lists(st.integers(1, 6), max_size=12))
def test_the_pointer_never_goes_back(tmp_path_factory: pytest.TempPathFactory, steps: list[int]) -> None:
    """After any sequence of advances it names the highest."""
    shelf = Shelf(LocalDriver(tmp_path_factory.mktemp("movie")))
    hashes = shelf.chain(6)
    for place, number in enumerate(steps):
        changed = shelf.store.advance(number, hashes[number - 1], NOW)
        assert changed == (number > max(steps[:place], default=0))
        named = shelf.store.pointer()
        assert named is not None
        assert named.revision == f"rev-{max(steps[: place + 1]):04d}"


RACE = """
    import random, sys
    from renku_store.drivers.opening import open_driver
    from renku_store.manifests import ManifestStore
    store = ManifestStore(open_driver(sys.argv[1]), lambda digest: b"")
    hashes, order, seen = sys.argv[3].split(","), random.Random(sys.argv[2]), 0
    for number in sorted(range(1, len(hashes) + 1), key=lambda n: n + order.uniform(-9, 9)):
        store.advance(number, hashes[number - 1], "now")
        named = int(store.pointer().revision[4:])
        assert named >= number and named >= seen, (seen, number, named)
        seen = named
"""


@pytest.mark.processes
def test_eight_racing_processes_do_not_take_the_pointer_back(shelf: Shelf) -> None:
    """Each sees it at or beyond what it advanced to and what it saw before; the last word is the newest."""
    hashes = shelf.chain(30)
    racing = [children.start(RACE, shelf.driver.url, seed, ",".join(hashes)) for seed in range(8)]
    for ended in [children.finish(child) for child in racing]:
        assert ended.code == 0, ended.err
    named = shelf.store.pointer()
    assert named is not None
    assert (named.revision, named.hash) == ("rev-0030", hashes[-1])


def test_a_loaded_manifest_names_its_archive_and_a_damaged_one_is_a_store_error(shelf: Shelf) -> None:
    """Optional parts survive; every failure to load is one of the project's own errors."""
    archive = ArchiveRef(name=f"events/{RUN}.jsonl.zst", hash="0" * 64)
    shelf.add(manifest().replace(archive=archive))
    assert shelf.store.load(1, None)[0].archive == archive
    for size in range(0, 400, 7):
        shelf.write("manifests/rev-0001.json", (shelf.store.raw(1) or b"")[:size])
        with pytest.raises(StoreError):
            shelf.store.load(1, None)
