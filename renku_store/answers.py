"""What a producer answered, held against what it was asked: the same rules for every kind of producer.

Pure but for one look at each file. Nothing here changes an answer: it is right, or it is refused by name.
"""

from __future__ import annotations

import math
import re
import stat
from pathlib import Path
from typing import Final

from renku_store.calls import Job, Produced
from renku_store.errors import ProducerError

_MIME_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}(;[ -~]+)?"
)


def check_answer(job: Job, directory: Path, produced: Produced) -> Produced:
    """Return the answer, or raise `ProducerError` that names what is wrong with it.

    Right means: exactly the outputs that were asked for, each within the job's bound, files regular and inside the
    job's `directory`, MIME types well-formed, the cost a finite number of dollars from 0.
    """
    wrong = _wrong_names(job, produced) or _wrong_facts(produced)
    if wrong is None:
        for name, output in produced.outputs.items():
            wrong = wrong or _wrong_output(job, directory, name, output)
    if wrong is not None:
        paid = 0.0 if wrong_cost(produced.cost) else produced.cost
        raise ProducerError(f"{job.producer}: {wrong}", diagnostics=produced.diagnostics, cost=paid)
    return produced


def is_mime_type(text: str) -> bool:
    """Whether the text is a MIME type by RFC 6838, perhaps with parameters."""
    return _MIME_TYPE.fullmatch(text) is not None


def wrong_cost(cost: object) -> str | None:
    """Why this is not a cost in US dollars, as a sentence, or None."""
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost) or cost < 0:
        return f"The cost {cost!r} is not a number of dollars from 0."
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


def _wrong_names(job: Job, produced: Produced) -> str | None:
    if missing := sorted(job.outputs.keys() - produced.outputs.keys()):
        return f"The output {missing[0]!r} is missing from the answer."
    if unknown := sorted((produced.outputs.keys() | produced.mime_types.keys()) - job.outputs.keys()):
        return f"The answer has an output {unknown[0]!r} that was not asked for; asked for: {', '.join(job.outputs)}."
    return None


def _wrong_facts(produced: Produced) -> str | None:
    for name, mime_type in produced.mime_types.items():
        if not is_mime_type(mime_type):
            return f"The output {name!r} has no MIME type but {mime_type!r}."
    return wrong_cost(produced.cost)


def _wrong_output(job: Job, directory: Path, name: str, output: object) -> str | None:
    if isinstance(output, Path):
        if not output.is_absolute() or not output.parent.resolve().is_relative_to(directory.resolve()):
            return f"The output {name!r} is a file outside the job's directory."
        return wrong_file(output, name, job.max_output_bytes)
    if isinstance(output, str):
        try:
            output = output.encode()
        except UnicodeEncodeError:
            return f"The output {name!r} has a lone surrogate: it is not valid Unicode."
    if not isinstance(output, bytes):
        return f"The output {name!r} is of type {type(output).__name__}, not bytes, text or a path."
    return too_large(name, job.max_output_bytes) if len(output) > job.max_output_bytes else None


def _sort(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
