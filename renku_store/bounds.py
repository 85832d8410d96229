"""Every limit and default, unit last in the name, with its reason."""

from __future__ import annotations

from typing import Final

FORMAT_VERSION: Final = 1
"""The on-disk format that this code writes and the only one that it reads."""

# Ids
ID_MAX_BYTES: Final = 512
"""Nested loops with keys stay below it; an index row stays small."""

# Values and blobs
INLINE_MAX_BYTES: Final = 2_048
"""Text up to here lives in events and manifests: a person reads it there, and a file would cost a whole disk block."""
INTEGER_MAX: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 7493)."""
VALUE_MAX_DEPTH: Final = 100
"""Lists and objects in each other: deeper ones break JSON readers (some stop at 128) and Python's own recursion."""
DOCUMENT_MAX_DEPTH: Final = 120
"""A document of this project holds values a few levels down, and must still be read everywhere."""
CHUNK_BYTES: Final = 1_048_576
"""One read or write of a stream: large enough that the system calls vanish, small enough to keep memory constant."""
COMPRESSION_SAMPLE_BYTES: Final = 65_536
"""What is compressed on trial before a whole object is; media shows itself within it."""
COMPRESSION_MIN_BYTES: Final = 4_096
"""Up to one disk block nothing is saved by compression, and a plain file is easier to look at."""
COMPRESSION_MAX_RATIO: Final = 0.9
"""A blob is stored compressed only where that saves at least a tenth."""
COMPRESSION_LEVEL: Final = 3
"""zstd's own default: the knee of its curve."""
COMPRESSION_WINDOW_MAX_BYTES: Final = 8 * 1_048_576
"""The memory that a compressed blob may ask its reader for; what RFC 8878 recommends that all readers can give."""
HASH_THREADS_MIN_BYTES: Final = 16 * 1_048_576
"""BLAKE3 on two threads wins from about here, half a millisecond; below, a busy second processor costs more."""
PUT_VERIFY_MAX_BYTES: Final = 1_048_576
"""Up to here a single put looks at the bytes of what is there: half a millisecond, where the commit takes more."""
PUT_UNSEEN_MAX_BYTES: Final = 65_536
"""Where machines share no index, what may be new is sent up to here without a look: its bytes cost what looks do."""
BATCH_MAX_FILES: Final = 32_768
"""Temp files that one batch keeps before it syncs and names them, at two syncs a batch; their names take 25 MiB."""
BATCH_FAR_MAX_FILES: Final = 512
"""The same where the storage is far away: each object is put by itself there, and collections wait for the batch."""
BATCH_MAX_ROWS: Final = 4_096
"""Blobs that one transaction looks up, sees or makes live: others wait meanwhile, for a fraction of a second."""
LISTED_MIN_NAMES: Final = 4
"""From so many names in one folder it is listed, rather than asked for each: what is missing costs the most."""
LISTED_PER_NAME_MAX: Final = 8
"""Entries of a folder that are listed for each name: about as long as to ask for that one."""
BATCH_MAX_SECONDS: Final = 20.0
"""How long a batch waits for more: a third of the time after which a temporary file may be taken for a dead one's."""
UNREAD_MIN_BYTES: Final = 1_048_576
"""A file from here is not held in memory once its blob was seen: fresh memory for more costs more than the look."""
HASH_FIRST_MIN_BYTES: Final = 16 * 1_048_576
"""A file from here is hashed before it is copied, where a blob has its size: to read it costs less than to write it."""
BATCH_MAX_BYTES: Final = 256 * 1_048_576
"""Bytes that one batch keeps in temp files: what a crash in the middle of a batch loses."""
BLOB_HOLD_MAX_BYTES: Final = 8 * 1_048_576
"""Up to here new content is hashed in memory before anything is written, so that a dedup hit writes nothing."""
BULK_MIN_FILES: Final = 256
"""From so many small files on, one after the other, compiled calls and a thread beside are felt more than they cost."""
SYNCFS_MIN_FILES: Final = 8
"""From here one sync of the file system is cheaper than a sync of each file."""

# Manifests
MANIFEST_PAGE_MIN_ARTEFACTS: Final = 1_024
"""Manifests with more artefacts than this are cut into pages; smaller ones stay one plain file."""

# Metadata
SQLITE_MIN_VERSION: Final = (3, 51, 3)
"""Older ones can corrupt a database when the WAL is reset."""
BUSY_MAX_SECONDS: Final = 30.0
"""How long a writer waits for the others before it says who holds the lock."""
FORK_WAIT_SECONDS: Final = 5.0
"""How long a fork waits for the transactions of other threads; they take milliseconds."""
OPEN_LOCK_WAIT_SECONDS: Final = 10.0
"""How long a rebuild waits until nobody has the movie open: a command that is about to end does so in that time."""
EVENT_PAGE_ROWS: Final = 1_000
"""Rows fetched at a time by a stream, so that no reader holds the WAL for long."""

# Runs
LEASE_SECONDS: Final = 30.0
"""A run whose holder has not been heard of for this long is up for taking over."""
HEARTBEAT_SECONDS: Final = 10.0
"""Three missed beats end a lease."""
CANCEL_POLL_SECONDS: Final = 0.5
"""How often a holder looks whether it was asked to stop, or has lost its lease: a person waits for the answer."""
CANCEL_WAIT_SECONDS: Final = 20.0
"""How long `cancel` waits for the holder to let go: it may give a program its grace twice, and has results to store."""
CLAIM_POLL_SECONDS: Final = 0.05
"""How often a waiter looks whether another's call for the same signature has ended."""
COST_HISTORY_RESULTS: Final = 20_000
"""Of so many newest results the costs are looked at: some milliseconds, and prices of long ago tell nothing."""
CONCURRENCY_DEFAULT: Final = 5
"""Jobs at once: what most providers allow a new customer."""
CONCURRENCY_AUTO_MAX: Final = 8
"""`auto` is half of the processors, from 1 to this."""
CONCURRENCY_MAX: Final = 10_000
"""More is a typing error."""
RETRY_AFTER_MAX_SECONDS: Final = 3_600.0
"""The longest pause that a provider can ask all callers for; those who ask for more are asked again."""
RETRY_ATTEMPTS_DEFAULT: Final = 3
"""Calls that a command makes for one job where trying again may help: most failures of providers pass in seconds."""
LIMIT_PERIOD_MAX_SECONDS: Final = 86_400.0
"""Providers count by the day at most; what started before is not kept."""
LIMIT_BUSY_SECONDS: Final = 2.0
"""How long one look at the limits of the machine waits for another process's; it is asked again after that."""
LIMIT_POLL_SECONDS: Final = 0.1
"""How often a waiter looks whether another process has given a slot back, on average: jitter keeps them apart."""
LIMIT_RATE_LOOK_MAX_SECONDS: Final = 5.0
"""How long a waiter sleeps at most before it looks whether a rate lets it start earlier than it was told."""
LIMIT_ASKED_SECONDS: Final = 3.0
"""Who has not asked for so long, beyond its sleep, keeps no other from a free slot: many looks, and a busy one."""
LIMIT_START_MARGIN_SECONDS: Final = 0.05
"""A call that begins so late after its start was noted for all has it noted anew; windows are longer by it."""
RESULT_BUSY_MAX_SECONDS: Final = 600.0
"""How long paid results wait for a store that others keep locked: a check may hash a large file for minutes."""
RESULT_FULL_MAX_SECONDS: Final = 5.0
"""How long they wait on a full disk: another's temporary files go in that time; a person wants to hear of it."""
RESULT_PAUSE_SECONDS: Final = 0.5
"""The pause between two tries to store results: each has waited for the lock by itself."""
JOB_TIMEOUT_SECONDS: Final = 3_600.0
"""A producer that says nothing about its time is ended after an hour."""
JOB_TIMEOUT_MAX_SECONDS: Final = 30 * 86_400.0
"""A blueprint that asks for more has its units wrong."""
OUTPUT_MAX_BYTES: Final = 16 * 1024**3
"""One output of a producer; a runaway writer is stopped before it fills the disk."""
COST_MAX_DOLLARS: Final = 1_000_000_000
"""No call costs more, and no run may: what is beyond it is a slip, and would make every sum unreadable."""
DIAGNOSTICS_MAX_BYTES: Final = 16_384
"""What is kept of a producer's standard error: its end."""
CANCEL_GRACE_SECONDS: Final = 5.0
"""A cancelled program gets this long between the polite signal and the other."""
OUTPUT_POLL_SECONDS: Final = 0.25
"""How often the sizes of a running program's outputs are looked at: at 2 GB/s a runaway overshoots by 0.5 GB."""
CALL_DATA_MAX_BYTES: Final = 16_384
"""What a handler notes beside a provider's name for a call: an address to ask, not the request."""
CALL_KEEP_SECONDS: Final = 30 * 86_400.0
"""A call in flight that nobody came back for is forgotten after a month: providers keep results for days."""
JSON_CHECK_MAX_BYTES: Final = 64 * 1_048_576
"""A larger JSON output is not parsed before it is stored: to parse it takes ten times its size of memory, per job."""
JSON_CHECK_HERE_MAX_BYTES: Final = 65_536
"""So much JSON is parsed while the event loop waits: a third of a millisecond; a thread for it costs as much."""
SECRET_SCAN_MAX_BYTES: Final = 16 * 1_048_576
"""An output file beyond this is not looked through for secrets: it is a film, not a text."""
SECRET_MIN_CHARS: Final = 8
"""A shorter secret is not struck out of texts: it may stand in them by chance."""
REPLY_MAX_BYTES: Final = 65_536
"""`outputs.json` holds a cost, an id and a few MIME types."""

EXPANSION_REST_FACTOR: Final = 1.0
"""Expanding lists that come one by one takes half of the time at most, though there be room for their jobs."""
EXPANSION_REST_BUSY_FACTOR: Final = 3.0
"""It takes a quarter of the time at most while other jobs have every slot."""
WAIT_TOLD_SECONDS: Final = 0.1
"""A call that waits for a limit less long than this is not worth an event, nor anyone's eye."""

# Blueprints
BLUEPRINT_MAX_BYTES: Final = 4 * 1_048_576
"""A blueprint is written by people."""
JOBS_MAX: Final = 2_000_000
"""A graph beyond twice the measured scale is a mistake in a loop."""
JOBS_MADE_MAX: Final = 100_000
"""Jobs that lists in artefacts may ask for: nobody has read those lists, and each element costs money."""
EXPRESSION_MAX_CHARS: Final = 1_000
"""A `when` is one line."""
EXPRESSION_MAX_DEPTH: Final = 32
"""Parentheses, lists and `not` in each other: more than anyone can read, far less than Python's recursion allows."""
YAML_MAX_NODES: Final = 1_000_000
"""Keys and values of one YAML text, each alias counted with all it stands for: aliases of aliases explode otherwise."""
INPUTS_FILE_MAX_BYTES: Final = 64 * 1_048_576
"""A file of inputs may hold texts of megabytes; reading YAML costs about ten times its size in memory."""
LOOPS_NESTED_MAX: Final = 16
"""Loops in each other; four are rare."""
GRAPH_FAN_IN_MAX: Final = 2_000_000
"""Places in all fan-ins: a large loop read whole by each job of another is a mistake that would fill the memory."""

# Collection
TRASH_SECONDS: Final = 7 * 86_400.0
"""How long an expired revision can be brought back: a week finds people back from a holiday weekend."""
GC_GRACE_SECONDS: Final = 86_400.0
"""What was touched within a day is never collected: longer than any run between put and publish."""
TEMPORARY_MIN_SECONDS: Final = 60.0
"""A temporary file that was written to within a minute is taken for somebody's, even by a collection without grace."""
GC_WAIT_SECONDS: Final = 5.0
"""How long a collection waits for another one before it says who collects."""
GC_BATCH_BLOBS: Final = 2_000
"""Blobs deleted between two transactions, for some tenths of a second: a writer may have to wait for one of them."""
GC_FUTURE_SECONDS: Final = 60.0
"""Two clocks may differ by this much before a time in the future is worth a remark."""
GC_PAGE_MAX_BYTES: Final = 4 * 1_048_576
"""A blob that nothing names is read, to see whether it is a page of a manifest, up to here; pages are smaller."""
RUN_KEEP_SECONDS: Final = 90 * 86_400.0
"""Plans, and what nothing needs of old runs, stay this long after their end: a quarter, as people look back."""
ROLLBACK_KEEP_MIN_SECONDS: Final = 3_600.0
"""A rollback looks like an abandoned run until it is published: for an hour, no collection retires one."""

# Checking
FSCK_PROBLEMS_MAX: Final = 10_000
"""Problems of one kind that a check lists; a person mends by the command, not by the line, and memory stays bounded."""
FSCK_NAMES_MAX: Final = 100
"""Artefacts or revisions that one problem names; a graph or a page may concern every one there is."""
FSCK_BATCH_BLOBS: Final = 1_000
"""Verified blobs noted in one transaction: what a check that is killed has to verify again."""
FSCK_LOOKS: Final = 3
"""How often a state that a living process may be about to leave is looked at before it counts as a problem."""
FSCK_PAUSE_SECONDS: Final = 0.3
"""The pause between these looks: longer than a batch of a collection, or the end of a publication, takes."""

# Export
EXPORT_WAIT_SECONDS: Final = 600.0
"""How long an export waits for another one that works in the same folder: it may copy gigabytes."""

# Object storages
OBJECT_CONCURRENCY: Final = 32
"""Requests that one root has under way at once: where small objects over a network stop getting faster."""
INDEX_FETCH_MAX_BYTES: Final = 32 * 1_048_576
"""Manifests and archives that are asked for at once while an index is filled: what they take in memory together."""
INDEX_FETCH_MAX_OBJECTS: Final = 1_000
"""How many of them: enough that a storage far away is always busy."""
INDEX_FETCH_GUESS_BYTES: Final = 262_144
"""What an object is taken to have whose size nobody has asked for: a manifest of a thousand artefacts has as much."""
INDEX_FETCH_REVISIONS: Final = 256
"""Revisions that are fetched ahead while an index catches up."""
OBJECT_PART_BYTES: Final = 8 * 1_048_576
"""One part of a large object: 10,000 of them, the most there may be, make 78 GiB; larger objects have larger parts."""
OBJECT_PARTS_MAX: Final = 10_000
"""Parts that S3 allows for one object."""
OBJECT_PARTS_AT_ONCE: Final = 4
"""Parts of one object under way at once: with their size, the memory that an upload takes."""
OBJECT_ATTEMPTS: Final = 7
"""How often a request is sent before a storage counts as out of reach; with back-off, some ten seconds."""
OBJECT_FIRST_PAUSE_SECONDS: Final = 0.2
"""The longest first pause between two attempts; it doubles with each."""
OBJECT_PAUSE_MAX_SECONDS: Final = 5.0
"""The longest pause between two attempts: a server that asks to slow down means seconds."""
OBJECT_IN_FLIGHT_MAX_BYTES: Final = 64 * 1_048_576
"""What uploads at the same time may hold in memory together that are read from files."""
OBJECT_STAGED_TOTAL_BYTES: Final = 72 * 1_048_576
"""What new objects of one root may hold in memory together while they wait for their upload, and during it."""
OBJECT_BATCH_BYTES: Final = 64 * 1_048_576
"""From here a batch is better uploaded than added to: one more object of one part, and the memory is used up."""
OBJECT_TRIAL_FROM_BYTES: Final = 32 * 1_048_576
"""From here it pays to find out whether the server compares checksums: the MD5 of so much takes as long as a trial."""
OBJECT_WINDOW_MIN_BYTES: Final = 524_288
"""What a stream asks for at first, and after a jump: whoever looks at a header does not pay for the film."""
OBJECT_WINDOW_BYTES: Final = 8 * 1_048_576
"""What a stream asks for at most, doubling as it is read on: few requests, and memory stays constant."""
OBJECT_COPY_MAX_BYTES: Final = 5 * 1024**3
"""What S3 copies in one request."""
OBJECT_CONNECT_SECONDS: Final = 10.0
"""How long a server may take to accept a connection."""
OBJECT_REQUEST_SECONDS: Final = 600.0
"""How long one request may take with all of its bytes: uploads share a line that may carry a megabyte a second."""
OBJECT_READ_SECONDS: Final = 60.0
"""How long a server may be silent: it may assemble a large object, or answer many."""

# Cached objects
CACHE_MAX_BYTES: Final = 10 * 1024**3
"""What this machine keeps of blobs that lie far away, unless it is told otherwise: a movie or two with their media."""
CACHE_LOW_SHARE: Final = 0.9
"""How full it is once room was made: to look at every file costs more than what one of them gives back."""
CACHE_BLOCK_BYTES: Final = 4_096
"""A file takes whole blocks of the disk."""
CACHE_WAIT_SECONDS: Final = 1.0
"""How long one waits to write into it before one does without: reading must not wait for a process that is stopped."""

# Probing a driver
PROBE_CREATORS: Final = 16
"""Threads that race for one name: a server that ignores conditions lets all of them win."""
PROBE_ROUNDS: Final = 5
"""Names that they race for; a storage that lets two win only now and then shows itself within a few."""
PROBE_RACES_SECONDS: Final = 5.0
"""After so long, one race of each kind is enough: some servers let those wait for seconds who want the same name."""
PROBE_SAMPLES: Final = 5
"""Small writes and reads whose median is the latency."""
PROBE_SAMPLE_BYTES: Final = 4_096
"""The size of what is written for it: that of a small manifest."""
PROBE_KEEP_SECONDS: Final = 30 * 86_400.0
"""How long an answer counts: servers are upgraded and replaced behind their address."""
PROBE_LEFTOVER_SECONDS: Final = 3_600.0
"""Trial objects of a probe that was killed go after this time; a probe takes seconds."""

# Time
TOLD_TIME_MAX_MS: Final = 221_845_392_000_000
"""The year 9000: an id that says a later one is not believed, so that times can be counted on from any that is."""

LAST_ID_WAIT_SECONDS: Final = 0.05
"""For how long the first id of a process waits for the database to say which is the last one: a commit is shorter."""

# Machines that share objects and no index
INTENT_SECONDS: Final = 7 * 86_400.0
"""How long a run counts as alive that has not said so again: a machine may be switched off over a weekend."""
INTENT_RENEW_SECONDS: Final = 86_400.0
"""How often a run that goes on says so again: seven misses end it."""
INTENT_RETRY_SECONDS: Final = 600.0
"""When it tries again if that failed."""
EDIT_INTENT_SECONDS: Final = 90 * 86_400.0
"""How long a person's edit that no revision has taken is kept for a machine that was not heard of: none can make it."""
EDIT_INTENT_RENEW_SECONDS: Final = 7 * 86_400.0
"""How often a machine that has the edit pending says so again, when somebody opens the movie or runs it there."""
SWEEP_SECONDS: Final = 900.0
"""How long a collector's marker counts: far longer than a batch of deletions takes. Who needs such a blob waits."""
SWEEP_WORK_SECONDS: Final = 300.0
"""A collector that has not deleted what its marker names by then stops: nobody may take it for dead meanwhile."""
SWEEP_OWN_SECONDS: Final = 60.0
"""What a dead collector had asked of the storage is over by then: its marker may go, if it was one of this machine."""
SWEEP_FIRST_PAUSE_SECONDS: Final = 0.1
"""After this a publisher looks again whether a collector's marker is gone; the pause doubles with each look."""
SWEEP_PAUSE_MAX_SECONDS: Final = 5.0
"""The longest pause between two looks: of a batch that takes seconds nobody waits much longer than it takes."""
YOUNG_SECONDS: Final = GC_GRACE_SECONDS / 2
"""An older object is made young again before anybody rests on it: then the grace time is not over for hours."""
