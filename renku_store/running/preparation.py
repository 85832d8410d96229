"""From a node of the graph to a call: its inputs as values and files in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.calls import FileItem, Item, Job, OutputSpec, ValueItem
from renku_store.drivers.posix import unavailable
from renku_store.media_types import extension
from renku_store.records.graph import GraphNode, Reference
from renku_store.records.manifest import ArtefactValue
from renku_store.selection import Missing, Selection


@contextmanager
def job_directory(scratch: Callable[[], Path]) -> Iterator[Path]:
    """An empty folder for one call, removed with all that is in it; `StoreUnavailableError` where there can be none."""
    folder = scratch()
    try:
        directory = Path(mkdtemp(prefix="job-", dir=os.path.realpath(folder)))
    except OSError as error:
        raise unavailable(error, "write below", folder) from error
    try:
        yield directory
    finally:
        _remove(directory)


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


def prepare_job(node: GraphNode, signature: str, selection: Selection, blobs: BlobStore, directory: Path) -> Job:
    """The call of a node: values selected, artefacts copied (verified) to `directory/inputs`.

    Copies, not links: a program that writes into its input must not write into the store.
    Raises `BlobCorruptError` or `BlobMissingError` where an input cannot be had, and `StoreUnavailableError` where it
    cannot be written: no producer is at fault then.
    """
    folder = directory / "inputs"
    inputs: dict[str, Item] = {}
    for entry in node.inputs:
        if entry.refs is not None:
            width = len(str(len(entry.refs)))
            inputs[entry.name] = [
                None
                if reference is None
                else _item(reference, selection, blobs, folder, f"{entry.name}-{place:0{width}d}")
                for place, reference in enumerate(entry.refs)
            ]
        elif entry.ref is not None:
            item = _item(entry.ref, selection, blobs, folder, entry.name)
            if item is not None:
                inputs[entry.name] = item
    return Job(
        job_id=node.job_id,
        producer=node.producer,
        version=node.version,
        provider=node.provider,
        model=node.provider_model,
        # Jobs of a producer share theirs, and a handler may do with its own what it likes.
        config=deepcopy(node.config),
        context=deepcopy(node.context),
        inputs=inputs,
        outputs={output.name: OutputSpec(output.mime_type) for output in node.produces},
        signature=signature,
        timeout_seconds=node.timeout_seconds,
        max_output_bytes=node.max_output_bytes or bounds.OUTPUT_MAX_BYTES,
    )


def _item(
    reference: Reference, selection: Selection, blobs: BlobStore, folder: Path, name: str
) -> ValueItem | FileItem | None:
    if reference.kind == "input" or reference.path:
        value = selection.value(reference)
        return None if isinstance(value, Missing) else ValueItem(value)
    artefact = selection.artefact(reference.id)
    return None if artefact is None else _file(artefact, blobs, folder, name)


def _file(artefact: ArtefactValue, blobs: BlobStore, folder: Path, name: str) -> FileItem:
    path = folder / (name + extension(artefact.mime_type))
    try:
        folder.mkdir(exist_ok=True)
        if artefact.inline is not None:
            path.write_bytes(artefact.inline.encode())
        else:
            blobs.copy_to(artefact.hash, path)
    except OSError as error:
        raise unavailable(error, "write", path) from error
    return FileItem(path, artefact.mime_type)
