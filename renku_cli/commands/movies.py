"""`init` and `movies`: what is in a build root."""

from __future__ import annotations

import click

import renku_store
from renku_cli.grammar import GlobalOptions, command
from renku_cli.misuse import Misuse
from renku_cli.opening import open_root
from renku_cli.output import note, print_json, print_line, print_table
from renku_cli.sources import read_graph, read_text
from renku_cli.text import size
from renku_store import Json


@command(
    "init",
    "renku-store init trailer --blueprint blueprint.yaml",
    "renku-store init trailer --graph graph.json",
)
@click.argument("movie")
@click.option("--blueprint", metavar="FILE", type=click.Path(), help="Blueprint (YAML) to keep with the movie.")
@click.option("--graph", metavar="FILE", type=click.Path(), help="Expanded graph (JSON) to use instead of a blueprint.")
@click.pass_obj
def init(options: GlobalOptions, movie: str, blueprint: str | None, graph: str | None) -> None:
    """The blueprint is checked before anything is created, and kept as the input @blueprint."""
    source = blueprint_source(blueprint, graph)
    with open_root(options) as store, store.create_movie(movie) as created:
        if source is not None:
            renku_store.set_inputs(created, {"@blueprint": source})
        if options.as_json:
            print_json({"movie": created.id, "root": store.root})
            return
        print_line(f"Created {created.id} in {store.root}.")
        if source is None:
            note("Next: give it a blueprint with `renku-store set @blueprint @FILE`.")
        else:
            note("Next: `renku-store set ID VALUE` for its inputs, then `renku-store plan` and `renku-store run`.")


def blueprint_source(blueprint: str | None, graph: str | None) -> Json:
    """What becomes the input @blueprint: the text of a blueprint, or a graph; checked. None where neither is given."""
    if blueprint is not None and graph is not None:
        raise Misuse("--blueprint and --graph say the same thing in two ways.", hint="Give one of them.")
    if blueprint is not None:
        text = read_text(blueprint)
        renku_store.parse_blueprint(text, blueprint)
        return text
    if graph is not None:
        document = read_graph(graph)
        renku_store.parse_graph(document, None, strict=True)
        return document
    return None


@command("movies", "renku-store movies", "renku-store --root demo-build movies --json")
@click.pass_obj
def movies(options: GlobalOptions) -> None:
    """Each with its newest revision, the number of artefacts in it and their bytes.

    One that cannot be opened is listed all the same; its error follows the list.
    """
    with open_root(options) as store:
        found = store.movies()
        if options.as_json:
            print_json(
                [{"id": m.id, "revision": m.revision, "artefacts": m.artefacts, "bytes": m.bytes} for m in found]
            )
        else:
            rows = [
                (m.id, m.revision or ("damaged" if m.problem else "-"), str(m.artefacts), size(m.bytes)) for m in found
            ]
            print_table(("movie", "revision", "artefacts", "size"), rows, right=("artefacts", "size"))
            if not found:
                note(f"There is no movie in {store.root}. `renku-store init MOVIE` creates one.")
        for movie in found:
            if movie.problem is not None:
                raise movie.problem
