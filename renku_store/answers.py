"""What a producer answered, held against what it was asked: the same rules for every kind of producer.

Pure but for one look at each file, and one into each that is to be JSON. Nothing here changes an answer: it is right,
or it is refused by name.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import orjson

from renku_store import bounds
from renku_store.calls import Job, Produced
from renku_store.errors import InvalidValueError, ProducerError
from renku_store.hashing import canonical_json, parse_json
from renku_store.media_types import is_json

_MIME_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}(;[ -~]+)?"
)


Folder: TypeAlias = Path | Callable[[], Path]
"""The folder of a job, or how to ask for it, which is done where an output is a file."""


def check_answer(job: Job, directory: Folder, produced: object) -> Produced:
    """Return the answer, or raise `ProducerError` that names what is wrong with it.

    Right means: a `Produced` with exactly the outputs that were asked for, each within the job's bound, files regular
    and inside the job's `directory`, MIME types well-formed, the cost a number of dollars from 0 to
    `bounds.COST_MAX_DOLLARS`, the request id and the diagnostics text.
    """
    if not isinstance(produced, Produced):
        raise ProducerError(
            f"{job.producer}: The answer is of type {type(produced).__name__}.",
            hint="A handler returns `Produced(outputs)`, outputs by their names.",
        )
    wrong = _wrong_shape(produced) or _wrong_names(job, produced) or _wrong_facts(produced)
    if wrong is None:
        for name, output in produced.outputs.items():
            wrong = wrong or _wrong_output(job, directory, name, output)
    if wrong is not None:
        raise _refusal(job, produced, wrong)
    return produced


def wrong_documents(job: Job, produced: Produced) -> ProducerError | None:
    """What is wrong with an answer, else right, of which an output has a type of JSON and is none; or None.

    One beyond `bounds.JSON_CHECK_MAX_BYTES` is taken as it is.
    """
    for name, mime_type, content in _documents(job, produced):
        try:
            wrong = None if _size(content) > bounds.JSON_CHECK_MAX_BYTES else wrong_json(_bytes(content))
        except OSError as error:
            return _refusal(job, produced, f"The output {name!r} cannot be read: {error}")
        if wrong is not None:
            return _refusal(job, produced, f"The output {name!r} is {mime_type}, and cannot be read as such: {wrong}.")
    return None


def is_long_to_check(job: Job, produced: Produced) -> bool:
    """Whether `wrong_documents` takes so long that nothing should wait for it meanwhile."""
    documents = [content for _, _, content in _documents(job, produced)]
    large = any(isinstance(content, Path) for content in documents)
    return large or sum(map(_size, documents)) > bounds.JSON_CHECK_HERE_MAX_BYTES


def _documents(job: Job, produced: Produced) -> Iterator[tuple[str, str, bytes | str | Path]]:
    for name, content in produced.outputs.items():
        mime_type = produced.mime_types.get(name) or job.outputs[name].mime_type
        if is_json(mime_type):
            yield name, mime_type, content


def _size(content: bytes | str | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _bytes(content: bytes | str | Path) -> bytes:
    if isinstance(content, Path):
        return content.read_bytes()
    return content.encode() if isinstance(content, str) else content


def _refusal(job: Job, produced: Produced, wrong: str) -> ProducerError:
    paid = 0.0 if wrong_cost(produced.cost) else float(produced.cost)
    return ProducerError(f"{job.producer}: {wrong}", diagnostics=produced.diagnostics, cost=paid)


def is_mime_type(text: str) -> bool:
    """Whether the text is a MIME type by RFC 6838, perhaps with parameters."""
    return _MIME_TYPE.fullmatch(text) is not None


def wrong_json(data: bytes) -> str | None:
    """Why these bytes are no JSON that jobs can read into, as the end of a sentence, or None."""
    try:
        value = parse_json(data)
        if data.count(b"[") + data.count(b"{") > bounds.VALUE_MAX_DEPTH:
            canonical_json(value)
    except orjson.JSONDecodeError as error:
        return f"{error.msg} in line {error.lineno}, column {error.colno}"
    except InvalidValueError as error:
        return error.message.rstrip(".")
    return None


def wrong_cost(cost: object) -> str | None:
    """Why this is not a cost in US dollars, as a sentence, or None."""
    most = bounds.COST_MAX_DOLLARS
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        return f"The cost is of type {type(cost).__name__}, not a number of dollars from 0."
    if not 0 <= cost <= most:  # which no NaN is
        said = f" {cost!r}" if isinstance(cost, float) or abs(cost) <= 1000 * most else ""
        return f"The cost{said} is not a number of dollars from 0 to {most:,}."
    return None


def wrong_request_id(request_id: object) -> str | None:
    """Why this is not a provider's name for a call, as a sentence, or None."""
    if not isinstance(request_id, str) or not 0 < len(request_id) <= bounds.ID_MAX_BYTES:
        return f"The request id is not a text of 1 to {bounds.ID_MAX_BYTES} characters."
    if not _is_unicode(request_id):
        return "The request id has a lone surrogate: it is not valid Unicode."
    return None


def wrong_file(path: Path, name: str, max_bytes: int) -> str | None:
    """Why the file cannot be the output `name`, as a sentence, or None. Links are not followed."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return f"The output {name!r} was not written."
    if not stat.S_ISREG(found.st_mode):
        return f"The output {name!r} is {_sort(found.st_mode)}, not a regular file."
    if found.st_size > max_bytes:
        return too_large(name, max_bytes)
    return None


def too_large(name: str, max_bytes: int) -> str:
    """The sentence for an output beyond its bound."""
    return f"The output {name!r} is larger than the {max_bytes:,} bytes that the job may write."


def _wrong_shape(produced: Produced) -> str | None:
    """Why nothing can be said of an answer, as a sentence: what it consists of is not what `Produced` declares."""
    given: dict[str, object] = {"outputs": produced.outputs, "mime_types": produced.mime_types}
    for what, names in given.items():
        if not isinstance(names, Mapping):
            return f"The {what} of the answer are of type {type(names).__name__}, not a mapping of names."
        for name in names:
            if not isinstance(name, str):
                return f"The {what} of the answer have a name of type {type(name).__name__}, not text."
    texts: dict[str, object] = {"request id": produced.request_id, "diagnostics": produced.diagnostics}
    for what, text in texts.items():
        if text is not None and not isinstance(text, str):
            return f"The {what} of the answer is of type {type(text).__name__}, not text."
    return None


def _wrong_names(job: Job, produced: Produced) -> str | None:
    if missing := sorted(job.outputs.keys() - produced.outputs.keys()):
        return f"The output {missing[0]!r} is missing from the answer."
    if unknown := sorted((produced.outputs.keys() | produced.mime_types.keys()) - job.outputs.keys()):
        return f"The answer has an output {unknown[0]!r} that was not asked for; asked for: {', '.join(job.outputs)}."
    return None


def _wrong_facts(produced: Produced) -> str | None:
    types: Mapping[str, object] = produced.mime_types
    for name, mime_type in types.items():
        if not isinstance(mime_type, str):
            return f"The MIME type of the output {name!r} is of type {type(mime_type).__name__}, not text."
        if not is_mime_type(mime_type):
            return f"The output {name!r} has no MIME type but {mime_type!r}."
    if wrong := wrong_request_id(produced.request_id or "-"):  # none is none, however it is said
        return wrong
    return wrong_cost(produced.cost)


def _wrong_output(job: Job, directory: Folder, name: str, output: object) -> str | None:
    if isinstance(output, Path):
        folder = directory if isinstance(directory, Path) else directory()
        if not output.is_absolute() or not output.parent.resolve().is_relative_to(folder.resolve()):
            return f"The output {name!r} is a file outside the job's directory."
        return wrong_file(output, name, job.max_output_bytes)
    if isinstance(output, str):
        if not _is_unicode(output):
            return f"The output {name!r} has a lone surrogate: it is not valid Unicode."
        output = output.encode()
    if not isinstance(output, bytes):
        return f"The output {name!r} is of type {type(output).__name__}, not bytes, text or a path."
    return too_large(name, job.max_output_bytes) if len(output) > job.max_output_bytes else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sort(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
