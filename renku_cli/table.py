"""The table of commands: which module holds which, in one line of help each.

This is the one place of the command line that loads modules late, so that `--help`, `--version` and every command pay
for what they use only.
"""

from __future__ import annotations

import gc
import importlib
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple


class Entry(NamedTuple):
    """A command: `target` is `module:name` below `renku_cli`, `help` its line in the list of commands."""

    target: str
    help: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "demo": Entry("commands.demo:demo", "Build the sample movie from end to end, offline."),
    "init": Entry("commands.movies:init", "Create a movie."),
    "movies": Entry("commands.movies:movies", "List the movies of the build root."),
    "set": Entry("commands.inputs:set_", "Give inputs new values."),
    "edit": Entry("commands.versions:edit", "Put your own version of an artefact in its place, or undo that."),
    "plan": Entry("commands.planning:plan", "Show what would run, and why; writes nothing."),
    "explain": Entry("commands.planning:explain", "Show the causes that make a job or artefact dirty."),
    "run": Entry("commands.run:run", "Make what is not up to date and publish a revision."),
    "abandon": Entry("commands.runs:abandon", "Give an unfinished run up; its results stay reusable."),
    "cancel": Entry("commands.runs:cancel", "Stop a running run, from any terminal; it can be resumed."),
    "accept": Entry("commands.versions:accept", "Adopt the existing results of a producer that has changed."),
    "status": Entry("commands.runs:status", "Show running and unfinished runs, and pending edits."),
    "log": Entry("commands.revisions:log", "List the revisions, newest first."),
    "inspect": Entry("commands.revisions:inspect", "Show one revision: inputs, artefacts, cost."),
    "diff": Entry("commands.diff:diff", "Show what differs between two revisions."),
    "cat": Entry("commands.cat:cat", "Write an artefact's bytes to standard output."),
    "takes": Entry("commands.versions:takes", "List every result that was made for an artefact; choose one."),
    "events": Entry("commands.events:events", "Show the audit trail."),
    "timeline": Entry("commands.timeline:timeline", "Show when the jobs of a run went on: a Gantt chart."),
    "export": Entry("commands.exporting:export", "Write a revision as a plain folder."),
    "rollback": Entry("commands.rollback:rollback", "Publish an old state as the newest revision."),
    "tag": Entry("commands.tags:tag", "Name a revision, which then never expires; list or remove names."),
    "prune": Entry("commands.retention:prune", "Let old revisions go by rules, and say why the others stay."),
    "stats": Entry("commands.upkeep:stats", "Show bytes, ratios, growth by revision, and cost."),
    "gc": Entry("commands.gc:gc", "Remove the blobs that nothing needs any more."),
    "compact": Entry("commands.upkeep:compact", "Drop rows of events that verified archives hold."),
    "fsck": Entry("commands.fsck:fsck", "Check every invariant; repair from copies, or by the next run."),
    "copy": Entry("commands.copying:copy", "Copy movies to another build root, as far as they are missing there."),
    "migrate": Entry("commands.migrating:migrate_", "Bring movies over from an older layout, which is only read."),
    "rebuild": Entry("commands.rebuild:rebuild", "Make the database anew from the objects."),
    "config": Entry("commands.config:config", "Show or change settings."),
    "doctor": Entry("commands.doctor:doctor", "Check what this machine and the build root can do."),
}

LATER: Final = frozenset({"worker", "ui"})
"""Commands that are to come: their names are taken."""


def load(target: str) -> Any:
    """What a `module:name` below `renku_cli` stands for. Ctrl-C meanwhile is heard once it is loaded."""
    module, _, name = target.partition(":")
    collecting = gc.isenabled()
    gc.disable()  # what is imported stays: collections would look at all of it, again and again, and find nothing
    try:
        with _uninterrupted():
            return getattr(importlib.import_module(f"renku_cli.{module}"), name)
    finally:
        if not gc.get_freeze_count():  # who has frozen objects wants them to stay so
            gc.freeze()
            gc.unfreeze()  # they are old now, and not looked at with the young ones
        if collecting:
            gc.enable()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back for the length of a block, where nobody else listens to it; it is raised at its end.

    Amid an import the interpreter calls back what goes, such as the lock of a module: what is raised there is shown as
    ignored, and the program goes on.
    """
    alone = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not alone or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if heard:
        raise KeyboardInterrupt
