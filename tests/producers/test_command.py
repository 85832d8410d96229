"""Programs as producers: the contract, and every way in which a program breaks it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from renku_store import bounds
from renku_store.errors import ProducerError
from renku_store.producers.registry import default_registry
from tests.producers.calling import Desk, File, data_of, processes_that_stay, processes_with

WRITE = "open('outputs/out', 'w').write('made')\n"


def python(program: str, *arguments: str) -> dict[str, Any]:
    return {"argv": [sys.executable, "-c", program, *arguments]}


def failure(desk: Desk, program: str, *arguments: str, **about: Any) -> ProducerError:
    with pytest.raises(ProducerError) as caught:
        desk.call("command/argv", config=python(program, *arguments), **about)
    return caught.value


def test_a_program_is_asked_by_the_contract_and_no_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`request.json` holds exactly what is signed, file paths lead to the inputs, the environment is the caller's."""
    monkeypatch.setenv("FROM_THE_CALLER", "yes")
    program = """
import json, os
request = json.load(open('request.json'))
seen = {
    'request': request,
    'folder': sorted(os.listdir()),
    'files': [open(item['path']).read() if item else None for item in request['inputs']['parts']],
    'job': os.environ['RENKU_JOB'],
    'caller': os.environ['FROM_THE_CALLER'],
}
json.dump(seen, open('outputs/out', 'w'))
"""
    config = python(program) | {"speed": 120}
    inputs = {"text": "Grüße", "parts": [File(b"one", "text/plain"), None, File(b"two")]}
    seen = json.loads(data_of(desk.call("command/argv@3", config=config, context={"language": "de"}, inputs=inputs)))
    paths = [item and item.pop("path") for item in seen["request"]["inputs"]["parts"]]
    assert all(path is None or path.startswith("inputs/") for path in paths)
    assert seen == {
        "request": {
            "producer": "argv",
            "version": "3",
            "provider": "command",
            "model": "argv",
            "config": config,
            "context": {"language": "de"},
            "inputs": {
                "text": {"value": "Grüße"},
                "parts": [{"mimeType": "text/plain"}, None, {"mimeType": "application/octet-stream"}],
            },
            "outputs": {"out": {"mimeType": "application/octet-stream"}},
        },
        "folder": ["inputs", "outputs", "request.json"],
        "files": ["one", None, "two"],
        "job": "argv[1]",
        "caller": "yes",
    }


def test_no_shell_reads_the_arguments(desk: Desk) -> None:
    """Arguments reach the program as they are, whatever a shell would make of them."""
    argument = "$HOME; `id` && * \"'"
    made = desk.call("command/argv", config=python("import sys; open('outputs/out', 'w').write(sys.argv[1])", argument))
    assert data_of(made).decode() == argument


def test_outputs_json_tells_cost_request_and_types(desk: Desk) -> None:
    """Cost, request id and a MIME type per output are taken from `outputs.json`, what was printed from both streams."""
    reply = {"cost": 0.25, "requestId": "req-7", "outputs": {"out": {"mimeType": "audio/flac"}, "other": {}}}
    program = f"""
import json, sys
for name in ('out', 'other'):
    open('outputs/' + name, 'w').write(name)
json.dump({reply!r}, open('outputs.json', 'w'))
print('to out', flush=True); print('to err', file=sys.stderr)
"""
    made = desk.call("command/argv", config=python(program), outputs=["out", "other"])
    assert (made.cost, made.request_id, dict(made.mime_types)) == (0.25, "req-7", {"out": "audio/flac"})
    assert made.diagnostics == "to out\nto err\n"
    assert (data_of(made, "out"), data_of(made, "other")) == (b"out", b"other")


def test_a_failure_keeps_what_was_said(desk: Desk) -> None:
    """An exit code other than 0 and 75 is a failure for good, with the program's last words."""
    error = failure(desk, WRITE + "raise ValueError('no such voice')")
    assert "exit code 1" in error.message
    assert "no such voice" in error.hint
    assert error.diagnostics is not None
    assert "Traceback" in error.diagnostics
    assert not error.retryable


def test_exit_code_75_asks_to_be_tried_again(desk: Desk) -> None:
    """EX_TEMPFAIL is the one failure that a retry may help."""
    error = failure(desk, "import sys; sys.exit(75)")
    assert error.retryable
    assert "try again later" in error.message


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_killed_program_is_a_failure_that_names_the_signal(desk: Desk, name: str) -> None:
    """What was written before the signal does not count."""
    assert name in failure(desk, WRITE + f"import os, signal; os.kill(os.getpid(), signal.{name})").message


def test_a_missing_output_is_named_with_what_is_there(desk: Desk) -> None:
    """A program that writes another name than asked for is told both."""
    error = failure(desk, "open('outputs/Out.wav', 'w')")
    assert "'out' was not written" in error.message
    assert "Out.wav" in error.hint


@pytest.mark.parametrize(
    ("program", "sort"),
    [
        ("os.mkdir('outputs/out')", "a directory"),
        ("os.symlink('/etc/hostname', 'outputs/out')", "a symbolic link"),
        ("os.mkfifo('outputs/out')", "a pipe"),
    ],
)
def test_only_regular_files_are_outputs(desk: Desk, program: str, sort: str) -> None:
    """What is not a regular file of the folder is refused without being opened."""
    assert sort in failure(desk, f"import os; {program}").message


def test_the_folder_of_outputs_cannot_be_exchanged(desk: Desk, tmp_path: Path) -> None:
    """A link in place of `outputs` does not lead the reader elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "out").write_text("not yours")
    program = "import os, sys; os.rmdir('outputs'); os.symlink(sys.argv[1], 'outputs')"
    assert "outputs is no longer a directory" in failure(desk, program, str(tmp_path / "elsewhere")).message


def test_an_output_beyond_its_bound_is_refused(desk: Desk) -> None:
    """A program that ends in time but wrote too much has failed."""
    assert "1,000 bytes" in failure(desk, "open('outputs/out', 'w').write('x' * 1001)", max_output_bytes=1_000).message
    assert desk.call(
        "command/argv", config=python("open('outputs/out', 'w').write('x' * 1000)"), max_output_bytes=1_000
    )


def test_a_runaway_is_stopped_while_it_writes(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that writes too much and never ends is ended for its size, long before its time."""
    monkeypatch.setattr(bounds, "OUTPUT_POLL_SECONDS", 0.02)
    program = """
import time
with open('outputs/out', 'wb', buffering=0) as file:
    file.write(bytes(5000))
    time.sleep(600)
"""
    error = failure(desk, program, str(tmp_path), max_output_bytes=4_000)
    assert "larger than the 4,000 bytes" in error.message
    assert processes_that_stay(str(tmp_path)) == []


FAMILY = """
import signal, subprocess, sys, time
stubborn = '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(600)
'''
child = subprocess.Popen([sys.executable, '-c', stubborn, sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print('child is up', flush=True)
"""
"""Starts a child that ignores SIGTERM and waits until it does."""


def test_a_program_that_never_ends_goes_with_all_it_started(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the timeout the whole process group ends, also those who ignore the polite signal."""
    monkeypatch.setattr(bounds, "CANCEL_GRACE_SECONDS", 0.1)
    program = FAMILY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    error = failure(desk, program, str(tmp_path), timeout_seconds=1.0)
    assert "did not end within 1 seconds" in error.message
    assert processes_that_stay(str(tmp_path)) == []


def test_a_child_left_behind_ends_with_its_parent(desk: Desk, tmp_path: Path) -> None:
    """A program that succeeds leaves no process behind, and one that holds its output open does not delay the end."""
    made = desk.call("command/argv", config=python(FAMILY + WRITE, str(tmp_path)))
    assert data_of(made) == b"made"
    assert made.diagnostics == "child is up\n"
    assert processes_that_stay(str(tmp_path)) == []


@pytest.mark.parametrize("times", [1, 2])
def test_cancellation_leaves_no_process(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A cancelled call ends its program and children, also when it is cancelled again while doing so."""
    monkeypatch.setattr(bounds, "CANCEL_GRACE_SECONDS", 0.1 if times == 1 else 60.0)
    program = FAMILY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); time.sleep(600)"
    job, context = desk.prepare("command/argv", config=python(program, str(tmp_path)))

    async def main() -> None:
        call = asyncio.create_task(default_registry()(job, context))
        while not (context.directory / "ready").exists():  # noqa: ASYNC110 (another process makes it)
            await asyncio.sleep(0.01)
        for _ in range(times):
            call.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    assert processes_that_stay(str(tmp_path)) == []


@pytest.mark.parametrize("steps", range(8))
def test_cancellation_while_it_starts_leaves_no_process(desk: Desk, tmp_path: Path, steps: int) -> None:
    """At whatever step of the start it comes, and however far the program itself is by then."""
    script = """/bin/sh -c 'sleep 600; :' "$0" & wait"""
    job, context = desk.prepare("command/argv", config={"argv": ["/bin/sh", "-c", script, str(tmp_path)]})

    async def main() -> None:
        call = asyncio.create_task(default_registry()(job, context))
        for _ in range(steps):
            await asyncio.sleep(0)
            if processes_with(str(tmp_path)):
                time.sleep(0.05)  # noqa: ASYNC251 (the program goes on while the loop stands)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    assert processes_that_stay(str(tmp_path)) == []


def test_a_polite_program_may_clean_up(desk: Desk, tmp_path: Path) -> None:
    """The first signal is SIGTERM, and there is time to answer it."""
    program = """
import signal, sys, time
def leave(*_):
    open(sys.argv[1], 'w').write('left in order')
    sys.exit(1)
signal.signal(signal.SIGTERM, leave)
open('outputs/out', 'w').write('x' * 10)
time.sleep(600)
"""
    failure(desk, program, str(tmp_path / "note"), max_output_bytes=5)
    assert (tmp_path / "note").read_text() == "left in order"


def test_endless_chatter_is_read_and_its_end_is_kept(desk: Desk) -> None:
    """Megabytes on standard error neither block the program nor fill the memory."""
    program = WRITE + "import sys; sys.stderr.write('é' * 3_000_000 + 'the end')"
    made = desk.call("command/argv", config=python(program))
    assert made.diagnostics is not None
    assert made.diagnostics.startswith("[...]")
    assert made.diagnostics.endswith("éééthe end")
    assert len(made.diagnostics.encode()) <= bounds.DIAGNOSTICS_MAX_BYTES + len("[...]\ufffd".encode())


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ("{", "not JSON"),
        ("[" * 5_000, "not JSON"),
        ("[]", "not an object"),
        ('{"price": 1}', "'price'"),
        ('{"cost": "1"}', "cost"),
        ('{"cost": true}', "cost"),
        ('{"cost": -0.01}', "cost"),
        ('{"cost": 1e999}', "not JSON"),
        ('{"cost": NaN}', "not JSON"),
        ('{"requestId": 7}', "requestId"),
        ('{"requestId": ""}', "requestId"),
        ('{"outputs": {"Out": {}}}', "'Out'"),
        ('{"outputs": {"out": "audio/wav"}}', "outputs.out"),
        ('{"outputs": {"out": {"mimetype": "audio/wav"}}}', "'mimetype'"),
        ('{"outputs": {"out": {"mimeType": "wav"}}}', "outputs.out.mimeType"),
        (" " * (bounds.REPLY_MAX_BYTES + 1), "larger"),
    ],
)
def test_a_wrong_outputs_json_is_refused_by_name(desk: Desk, reply: str, complaint: str) -> None:
    """Nonsense in `outputs.json` is an error that says what is wrong with it."""
    error = failure(desk, WRITE + "import sys; open('outputs.json', 'w').write(sys.argv[1])", reply)
    assert "outputs.json is not right" in error.message
    assert complaint in error.message


def test_an_outputs_json_that_is_a_link_is_refused(desk: Desk, tmp_path: Path) -> None:
    """The reply is read from the program's own file only."""
    (tmp_path / "reply").write_text('{"cost": 5}')
    program = WRITE + "import os, sys; os.symlink(sys.argv[1], 'outputs.json')"
    assert "a symbolic link" in failure(desk, program, str(tmp_path / "reply")).message


@pytest.mark.parametrize("argv", [None, [], "ls", [""], ["ls", 1], ["ls", "a\0b"]])
def test_argv_is_a_list_of_texts(desk: Desk, argv: object) -> None:
    """Anything else is refused before something is started."""
    with pytest.raises(ProducerError, match="argv must be a list"):
        desk.call("command/argv", config={"argv": argv})


def test_a_program_that_is_not_there_is_named(desk: Desk, tmp_path: Path) -> None:
    """A name that PATH does not have, a path without a file, a file that is no program: each says so."""
    plain = tmp_path / "plain"
    plain.write_text("just text")
    for name in ("no-such-program-here", "./no-such-program", str(plain)):
        with pytest.raises(ProducerError, match="was not found, or is not executable"):
            desk.call("command/argv", config={"argv": [name]})
    plain.write_bytes(b"\x7fELF, but not really")
    plain.chmod(0o755)
    with pytest.raises(ProducerError, match="cannot be started"):
        desk.call("command/argv", config={"argv": [str(plain)]})


def test_a_relative_program_is_the_callers(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`./make` is looked for where the caller stands, and runs in the job's folder."""
    script = tmp_path / "make"
    script.write_text("#!/bin/sh\nprintf made > outputs/out\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert data_of(desk.call("command/argv", config={"argv": ["./make"]})) == b"made"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "make"]


@pytest.mark.parametrize(
    ("left", "cost"),
    [
        ('{"cost": 0.25}', 0.25),
        ('{"cost": -1}', 0.0),
        ('{"cost": "much"}', 0.0),
        ("[1]", 0.0),
        ("not JSON", 0.0),
        ('{"cost": NaN}', 0.0),
        ("", 0.0),
    ],
)
@pytest.mark.parametrize("code", [1, 75])
def test_a_program_that_fails_can_say_what_was_paid_all_the_same(desk: Desk, left: str, cost: float, code: int) -> None:
    """In the file in which it would have said so; what is wrong there is no other failure."""
    error = failure(desk, f"open('outputs.json', 'w').write({left!r}); raise SystemExit({code})")
    assert (error.cost, error.retryable) == (cost, code == 75)


@pytest.mark.parametrize(
    "program",
    [
        "open('outputs.json', 'w').write('{\"cost\": 0.25}')",
        WRITE + "open('outputs.json', 'w').write('{\"cost\": 0.25, \"requestid\": \"r\"}')",
        WRITE + 'open(\'outputs.json\', \'w\').write(\'{"cost": 0.25, "outputs": {"out": {"mimeType": "wav"}}}\')',
    ],
    ids=["no output", "an unknown key", "a wrong type"],
)
def test_what_was_paid_for_a_wrong_answer_is_told(desk: Desk, program: str) -> None:
    """A program that ends well and has answered wrongly has cost what it says."""
    assert failure(desk, program).cost == 0.25
