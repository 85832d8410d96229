/* Collection of one blob against writers: does what somebody needs stay?

   The blob is one that nothing needs and that nobody has touched for longer than the grace time. One process puts the
   same bytes, appends the event that names them, and publishes it; another publishes a manifest that names the blob;
   two collectors run, each of which may die anywhere, as may the writers. It begins with a row, without one, with nothing
   at all, or with a mark of an earlier collector on a blob that an event names, as a restored database can have it.

   An action between two semicolons is one step. A transaction holds `write_lock`; what it changes is seen by others
   when it ends, in one step; what it looks at on the disk it looks at in steps of its own. `collect_lock` is freed when
   its holder dies. Twice, at any moment, the grace time goes by: what was touched before is old, and what somebody was
   told by then is not promised any more.

   Each of these makes the protocol wrong, and is refuted:
     -DNO_SECOND_LOOK         roots are not read again under the lock before condemning and before deleting
     -DNO_SECOND_MANIFESTS    live state is read again under the lock, manifests are not
     -DNO_TOUCH               a dedup hit leaves the row as old as it was
     -DNO_STATE               the sweep deletes what it had condemned, whatever the row says by now
     -DNO_WAIT                a writer revives a row that is being deleted
     -DNO_COLLECT_LOCK        a writer takes back the mark of a collector that may be alive
    -DNO_FIRST_LOOK          a collector finishes what another one had marked without a look at the roots
     -DNO_SEEING              a publisher makes the row live without having seen the object
     -DTRUSTING               after the batch a writer inserts the row without a look at what it has written
*/

mtype = { NONE, LIVE, CONDEMNED, DELETING };

mtype row;            /* the row of the blob */
bool row_old;         /* touched longer ago than the grace time */
bool object;          /* whether the object is there */
bool object_old;      /* its time of modification */

bool edit;            /* an event names the blob, and no published run covers it */
bool intent;          /* an intent names it */
bool manifest;        /* a manifest names it */
bool promised;        /* somebody was told that it is stored */

bool write_lock;
bool collect_lock;

#define BEGIN    atomic { !write_lock -> write_lock = true }
#define COMMIT   write_lock = false
#define MAY_DIE  if :: true -> goto died :: true fi

#define NEEDED   (manifest || intent || edit || promised)
ltl kept { [] ((NEEDED -> object) && ((row == LIVE) -> object)) }

/* Deleting what is marked; to be called under `collect_lock`. */
inline finish_deleting(marked)
{
    marked = (row == DELETING);
    if
    :: marked ->
        MAY_DIE;
        atomic { object = false; object_old = false };
        MAY_DIE;
        BEGIN;
        atomic { if :: row == DELETING -> row = NONE :: else fi; COMMIT }
    :: else
    fi
}

inline make_live()
{
    row = LIVE; row_old = false
}

/* See the object, make its row live and touched; part of a transaction that goes on. */
inline revive(found)
{
#ifdef NO_SEEING
    found = (row != DELETING)
#else
    found = (object && row != DELETING)
#endif
}

proctype Putter()
{
    bool found, existing, known;

    /* What is there is settled ... */
    known = (row != NONE);
    if :: !known -> known = object :: else fi;
    do
    :: !known -> break
    :: known ->
        BEGIN;
#ifdef NO_WAIT
        if
        :: false -> skip
#else
        if
        :: row == DELETING ->
            COMMIT;
#ifdef NO_COLLECT_LOCK
            BEGIN;
            atomic { if :: row == DELETING -> row = NONE :: else fi; COMMIT }
#else
            if
            :: atomic { !collect_lock -> collect_lock = true };
                BEGIN;
                atomic { if :: row == DELETING -> row = NONE :: else fi; COMMIT };
                collect_lock = false
            :: collect_lock -> skip
            fi
#endif
#endif
        :: else ->
            found = object;
            if
            :: found ->
#ifdef NO_TOUCH
                atomic { if :: row == LIVE :: else -> make_live() fi; promised = true; COMMIT };
#else
                atomic { make_live(); promised = true; COMMIT };
#endif
                goto stored
            :: else ->
                atomic { if :: row != DELETING -> row = NONE :: else fi; COMMIT };
                known = false
            fi
        fi
    od;
    MAY_DIE;
    /* ... and what is not is written: the object, then its row. */
    atomic { existing = object; if :: existing :: else -> object = true; object_old = false fi };
    MAY_DIE;
    BEGIN;
#ifdef TRUSTING
    found = object || !(existing || row != NONE);
#else
    found = object;
#endif
    if
    :: row == DELETING || !found -> COMMIT; goto died    /* an error says: try again */
    :: else -> atomic { make_live(); promised = true; COMMIT }
    fi;

stored:
    MAY_DIE;
    /* The event that names it; an error if the grace time was over before. */
    BEGIN;
    revive(found);
    assert(found || !promised);
    if :: !found -> COMMIT; goto died :: else fi;
    atomic { make_live(); edit = true; COMMIT };
    MAY_DIE;
    /* Publishing: intent, manifest, bookkeeping. */
    BEGIN;
    revive(found);
    assert(found);
    atomic { make_live(); intent = true; COMMIT };
    MAY_DIE;
    manifest = true;
    MAY_DIE;
    BEGIN;
    atomic { edit = false; intent = false; COMMIT };
died:
    skip
}

/* Publishes a manifest that names the blob, which it has not put: a rollback, an old result. */
proctype Publisher()
{
    bool found;

    BEGIN;
    revive(found);
    if
    :: !found -> COMMIT; goto died
    :: else -> atomic { make_live(); intent = true; COMMIT }
    fi;
    MAY_DIE;
    manifest = true;
    MAY_DIE;
    BEGIN;
    atomic { intent = false; COMMIT };
died:
    skip
}

/* The grace time goes by. */
proctype Time()
{
    atomic { row_old = true; object_old = true; promised = false };
    atomic { row_old = true; object_old = true; promised = false }
}

/* Roots: live state, then manifests; whoever publishes in between is seen twice. */
inline read_roots()
{
    root = root || edit || intent;
    root = root || manifest
}

inline catch_up()
{
    skip;
#ifndef NO_SECOND_LOOK
    root = root || edit || intent;
#ifndef NO_SECOND_MANIFESTS
    root = root || manifest
#endif
#endif
}

proctype Collector()
{
    bool root, candidate, stray, marked, died_holding;

    atomic { !collect_lock -> collect_lock = true };
    read_roots();
    MAY_DIE;
#ifndef NO_FIRST_LOOK
    /* The mark of one that died, on what is needed: taken back. */
    BEGIN;
    catch_up();
    atomic {
        if
        :: row == DELETING && root -> row = NONE; if :: object -> make_live() :: else fi
        :: else
        fi;
        COMMIT
    };
    MAY_DIE;
#endif
    finish_deleting(marked);
    MAY_DIE;
    atomic {
        candidate = (row != NONE && !root && (row == DELETING || row_old));
        marked = (row == CONDEMNED && !candidate)    /* left by a collector that died, and to stay */
    };
    stray = (row == NONE && object && object_old && !root);
    MAY_DIE;

    /* Condemn. */
    BEGIN;
    catch_up();
    atomic {
        if
        :: row == CONDEMNED && marked && object -> make_live()
        :: row == LIVE && candidate && !root && row_old -> row = CONDEMNED
        :: else
        fi;
        COMMIT
    };
    MAY_DIE;

    /* Sweep. */
    if
    :: candidate ->
        BEGIN;
        catch_up();
        atomic {
            if
            :: row == CONDEMNED && root && object -> make_live()
            :: row == CONDEMNED && !root -> row = DELETING
#ifdef NO_STATE
            :: row == LIVE && !root -> row = DELETING
#endif
            :: else
            fi;
            COMMIT
        };
        MAY_DIE;
        finish_deleting(marked)
    :: else
    fi;
    MAY_DIE;
    if
    :: stray ->
        BEGIN;
        catch_up();
        atomic { if :: row == NONE && !root -> row = DELETING; row_old = false :: else fi; COMMIT };
        MAY_DIE;
        finish_deleting(marked)
    :: else
    fi;
died:
    collect_lock = false
}

init
{
    atomic {
        if
        :: row = LIVE; row_old = true; object = true; object_old = true
        :: row = NONE; object = true; object_old = true
        :: row = NONE; object = false
        :: row = DELETING; object = true; object_old = true; edit = true    /* a database that was restored */
        fi;
        run Putter();
        run Publisher();
        run Collector();
        run Collector();
        run Time()
    }
}
