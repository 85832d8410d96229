"""Stores that are careless in one place each: what the power cut must find."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from renku_store.blobs.intake import Intake
from renku_store.commit import Committer
from renku_store.drivers import posix
from renku_store.drivers.local import LocalDriver
from renku_store.drivers.staging import LocalBatch, LocalStagedFile
from renku_store.drivers.tree import Tree
from renku_store.metadata.sqlite import opening


def _without_file_syncs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LocalStagedFile, "sync", lambda self: None)


def _without_syncs_of_batches(patch: pytest.MonkeyPatch) -> None:
    def close_only(self: LocalBatch) -> None:
        self._close_unsynced()
        self._one_sync = False

    patch.setattr(LocalBatch, "_sync_data", close_only)


def _without_folder_syncs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tree, "sync_folders", lambda self, folders, filesystem=None: None)


def _without_syncs_of_folders_above(patch: pytest.MonkeyPatch) -> None:
    def only_these(self: Tree, folders: Iterable[str], filesystem: int | None = None) -> None:
        for folder in {*folders}:
            posix.sync_folder(folder)

    patch.setattr(Tree, "sync_folders", only_these)


def _naming_before_syncing(patch: pytest.MonkeyPatch) -> None:
    take = Tree.take_name

    def take_then_sync(self: Tree, temporary: str, path: str, *, must_be_atomic: bool) -> bool:
        taken = take(self, temporary, path, must_be_atomic=must_be_atomic)
        descriptor = os.open(path, os.O_RDONLY)
        posix.sync_file(descriptor)
        os.close(descriptor)
        return taken

    patch.setattr(Tree, "take_name", take_then_sync)
    patch.setattr(LocalStagedFile, "sync", lambda self: None)
    _without_syncs_of_batches(patch)


def _writing_objects_under_their_names(patch: pytest.MonkeyPatch) -> None:
    def create(self: LocalDriver, name: str, data: bytes) -> bool:
        path = self.root / name
        if path.exists():
            return False
        self._tree.make_folder(str(path.parent))
        _write(path, data)
        self._tree.sync_folders((str(path.parent),))
        return True

    patch.setattr(LocalDriver, "create", create)


def _replacing_in_place(patch: pytest.MonkeyPatch) -> None:
    replace = LocalDriver.replace

    def overwrite(self: LocalDriver, name: str, data: bytes) -> None:
        path = self.root / name
        if path.exists():
            _write(path, data)
        else:
            replace(self, name, data)

    patch.setattr(LocalDriver, "replace", overwrite)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    posix.write_all(descriptor, data)
    posix.sync_file(descriptor)
    os.close(descriptor)


def _commits(synchronous: str) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        durably = opening.write_durably

        def carelessly(connection: apsw.Connection, *rest: Any) -> None:
            durably(connection, *rest)
            connection.pragma("synchronous", synchronous)

        patch.setattr(opening, "write_durably", carelessly)

    return apply


def _rows_before_objects(patch: pytest.MonkeyPatch) -> None:
    commit = Intake._commit

    def rows_first(self: Intake) -> None:
        if self._new:
            with self._metadata.write() as writer:
                writer.blobs.make_live(self._new.values())
        commit(self)

    patch.setattr(Intake, "_commit", rows_first)


def _pointer_before_manifest(patch: pytest.MonkeyPatch) -> None:
    carry_out = Committer._carry_out

    def pointer_first(self: Committer, intent: Any) -> Any:
        self._manifests.advance(intent.number, intent.hash, "2026-01-01T00:00:00Z")
        return carry_out(self, intent)

    patch.setattr(Committer, "_carry_out", pointer_first)


def _as_if_nobody_else_made_the_root(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LocalDriver, "sub", lambda self, prefix: LocalDriver(f"{self.root}/{prefix}"))


def _without_settling(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LocalDriver, "settle", lambda self, names: None)


OMISSIONS: Final[dict[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "new files are not synced": _without_file_syncs,
    "batches are not synced": _without_syncs_of_batches,
    "folders are not synced": _without_folder_syncs,
    "folders above new ones are not synced": _without_syncs_of_folders_above,
    "files are synced after they have their names": _naming_before_syncing,
    "objects are written under their names": _writing_objects_under_their_names,
    "objects are replaced in place": _replacing_in_place,
    "SQLite never syncs": _commits("off"),
    "SQLite syncs at checkpoints only": _commits("normal"),
    "rows are committed before their objects": _rows_before_objects,
    "the pointer moves before the manifest is there": _pointer_before_manifest,
}
OMISSIONS_AFTER_A_KILL: Final[dict[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "what others named is not settled": _without_settling,
    "a root that another made is not synced": _as_if_nobody_else_made_the_root,
}
