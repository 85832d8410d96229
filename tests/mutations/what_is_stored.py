"""Mutants of what makes things durable and true: objects, events, revisions."""

from __future__ import annotations

from tests.mutations.mutant import Mutant

_STORE = "renku_store"
_ORDER = "tests/crash/test_byte_order.py"
_GC = "tests/test_gc.py"
_GAPS = "tests/mutations/test_gaps.py"
_DAMAGE = "tests/test_blobs_damage.py"
_COMMIT = "tests/test_commit.py"

MUTANTS = (
    # What is durable when
    Mutant(
        "blobs are named before their bytes are synced",
        (2, 3),
        f"{_STORE}/drivers/staging.py",
        "            self._sync_data()\n            existing",
        "            self._close_unsynced()\n            existing",
        (f"{_ORDER}::test_a_blob_is_synced_then_named_then_its_folders_are_synced_then_its_row",),
    ),
    Mutant(
        "a batch returns before the folders of its names are synced",
        (3, 8),
        f"{_STORE}/drivers/staging.py",
        "            self._tree.sync_folders(folders, self._filesystem)\n",
        "",
        (
            f"{_ORDER}::test_a_blob_is_synced_then_named_then_its_folders_are_synced_then_its_row",
            f"{_ORDER}::test_a_batch_is_synced_at_once_before_its_first_name_and_after_its_last",
        ),
    ),
    Mutant(
        "a blob replaces what has its name",
        (2,),
        f"{_STORE}/drivers/posix.py",
        "_AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)",
        "_AT_FDCWD, os.fsencode(target), 0)",
        (
            f"{_ORDER}::test_a_blob_is_synced_then_named_then_its_folders_are_synced_then_its_row",
            "tests/drivers/test_local.py::test_of_racing_processes_exactly_one_takes_each_name",
        ),
    ),
    Mutant(
        "a manifest is named before its bytes are synced",
        (5, 11),
        f"{_STORE}/drivers/staging.py",
        "            staged.write(data)\n            staged.sync()\n",
        "            staged.write(data)\n",
        (f"{_ORDER}::test_a_created_object_is_synced_then_linked_then_its_folder_is_synced",),
    ),
    Mutant(
        "a created object is promised before its name is durable",
        (5,),
        f"{_STORE}/drivers/local.py",
        "            self._tree.sync_folders((os.path.dirname(path),))\n        return created",
        "        return created",
        (f"{_ORDER}::test_a_created_object_is_synced_then_linked_then_its_folder_is_synced",),
    ),
    Mutant(
        "a commit returns before it is on the disk",
        (3,),
        f"{_STORE}/metadata/sqlite/connection.py",
        'connection.pragma("synchronous", "full")',
        'connection.pragma("synchronous", "normal")',
        (
            "tests/metadata/test_opening.py::test_the_connection_keeps_its_rules",
            f"{_GAPS}::test_a_commit_is_on_the_disk_when_it_returns",
        ),
    ),
    Mutant(
        "a row is inserted for an object whose name may not be durable",
        (8, 9),
        f"{_STORE}/blobs/intake.py",
        "        self._driver.settle(blob_path(digest) for digest in strays)\n",
        "",
        (f"{_ORDER}::test_an_object_without_a_row_has_its_name_synced_before_it_gets_one",),
    ),
    Mutant(
        "a revision is booked before its name is durable",
        (5, 7),
        f"{_STORE}/indexing/index.py",
        "            self._manifests.settle(number)\n",
        "",
        (f"{_GAPS}::test_a_revision_of_a_creator_that_died_is_durable_before_it_is_booked",),
    ),
    # Names and bytes
    Mutant(
        "bytes are read without asking for their hash",
        (1,),
        f"{_STORE}/blobs/reading.py",
        "    if hash_bytes(data) != digest:\n        raise corrupt",
        "    if False:\n        raise corrupt",
        (f"{_DAMAGE}::test_an_altered_object_is_never_read",),
    ),
    Mutant(
        "a stream ends without asking for the hash",
        (1,),
        f"{_STORE}/blobs/reading.py",
        "        if self._hasher.hexdigest() != self._digest:\n",
        "        if False:\n",
        (f"{_DAMAGE}::test_no_flipped_bit_of_a_stream_reaches_its_end",),
    ),
    Mutant(
        "bytes are read beyond the size that is recorded",
        (1,),
        f"{_STORE}/blobs/reading.py",
        "    if size is not None and parameters.content_size != size:\n",
        "    if False:\n",
        (f"{_DAMAGE}::test_a_frame_that_states_another_size_than_recorded_is_refused_unread",),
    ),
    # Events
    Mutant(
        "events can be changed",
        (4,),
        "schema/sql/sqlite/0001_initial.sql",
        "CREATE TRIGGER artefact_events_never_change BEFORE UPDATE ON artefact_events\n",
        "CREATE TRIGGER artefact_events_never_change BEFORE UPDATE ON artefact_events WHEN 0\n",
        ("tests/metadata/test_event_tables.py::test_event_rows_can_be_neither_changed_nor_removed",),
    ),
    Mutant(
        "rows that a look-up points at leave by compaction",
        (4,),
        "schema/sql/sqlite/0001_initial.sql",
        "    OR EXISTS (SELECT 1 FROM latest_artefacts WHERE artefact = OLD.artefact AND seq = OLD.seq)\n",
        "",
        ("tests/metadata/test_event_tables.py::test_compaction_removes_only_rows_that_nothing_points_at",),
    ),
    Mutant(
        "an event is appended without having seen its blobs",
        (3, 9),
        f"{_STORE}/events.py",
        "            if named:\n                self._revive(writer, named)\n",
        "",
        (f"{_GC}::test_an_event_of_a_blob_that_was_collected_is_refused",),
    ),
    # Publishing
    Mutant(
        "a manifest is created before it was meant",
        (5, 9, 11),
        f"{_STORE}/commit.py",
        "            transaction.revisions.put_intent(intent)\n        return intent\n",
        "        return intent\n",
        ("tests/crash/test_publish.py::test_a_run_killed_anywhere_is_resumed_and_publishes_what_it_meant_to",),
    ),
    Mutant(
        "a manifest replaces one that is there",
        (5,),
        f"{_STORE}/drivers/local.py",
        "                    created = self._tree.take_name(complete, path, must_be_atomic=True)\n",
        "                    self._tree.make_folder(os.path.dirname(path))\n"
        "                    os.replace(complete, path)\n"
        "                    created = True\n",
        ("tests/drivers/test_local.py::test_of_racing_processes_exactly_one_takes_each_name",),
    ),
    Mutant(
        "a revision is published on another base than it names",
        (6,),
        f"{_STORE}/commit.py",
        "        self._check_base(manifest, revision_number(manifest.revision))\n",
        "",
        (f"{_COMMIT}::test_another_base_than_the_published_one_is_a_conflict",),
    ),
    Mutant(
        "the pointer goes back",
        (7,),
        f"{_STORE}/manifests.py",
        "(named_number > number and self.exists(named_number))",
        "False",
        ("tests/test_manifests.py::test_the_pointer_never_goes_back",),
    ),
    Mutant(
        "a revision is published without touching its blobs",
        (5, 9),
        f"{_STORE}/commit.py",
        "            to_see = _to_see(transaction, manifest, encoded.page_hashes, base)\n"
        "            # The base's pages, too: they are few, and a revision without one of them is lost as a whole.\n"
        "            self._blobs.revive(\n"
        "                transaction, to_see, seen, kept=[page for page in encoded.page_hashes if page not in to_see]\n"
        "            )\n            number = ",
        "            number = ",
        (f"{_COMMIT}::test_a_missing_blob_is_named_before_the_intent",),
    ),
)
