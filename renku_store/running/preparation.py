"""From a node of the graph to a call: its inputs as values and files in a folder of its own."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.calls import FileItem, Item, Job, OutputSpec, ValueItem
from renku_store.drivers.posix import unavailable
from renku_store.errors import StoreUnavailableError
from renku_store.media_types import extension
from renku_store.records._base import Json
from renku_store.records.graph import GraphInput, GraphNode, Reference
from renku_store.records.ids import check_id
from renku_store.records.manifest import ArtefactValue
from renku_store.selection import Missing, Selection, references

_NAME_MAX_BYTES: Final = 255
"""What Linux and macOS take as the name of a file; an id may be longer."""


class JobFolder:
    """A folder for the length of one call, empty, made when somebody asks for it, removed with all that is in it.

    Safe to ask from many threads; whoever asks after the end gets a path that is not there. `error` is why there could
    be none, where there could not. `making` is held while one is made.
    """

    __slots__ = ("_ended", "_made", "_making", "_scratch", "error")

    def __init__(self, scratch: Callable[[], Path], making: threading.Lock) -> None:
        self._scratch = scratch
        self._made: Path | None = None
        self._ended = False
        self._making = making
        self.error: StoreUnavailableError | None = None

    @property
    def is_made(self) -> bool:
        """Whether somebody has asked for it."""
        return self._made is not None

    @property
    def path(self) -> Path:
        """Where it is; `StoreUnavailableError` where there can be none."""
        return self.made()

    def made(self) -> Path:
        """As `path`."""
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> Path:
        try:
            folder = self._scratch()
            if self._ended:
                return folder / "job-ended"
            try:
                return Path(mkdtemp(prefix="job-", dir=os.path.realpath(folder)))
            except OSError as error:
                raise unavailable(error, "write below", folder) from error
        except StoreUnavailableError as error:
            self.error = error
            raise

    def end(self) -> None:
        """Remove it, if it was made."""
        with self._making:
            self._ended = True
        if self._made is not None:
            _remove(self._made)


class JobFolders:
    """The folders of the calls of one run. That there can be any is seen before the first call is paid for."""

    def __init__(self, scratch: Callable[[], Path]) -> None:
        self._scratch = scratch
        self._place: Path | None = None
        self._making = threading.Lock()

    def next(self) -> JobFolder:
        """The folder of one more call; `StoreUnavailableError` where there can be none."""
        if self._place is None:
            tried = JobFolder(self._scratch, self._making)
            try:
                self._place = tried.path.parent
            finally:
                tried.end()
        return JobFolder(self._scratch, self._making)


def _remove(directory: Path) -> None:
    try:
        directory.rmdir()  # nothing was put into it, mostly: one call of the system instead of six
    except OSError:
        rmtree(directory, ignore_errors=True)


def clear_job(directory: Path) -> None:
    """Empty the folder of a call, so that another attempt finds nothing of the one before."""
    for found in directory.iterdir():
        if found.is_dir() and not found.is_symlink():
            rmtree(found)
        else:
            found.unlink()


def reads_files(node: GraphNode) -> bool:
    """Whether a job is given artefacts as files."""
    return any(_is_file(reference) for entry in node.inputs for reference in references(entry))


def prepare_job(node: GraphNode, signature: str, selection: Selection, blobs: BlobStore, directory: JobFolder) -> Job:
    """The call of a node: values selected, artefacts copied (verified) to `directory/inputs`.

    Copies, not links: a program that writes into its input must not write into the store.
    Raises `BlobCorruptError` or `BlobMissingError` where an input cannot be had, and `StoreUnavailableError` where it
    cannot be written: no producer is at fault then. `InvalidIdError` where an input has a name that is none.
    """
    inputs: dict[str, Item] = {}
    folders = _folders(node, selection) if reads_files(node) else {}
    for entry in node.inputs:
        folder = folders.get(entry.name, "inputs")
        items = [
            _item(reference, selection, blobs, directory, (folder, name)) if reference else None
            for name, reference in _places(entry)
        ]
        if entry.refs is not None:
            inputs[entry.name] = items
        elif items[0] is not None:
            inputs[entry.name] = items[0]
    return Job(
        job_id=node.job_id,
        producer=node.producer,
        version=node.version,
        provider=node.provider,
        model=node.provider_model,
        config={name: _as_signed(value) for name, value in node.config.items()},
        context={name: _as_signed(value) for name, value in node.context.items()},
        inputs=inputs,
        outputs={output.name: _spec(output.mime_type) for output in node.produces},
        signature=signature,
        timeout_seconds=node.timeout_seconds,
        max_output_bytes=node.max_output_bytes or bounds.OUTPUT_MAX_BYTES,
    )


@lru_cache(maxsize=256)
def _spec(mime_type: str) -> OutputSpec:
    return OutputSpec(mime_type)


def _is_file(reference: Reference) -> bool:
    return reference.kind == "artefact" and not reference.path


def _places(entry: GraphInput) -> list[tuple[str, Reference | None]]:
    """What an input reads, each with the name of its file but for the extension."""
    if entry.refs is None:
        return [(entry.name, entry.ref)]
    width = len(str(len(entry.refs)))
    return [(f"{entry.name}-{place:0{width}d}", reference) for place, reference in enumerate(entry.refs)]


def _file_name(name: str, mime_type: str) -> str:
    """The name of the file of an input: its own, of which one that no disk takes is cut to its end."""
    whole = name + extension(mime_type)
    return whole if len(os.fsencode(whole)) <= _NAME_MAX_BYTES else whole[-(_NAME_MAX_BYTES // 4) :]


def _folders(node: GraphNode, selection: Selection) -> dict[str, str]:
    """Where the files of each input lie, if two would have one name in a folder for all: each in its own.

    `a-0` is an input, or the first place of a fan-in `a`; and some disks take small and capital letters for the same,
    or letters that are composed in other ways.
    """
    files: Counter[str] = Counter()
    for entry in node.inputs:
        # Whatever made the graph, and whoever checked it: no name leads out of the folder.
        check_id("input", entry.name)
        for name, reference in _places(entry):
            artefact = selection.artefact(reference.id) if reference and _is_file(reference) else None
            if artefact is not None:
                files[unicodedata.normalize("NFC", _file_name(name, artefact.mime_type).casefold())] += 1
    if max(files.values(), default=0) <= 1:
        return {}
    # By their order, which is signed as the names are, and not by the names, which may differ in capitals alone.
    return {name: f"inputs/{place}" for place, name in enumerate(sorted(entry.name for entry in node.inputs))}


def _item(
    reference: Reference, selection: Selection, blobs: BlobStore, directory: JobFolder, place: tuple[str, str]
) -> ValueItem | FileItem | None:
    """What a reference stands for; a file lies at `place`, which is its folder and its name but for the extension."""
    if not _is_file(reference):
        value = selection.value(reference)
        return None if isinstance(value, Missing) else ValueItem(_as_signed(value))
    artefact = selection.artefact(reference.id)
    return None if artefact is None else _file(artefact, blobs, directory.path / place[0], place[1])


def _as_signed(value: Json) -> Json:
    """A value with its numbers as they are read from the canonical JSON that is signed: 1.0 is 1 there, and -0.0 is 0.

    Lists and objects are copies: jobs share theirs, and a handler may do with its own what it likes. Keys stay in the
    order in which they were written: models answer in that of their schema.
    """
    if isinstance(value, list):
        return [_as_signed(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_signed(item) for key, item in value.items()}
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= bounds.INTEGER_MAX else value
    if isinstance(value, int) and abs(value) > bounds.INTEGER_MAX:
        return float(value)
    return value


def _file(artefact: ArtefactValue, blobs: BlobStore, folder: Path, name: str) -> FileItem:
    path = folder / _file_name(name, artefact.mime_type)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if artefact.inline is not None:
            path.write_bytes(artefact.inline.encode())
        else:
            blobs.copy_to(artefact.hash, path)
    except OSError as error:
        raise unavailable(error, "write", path) from error
    return FileItem(path, artefact.mime_type)
