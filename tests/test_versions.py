"""People's versions over what was made, as pure rules; and whether bytes can be what their type says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.contents import contradiction
from renku_store.projection import fold_artefacts
from renku_store.records.events import ArtefactEvent
from renku_store.versions import Held, decided
from tests.metadata.samples import made

_STEPS = st.lists(st.sampled_from(["succeeded", "reused", "failed", "kept", "edited", "edit-undone"]), max_size=12)


def _events(steps: list[str]) -> list[ArtefactEvent]:
    empty = {"failed", "edit-undone"}
    return [
        made("a", number, status=step, edited_by="ann" if step == "edited" else None, **_value(step, empty))
        for number, step in enumerate(steps, 1)
    ]


def _value(step: str, empty: set[str]) -> dict[str, None]:
    return {"value": None} if step in empty else {}


@given(steps=_STEPS)
def test_what_lies_under_a_version_is_what_would_be_there_without_it(steps: list[str]) -> None:
    """Whatever is made, edited and undone in whatever order; an undo gives exactly that back."""
    events = _events(steps)
    present = fold_artefacts({}, events).get("a")
    without = fold_artefacts({}, [event for event in events if event.status not in {"edited", "edit-undone"}]).get("a")
    assert (present.as_made() if present else None) == without
    undone = fold_artefacts({}, [*events, *_events(["edit-undone"])]).get("a")
    assert undone == without


@given(steps=_STEPS)
def test_the_last_edit_stands_until_it_is_undone(steps: list[str]) -> None:
    """What is made after it changes nothing of that."""
    present = fold_artefacts({}, _events(steps)).get("a")
    last = next((n for n in range(len(steps), 0, -1) if steps[n - 1] in {"edited", "edit-undone"}), 0)
    if last and steps[last - 1] == "edited":
        assert present is not None
        assert (present.inline, present.edited_by) == (str(last), "ann")
    else:
        assert present is None or present.edited_by is None


@given(steps=_STEPS, pending=st.lists(st.sampled_from(["edited", "edit-undone"]), max_size=5))
def test_pending_decisions_over_a_base_are_those_of_one_history(steps: list[str], pending: list[str]) -> None:
    """What a plan takes for a person's version is what folding all events gives."""
    history = _events([*steps, *pending])
    base = fold_artefacts({}, history[: len(steps)])
    whole = fold_artefacts({}, history).get("a")
    edits = decided(base, history[len(steps) :], within={"a"})
    assert Held(base, edits).present("a") == whole
    assert ("a" in edits) == (whole is not None and whole.edited_by is not None)
    assert decided(base, history[len(steps) :], within=set()) == {}


@pytest.mark.parametrize(
    ("mime_type", "head", "wrong"),
    [
        ("image/png", b"\x89PNG\r\n\x1a\n\0\0", None),
        ("image/png", b"\xff\xd8\xff\xe0", "JPEG data"),
        ("image/jpeg", b"RIFF\x10\0\0\0WEBPVP8 ", "WebP data"),
        ("audio/wav", b"RIFF\x10\0\0\0WAVEfmt ", None),
        ("audio/x-wav; rate=48000", b"RIFF\x10\0\0\0WAVEfmt ", None),
        ("audio/wav", b"ID3\x04", "MP3 data"),
        ("video/mp4", b"\0\0\0\x18ftypisom", None),
        ("audio/mp4", b"\0\0\0\x18ftypM4A ", None),
        ("video/mp4", b"\x1a\x45\xdf\xa3", "Matroska data"),
        ("text/plain", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF data"),
        ("text/plain", b"%PDF-1.7 is how a document begins.", None),
        ("text/vtt", b"ID3 comes first", None),
        ("text/plain; charset=latin-1", b"gr\xfcn", None),
        ("application/pdf", b"a line that does not matter\n%PDF-1.4", None),
        ("application/pdf", b"a letter", "text"),
        ("application/zip", b"PK\x03\x04\x14\0", None),
        ("image/png", b"PK\x03\x04\x14\0", "ZIP data"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK\x03\x04", None),
        ("audio/flac", b"ID3\x04\0", None),
        ("image/png", "grün".encode()[:3], "text"),
        ("image/png", b"\0\1\2", None),
        ("image/x-portable-pixmap", b"P3 1 1 255 0 0 0", None),
        ("application/octet-stream", b"words", None),
        ("text/plain", b"hello", None),
        ("text/plain", b"", None),
        ("image/png", b"", "empty"),
        ("application/octet-stream", b"%PDF-1.7", None),
        ("model/gltf-binary", b"\x89PNG\r\n\x1a\n", None),
        ("image/png", b"fake", "text"),
    ],
)
def test_only_what_is_certain_speaks_against_a_type(mime_type: str, head: bytes, wrong: str | None) -> None:
    """A format that gives itself away; nothing at all where there must be something."""
    assert contradiction(mime_type, head) == wrong
