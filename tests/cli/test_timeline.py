"""`timeline`: a run as a chart."""

from __future__ import annotations

import builtins
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.cells import cell_len

from renku_cli.gantt_picture import png, svg
from renku_cli.gantt_text import ASCII, LABEL_CHARS, chart_lines
from renku_cli.text import neutral
from renku_store import GanttBar, RunGantt
from tests.cli.conftest import BLUEPRINT, Call
from tests.cli.test_output import on_terminal

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def bar(job: str, start: float, end: float, **more: Any) -> GanttBar:
    def at(seconds: float) -> str:
        return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")

    return GanttBar(job=job, lane=0, start=at(start), end=at(end), status=more.pop("status", "made"), **more)


def gantt(*bars: GanttBar, **more: Any) -> RunGantt:
    return RunGantt(run="r", bars=list(bars), **{"revision": "rev-0003", "status": "published", **more})


def test_the_chart_in_a_pipe_is_as_wide_everywhere(call: Call, built: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line per job, in the order of their starts, whatever the terminal says."""
    shown = call("timeline").out
    monkeypatch.setenv("COLUMNS", "40")
    assert call("timeline").out == shown
    lines = shown.splitlines()
    assert lines[0].startswith("rev-0001, run ")
    assert [line.split()[0] for line in lines[1:5]][-1] == "book"
    assert all("#" in line for line in lines[1:5])
    assert all(len(line) <= 100 for line in lines)


def test_a_chart_shows_when_each_job_went_on() -> None:
    """To the scale of the whole run, with what became of it and what it cost."""
    shown = chart_lines(
        gantt(
            bar("a", 0, 10, cost=0.5),
            bar("b", 5, 15, status="failed", attempts=3),
            bar("c", 10, 10, status="reused"),
            bar("d", 10, 20, status="late"),
        ),
        width=64,
        marks=ASCII,
    )
    assert shown == [
        "rev-0003, run r: 20.0 s, 1 job at once at most",
        f"a  {'#' * 16:<33}  10.0 s, $0.5000",
        f"b  {' ' * 8 + 'x' * 17:<33}  10.0 s, failed, 3 attempts".rstrip(),
        f"c  {' ' * 16 + 'o':<33}  reused",
        f"d  {' ' * 16 + '~' * 17:<33}  10.0 s, too late",
        f"   0{'20.0 s':>32}",
        "# made  o reused  x failed  ~ too late",
    ]


@given(
    st.lists(st.tuples(st.text(max_size=60), st.floats(0, 3_000), st.floats(0, 500)), max_size=20),
    st.integers(20, 300),
)
def test_a_chart_keeps_to_its_width(jobs: list[tuple[str, float, float]], width: int) -> None:
    """Whatever the names; where it is too narrow for names and bars, the bars stay."""
    shown = chart_lines(gantt(*(bar(job, start, start + length) for job, start, length in jobs)), width, ASCII)
    assert all(neutral(line) == line for line in shown)
    widest = max((cell_len(line) for line in shown[1:-1]), default=0)
    assert widest <= max(width, LABEL_CHARS + 40)
    assert all("#" in line for line in shown[1 : 1 + len(jobs)])


def test_a_terminal_gets_blocks_and_its_own_width(call: Call, built: str) -> None:
    """Of 200 columns here."""
    lines = on_terminal("timeline").splitlines()
    assert "█" in lines[1]
    assert 150 < len(lines[5].rstrip()) <= 200


def test_an_svg_is_valid_and_escaped() -> None:
    """A title, a rectangle per job with a tooltip, colours for dark places; ids are never markup."""
    hostile = "<script>&\"'\x1b]]>\ufffe"
    root = ET.fromstring(svg(gantt(bar(hostile, 0, 10), bar("b", 5, 10, status="reused"))))
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title") == "rev-0003, run r"
    groups = root.findall(f"{SVG}g")
    assert [group.get("data-status") for group in groups] == ["made", "reused"]
    tip = groups[0].findtext(f"{SVG}title") or ""
    assert tip.startswith("<script>&\"'\\x1b]]>")
    assert "10.0 s" in tip
    assert not root.iter("script") or not [*root.iter(f"{SVG}script")]
    assert "prefers-color-scheme:dark" in (root.findtext(f"{SVG}style") or "")
    boxes = [group.find(f"{SVG}rect") for group in groups]
    left = [float(box.get("x") or 0) for box in boxes if box is not None]
    assert left[0] < left[1]


@given(st.lists(st.tuples(st.text(max_size=60), st.floats(0, 3_000), st.floats(0, 500)), max_size=10))
def test_every_svg_is_xml(jobs: list[tuple[str, float, float]]) -> None:
    """Of any ids and spans; no run at all has a picture, too."""
    root = ET.fromstring(svg(gantt(*(bar(job, start, start + length) for job, start, length in jobs))))
    assert len(root.findall(f"{SVG}g")) == len(jobs)


def test_a_png_is_a_picture_with_bars() -> None:
    """In the colours of what became of the jobs."""
    picture = Image.open(io.BytesIO(png(gantt(bar("a", 0, 10), bar("b", 5, 15, status="failed"))))).convert("RGB")
    colours = {colour for _, colour in picture.getcolors(1 << 16) or []}
    assert {(0x3B, 0x82, 0xC4), (0xCC, 0x4B, 0x37), (255, 255, 255)} <= colours


def test_charts_are_written_to_files(call: Call, built: str, place: Path) -> None:
    """As what the name says; a text is the one that a pipe gets."""
    for name in ("run.svg", "run.png", "run.txt"):
        done = call("timeline", "rev-0001", "--output", name)
        assert (done.code, done.out, done.err) == (0, "", f"Wrote {name}.\n")
    assert (place / "run.svg").read_text().startswith("<?xml")
    assert (place / "run.png").read_bytes().startswith(b"\x89PNG")
    assert (place / "run.txt").read_text() == call("timeline").out


def test_the_document_has_jobs_starts_ends_and_lanes(call: Call, built: str) -> None:
    """Of a revision or of a run."""
    document = call("timeline", "--json").json
    assert (document["revision"], document["status"]) == ("rev-0001", "published")
    assert {bar["job"] for bar in document["bars"]} == {"book", "word[0]", "word[1]", "word[2]"}
    assert all(bar["start"] <= bar["end"] and 0 <= bar["lane"] < document["lanes"] for bar in document["bars"])
    assert call("timeline", document["run"], "--json").json == document


def test_a_failed_run_is_charted_by_its_id(call: Call, movie: str, place: Path) -> None:
    """It has no revision."""
    (place / "bad.yaml").write_text(BLUEPRINT.replace("'cat request.json > outputs/text'", "'exit 3'"))
    run = json.loads(call("run", "--json", "--blueprint", "bad.yaml").out)["run"]
    document = call("timeline", run, "--json").json
    assert (document["revision"], document["status"]) == (None, "failed")
    assert {bar["status"] for bar in document["bars"]} == {"failed"}
    assert call("timeline", run).out.startswith(f"run {run} (failed): ")


def test_what_cannot_be_charted_or_written_is_told(
    call: Call, built: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that says nothing, a folder that is not there, a movie without a revision, a missing library."""
    assert call("timeline", "--output", "run.pdf").code == 2
    assert call("timeline", "--output", "nowhere/run.svg").code == 2
    assert call("timeline", "rev-0009").code == 2
    real = builtins.__import__

    def without_pillow(name: str, *rest: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    done = call("timeline", "--json", "--output", "run.png")
    assert done.code == 2
    assert "renku-store[demo]" in done.error["hint"]
    assert not (place / "run.png").exists()
