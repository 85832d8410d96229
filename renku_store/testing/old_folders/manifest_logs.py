"""A movie in the first manifest-centric layout, made at random."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

from renku_store.testing.old_folders.expectations import ExpectedMovie, ExpectedRevision


def build_manifest_logs(
    path: Path, random: Random, *, segments: int = 2, revisions: int = 3, edited: bool = False, torn: bool = False
) -> ExpectedMovie:
    """Make a movie with a script, a timeline, and an audio file for each segment, and say what a migration must give.

    `edited`: a person replaced the first audio in the newest revision. The same arguments make the same folder.
    """
    movie = ExpectedMovie(path.name)
    path.mkdir(parents=True)
    inputs: list[dict[str, Any]] = []
    artefacts: list[dict[str, Any]] = []
    held: dict[str, Any] = {}
    values: dict[str, bytes] = {}
    manifest = ""
    for number in range(1, revisions + 1):
        name, when = f"rev-{number:04d}", f"2025-11-01T00:{number:02d}:00.000Z"
        topic = f"Topic {number}" if number == 1 or random.random() < 0.5 else inputs[-1]["payload"]
        inputs.append(
            {"id": "Input:Topic", "revision": name, "hash": _sha(json.dumps(topic).encode()), "payload": topic,
             "editedBy": "user", "createdAt": when}
        )  # fmt: skip
        movie.history.append(("Input:Topic", topic, "user"))
        for segment in range(segments):
            if number > 1 and random.random() < 0.5:
                continue
            _make(path, f"Artifact:Audio[{segment}]", random.randbytes(700), name, when, artefacts, held, values)
        script = f"A script about {topic}."
        held["Artifact:Script"] = {"hash": _sha(script.encode()), "inline": script, "producedBy": "Producer:Script"}
        values["Artifact:Script"] = script.encode()
        if edited and number == revisions:
            _edit(path, "Artifact:Audio[0]", random.randbytes(500), name, when, artefacts, held, values)
        _write_plan(path, name, segments)
        manifest = _write_manifest(path, number, when, inputs[-1], held)
        labels = {key: entry["hash"] for key, entry in held.items()}
        expected: dict[str, Any] = {**values, "timeline": {"duration": number}}
        movie.revisions.append(ExpectedRevision(name, when, {"Input:Topic": topic}, expected, labels))
    pointer = {
        "revision": movie.revisions[-1].name,
        "manifestPath": f"manifests/{movie.revisions[-1].name}.json",
        "hash": _sha(manifest.encode()),
        "updatedAt": movie.revisions[-1].created_at,
    }
    (path / "current.json").write_text(json.dumps(pointer), encoding="utf-8")
    tail = '{"id": "Input:Topic", "rev' if torn else ""
    movie.torn = int(torn)
    (path / "events").mkdir()
    (path / "events" / "inputs.log").write_text("".join(json.dumps(line) + "\n" for line in inputs) + tail)
    (path / "events" / "artefacts.log").write_text("".join(json.dumps(line) + "\n" for line in artefacts))
    return movie


def _write_manifest(path: Path, number: int, when: str, given: dict[str, Any], held: dict[str, Any]) -> str:
    name = f"rev-{number:04d}"
    entry = {"hash": given["hash"], "payloadDigest": json.dumps(given["payload"]), "createdAt": when}
    document = {
        "revision": name,
        "baseRevision": f"rev-{number - 1:04d}" if number > 1 else None,
        "createdAt": when,
        "inputs": {given["id"]: entry},
        "artefacts": {key: {"status": "succeeded", "createdAt": when, **entry} for key, entry in held.items()},
        "timeline": {"duration": number},
    }
    text = json.dumps(document, indent=2)
    (path / "manifests").mkdir(exist_ok=True)
    (path / "manifests" / f"{name}.json").write_text(text, encoding="utf-8")
    return text


def _make(
    path: Path, artefact: str, data: bytes, revision: str, when: str,
    log: list[dict[str, Any]], held: dict[str, Any], values: dict[str, bytes],
) -> None:  # fmt: skip
    blob = _put(path, data)
    held[artefact] = {"hash": blob["hash"], "blob": blob, "producedBy": "Producer:Audio"}
    values[artefact] = data
    log.append(
        {"artefactId": artefact, "revision": revision, "inputsHash": "sha", "output": {"blob": blob},
         "status": "succeeded", "producedBy": "Producer:Audio", "diagnostics": {"cost": 0.5}, "createdAt": when}
    )  # fmt: skip


def _edit(
    path: Path, artefact: str, data: bytes, revision: str, when: str,
    log: list[dict[str, Any]], held: dict[str, Any], values: dict[str, bytes],
) -> None:  # fmt: skip
    original = held[artefact]["hash"]
    blob = _put(path, data)
    held[artefact] = {
        **held[artefact],
        "hash": blob["hash"],
        "blob": blob,
        "editedBy": "user",
        "originalHash": original,
    }
    values[artefact] = data
    log.append(
        {"artefactId": artefact, "revision": revision, "inputsHash": "", "output": {"blob": blob},
         "status": "succeeded", "producedBy": "Producer:Audio", "editedBy": "user", "createdAt": when}
    )  # fmt: skip


def _put(path: Path, data: bytes) -> dict[str, Any]:
    digest = _sha(data)
    target = path / "blobs" / digest[:2] / f"{digest}.mp3"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return {"hash": digest, "size": len(data), "mimeType": "audio/mpeg"}


def _write_plan(path: Path, revision: str, segments: int) -> None:
    script = {"jobId": "Producer:Script", "producer": "ScriptProducer", "inputs": ["Input:Topic"]}
    script |= {"produces": ["Artifact:Script"], "provider": "openai", "providerModel": "m", "rateKey": "k"}
    audio = [
        {
            "jobId": f"Producer:Audio[{segment}]",
            "producer": "AudioProducer",
            "inputs": ["Artifact:Script", "Input:Nothing"],
            "produces": [f"Artifact:Audio[{segment}]"],
            "provider": "elevenlabs",
            "providerModel": "m",
            "rateKey": "k",
        }
        for segment in range(segments)
    ]
    (path / "runs").mkdir(exist_ok=True)
    plan = {"revision": revision, "manifestBaseHash": "", "layers": [[script], audio], "createdAt": "2025-11-01"}
    (path / "runs" / f"{revision}-plan.json").write_text(json.dumps(plan), encoding="utf-8")


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
