"""A folder of revisions in the making: what is edited, made, fails, is consolidated, and what a snapshot says of it."""

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


@dataclass(slots=True)
class _Made:
    """An artefact as it is: its bytes or value, its label, the path of its file, and the revision that made it."""

    value: Any
    label: str
    path: str | None
    rev: int


@dataclass(slots=True)
class FolderInMaking:
    """The folder, and what is known of it so far."""

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
        """A time, a minute after the last one."""
        self.tick += 1
        return f"2025-10-{1 + self.tick // 1440 % 28:02d}T{self.tick // 60 % 24:02d}:{self.tick % 60:02d}:00Z"

    def write(self, name: str, document: Any) -> None:
        """Write a JSON document."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(document, indent=2), encoding="utf-8")

    def write_lines(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Write JSON lines, torn at the end where that was asked for."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        if "torn" in self.odd and lines:
            text += json.dumps(lines[-1])[: self.random.randrange(2, 40)]
            self.movie.torn += 1
        (self.path / name).write_text(text, encoding="utf-8")

    def label(self, value: Any) -> str:
        """The opaque label of a content."""
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
        """The artefacts that are text, or JSON."""
        return ["movie_summary", "movie_facts", *(f"segment_script_{segment}" for segment in range(self.segments))]

    def producer(self, artefact: str) -> str:
        """Who makes an artefact."""
        kinds = {"narration": "audio_producer", "segment_image": "image_producer", "music": "music_producer"}
        kinds["timeline"] = "timeline_assembler"
        return next((name for kind, name in kinds.items() if artefact.startswith(kind)), "script_producer")

    def declared(self) -> dict[str, Any]:
        """What `dag/producers.json` says."""
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
        """Give an input a value."""
        editor = self.random.choice(["user", "system", "ada"])
        self.inputs[name] = value
        line = {"id": name, "rev": rev, "content": value, "hash": self.label(value), "edited_by": editor}
        self.edits.append({**line, "created_at": self.now()})
        self.movie.history.append((name, value, editor))

    def make(self, rev: int, artefact: str) -> None:
        """Make an artefact anew, or to the same bytes again."""
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
        """The content of an artefact that is no file."""
        if artefact == "movie_facts":
            return {"facts": [self.random.randrange(100) for _ in range(3)], "of": "x" * self.random.choice([1, 2_500])}
        return "The war began. " * self.random.choice([0, 1, 200]) + str(self.random.randrange(10**6))

    def put(self, path: str, data: bytes) -> None:
        """Write a file."""
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def line(self, rev: int, artefact: str, *, content: Any = None, path: str | None = None) -> None:
        """Append a line on an artefact as it is."""
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
        """Write the record of a job."""
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
        """The timeline as a snapshot has it, its clips with paths."""

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
        """Write the snapshot of a revision, and remember what it has to give."""
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
