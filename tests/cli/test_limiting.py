"""Limits and retries of the config file, in `config` and `run`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call

BLUEPRINT = """
name: flaky
producers:
  word:
    run: command
    argv: [sh, -c, 'echo x >> "$TALLY"; [ $(wc -l < "$TALLY") -ge 2 ] || exit 75; printf hello > outputs/text']
    uses: {gpu: 1}
    outputs: {text: {mimeType: text/plain}}
"""


def _write(place: Path, text: str) -> Path:
    file = place / "xdg" / "renku-store" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_config_shows_limits_and_retries(call: Call, place: Path) -> None:
    """As they would be written, and with what holds where nothing is."""
    assert call("config", "--json").json["retry"]["attempts"] == 3
    _write(
        place,
        '[limits.openai]\nrate = "10/60s"\nadaptive = "1-8"\n[limits."a/b"]\nconcurrency = 2\n[retry]\nbase = "2s"\n',
    )
    shown = call("config", "--json").json
    assert shown["limits"] == {"openai": {"adaptive": "1-8", "rate": "10/60s"}, "a/b": {"concurrency": 2}}
    assert shown["retry"] == {"attempts": 3, "base": "2s", "longest": "60s", "total": "900s"}
    told = call("config")
    assert told.err == ""
    assert "limits.openai" in told.out
    assert "adaptive 1-8, rate 10/60s" in told.out


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("limits = 3", "limits is not a section", "[limits.KEY]"),
        ("[limits]\nopenai = 4", "limits.openai is not a section", "[limits.openai]"),
        ("[limits.x]\nconcurency = 4", "'concurency'", "Did you mean concurrency?"),
        ("[limits.x]\nconcurrency = 0", "concurrency = 0", "concurrency = 4"),
        ("[limits.x]\nconcurrency = true", "concurrency = True", "concurrency = 4"),
        ('[limits.x]\nrate = "many"', "rate = 'many'", 'rate = "60/1m"'),
        ('[limits.x]\nrate = "5/0s"', "limits.x cannot be", "60 for a minute"),
        ('[limits.x]\nrate = "5/48h"', "limits.x cannot be", "60 for a minute"),
        ('[limits.x]\nadaptive = "9-2"', "limits.x cannot be", "1-16"),
        ("[limits.x]\nreservoir = 5", "limits.x cannot be", "refill"),
        ('[limits.x]\nreservoir = 5\nrefill = "1s"\nscope = "machine"', "limits.x cannot be", "rate and spacing"),
        ('[limits.x]\nscope = "world"', "scope = 'world'", "machine"),
        ("[retry]\nattempts = 0", "attempts = 0", "attempts = 3"),
        ('[retry]\nbase = "soon"', "base = 'soon'", '"1s"'),
        ("[retry]\nattemps = 1", "'attemps'", "Did you mean attempts?"),
    ],
)
def test_what_cannot_be_is_named_with_the_file(call: Call, place: Path, text: str, said: str, hint: str) -> None:
    """By `config`, before anything runs."""
    file = _write(place, text)
    done = call("config")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert hint in done.err
    assert str(file) in done.err


def test_a_section_is_not_a_setting(call: Call, place: Path) -> None:
    """`config limits ...` says where they are written."""
    done = call("config", "retry", "5")
    assert done.code == 2
    assert "config.toml" in done.err


def test_run_tries_again_within_its_limits(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that asks to be called later is; its attempts are counted and told."""
    _write(place, '[limits.gpu]\nconcurrency = 1\nscope = "machine"\n[retry]\nbase = "300ms"\n')
    monkeypatch.setenv("TALLY", str(place / "tally"))
    (place / "b.yaml").write_text(BLUEPRINT)
    assert call("init", "flaky", "--blueprint", "b.yaml").code == 0
    done = call("run", "--json", "--events", "events.jsonl")
    assert done.code == 0, done.err
    assert call("cat", "word.text").out == "hello"
    events = [json.loads(line) for line in (place / "events.jsonl").read_text().splitlines()]
    (failed,) = [event["data"] for event in events if event["event"] == "job-attempt-failed"]
    assert failed["attempt"] == 1
    history = [json.loads(line) for line in call("events", "--json").out.splitlines()]
    (made,) = [entry for entry in history if entry.get("status") == "succeeded"]
    assert made["attempts"] == 2


def test_run_without_attempts_gives_up_at_once(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`attempts = 1` tries nothing again."""
    _write(place, "[retry]\nattempts = 1\n")
    monkeypatch.setenv("TALLY", str(place / "tally"))
    (place / "b.yaml").write_text(BLUEPRINT)
    assert call("init", "flaky", "--blueprint", "b.yaml").code == 0
    assert call("run").code == 1
    assert (place / "tally").read_text() == "x\n"
