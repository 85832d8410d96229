"""Mutants of what keeps those apart who work at the same time: leases, collection, expiry, compaction, rebuild."""

from __future__ import annotations

from tests.mutations.mutant import Mutant

_STORE = "renku_store"
_GC = "tests/test_gc.py"
_GAPS = "tests/mutations/test_gaps.py"
_LIVE = "tests/metadata/test_live_state.py"
_PRESENCE = "tests/test_blobs_presence.py"
_PUTTING = "tests/test_putting_apart.py"
_DAMAGE = "tests/test_blobs_damage.py"
_LEASES = "tests/test_leases.py"
_FENCING = "tests/running/test_fencing.py"
_LOST = "tests/running/test_claims_lost.py"
_GROUPING = "tests/running/test_grouping.py"
_MACHINES = "tests/test_two_machines.py"
_COMMIT = "tests/test_commit.py"
_RETENTION = "tests/test_retention.py"
_COMPACTION = "tests/test_compaction.py"

MUTANTS = (
    # Fencing
    Mutant(
        "a late holder archives and publishes",
        (10,),
        f"{_STORE}/archiving.py",
        "    if token is not None and not transaction.runs.holds(token):\n",
        "    if False:\n",
        (f"{_COMMIT}::test_a_run_that_was_taken_over_archives_and_publishes_nothing",),
    ),
    Mutant(
        "an archive is replaced after the look at who holds the run",
        (4, 10),
        f"{_STORE}/archiving.py",
        "            return self._archives.save(run, data)",
        "        return self._archives.save(run, data)",
        (f"{_GAPS}::test_nobody_takes_a_run_over_while_it_is_being_archived",),
    ),
    Mutant(
        "a manifest is created though it is no longer meant",
        (3, 5),
        f"{_STORE}/commit.py",
        "            if meant and self._manifests.create(",
        "            if self._manifests.create(",
        (f"{_COMMIT}::test_a_publisher_that_was_given_up_meanwhile_publishes_nothing",),
    ),
    Mutant(
        "a call is begun though there is a result",
        (10,),
        f"{_STORE}/leases.py",
        "        trace = None if wanted.forced else usable_trace(writer, wanted.signature)\n",
        "        trace = None\n",
        (f"{_LEASES}::test_a_result_that_is_there_is_not_made_again",),
    ),
    Mutant(
        "what has a result is claimed with what has none",
        (10,),
        f"{_STORE}/metadata/sqlite/runs.py",
        " WHERE NOT EXISTS (SELECT 1 FROM traces WHERE signature = ?1)\"",
        " WHERE 1\"",
        (f"{_LEASES}::test_a_result_that_is_there_is_not_made_again",),
    ),
    Mutant(
        "what another holds is claimed",
        (10,),
        f"{_STORE}/metadata/sqlite/runs.py",
        "        if row is not None and not steal:\n",
        "        if False:\n",
        (
            f"{_LEASES}::test_a_signature_is_claimed_once",
            "tests/crash/test_soak.py::test_processes_that_are_killed_at_random_lose_nothing_and_repeat_no_call",
        ),
    ),
    Mutant(
        "a late holder claims",
        (10,),
        f"{_STORE}/leases.py",
        "                raise taken_over(token.run)\n            answers",
        "                pass\n            answers",
        (f"{_LEASES}::test_a_token_of_before_claims_nothing",),
    ),
    Mutant(
        "a call is begun under a claim that another has taken",
        (10,),
        f"{_STORE}/running/session.py",
        "                await claim.confirm()\n",
        "",
        # Without it a claim is looked at once more when the job's files are there; a call that was begun before is not.
        (f"{_LOST}::test_a_forced_call_that_was_fetched_by_another_before_its_run_goes_on_is_not_made_anew",),
    ),
    Mutant(
        "a claim outlives the lease that it was made under",
        (10,),
        f"{_STORE}/metadata/sqlite/runs.py",
        "(l.expires_at > {_NOW} OR (c.run = ?2 AND c.epoch = ?3 AND c.counter = ?4))",
        "(?2 IS NOT NULL OR ?3 OR ?4)",
        (f"{_LIVE}::test_a_claim_ends_with_the_lease_that_it_was_made_under",),
    ),
    Mutant(
        "a run whose lease is overdue claims what it has claimed",
        (10,),
        f"{_STORE}/metadata/sqlite/runs.py",
        " OR (c.run = ?2 AND c.epoch = ?3 AND c.counter = ?4))",
        " OR (?2 AND ?3 AND ?4) IS NULL)",
        (f"{_GROUPING}::test_two_jobs_of_one_signature_make_one_call_though_the_lease_is_overdue",),
    ),
    Mutant(
        "a late result is taken by itself",
        (10,),
        f"{_STORE}/running/results.py",
        '    return "succeeded" if ours else "kept"',
        '    return "succeeded"',
        (f"{_FENCING}::test_a_kept_take_stands_behind_every_other",),
    ),
    Mutant(
        "a late result is chosen before a right one",
        (10,),
        f"{_STORE}/metadata/traces.py",
        "sorted(newest_first, key=lambda trace: trace.kept)",
        "newest_first",
        (f"{_FENCING}::test_a_kept_take_stands_behind_every_other",),
    ),
    Mutant(
        "a result is stored and its claim kept",
        (10,),
        f"{_STORE}/running/results.py",
        "        transaction.runs.unclaim_all(jobs, self._token)\n",
        "",
        (f"{_GAPS}::test_a_result_and_the_end_of_its_claim_are_seen_at_one_moment",),
    ),
    # Collection
    Mutant(
        "what a writer has made and not noted yet is taken for an orphan",
        (8,),
        f"{_STORE}/gc/collection.py",
        "            with self._movie.driver.lock(ARRIVE_LOCK, wait_seconds=bounds.GC_WAIT_SECONDS):\n",
        "            with suppress(KeyError):\n",
        (f"{_GC}::test_what_is_between_its_object_and_its_row_is_nobodys_orphan",),
    ),
    Mutant(
        "a dedup hit does not touch",
        (9,),
        f"{_STORE}/blobs/intake.py",
        "            count = writer.blobs.touch(seen)\n",
        "            count = len(seen)\n",
        (f"{_GC}::test_a_dedup_hit_makes_a_blob_young",),
    ),
    Mutant(
        "a dedup hit trusts the row and does not look for the object",
        (8, 9),
        f"{_STORE}/blobs/intake.py",
        "        seen = sorted(names[name] for name, status in found.items() if status.size == expected[names[name]])\n"
        "        if self._verify_max_bytes:\n",
        "        seen = [*names.values()]\n        if False:\n",
        (f"{_DAMAGE}::test_a_missing_object_with_a_live_row_is_written_anew",),
    ),
    Mutant(
        "a row that is no longer live is taken for touched",
        (8, 9),
        f"{_STORE}/blobs/intake.py",
        "        return seen if count == len(seen) else ()\n",
        "        return seen\n",
        (f"{_PRESENCE}::test_what_is_collected_between_the_look_and_the_touch_is_written_anew",),
    ),
    Mutant(
        "what is being deleted is revived",
        (8, 9),
        f"{_STORE}/metadata/sqlite/blobs.py",
        " state = 'live', touched_at = excluded.touched_at WHERE state <> 'deleting'\"",
        " state = 'live', touched_at = excluded.touched_at\"",
        (f"{_LIVE}::test_only_live_rows_are_touched_and_deleting_ones_are_left_alone",),
    ),
    Mutant(
        "a put rests on what is being deleted",
        (8, 9),
        f"{_STORE}/blobs/intake.py",
        '                if row is not None and row.state == "deleting":\n                    deleting.add(digest)\n'
        "                    continue\n",
        "",
        (f"{_PRESENCE}::test_a_put_waits_for_a_deletion_and_writes_anew",),
    ),
    Mutant(
        "an event rests on what is being deleted",
        (3, 8, 9),
        f"{_STORE}/blobs/store.py",
        'if found is None or (row is not None and row.state == "deleting"):',
        "if found is None:",
        (f"{_PRESENCE}::test_reviving_refuses_what_is_being_deleted",),
    ),
    Mutant(
        "what was touched meanwhile is condemned",
        (9,),
        f"{_STORE}/metadata/sqlite/blobs.py",
        "\" AND state = 'live' AND touched_at < ?\"",
        "\" AND state = 'live' AND ? > 0\"",
        (f"{_GC}::test_a_put_of_condemned_bytes_is_never_lost",),
    ),
    Mutant(
        "what was revived meanwhile is deleted",
        (5, 9),
        f"{_STORE}/metadata/sqlite/blobs.py",
        "\" AND state = 'condemned' RETURNING lower(hex(hash)), stored_size\"",
        "\" AND state <> 'deleting' RETURNING lower(hex(hash)), stored_size\"",
        (f"{_GC}::test_a_put_of_condemned_bytes_is_never_lost",),
    ),
    Mutant(
        "whoever finishes for a dead collector deletes what was written anew",
        (8,),
        f"{_STORE}/blobs/removal.py",
        ' if row.state == "deleting"]',
        "]",
        (f"{_GC}::test_only_what_is_marked_is_deleted",),
    ),
    Mutant(
        "a collection deletes what another one had marked without a look at the roots",
        (5, 9),
        f"{_STORE}/gc/collection.py",
        "            for digest in self._unmark_needed(left):\n",
        "            for digest in ():\n",
        (f"{_GC}::test_the_mark_of_a_dead_collector_is_taken_back_from_what_is_needed",),
    ),
    Mutant(
        "a put deletes what a dead collector had marked",
        (5, 9),
        f"{_STORE}/blobs/removal.py",
        "        driver.settle(blob_path(digest) for digest in marked)\n",
        "        for digest in marked:\n            driver.delete(blob_path(digest))\n"
        "            driver.delete(blob_path(digest, 'zstd'))\n",
        (f"{_GC}::test_a_put_never_deletes_what_it_is_about_to_write",),
    ),
    Mutant(
        "a manifest that was made anew is written whatever its hash",
        (5,),
        f"{_STORE}/remaking.py",
        "                if encoded.hash == self._row.hash:\n",
        "                if encoded.hash:\n",
        ("tests/fsck/test_checking.py::test_an_older_manifest_that_cannot_be_made_anew_can_be_let_go",),
    ),
    Mutant(
        "manifests are read before what is live",
        (5,),
        f"{_STORE}/gc/roots.py",
        "        with self._movie.metadata.read() as reader:\n"
        "            last = max(reader.events.last_seq())\n"
        "        while self._read_events():\n"
        "            pass\n"
        "        self._seq = max(self._seq, last)\n"
        "        self._read_unfinished_runs()\n"
        "        with self._movie.metadata.read() as reader:\n"
        "            self._read_choices(reader)\n"
        "            self._read_intents(reader)\n"
        "        self._read_manifests()\n",
        "        self._read_manifests()\n"
        "        while self._read_events():\n"
        "            pass\n"
        "        self._read_unfinished_runs()\n"
        "        with self._movie.metadata.read() as reader:\n"
        "            self._read_choices(reader)\n"
        "            self._read_intents(reader)\n",
        (f"{_GAPS}::test_what_is_published_while_the_roots_are_read_is_one_of_them",),
    ),
    Mutant(
        "a collector does not look again before it deletes",
        (5, 9),
        f"{_STORE}/gc/collection.py",
        "            self._roots.catch_up(writer)\n            marked = begin(writer, group)",
        "            marked = begin(writer, group)",
        (f"{_GC}::test_an_event_that_comes_meanwhile_keeps_its_blob",),
    ),
    Mutant(
        "what a revision names is collected",
        (5,),
        f"{_STORE}/gc/roots.py",
        "        return bytes.fromhex(digest) in self._marked\n",
        "        return False\n",
        (
            f"{_GC}::test_what_nothing_names_goes_and_everything_published_stays",
            "tests/test_racing_machines.py::test_of_racing_publishes_on_two_machines_none_is_lost",
        ),
    ),
    Mutant(
        "a collector beside other machines does not look again before it deletes",
        (5, 9),
        f"{_STORE}/gc/apart.py",
        " if digest not in self._roots]\n",
        "]\n",
        (f"{_MACHINES}::test_what_another_machine_publishes_during_a_collection_stays",),
    ),
    Mutant(
        "a collector does not tell other machines what it deletes",
        (5, 9),
        f"{_STORE}/announcing.py",
        "        self._put(names)\n        yield\n",
        "        self._put(())\n        yield\n",
        (f"{_MACHINES}::test_who_publishes_what_is_being_deleted_waits_and_has_to_put_it_again",),
    ),
    Mutant(
        "what was put is not seen again after the sweeps",
        (9,),
        f"{_STORE}/blobs/apart.py",
        "        self._see_again(rows)\n",
        "        with self._metadata.write() as writer:\n"
        "            writer.blobs.make_live(row[:4] for row in rows.values())\n",
        (
            f"{_PUTTING}::test_what_a_collector_deletes_after_it_was_written_is_not_put",
            f"{_PUTTING}::test_a_new_small_blob_costs_one_write_and_the_look_afterwards",
        ),
    ),
    Mutant(
        "who puts waits for no collector of another machine",
        (9,),
        f"{_STORE}/blobs/apart.py",
        "        self._announcer.wait_for_sweeps(self._new)\n",
        "",
        (f"{_PUTTING}::test_what_a_collector_deletes_after_it_was_written_is_not_put",),
    ),
    Mutant(
        "what somebody else has made young a moment ago is believed",
        (9,),
        f"{_STORE}/blobs/keeping.py",
        "fresh = set() if waited else {d for d, seen in found.items() if seen.modified > now - bounds.SWEEP_SECONDS}",
        "fresh = set[str]()",
        (f"{_PUTTING}::test_a_young_object_that_a_collector_is_about_to_delete_is_written_anew",),
    ),
    Mutant(
        "an object that is there already counts as what was put",
        (1, 9),
        f"{_STORE}/blobs/apart.py",
        "            for digest in self._look({digest: len(content) for digest, content in there.items()}, rows):\n",
        "            for digest in ():\n",
        (f"{_PUTTING}::test_a_damaged_object_of_that_name_moves_to_quarantine",),
    ),
    Mutant(
        "more than half goes without being asked for",
        (5,),
        f"{_STORE}/gc/collection.py",
        'stored bytes would go."""\n    if 2 * found.removable_bytes > found.total_bytes:\n',
        'stored bytes would go."""\n    if False:\n',
        (f"{_GC}::test_removing_more_than_half_needs_force",),
    ),
    Mutant(
        "the grace time does not cover the longest run",
        (5, 9),
        f"{_STORE}/gc/survey.py",
        "    age = _longest_run_seconds(movie, now_ms)\n",
        "    age = 0.0\n",
        (f"{_GC}::test_a_collection_in_the_middle_of_a_run_takes_nothing_from_it",),
    ),
    # Expiry
    Mutant(
        "a tagged revision goes for good",
        (5,),
        f"{_STORE}/gc/expiring.py",
        " or revision_name(mark.number) in tagged:\n",
        ":\n",
        ("tests/test_tags.py::test_a_tagged_revision_never_expires",),
    ),
    Mutant(
        "the trash is emptied at once",
        (5,),
        f"{_STORE}/gc/expiring.py",
        "        elif max(age, 0.0) >= time.seconds:\n",
        "        else:\n",
        (f"{_RETENTION}::test_the_trash_is_live_until_its_time_is_over",),
    ),
    Mutant(
        "the trash believes what a mark says of its time",
        (5,),
        f"{_STORE}/gc/expiring.py",
        "        return min(said, self.files_now - mark.modified)\n",
        "        return said\n",
        (f"{_RETENTION}::test_a_mark_must_be_old_by_its_own_word_and_by_its_file",),
    ),
    Mutant(
        "a revision comes back without its blobs being touched",
        (5, 9),
        f"{_STORE}/retention/restoring.py",
        "        movie.blobs.revive(writer, named_blobs(manifest, (page.hash for page in manifest.pages or ())))\n",
        "        pass\n",
        (f"{_RETENTION}::test_what_is_in_the_trash_comes_back",),
    ),
    Mutant(
        "what is in the trash is no root",
        (5,),
        f"{_STORE}/gc/roots.py",
        "            if isinstance(entry, Manifest) and number not in self._without:\n",
        "            if isinstance(entry, Manifest) and self._manifests.expiry(number) is None:\n",
        (f"{_RETENTION}::test_the_trash_is_live_until_its_time_is_over",),
    ),
    # Compaction and rebuild
    Mutant(
        "rows leave that the archive does not hold as they are",
        (4,),
        f"{_STORE}/compaction.py",
        '                if row is not None and event.replace(seq=row.seq) == row:\n',
        "                if row is not None:\n",
        (f"{_COMPACTION}::test_rows_that_say_other_things_than_the_archive_stay",),
    ),
    Mutant(
        "rows leave before their archive is durable",
        (4,),
        f"{_STORE}/compaction.py",
        "        self._movie.archives.settle(run.run)\n",
        "",
        (f"{_GAPS}::test_rows_leave_after_the_name_of_their_archive_is_durable",),
    ),
    Mutant(
        "a database is made anew while others have the old one open",
        (10, 11),
        f"{_STORE}/rebuild/turns.py",
        "driver.lock(OPEN_LOCK, wait_seconds=wait_seconds)",
        "driver.lock(OPEN_LOCK, shared=True, wait_seconds=wait_seconds)",
        ("tests/test_rebuild.py::test_while_somebody_has_the_movie_open_nothing_is_changed",),
    ),
    Mutant(
        "a lease of before a rebuild may be one afterwards",
        (10,),
        f"{_STORE}/rebuild/turns.py",
        "max(int(clock.now().timestamp() * 1000), noted + 1, known + 1)",
        "int(clock.now().timestamp() * 1000)",
        ("tests/test_rebuild.py::test_the_epoch_grows_even_where_the_clock_was_set_back",),
    ),
)  # fmt: skip
