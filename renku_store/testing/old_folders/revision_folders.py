"""A movie in revision folders, made at random: what the system wrote before there were manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from renku_store.testing.old_folders.expectations import ExpectedMovie, ExpectedRevision

IRREGULARITIES: Final = frozenset(
    {
        "gaps",
        "pruned",
        "consolidated",
        "half-consolidated",
        "current",
        "missing",
        "torn",
        "lineless",
        "escaping",
        "linked",
        "failed",
        "same bytes",
    }
)
"""What such folders have that one would not expect; each can be asked for by itself."""
_OUTSIDE: Final = b"nobody's business"


@dataclass(slots=True)
class _Made:
    """An artefact as it is: its bytes or value, its label, the path of its file, and the revision that made it."""

    value: Any
    label: str
    path: str | None
    rev: int


@dataclass(slots=True)
class _Folder:
    path: Path
    random: Random
    odd: Collection[str]
    segments: int
    images: int
    movie: ExpectedMovie
    lines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    edits: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    made: dict[str, _Made] = field(default_factory=dict[str, _Made])
    active: str = "assets/rev0/"
    tick: int = 0
    paths: dict[str, dict[str, str | None]] = field(default_factory=dict[str, dict[str, str | None]])

    # Small things

    def now(self) -> str:
        self.tick += 1
        return f"2025-10-{1 + self.tick // 1440 % 28:02d}T{self.tick // 60 % 24:02d}:{self.tick % 60:02d}:00Z"

    def write(self, name: str, document: Any) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(document, indent=2), encoding="utf-8")

    def write_lines(self, name: str, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        if "torn" in self.odd and lines:
            text += json.dumps(lines[-1])[: self.random.randrange(2, 40)]
            self.movie.torn += 1
        (self.path / name).write_text(text, encoding="utf-8")

    def label(self, value: Any) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return f"sha:{hashlib.sha256(data).hexdigest()[:8]}"

    # What there is

    def files(self) -> dict[str, str]:
        """By artefact the place of its file within a revision."""
        found = {"music_asset": "music/background.mp3"}
        for segment in range(self.segments):
            found[f"narration_asset_{segment}"] = f"narration/seg{segment}.mp3"
            for image in range(self.images):
                found[f"segment_image_{segment}_{image}"] = f"images/seg{segment}/img{image}.png"
        return found

    def texts(self) -> list[str]:
        return ["movie_summary", "movie_facts", *(f"segment_script_{segment}" for segment in range(self.segments))]

    def producer(self, artefact: str) -> str:
        kinds = {"narration": "audio_producer", "segment_image": "image_producer", "music": "music_producer"}
        kinds["timeline"] = "timeline_assembler"
        return next((name for kind, name in kinds.items() if artefact.startswith(kind)), "script_producer")

    def declared(self) -> dict[str, Any]:
        files, texts = list(self.files()), self.texts()
        reads = {
            "script_producer": ["inquiry_prompt"],
            "audio_producer": ["narration_config", *(text for text in texts if text.startswith("segment"))],
            "image_producer": [text for text in texts if text.startswith("segment")],
            "music_producer": ["inquiry_prompt"],
            "timeline_assembler": files,
        }
        outputs = [*files, *texts, "timeline"]
        return {
            "producers": [
                {
                    "id": name,
                    "inputs": inputs,
                    "outputs": [artefact for artefact in outputs if self.producer(artefact) == name],
                    "provider": f"provider/{name}",
                    "cardinality": {"in": "1" if name in {"script_producer", "music_producer"} else "n", "out": "n"},
                }
                for name, inputs in reads.items()
            ],
            "edges": [{"from": read, "to": name} for name, inputs in reads.items() for read in inputs],
            "config": {"n": self.segments, "m": self.images},
            "metadata": {"expanded_at": "2025-10-01T00:00:00Z"},
        }

    # What happens

    def edit(self, rev: int, name: str, value: Any) -> None:
        editor = self.random.choice(["user", "system", "ada"])
        self.inputs[name] = value
        line = {"id": name, "rev": rev, "content": value, "hash": self.label(value), "edited_by": editor}
        self.edits.append({**line, "created_at": self.now()})
        self.movie.history.append((name, value, editor))

    def make(self, rev: int, artefact: str) -> None:
        place = self.files().get(artefact)
        before = self.made.get(artefact)
        if place is None:
            value: Any = self.text(artefact)
            self.made[artefact] = _Made(value, self.label(value), None, rev)
            self.line(rev, artefact, content=value)
            return
        same = "same bytes" in self.odd and before is not None and self.random.random() < 0.5
        size = self.random.choice([1, 40, 3_000])
        data = before.value if same and before is not None else self.random.randbytes(size)
        path = f"assets/rev{rev}/{place}"
        self.put(path, data)
        self.made[artefact] = _Made(data, self.label(data), path, rev)
        self.line(rev, artefact, path=path)
        self.job(rev, artefact, "succeeded")

    def text(self, artefact: str) -> Any:
        if artefact == "movie_facts":
            return {"facts": [self.random.randrange(100) for _ in range(3)], "of": "x" * self.random.choice([1, 2_500])}
        return "The war began. " * self.random.choice([0, 1, 200]) + str(self.random.randrange(10**6))

    def put(self, path: str, data: bytes) -> None:
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def line(self, rev: int, artefact: str, *, content: Any = None, path: str | None = None) -> None:
        made = self.made[artefact]
        self.lines.append(
            {
                "id": artefact,
                "rev": rev,
                "content_hash": made.label,
                "full_hash": f"{made.label}full",
                "deps": [self.producer(artefact)],
                "content": content,
                "asset_path": path,
                "status": "succeeded",
                "produced_by": self.producer(artefact),
                "created_at": self.now(),
            }
        )

    def job(self, rev: int, artefact: str, status: str) -> None:
        started = self.now()
        failed = status == "failed"
        self.write(
            f"dag/jobs/j{self.tick}-{self.producer(artefact)}-rev{rev}.json",
            {
                "jobId": f"j{self.tick}",
                "producer": self.producer(artefact),
                "status": status,
                "outputs": [artefact],
                "cost": 0.25,
                "provider": "provider",
                "error": "The provider was busy." if failed else None,
                "started_at": started,
                "completed_at": started.replace(":00Z", ":07Z"),
            },
        )

    def fail(self, rev: int, artefact: str) -> None:
        """The newest attempt failed; the snapshot names what was there before."""
        line = {"id": artefact, "rev": rev, "content_hash": None, "full_hash": None, "deps": [], "content": None}
        self.lines.append(
            {
                **line,
                "asset_path": None,
                "status": "failed",
                "produced_by": self.producer(artefact),
                "created_at": self.now(),
            }
        )
        self.job(rev, artefact, "failed")
        self.movie.failed.add(artefact)

    def consolidate(self, rev: int) -> None:
        """Copy every file into one folder, with lines of the new paths."""
        half = "half-consolidated" in self.odd
        for artefact, place in self.files().items():
            made = self.made[artefact]
            named = f"assets/rev{rev}/{place}"
            self.put(f"assets/rev{rev}_cons/{place}" if half else named, made.value)
            self.made[artefact] = _Made(made.value, made.label, named, rev)
            self.line(rev, artefact, path=named)
        self.active = f"assets/rev{rev}/"

    def timeline(self) -> dict[str, Any]:
        def clip(artefact: str, key: str, stem: str) -> dict[str, Any]:
            made = self.made[artefact]
            path = made.path or ""
            if "current" in self.odd and self.random.random() < 0.5:
                path = f"assets/current/{self.files()[artefact]}"
            return {f"{stem}AssetId": artefact, key: path, "start": self.random.randrange(100)}

        voice, visual = [], []
        for artefact in self.files():
            if artefact.startswith("narration"):
                voice.append(clip(artefact, "audioUrl", "narration"))
            elif artefact.startswith("segment_image"):
                visual.append({"effects": [clip(artefact, "imageUrl", "image")]})
        tracks = {
            "visual": {"clips": visual},
            "voice": {"clips": voice},
            "music": {"clips": [clip("music_asset", "audioUrl", "music")]},
        }
        return {"duration": 30, "tracks": tracks}

    def snapshot(self, rev: int, status: str) -> None:
        when = self.now()
        timeline = self.timeline()
        labels = {artefact: made.label for artefact, made in self.made.items()}
        labels["timeline"] = self.label(timeline)
        self.write(
            f"dag/snapshots/rev{rev}.json",
            {
                "revision": rev,
                "inputSource_hashes": {name: self.label(value) for name, value in self.inputs.items()},
                "artifact_hashes": labels,
                "plan_ref": f"plans/rev{rev}-plan.json",
                "timeline": timeline,
                "status": status,
                "changed_since_prev": [],
                "created_at": when,
            },
        )
        self.paths[f"rev{rev}"] = {artefact: made.path for artefact, made in self.made.items()}
        values = {artefact: made.value for artefact, made in self.made.items()}
        self.movie.revisions.append(
            ExpectedRevision(f"rev{rev}", when.replace("Z", ".000Z"), dict(self.inputs), values, labels)
        )

    # Afterwards

    def spoil(self) -> None:
        """Lose, hide and misdirect files of some artefacts, each of its own."""
        files = list(self.files())
        self.random.shuffle(files)
        if "missing" in self.odd and files:
            artefact = files.pop()
            for path in self.path.glob(f"assets/*/{self.files()[artefact]}"):
                path.unlink()
            self.lose(artefact, "missing")
        if "lineless" in self.odd and files:
            artefact = files.pop()
            self.lines = [line for line in self.lines if line["id"] != artefact]
            self.name_clips(artefact)
        if "linked" in self.odd and files:
            for path in self.path.glob(f"assets/*/{self.files()[files.pop()]}"):
                real = path.with_name(f"real-{path.name}")
                path.rename(real)
                path.symlink_to(real.name)
        if "escaping" in self.odd and files:
            self.mislead(files.pop())

    def mislead(self, artefact: str) -> None:
        outside = self.path.parent / f"{self.path.name}-outside"
        outside.write_bytes(_OUTSIDE)
        way = self.random.choice(["up", "absolute", "link"])
        target = f"assets/../../{outside.name}" if way == "up" else str(outside.absolute())
        if way == "link":
            for path in self.path.glob(f"assets/*/{self.files()[artefact]}"):
                path.unlink()
                path.symlink_to(outside.absolute())
        else:
            for line in self.lines:
                if line["id"] == artefact and line["asset_path"]:
                    line["asset_path"] = target
            for name in self.path.glob("dag/snapshots/*.json"):
                self.forget_clips(name, artefact)
        self.lose(artefact, "refused")

    def name_clips(self, artefact: str) -> None:
        """Let clips lead to the file by its own path: the alias is that of the newest revision."""
        for name in self.path.glob("dag/snapshots/*.json"):
            text = name.read_text(encoding="utf-8")
            real = self.paths[name.stem][artefact] or ""
            name.write_text(text.replace(f"assets/current/{self.files()[artefact]}", real), encoding="utf-8")

    def forget_clips(self, name: Path, artefact: str) -> None:
        """Let no clip lead to the file: its line is all that there is."""
        document = json.loads(name.read_text(encoding="utf-8"))
        for track in document["timeline"]["tracks"].values():
            track["clips"] = [clip for clip in track["clips"] if artefact not in json.dumps(clip)]
        self.write(name.relative_to(self.path).as_posix(), document)

    def lose(self, artefact: str, how: str) -> None:
        for revision in self.movie.revisions:
            if revision.artefacts.pop(artefact, None) is not None:
                (revision.missing if how == "missing" else revision.refused).add(artefact)

    def prune(self, oldest: int) -> None:
        """Remove what came before a revision, as far as nothing that is kept needs it."""
        kept = {made.path for made in self.made.values()}
        for rev in range(oldest):
            (self.path / f"dag/snapshots/rev{rev}.json").unlink(missing_ok=True)
            for path in [*self.path.glob(f"assets/rev{rev}/**/*"), *self.path.glob(f"assets/rev{rev}_cons/**/*")]:
                if path.is_file() and path.relative_to(self.path).as_posix() not in kept:
                    path.unlink()
        self.movie.revisions = [one for one in self.movie.revisions if int(one.name[3:]) >= oldest]


def build_revision_folder(
    path: Path,
    random: Random,
    *,
    segments: int = 2,
    images: int = 2,
    revisions: int = 3,
    irregularities: Collection[str] = (),
) -> ExpectedMovie:
    """Make a movie of so many segments, each with images, and revisions, and say what a migration has to give.

    The first revision is a full one, the others change some of it. The same arguments make the same folder.
    """
    folder = _Folder(path, random, irregularities, segments, images, ExpectedMovie(path.name))
    path.mkdir(parents=True)
    numbers = _numbers(random, revisions, gaps="gaps" in irregularities)
    consolidated = numbers[-1] if {"consolidated", "half-consolidated"} & {*irregularities} else None
    for rev in numbers:
        _one_revision(folder, rev, consolidate=rev == consolidated and rev != numbers[0])
    if "pruned" in irregularities and consolidated is not None:
        folder.prune(consolidated)
    folder.spoil()
    _finish(folder, numbers)
    return folder.movie


def _numbers(random: Random, revisions: int, *, gaps: bool) -> list[int]:
    numbers = [0]
    while len(numbers) < revisions:
        numbers.append(numbers[-1] + (random.choice([1, 2, 5]) if gaps else 1))
    return numbers


def _one_revision(folder: _Folder, rev: int, *, consolidate: bool) -> None:
    random = folder.random
    everything = [*folder.texts(), *folder.files()]
    first = not folder.made
    if first or random.random() < 0.6:
        folder.edit(rev, "narration_config", {"voice": random.choice(["deep", "high"]), "speed": random.random()})
    if first:
        folder.edit(rev, "inquiry_prompt", "The civil war")
        folder.edit(rev, "notes", ["n" * random.choice([1, 3_000]), None, 1.5])
    for artefact in everything:
        if first or random.random() < 0.3:
            folder.make(rev, artefact)
    failed = "failed" in folder.odd and not first
    if failed:
        folder.fail(rev, random.choice(list(folder.files())))
    if consolidate:
        folder.consolidate(rev)
    folder.snapshot(rev, "failed" if failed else "succeeded")


def _finish(folder: _Folder, numbers: list[int]) -> None:
    folder.write(
        "metadata.json",
        {
            "movie_id": folder.movie.id,
            "status": "succeeded",
            "latest_revision": numbers[-1],
            "active_assets_prefix": folder.active,
            "oldest_kept_rev": 0,
            "total_size_gb": 0.1,
            "created_at": "2025-10-01T00:00:00Z",
            "updated_at": "2025-10-28T00:00:00Z",
        },
    )
    folder.write("configuration.json", {"general": {"duration": "30"}, "narration": folder.inputs["narration_config"]})
    folder.write("dag/producers.json", folder.declared())
    folder.write_lines("dag/inputSources.jsonl", folder.edits)
    folder.write_lines("dag/artifacts.jsonl", folder.lines)
    folder.write("dag/plans/rev0-plan.json", {"layers": []})
