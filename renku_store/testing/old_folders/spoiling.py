"""What happens to a folder of revisions afterwards: files are lost, moved, led elsewhere, and old revisions pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from renku_store.testing.old_folders.making import FolderInMaking

_OUTSIDE: Final = b"nobody's business"


def spoil(folder: FolderInMaking) -> None:
    """Lose, hide and misdirect files of some artefacts, each of its own."""
    files = list(folder.files())
    folder.random.shuffle(files)
    if "missing" in folder.odd and files:
        artefact = files.pop()
        for path in folder.path.glob(f"assets/*/{folder.files()[artefact]}"):
            path.unlink()
        _lose(folder, artefact, "missing")
    if "lineless" in folder.odd and files:
        artefact = files.pop()
        folder.lines = [line for line in folder.lines if line["id"] != artefact]
        _name_clips(folder, artefact)
    if "linked" in folder.odd and files:
        for path in folder.path.glob(f"assets/*/{folder.files()[files.pop()]}"):
            real = path.with_name(f"real-{path.name}")
            path.rename(real)
            path.symlink_to(real.name)
    if "escaping" in folder.odd and files:
        _mislead(folder, files.pop())


def _mislead(folder: FolderInMaking, artefact: str) -> None:
    outside = folder.path.parent / f"{folder.path.name}-outside"
    outside.write_bytes(_OUTSIDE)
    way = folder.random.choice(["up", "absolute", "link"])
    target = f"assets/../../{outside.name}" if way == "up" else str(outside.absolute())
    if way == "link":
        for path in folder.path.glob(f"assets/*/{folder.files()[artefact]}"):
            path.unlink()
            path.symlink_to(outside.absolute())
    else:
        for line in folder.lines:
            if line["id"] == artefact and line["asset_path"]:
                line["asset_path"] = target
        for name in folder.path.glob("dag/snapshots/*.json"):
            _forget_clips(folder, name, artefact)
    _lose(folder, artefact, "refused")


def _name_clips(folder: FolderInMaking, artefact: str) -> None:
    """Let clips lead to the file by its own path: the alias is that of the newest revision."""
    for name in folder.path.glob("dag/snapshots/*.json"):
        text = name.read_text(encoding="utf-8")
        real = folder.paths[name.stem][artefact] or ""
        name.write_text(text.replace(f"assets/current/{folder.files()[artefact]}", real), encoding="utf-8")


def _forget_clips(folder: FolderInMaking, name: Path, artefact: str) -> None:
    """Let no clip lead to the file: its line is all that there is."""
    document = json.loads(name.read_text(encoding="utf-8"))
    for track in document["timeline"]["tracks"].values():
        track["clips"] = [clip for clip in track["clips"] if artefact not in json.dumps(clip)]
    folder.write(name.relative_to(folder.path).as_posix(), document)


def _lose(folder: FolderInMaking, artefact: str, how: str) -> None:
    for revision in folder.movie.revisions:
        if revision.artefacts.pop(artefact, None) is not None:
            (revision.missing if how == "missing" else revision.refused).add(artefact)


def prune(folder: FolderInMaking, oldest: int) -> None:
    """Remove what came before a revision, as far as nothing that is kept needs it."""
    kept = {made.path for made in folder.made.values()}
    for rev in range(oldest):
        (folder.path / f"dag/snapshots/rev{rev}.json").unlink(missing_ok=True)
        for path in [*folder.path.glob(f"assets/rev{rev}/**/*"), *folder.path.glob(f"assets/rev{rev}_cons/**/*")]:
            if path.is_file() and path.relative_to(folder.path).as_posix() not in kept:
                path.unlink()
    folder.movie.revisions = [one for one in folder.movie.revisions if int(one.name[3:]) >= oldest]
