"""The program files behind producers, and their fingerprints: what nobody signs, and what a person should hear of.

A producer's version is declared. Where its files change and its version does not, its results stay as they are; that
they were made by other files is noted at each artefact, so that a plan can say so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from blake3 import blake3
from msgspec.structs import replace

from renku_store.hashing import canonical_json, hash_bytes
from renku_store.records._base import Json
from renku_store.records.columns import JobColumns
from renku_store.records.graph import GraphNode, ProducerGraph
from renku_store.records.sheet import Sheet

_WITH_FILES: Final = frozenset({"command", "python"})
"""The providers whose program files are found without being declared."""


def with_sources(graph: ProducerGraph) -> ProducerGraph:
    """The graph with the fingerprint of each job's program files as they are now, as seen from the working directory.

    Those are the declared `sources`; else the program of a `command` that is named by a relative path, or the file of a
    `python:` module. A job without any has none. Files that cannot be read count as missing.
    """
    known: dict[tuple[object, ...], str | None] = {}
    nodes: list[GraphNode] = []
    if isinstance(graph.columns, Sheet) and not any(map(_has_own_program, graph.columns.families)):
        return _with_sources(graph, graph.columns)
    if all(node.source is None and _has_no_files(node) for node in graph.nodes):
        return graph
    for node in graph.nodes:
        declared = ("none",) if node.sources is None else ("some", *node.sources)
        key = (node.provider, node.provider_model, str(node.config.get("argv")), *declared)
        if key not in known:
            known[key] = _fingerprint(node)
        nodes.append(node if known[key] == node.source else node.replace(source=known[key]))
    return graph.replace(nodes=nodes)


def _with_sources(graph: ProducerGraph, sheet: Sheet) -> ProducerGraph:
    """The same for a graph in columns: all jobs of a producer have the same program."""
    found = {
        number: _fingerprint(family.common)
        for number, family in enumerate(sheet.families)
        if family.job_ids and not _has_no_files(family.common)
    }
    if not found:
        return graph
    families = [
        replace(family, common=family.common.replace(source=found[number])) if number in found else family
        for number, family in enumerate(sheet.families)
    ]
    return ProducerGraph.of_columns(Sheet(families), graph.timeline)


def _has_own_program(family: JobColumns) -> bool:
    """Whether a job of a producer may have another program than the others."""
    return not _has_no_files(family.common) and any("argv" in config for config in family.configs.values())


def _has_no_files(node: GraphNode) -> bool:
    """Whether no program file can be behind a job."""
    return node.sources is None and node.provider not in _WITH_FILES


def _fingerprint(node: GraphNode) -> str | None:
    """BLAKE3 of the canonical JSON of {name: BLAKE3 of the file, or null}: the same wherever the files lie."""
    if node.sources is not None:
        files: dict[str, Json] = {name: _digest(Path(name)) for name in node.sources}
    else:
        files = {name: digest for name, path in _own_files(node) if (digest := _digest(path)) is not None}
    return hash_bytes(canonical_json(files)) if files else None


def _own_files(node: GraphNode) -> Iterator[tuple[str, Path]]:
    if node.provider == "command":
        argv = node.config.get("argv")
        name = argv[0] if isinstance(argv, list) and argv else None
        # Without a slash it is looked up in PATH, and what is absolute belongs to the machine, not to the movie.
        if isinstance(name, str) and os.sep in name and not Path(name).is_absolute():
            yield name, Path(name)
    elif node.provider == "python":
        module = node.provider_model.rpartition(".")[0]
        path = _module_file(module)
        if path is not None:
            yield module, path


def _module_file(module: str) -> Path | None:
    """The file of a module, found without importing anything."""
    places: list[str] | None = [str(Path.cwd()), *sys.path]
    parts = module.split(".")
    origin: str | None = None
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), places)
        if spec is None:
            return None
        origin = spec.origin if spec.has_location else None
        places = list(spec.submodule_search_locations) if spec.submodule_search_locations is not None else []
    return Path(origin) if origin is not None else None


def _digest(path: Path) -> str | None:
    try:
        found = path.stat()
        if not path.is_file():
            return None
        return _hashed(os.path.abspath(path), found.st_mtime_ns, found.st_size, found.st_ino)  # noqa: PTH100 (links stay)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _hashed(path: str, *_as_it_is: int) -> str:
    return blake3().update_mmap(path).hexdigest()
