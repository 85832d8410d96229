"""`diff`: what differs between two revisions, why, and what it cost."""

from __future__ import annotations

from typing import Any

import click

from renku_cli.causes import reason_text
from renku_cli.commands.revisions import shown_input
from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.opening import open_movie
from renku_cli.output import Cell, note, print_heading, print_json, print_line, print_table, styled
from renku_cli.revision_causes import reasons_between
from renku_cli.text import cost, count, shown_value, size
from renku_cli.valuepath import at, differing, joined
from renku_store import (
    Changes,
    DamageError,
    Manifest,
    ManifestInput,
    Movie,
    Reason,
    RevisionDiff,
    diff_revisions,
    hash_value,
    parse_blueprint,
)

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


@command("diff", "renku-store diff rev-0001 rev-0002", "renku-store diff 1 latest --json")
@click.argument("before", metavar="A", shell_complete=complete("revisions"))
@click.argument("after", metavar="B", shell_complete=complete("revisions"))
@click.pass_obj
def diff(options: GlobalOptions, before: str, after: str) -> None:
    """Inputs and artefacts of B against those of A, compared by content; the reasons; and the cost from A to B."""
    with open_movie(options) as movie:
        a, b = movie.manifests.load(before), movie.manifests.load(after)
        try:
            a, b = _with_defaults(movie, a, b), _with_defaults(movie, b, a)
        except DamageError as error:
            note(f"warning: the defaults of inputs cannot be told: {error.message}")
        changes = diff_revisions(a, b)
        spent = _cost_between(movie, a, b)
        try:
            reasons = reasons_between(movie, a, b, [*changes.artefacts.added, *changes.artefacts.changed])
        except DamageError as error:
            reasons = {}
            note(f"warning: the reasons cannot be told: {error.message}")
        if options.as_json:
            print_json(_document(a, b, changes, reasons, spent))
        else:
            _show(a, b, changes, reasons, spent)


def _with_defaults(movie: Movie, manifest: Manifest, other: Manifest) -> Manifest:
    """A revision with what its inputs were by default that another one has set otherwise: to people those changed."""
    held = manifest.inputs.get("@blueprint")
    source = movie.value(held) if held is not None else None
    if not isinstance(source, str):
        return manifest
    given = {
        name: ManifestInput(hash=hash_value(spec.default), value=spec.default)
        for name, spec in parse_blueprint(source, "@blueprint").inputs.items()
        if spec.has_default and name in other.inputs and name not in manifest.inputs
    }
    other_than_set = {name: entry for name, entry in given.items() if entry.hash != other.inputs[name].hash}
    return manifest.replace(inputs={**manifest.inputs, **other_than_set})


def _cost_between(movie: Movie, a: Manifest, b: Manifest) -> float:
    """What the revisions after the earlier one, up to the later one, took."""
    first, last = sorted(int(manifest.revision.removeprefix("rev-")) for manifest in (a, b))
    later = (movie.manifests.entry(str(number))[0] for number in range(first + 1, last + 1))
    return sum(entry.metrics.cost for entry in later)


def _document(
    a: Manifest, b: Manifest, changes: RevisionDiff, reasons: dict[str, list[Reason]], spent: float
) -> dict[str, Any]:
    return {
        "from": a.revision,
        "to": b.revision,
        "inputs": _lists(changes.inputs),
        "artefacts": _lists(changes.artefacts),
        "reasons": {job: [reason.to_json() for reason in found] for job, found in reasons.items()},
        "cost": spent,
    }


def _lists(changes: Changes) -> dict[str, list[str]]:
    return {"added": changes.added, "removed": changes.removed, "changed": changes.changed}


def _show(a: Manifest, b: Manifest, changes: RevisionDiff, reasons: dict[str, list[Reason]], spent: float) -> None:
    inputs = [(_sign(kind), *_input(a, b, name)) for kind, name in _each(changes.inputs)]
    artefacts = [
        (_sign(kind), name, _size(a, name), _size(b, name), _reasons(b, name, reasons))
        for kind, name in _each(changes.artefacts)
    ]
    if inputs:
        print_heading("Inputs")
        print_table(("", "input", a.revision, b.revision), inputs)
    if artefacts:
        print_heading("Artefacts")
        print_table(("", "artefact", a.revision, b.revision, "reasons"), artefacts, right=(a.revision, b.revision))
    if not inputs and not artefacts:
        print_line(f"{a.revision} and {b.revision} hold the same.")
    print_line(
        f"{count(len(inputs), 'input')} and {count(len(artefacts), 'artefact')} differ; "
        f"{cost(spent)} from one to the other."
    )


def _each(changes: Changes) -> list[tuple[str, str]]:
    return [(kind, name) for kind, names in _lists(changes).items() for name in names]


def _sign(kind: str) -> Cell:
    return styled(*_SIGNS[kind])


def _input(a: Manifest, b: Manifest, name: str) -> tuple[str, str, str]:
    """An input with both values, or the one place in it that differs with what stands there."""
    before, after = a.inputs.get(name), b.inputs.get(name)
    if before and after and not before.blob and not after.blob and (steps := differing(before.value, after.value)):
        place = joined(name, steps)
        return place, shown_value(at(before.value, steps, place)), shown_value(at(after.value, steps, place))
    return name, shown_input(before) if before else "-", shown_input(after) if after else "-"


def _size(manifest: Manifest, name: str) -> str:
    artefact = manifest.artefacts.get(name)
    return size(artefact.size) if artefact else "-"


def _reasons(manifest: Manifest, name: str, reasons: dict[str, list[Reason]]) -> str:
    artefact = manifest.artefacts.get(name)
    if artefact is not None and artefact.edited_by:
        return f"edited by {artefact.edited_by}"
    found = reasons.get(artefact.job or "", []) if artefact else []
    return "; ".join(reason_text(reason) for reason in found[:3]) + ("; ..." if len(found) > 3 else "")
