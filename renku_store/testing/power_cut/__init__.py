"""Power cuts for tests: what a driver and SQLite really did, and every disk that a cut could have left of it.

A driver may forget to sync something, and no test that kills a process will ever notice, because what was written is
still in the page cache. Here nothing is killed. The workload runs once, with the real driver and the real SQLite; a
recorder journals each call that changes or syncs something below a folder. From the journal alone it is computed what
a cut at any moment may leave, one such disk is written to a fresh folder, and the store is opened there as ever:

    with Recording(disk) as recording:                      # `disk` is an existing folder: the mount point
        with open_store(disk / "builds") as store:
            movie = store.create_movie("film")
            recording.promise("there is a movie")           # acknowledged: whatever is cut from here on keeps it
            ...
    journal = recording.journal
    state = cut(journal, Random(seed))                      # or hypothesis: st.randoms(use_true_random=False)
    state.write_to(folder)                                  # then open `folder / "builds"`, check `state.promises`

What is recorded, in one sequence: files made, folders made, hard links, renames, removals, writes, truncations, and
the three kinds of sync (of a file, of a folder, of the whole file system). It is taken from the functions of `os` and
of `renku_store.drivers.posix`, and from below SQLite by a VFS that passes everything on. Reads leave no trace; memory
that SQLite shares between processes (`-shm`) does not outlast a cut. What is written behind the recorder's back (by a
C library, by `open()`) is not seen: `Recording.check_complete` compares the journal with the real folder and fails.

What a cut may do, after POSIX and the file systems that exist:

- A write or truncation that no sync of its file has followed is there, or not, or torn: some sectors of it, or its
  first bytes. They are independent of each other. A file that grew where nothing arrived reads as zeros or as garbage.
- A name made, removed or renamed that no sync of its folder has followed is there or not, each on its own. A sync of
  the file makes its bytes durable and no name of it. A folder whose own name is lost takes with it all below.
- A rename is never half seen: its target is the old or the new file, never none. Where source and target are in
  different folders, they become durable independently, as after a hard link and a removal.
- A sync of the file system makes everything before it durable.
- Whatever a sync made durable stays. One sector (512 bytes) that was not written keeps its content; so does every byte
  outside a write.

That is more than ext4 or XFS do (they keep names in order), and is what the store promises to stand.

To replay: a state is a function of its journal and of the seed. Ids and times of two recordings differ, and with them
some pages of the database, so a seed finds the very same cut again only in the same journal. Keep the state: it is
plain data and can be pickled, with the journal and the promises if those can. `explain` says call by call what it has
lost; `minimal` takes back every loss that the failure can do without.
"""

from renku_store.testing.power_cut.choosing import cut as cut
from renku_store.testing.power_cut.choosing import minimal as minimal
from renku_store.testing.power_cut.choosing import sweep as sweep
from renku_store.testing.power_cut.disk import DiskState as DiskState
from renku_store.testing.power_cut.recording import Recording as Recording
