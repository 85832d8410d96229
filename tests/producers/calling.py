"""Calls producers as the runner does: a job in a folder of its own, files under `inputs`, the answer checked."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renku_store.calls import FileItem, Item, Job, JobContext, OutputSpec, Produced, ValueItem
from renku_store.producers.registry import ProducerRegistry, default_registry


@dataclass(frozen=True)
class File:
    """An input that is an artefact."""

    data: bytes
    mime_type: str = "application/octet-stream"


class Desk:
    """Makes calls, each in its own folder below `place`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._calls = 0

    def prepare(
        self,
        run: str,
        *,
        config: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | Mapping[str, str] = ("out",),
        timeout_seconds: float | None = 60.0,
        max_output_bytes: int = 10_000_000,
    ) -> tuple[Job, JobContext]:
        """A call of `provider/model@version`; inputs are JSON values, `File`, or lists of `File` and None."""
        self._calls += 1
        folder = self.place / f"call-{self._calls}"
        (folder / "inputs").mkdir(parents=True)
        types = outputs if isinstance(outputs, Mapping) else dict.fromkeys(outputs, "application/octet-stream")
        provider, _, rest = run.partition("/")
        model, _, version = rest.partition("@")
        job = Job(
            job_id=f"{model}[{self._calls}]",
            producer=model,
            version=version or "1",
            provider=provider,
            model=model,
            config=config or {},
            context=context or {},
            inputs={name: _item(folder, name, value) for name, value in (inputs or {}).items()},
            outputs={name: OutputSpec(mime_type) for name, mime_type in types.items()},
            signature="0" * 64,
            timeout_seconds=timeout_seconds,
            max_output_bytes=max_output_bytes,
        )
        return job, JobContext(job.job_id, "run", 1, folder, logging.getLogger("producers"))

    def call(self, run: str, *, registry: ProducerRegistry | None = None, **about: Any) -> Produced:
        """Make the call and wait for its end."""
        job, context = self.prepare(run, **about)

        async def main() -> Produced:
            async with registry or default_registry() as opened:
                return await opened(job, context)

        return asyncio.run(main())


def _item(folder: Path, name: str, value: object) -> Item:
    if isinstance(value, File):
        return _file(folder, name, value)
    if isinstance(value, list) and any(isinstance(place, File) for place in value):
        return [None if file is None else _file(folder, f"{name}-{place}", file) for place, file in enumerate(value)]
    return ValueItem(value)  # type: ignore[arg-type]


def _file(folder: Path, name: str, file: File) -> FileItem:
    path = folder / "inputs" / name
    path.write_bytes(file.data)
    return FileItem(path, file.mime_type)


def data_of(produced: Produced, name: str = "out") -> bytes:
    """The bytes of an output, in whatever form it was answered."""
    output = produced.outputs[name]
    if isinstance(output, Path):
        return output.read_bytes()
    return output.encode() if isinstance(output, str) else output


def processes_with(marker: str) -> list[int]:
    """The processes of this machine that have the marker in their command line; ended ones have none."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def processes_that_stay(marker: str) -> list[int]:
    """Those that are still there after a while: one that was killed is gone as soon as it is given a processor."""
    deadline = time.monotonic() + 600
    while (found := processes_with(marker)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found
