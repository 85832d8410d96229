"""`demo`: a real film, and what it says to try next."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import av
import pytest

from renku_cli.commands import demo as command
from tests.cli.conftest import Call, program


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The sample movie, built once by the installed program in an empty folder; and what that printed."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, program("demo", cwd=folder)


def _json(folder: Path, *arguments: str) -> object:
    done = program(*arguments, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


Built = tuple[Path, subprocess.CompletedProcess[str]]


def test_the_demo_makes_a_film_that_plays(built: Built) -> None:
    """Picture and sound of the length that the timeline says, where it says that the video is."""
    folder, done = built
    assert done.returncode == 0, done.stderr
    named = re.search(r"^The video is (.+)$", done.stdout, re.MULTILINE)
    assert named is not None
    timeline = json.loads((folder / "demo-build/out/timeline.json").read_text())
    with av.open(str(folder / named[1])) as film:
        kinds = {stream.type: stream.codec_context.name for stream in film.streams}
        assert film.duration is not None
        assert film.duration / 1_000_000 == pytest.approx(timeline["duration"], abs=0.5)
    assert (kinds["video"], kinds["audio"]) == ("h264", "aac")
    clips = [clip for track in timeline["tracks"] for clip in track["clips"]]
    assert len(clips) >= 15
    assert all((folder / "demo-build/out" / clip["path"]).is_file() for clip in clips)


def test_a_second_demo_makes_nothing_and_every_next_step_works(built: Built) -> None:
    """The printed lines are run word by word; the changed sentence remakes only what depends on it."""
    folder, done = built
    assert _json(folder, "demo") == {
        "movie": "water-cycle",
        "revision": "rev-0001",
        "video": "demo-build/out/movie.video.mp4",
        "made": 0,
    }
    steps = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [step[3] for step in steps] == ["set", "plan", "explain", "run", "diff", "export"]
    outputs = {}
    for step in steps:
        shown = program(*step[1:], cwd=folder)
        assert shown.returncode == 0, shown.stderr
        outputs[step[3]] = shown.stdout
    made = "narration[1].audio", "subtitles[1].captions", "timeline.timeline", "movie.video"
    changes = _json(folder, "--root", "demo-build", "diff", "1", "2")
    assert isinstance(changes, dict)
    assert set(changes["artefacts"]["changed"]) == set(made)
    assert "made 4, reused 0, 16 clean" in outputs["run"]
    assert "4 jobs to run, 16 clean" in outputs["plan"]
    again = _json(folder, "demo")
    assert isinstance(again, dict)
    assert (again["revision"], again["made"]) == ("rev-0002", 0), "the demo keeps what a person has changed"


def test_a_missing_extra_is_named(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of the sample movie the error says what to install, and nothing is created."""
    monkeypatch.setattr(command, "_MODULES", ("espeakng_loader", "a_module_that_nobody_has"))
    done = call("demo", "--json")
    assert (done.code, done.error["kind"]) == (5, "StoreUnavailableError")
    assert "a_module_that_nobody_has" in done.error["message"]
    assert "renku-store[demo]" in done.error["hint"]
    assert list(place.iterdir()) == []


def test_a_sample_does_not_go_among_your_own_movies(built: Built) -> None:
    """The root of the environment is left alone; `--root` and DIR say where the sample goes."""
    folder, _ = built
    done = program("demo", "--json", cwd=folder, env={**os.environ, "RENKU_STORE_ROOT": "own"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["video"] == "demo-build/out/movie.video.mp4"
    assert not (folder / "own").exists()
    assert "RENKU_STORE_ROOT" in program("demo", "--help").stdout


def test_the_first_blueprint_of_the_reference_runs_as_it_stands(tmp_path: Path) -> None:
    """With the demo's producers, one segment without a slide; the timeline is the movie's own."""
    page = (Path(__file__).resolve().parents[2] / "docs/reference/blueprint.md").read_text("utf-8")
    (tmp_path / "film.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], "utf-8")
    texts = ({"title": "Rise"}, {"title": "Rain", "video": "rain.mp4"}, {"title": "Flow"})
    segments = [{"text": f"Water {number}.", **rest} for number, rest in enumerate(texts)]
    (tmp_path / "values.json").write_text(json.dumps({"segments": segments}), "utf-8")
    assert program("init", "water-cycle", "--blueprint", "film.yaml", cwd=tmp_path).returncode == 0
    done = program("run", "--inputs", "values.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["status"], report["made"]) == ("published", 6)
    assert program("export", "latest", "out", cwd=tmp_path).returncode == 0
    timeline = json.loads((tmp_path / "out/timeline.json").read_text("utf-8"))
    assert all((tmp_path / "out" / clip["path"]).is_file() for track in timeline["tracks"] for clip in track["clips"])
    with av.open(str(tmp_path / "out/movie.video.mp4")) as film:
        assert film.duration is not None
        assert film.duration / 1_000_000 == pytest.approx(timeline["duration"], abs=0.5)
