"""`run: command`: any program as a producer.

The program starts without a shell in the job's directory, which holds `request.json`, the files of `inputs/` and an
empty `outputs/`. It has the caller's environment and, for its logs, `RENKU_JOB`. It writes `outputs/NAME` for each
output and may write `outputs.json`:

    {"cost": 0.02, "requestId": "req-1", "outputs": {"audio": {"mimeType": "audio/flac"}}}

Exit code 0 is success, 75 asks to be tried again later, any other has failed; a `cost` that it has written counts all
the same. Of what it prints, the end is kept as diagnostics.

`argv[0]` is looked up in PATH, or, where it has a slash, from the caller's working directory. The other arguments are
passed as they are: a relative path among them means the job's directory, so a script is best made executable and named
as `argv[0]` (`argv: [./narrate.py]`).
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from renku_store import bounds
from renku_store.answers import check_answer, too_large, wrong_file
from renku_store.calls import Job, JobContext, Produced
from renku_store.errors import ProducerError
from renku_store.hashing import canonical_json
from renku_store.producers.process import Ended, run_program
from renku_store.producers.reply import paid_anyway, read_reply

TRY_AGAIN_LATER_CODE: Final = 75
"""EX_TEMPFAIL of sysexits.h."""


async def run_command(job: Job, context: JobContext) -> Produced:
    """Run the program that the job's config names as `argv`; raises `ProducerError`."""
    return await call_program(job, context, _argv(job))


async def call_program(
    job: Job, context: JobContext, argv: Sequence[str], environment: Mapping[str, str] | None = None
) -> Produced:
    """Run a program by the rules of this module; `environment` is added to the caller's.

    Raises `ProducerError` for everything that the program does wrong, and, retryable, for exit code 75.
    """
    folder = context.directory
    program = _find_program(argv[0])
    (folder / "request.json").write_bytes(canonical_json(job.request(folder)))
    (folder / "outputs").mkdir()
    context.logger.debug("%s: %s", job.job_id, shlex.join(argv))
    try:
        ended = await run_program(
            [program, *argv[1:]],
            directory=folder,
            environment={**os.environ, **(environment or {}), "RENKU_JOB": job.job_id},
            timeout_seconds=bounds.JOB_TIMEOUT_SECONDS if job.timeout_seconds is None else job.timeout_seconds,
            objection=_size_objection(folder / "outputs", job.max_output_bytes),
        )
        _check_end(argv[0], ended)
        return _answer(job, folder, ended.printed or None)
    except ProducerError as error:
        error.cost = error.cost or paid_anyway(folder / "outputs.json")  # whatever is wrong with it, it was paid
        raise


def _argv(job: Job) -> list[str]:
    given = job.config.get("argv")
    argv = [part for part in given if isinstance(part, str) and "\0" not in part] if isinstance(given, list) else []
    if not argv or not isinstance(given, list) or len(argv) != len(given) or not argv[0]:
        raise ProducerError(
            f"{job.producer}: argv must be a list of texts that begins with a program.",
            hint='For example argv: ["python3", "-m", "narrate"].',
        )
    return argv


def _find_program(name: str) -> str:
    found = shutil.which(name if os.sep not in name else os.path.abspath(name))  # noqa: PTH100 (links stay as they are)
    if found is None:
        raise ProducerError(
            f"The program {name!r} was not found, or is not executable.",
            hint=f"It was looked for from {Path.cwd()}." if os.sep in name else "It was looked for in PATH.",
        )
    return os.path.abspath(found)  # noqa: PTH100


def _size_objection(outputs: Path, max_bytes: int) -> Callable[[], str | None]:
    def objection() -> str | None:
        try:
            with os.scandir(outputs) as entries:
                for entry in entries:
                    if entry.stat(follow_symlinks=False).st_size > max_bytes:
                        return too_large(entry.name, max_bytes)
        except (FileNotFoundError, NotADirectoryError):
            pass  # renamed or removed under our eyes: the answer is looked at again when the program has ended
        return None

    return objection


def _check_end(program: str, ended: Ended) -> None:
    if ended.code == 0:
        return
    last = next((line.strip() for line in reversed(ended.printed.splitlines()) if line.strip()), "")
    hint = f"It said last: {last[:300]}" if last else "It printed nothing."
    if ended.code == TRY_AGAIN_LATER_CODE:
        raise ProducerError(f"{program} asks to try again later.", hint=hint, retryable=True, diagnostics=ended.printed)
    how = f"was killed by {_signal_name(-ended.code)}" if ended.code < 0 else f"ended with exit code {ended.code}"
    raise ProducerError(f"{program} {how}.", hint=hint, diagnostics=ended.printed)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _answer(job: Job, folder: Path, printed: str | None) -> Produced:
    outputs = folder / "outputs"
    if outputs.is_symlink() or not outputs.is_dir():
        raise ProducerError(f"{job.producer}: outputs is no longer a directory.", diagnostics=printed)
    for name in job.outputs:
        if wrong := wrong_file(outputs / name, name, job.max_output_bytes):
            written = ", ".join(sorted(os.listdir(outputs))) or "nothing"  # noqa: PTH208
            raise ProducerError(
                f"{job.producer}: {wrong}", hint=f"In outputs there is: {written}.", diagnostics=printed
            )
    reply = read_reply(folder / "outputs.json", job, printed)
    return check_answer(
        job,
        folder,
        Produced(
            outputs={name: outputs / name for name in job.outputs},
            mime_types=reply.mime_types,
            cost=reply.cost,
            request_id=reply.request_id,
            diagnostics=printed,
        ),
    )
