"""Remarks while something takes its time."""

from __future__ import annotations

import pytest

from renku_cli import remarks


def test_who_waits_is_told_now_and_again_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing in the first two seconds, then what is the case at that moment, at most once in two seconds."""
    now = 100.0
    monkeypatch.setattr(remarks.time, "monotonic", lambda: now)
    told = remarks.now_and_again(lambda step: f"step {step:,}")
    for step in range(50):
        now = 100 + step / 10
        told(step)
    assert capsys.readouterr() == ("", "step 20\nstep 40\n")
