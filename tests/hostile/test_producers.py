"""Programs that fail, say nothing, say too much, are killed or never end: isolated, explained, resumable."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.hostile.conftest import Ledger, working

FILM = """\
name: mixed
producers:
  good:
    run: command
    argv: [sh, -c, 'echo good >> "$LEDGER"; echo fine > outputs/it']
    outputs: {{it: {{mimeType: audio/wav}}}}
  bad:
    run: command
    timeout: 1
    maxBytes: 100000
    argv: [sh, -c, 'echo bad >> "$LEDGER"; if [ -e "$MENDED" ]; then echo ok > outputs/it; exit; fi; {script}']
    outputs: {{it: {{mimeType: audio/wav}}}}
  after_good:
    run: command
    argv: [sh, -c, 'echo after_good >> "$LEDGER"; cat inputs/* > outputs/it']
    inputs: {{it: good.it}}
    outputs: {{it: {{mimeType: audio/wav}}}}
  after_bad:
    run: command
    argv: [sh, -c, 'echo after_bad >> "$LEDGER"; cat inputs/* > outputs/it']
    inputs: {{it: bad.it}}
    outputs: {{it: {{mimeType: audio/wav}}}}
"""
SCRIPTS = {
    "exits with 3": ("echo it hurts >&2; exit 3", "exit code 3"),
    "asks to wait": ("echo come back later >&2; exit 75", "try again later"),
    "writes nothing": ("echo done", "it"),
    "writes elsewhere": ("echo lost > outputs/that", "it"),
    "makes a folder": ("mkdir outputs/it", "it"),
    "makes a link": ("ln -s /etc/passwd outputs/it", "it"),
    "makes a pipe": ("mkfifo outputs/it", "it"),
    "removes its folder": ("rm -r outputs", "outputs"),
    "writes too much": ("head -c 100001 /dev/zero > outputs/it", "it"),
    "never stops writing": ("exec cat /dev/zero > outputs/it", "it"),
    "prints without end": ("yes it is long | head -c 9000000; exit 1", "exit code 1"),
    "prints no text": ("head -c 3000 /dev/urandom; exit 1", "exit code 1"),
    "is killed": ("echo last words; kill -9 $$", "SIGKILL"),
    "never ends": ("echo thinking; exec sleep 1000", "1 seconds"),
    "leaves a child": ("sleep 1000 & echo left; exit 4", "exit code 4"),
    "answers nonsense": ("echo x > outputs/it; echo [1 > outputs.json", "outputs.json"),
    "costs a text": (r'echo x > outputs/it; echo "{\"cost\": \"much\"}" > outputs.json', "outputs.json"),
    "answers at length": ("echo x > outputs/it; head -c 70000 /dev/zero > outputs.json", "outputs.json"),
}


@pytest.fixture(autouse=True)
def mended(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose being there makes the bad program a good one."""
    monkeypatch.setenv("MENDED", str(place / "mended"))
    return place / "mended"


def failure(call: Call) -> dict[str, str]:
    """What the audit trail says of the bad job."""
    found = [json.loads(line) for line in call("events", "bad.it", "--json").out.splitlines()]
    return dict(found[-1]["failure"])


@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_program_that_misbehaves_fails_alone_and_the_next_run_goes_on(
    call: Call, place: Path, ledger: Ledger, mended: Path, kind: str
) -> None:
    """Exit code 1; the message names the job and what was wrong; nothing that worked is made again."""
    script, said = SCRIPTS[kind]
    (place / "mixed.yaml").write_text(FILM.format(script=script))
    assert call("init", "mixed", "--blueprint", "mixed.yaml").code == 0
    called = call("run")
    assert called.code == 1, called
    assert "bad" in called.out + called.err
    assert "Traceback" not in called.out + called.err
    assert len(called.out + called.err) < 40_000
    error = failure(call)
    assert said in error["message"]
    assert error["kind"] == "ProducerError"
    assert len(error.get("diagnostics") or "") <= 17_000
    attempts = 3 if kind == "asks to wait" else 1
    assert ledger.calls == Counter(good=1, bad=attempts, after_good=1)
    assert not working(place)
    assert not list((place / "builds" / "mixed" / "tmp").rglob("job-*"))
    assert call("log", "--json").json == []
    mended.touch()
    called = call("run", "--json")
    assert called.code == 0
    statuses = {job: result["status"] for job, result in called.json["jobs"].items()}
    assert statuses == {"good": "reused", "bad": "made", "after_good": "reused", "after_bad": "made"}
    assert ledger.calls == Counter(good=1, bad=attempts + 1, after_good=1, after_bad=1)
    assert call("cat", "after_bad.it").out == "ok\n"
