"""Documents of an older layout: JSON and JSON lines, read as far as they can be, and what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from renku_store.clock import timestamp
from renku_store.errors import InvalidIdError
from renku_store.hashing import hash_bytes
from renku_store.migration.described import OldProblem, ProblemKind
from renku_store.migration.folder import OldFolder, PathMissingError
from renku_store.migration.old_json import OldJsonError, parse_old_json
from renku_store.records.ids import check_id

NO_TIME: Final = "1970-01-01T00:00:00.000Z"
"""What stands where the older layout says no time at all: the same at every migration."""
_STARTS_MAX: Final = 64
_NAMES: Final = 4_096
"""Names of which it is kept what they become here."""
_IDS: Final = frozenset({"id", "artefactId", "artifactId", "jobId", "job_id"})
"""What a line has, and a value within a line seldom."""
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS: Final = re.compile(rb"[\[\]{}]")
_CLOSING: Final = {b"{": b"}", b"[": b"]"}
_REVISION: Final = re.compile(r"rev[-_]?0*(\d{1,9})(?:_cons)?", re.IGNORECASE)
_SUCCEEDED: Final = frozenset({"succeeded", "success", "completed", "complete", "done", "ok"})
_FAILED: Final = frozenset({"failed", "failure", "error", "errored"})
_AMOUNT: Final = re.compile(r"\$?\d{1,15}(?:\.\d{1,15})?(?:[eE][-+]?\d{1,2})?", re.ASCII)
_DIGITS: Final = re.compile(r"\d{1,9}", re.ASCII)
_LEADING: Final = re.compile(r"^[\s@]+")
_UNSAFE: Final = re.compile(r"[/\\%]|\.\.")


class Findings:
    """What could not be read, once each; and remarks."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, str, str | None, str | None], OldProblem] = {}
        self._told: set[str] = set()
        self.notes: list[str] = []

    def add(
        self, kind: ProblemKind, what: str, why: str, *, revision: str | None = None, artefact: str | None = None
    ) -> None:
        """Note a problem."""
        self._told.add(what)
        self._problems.setdefault(
            (kind, what, revision, artefact), OldProblem(kind, what, why, revision=revision, artefact=artefact)
        )

    def add_untold(self, what: str, why: str) -> None:
        """Note that something is missing, unless it was told of already."""
        if what not in self._told:
            self.add("missing", what, why)

    def problems(self) -> tuple[OldProblem, ...]:
        """All of them, in the order in which they were met."""
        return tuple(self._problems.values())


def read_object(folder: OldFolder, path: str, findings: Findings) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is none, which is noted where the file is there.

    Raises `PathRefusedError` and `PathUnreadableError`: what a movie rests on is read, or nothing is made of it.
    """
    try:
        document = parse_old_json(folder.read(path))
    except PathMissingError:
        _note_loose(folder, path, findings)
        return {}
    except OldJsonError as error:
        findings.add("missing", path, error.why)
        return {}
    if isinstance(document, dict):
        return document
    findings.add("missing", path, "It is JSON, and no object.")
    return {}


def read_lines(folder: OldFolder, path: str, findings: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in a file of JSON lines, each with its place: `dag/artifacts.jsonl:3`.

    Torn lines are noted, and what somebody wrote on behind what was torn off is kept. Raises `PathRefusedError` and
    `PathUnreadableError`, as `read_object` does.
    """
    try:
        for number, line in enumerate(_lines(folder, path), 1):
            place = f"{path}:{number}"
            for document in _parsed(line.strip(), place, findings) if line.strip() else ():
                yield place, document
    except PathMissingError:
        _note_loose(folder, path, findings)


def _note_loose(folder: OldFolder, path: str, findings: Findings) -> None:
    """Note a link to nothing; that there is no file at all is nothing to note."""
    above, _, name = path.rpartition("/")
    if name in folder.names(above):
        findings.add("missing", path, "It is a link to nothing.")


def _lines(folder: OldFolder, path: str) -> Iterator[bytes]:
    rest = b""
    for chunk in folder.chunks(path):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    yield rest


def _parsed(line: bytes, place: str, findings: Findings) -> Iterator[dict[str, Any]]:
    why, torn = "It is JSON, and no object.", False
    try:
        document = parse_old_json(line)
        if isinstance(document, dict):
            yield document
            return
    except OldJsonError as error:
        why, torn = error.why, error.torn
    # Whoever appended after a crash wrote on behind what was torn off.
    start = 0
    for _ in range(_STARTS_MAX):
        start = line.find(b'{"', start + 1)
        if start < 0:
            break
        with suppress(OldJsonError):
            document = parse_old_json(line[start:])
            if isinstance(document, dict) and not _IDS.isdisjoint(document):
                if _is_within(line, start, document):
                    break
                findings.add("torn", place, "The line was torn; what was written behind that was read.")
                yield document
                return
    if torn:
        findings.add("torn", place, "The line was torn off, and left out.")
    else:
        findings.add("refused", place, f"The line cannot be read. {why}")


def _is_within(line: bytes, start: int, document: Mapping[str, Any]) -> bool:
    """Whether an object at the end of a torn line is a value of that line, and none that was written on behind it.

    It could be one if the line would be JSON with its brackets closed. Where that has fewer members than the object,
    the line was torn off in front of a value, and the object is a whole line.
    """
    brackets = _STRINGS.sub(b"", line[:start])
    if b'"' in brackets:
        return False
    closing: list[bytes] = []
    for bracket in _BRACKETS.findall(brackets):
        if bracket in _CLOSING:
            closing.append(_CLOSING[bracket])
        elif closing:
            closing.pop()
    try:
        whole = parse_old_json(line + b"".join(reversed(closing)))
    except OldJsonError:
        return False
    return not (isinstance(whole, dict) and whole.keys() < document.keys())


def revision_said(value: object) -> int | None:
    """The number of a revision in a document, where digits may be text."""
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return revision_of(int(value))
    return revision_of(value)


def revision_of(name: object) -> int | None:
    """The number in `rev3`, `rev3_cons`, `rev-0003` or 3; None for anything else."""
    if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < 10**9:
        return name
    match = _REVISION.fullmatch(name) if isinstance(name, str) else None
    return int(match[1]) if match else None


def revision_within(text: str) -> int | None:
    """The number of the first revision that is named within a path."""
    match = re.search(rf"(?<![A-Za-z]){_REVISION.pattern}(?![A-Za-z0-9])", text, re.IGNORECASE)
    return int(match[1]) if match else None


def text_of(document: Mapping[str, Any], *keys: str) -> str | None:
    """The first of these members that is text, and not empty."""
    return next((value for key in keys if isinstance(value := document.get(key), str) and value), None)


def number_of(document: Mapping[str, Any], *keys: str) -> float | None:
    """The first of these members that is a number, not below zero; or the text of one, be it with a dollar sign."""
    for key in keys:
        value = document.get(key)
        if isinstance(value, str) and _AMOUNT.fullmatch(value.strip()):
            value = float(value.strip().removeprefix("$"))
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15:
            return float(value)
    return None


def time_of(document: Mapping[str, Any], *keys: str) -> str | None:
    """The first of these members that is a time, as this project writes it: ISO 8601, or Unix (milli)seconds."""
    for key in keys:
        value = document.get(key)
        moment = _moment(value)
        if moment is not None:
            return timestamp(moment)
    return None


def _moment(value: object) -> datetime | None:
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value.strip())
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def seconds_between(start: str | None, end: str | None) -> float | None:
    """How long something took; None where it ended before it began, or nobody knows."""
    if start is None or end is None:
        return None
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    return seconds if seconds >= 0 else None


def has_succeeded(status: object) -> bool | None:
    """Whether a status says that something worked, or that it failed; None for neither."""
    word = status.strip().lower() if isinstance(status, str) else ""
    return True if word in _SUCCEEDED else False if word in _FAILED else None


def error_text(error: object) -> str | None:
    """What an error in a record says, in one text."""
    if isinstance(error, str):
        return error or None
    if isinstance(error, Mapping):
        return text_of(error, "message", "error", "name", "code") or _told(error)
    return None if error is None else _told(error)


def _told(error: object) -> str:
    try:
        return error if isinstance(error, str) else orjson.dumps(error).decode()
    except TypeError:  # it nests deeply, or has numbers that are too large
        return "Its error cannot be told."


@lru_cache(_NAMES)  # each revision names nearly all that the one before did
def safe_id(text: str) -> str:
    """An id of this project for one of an older layout: the same, or else one with a mark of its own.

    What is not allowed is written as `%` and the two hex digits of each byte; `~` and eight digits of the hash of the
    old id follow.
    """
    try:
        if not text.startswith("@"):
            return check_id("artefact", text)
    except InvalidIdError:
        pass
    shown = "".join(
        char if char.isprintable() and not _UNSAFE.search(char) else "".join(f"%{byte:02X}" for byte in _bytes(char))
        for char in _LEADING.sub("", text.replace("..", ".%2E")).strip()
    )
    kept = shown.encode()[:400].decode(errors="ignore") or "unnamed"
    return f"{kept}~{hash_bytes(_bytes(text))[:8]}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
