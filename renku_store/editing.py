"""A person's own version of an artefact in the place of the made one, and the way back.

Keeps invariants 3 and 9: the bytes are durable before the event that names them, and live when it is appended; until a
run has taken the event, that is what keeps them from being collected.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from renku_store import bounds
from renku_store.answers import is_mime_type, wrong_json
from renku_store.clock import timestamp
from renku_store.contents import contradiction
from renku_store.errors import InvalidValueError, NotFoundError
from renku_store.expansion import recorded_graph
from renku_store.hashing import hash_bytes
from renku_store.media_types import is_json, is_text
from renku_store.movie import Movie
from renku_store.outlook import present_graph
from renku_store.records.events import ArtefactEvent
from renku_store.records.graph import GraphNode, GraphOutput
from renku_store.records.ids import check_id
from renku_store.records.manifest import ArtefactValue, ManifestArtefact
from renku_store.versions import standing


def edit_artefact(
    movie: Movie,
    artefact: str,
    content: bytes | str | os.PathLike[str],
    *,
    mime_type: str | None = None,
    edited_by: str = "user",
) -> ArtefactEvent:
    """Let a person's version stand for an artefact: bytes, or a file by its path; durable on return.

    It is movie-wide, and the next run that plans takes it: what reads the artefact becomes dirty, its producer does not
    run for it. It stands until `undo_edit`, whatever changes upstream. The artefact need not have been made yet.
    `mime_type` is the one that the blueprint declares unless given.

    Raises `NotFoundError` for an artefact that no job makes, or a file that is not there, and `InvalidValueError` for
    content that cannot be of its type.
    """
    check_id("artefact", artefact)
    node, output = _declared(movie, artefact)
    wanted = mime_type or output.mime_type
    if not is_mime_type(wanted):
        raise InvalidValueError(f"{wanted!r} is no MIME type.", hint="Write it as `image/png`.")
    value = _stored(movie, artefact, content, wanted)
    event = ArtefactEvent(
        id=movie.events.new_id(),
        artefact=artefact,
        status="edited",
        output=output.name,
        job=node.job_id,
        producer=node.producer,
        value=value,
        edited_by=edited_by,
        created_at=timestamp(movie.events.clock.now()),
    )
    return movie.events.append_artefact(event)


def undo_edit(movie: Movie, artefact: str, *, edited_by: str = "user") -> ArtefactEvent:
    """Let what was made stand for an artefact again; its `value` is that, absent where there is none that is usable.

    The next run takes it, and makes the artefact if its inputs are not those that it was made from. Raises
    `NotFoundError` where no person's version stands for the artefact.
    """
    check_id("artefact", artefact)
    base, _ = movie.manifests.current() or (None, None)
    held = base.artefacts if base else {}
    present = standing(held, movie.events.pending(), artefact)
    if present is None or present.edited_by is None:
        known = {key for key, entry in held.items() if entry.edited_by is not None}
        known |= {event.artefact for event in movie.events.pending() if isinstance(event, ArtefactEvent)}
        near = difflib.get_close_matches(artefact, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`renku-store status` shows edits that are pending."
        raise NotFoundError(f"No person's version stands for {artefact}; there is nothing to undo.", hint=hint)
    made = _usable(movie, present.as_made())
    event = ArtefactEvent(
        id=movie.events.new_id(),
        artefact=artefact,
        status="edit-undone",
        job=present.job,
        producer=present.produced_by,
        signature=made.signature if made else None,
        value=made.value_alone() if made else None,
        edited_by=edited_by,
        created_at=timestamp(movie.events.clock.now()),
    )
    return movie.events.append_artefact(event)


def _declared(movie: Movie, artefact: str) -> tuple[GraphNode, GraphOutput]:
    """The job that makes an artefact, and the output that it is."""
    known: list[str] = []
    for node in _nodes(movie):
        for output in node.produces:
            if output.id == artefact:
                return node, output
            known.append(output.id)
    near = difflib.get_close_matches(artefact, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`renku-store inspect` and `plan` show what there is."
    raise NotFoundError(f"No job makes an artefact {artefact}.", hint=hint)


def _nodes(movie: Movie) -> list[GraphNode]:
    """The jobs that there are now; where a list in an artefact decides that, as the newest revision has them."""
    graph = present_graph(movie)
    nodes = [node for node in graph.nodes if node.awaits is None]
    base, _ = movie.manifests.current() or (None, None)
    if len(nodes) < len(graph.nodes) and base is not None and base.graph is not None:
        nodes += recorded_graph(movie, base.graph).nodes
    return nodes


def _usable(movie: Movie, made: ManifestArtefact | None) -> ManifestArtefact | None:
    """What was made, if its bytes are there; else it is made anew."""
    if made is None or (made.blob and movie.blobs.damaged({made.blob: made.size})):
        return None
    return made


def _stored(movie: Movie, artefact: str, content: bytes | str | os.PathLike[str], mime_type: str) -> ArtefactValue:
    """The content as a value: short text inline, everything else as a blob, a file streamed."""
    name = "the content" if isinstance(content, bytes) else os.fspath(content)
    head = content[: bounds.INLINE_MAX_BYTES + 1] if isinstance(content, bytes) else _head(Path(content))
    wrong = contradiction(mime_type, head)
    if wrong is not None:
        raise InvalidValueError(
            f"{artefact} is {mime_type}, and {name} is {wrong}.",
            hint="Convert it, or name its type with --mime-type if those that read the artefact can take it.",
        )
    if is_json(mime_type):
        content = content if isinstance(content, bytes) else Path(content).read_bytes()
        _check_json(artefact, name, content)
    if len(head) <= bounds.INLINE_MAX_BYTES and is_text(mime_type):
        try:
            return ArtefactValue(hash=hash_bytes(head), size=len(head), mime_type=mime_type, inline=head.decode())
        except UnicodeDecodeError:
            pass
    blob = movie.blobs.put(content) if isinstance(content, bytes) else movie.blobs.put_file(content)
    return ArtefactValue(hash=blob.hash, size=blob.size, mime_type=mime_type, blob=blob.hash)


def _head(path: Path) -> bytes:
    """The first bytes of a file: all of them, and one more than may be inline where there are more."""
    try:
        with path.open("rb") as file:
            return file.read(bounds.INLINE_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"There is no file {path}.", hint="Check the path.") from error
    except IsADirectoryError as error:
        raise InvalidValueError(f"{path} is a folder, not a file.", hint="Name a file.") from error
    except ValueError as error:
        raise InvalidValueError(f"{str(path)!a} cannot be the name of a file.") from error


def _check_json(artefact: str, name: str, data: bytes) -> None:
    wrong = wrong_json(data)
    if wrong is not None:
        raise InvalidValueError(
            f"{artefact} is JSON, and {name} cannot be read as such: {wrong}.", hint="Mend the file."
        )
