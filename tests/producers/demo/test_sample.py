"""The sample movie's data: there in every form of the package, and fit for the producers."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

from renku_store.producers.demo.draw import SCENES
from renku_store.producers.demo.sample import sample_blueprint, sample_inputs
from renku_store.producers.registry import default_registry


def test_the_sample_tells_of_five_segments_at_least() -> None:
    """Each segment has a title, a text and a scene that can be drawn."""
    segments = yaml.safe_load(sample_inputs())["segments"]
    assert len(segments) >= 5
    for segment in segments:
        assert set(segment) == {"title", "text", "scene"}
        assert segment["scene"] in SCENES
    assert len({segment["title"] for segment in segments}) == len(segments)


def test_only_what_speaks_a_text_reads_it() -> None:
    """A changed sentence reaches narrations and subtitles directly, and slides not at all."""
    producers = yaml.safe_load(sample_blueprint())["producers"]
    readers = {
        name
        for name, producer in producers.items()
        if any(str(reference).startswith("segments[segment].text") for reference in producer["inputs"].values())
    }
    assert readers == {"narration", "subtitles"}
    assert not any("narration" in str(reference) for reference in producers["slide"]["inputs"].values())


def test_the_sample_uses_what_the_registry_has() -> None:
    """Every `run` of the blueprint is registered."""
    known = default_registry().known()
    assert all(producer["run"] in known for producer in yaml.safe_load(sample_blueprint())["producers"].values())


def test_the_sample_is_found_in_a_zip(checkout: Path, tmp_path: Path) -> None:
    """Imported from an archive, the package still has its sample."""
    archive = tmp_path / "renku_store.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted((checkout / "renku_store").rglob("*")):
            if path.suffix in {".py", ".yaml"}:
                packed.write(path, path.relative_to(checkout))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from renku_store.producers.demo import sample\n"
        "assert sys.argv[1] in sample.__file__, sample.__file__\n"
        "print(sample.sample_blueprint() + sample.sample_inputs(), end='')"
    )
    found = subprocess.run([sys.executable, "-P", "-c", program, str(archive)], capture_output=True, check=True)
    assert found.stdout.decode() == sample_blueprint() + sample_inputs()
