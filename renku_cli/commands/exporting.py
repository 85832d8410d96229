"""`export`: a revision as a plain folder."""

from __future__ import annotations

import click

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.opening import open_movie
from renku_cli.output import print_json, print_line
from renku_cli.text import count, size
from renku_store import export_revision


@command("export", "renku-store export latest out", "renku-store export rev-0001 first-cut --link")
@click.argument("revision", metavar="REV", shell_complete=complete("revisions"))
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--link", is_flag=True, help="Hard links where possible: no space, but only to be read.")
@click.pass_obj
def export(options: GlobalOptions, revision: str, directory: str, link: bool) -> None:
    """DIR gets a file per artefact, timeline.json with the paths of the files, and the manifest.

    Exporting into it again writes what differs and removes what is gone; files that are not the export's stay.
    """
    with open_movie(options) as movie:
        name = movie.manifests.resolve(revision)
        report = export_revision(movie, name, directory, link=link)
    if options.as_json:
        print_json({"files": report.files, "bytes": report.bytes, "written": report.written, "removed": report.removed})
        return
    print_line(
        f"{directory} holds {name}: {count(report.files, 'file')}, {size(report.bytes)}; "
        f"{report.written:,} written, {report.removed:,} removed."
    )
