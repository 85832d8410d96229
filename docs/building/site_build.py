"""Builds the site: `python docs/building/site_build.py [FOLDER]`, by default into `site/`; no network is needed.

The pages are laid out in a temporary folder, Zensical makes HTML of them, and the HTML is read again: a link, anchor or
picture that leads nowhere ends it with code 1, and so does anything that a browser would fetch from another server.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import tomlkit

from site_check import problems
from site_pages import TOP, BrokenLinkError, navigation, write_pages

_SETTINGS: Final = Path(__file__).with_name("zensical.toml")


def _settings() -> str:
    settings = tomlkit.parse(_SETTINGS.read_text(encoding="utf-8"))
    project: Any = settings["project"]
    project["docs_dir"], project["site_dir"] = "pages", "site"
    project["nav"] = navigation((TOP / "docs/index.md").read_text(encoding="utf-8"))
    return tomlkit.dumps(settings)


def _draw(diagram: str) -> str:
    mermaid: Any = importlib.import_module("mermaidx")  # only `make docs` installs it
    return str(mermaid.render(diagram).svg())


def build(target: Path) -> list[str]:
    """Build the site into `target`; returns what is wrong with it."""
    with tempfile.TemporaryDirectory(prefix="renku-site-") as folder:
        work = Path(folder)
        try:
            written = write_pages(work / "pages", _draw)
        except BrokenLinkError as error:
            return [str(error)]
        config = work / "zensical.toml"
        config.write_text(_settings(), encoding="utf-8")
        program = str(Path(sys.executable).with_name("zensical"))
        given = [program, "build", "--clean", "--strict", "-f", str(config)]
        ended = subprocess.run(given, cwd=work, capture_output=True, text=True, check=False)  # noqa: S603
        if ended.returncode:
            return [ended.stdout + ended.stderr]
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(work / "site", target)
    print(f"{len(written)} files of the checkout are in {target}")
    return list(problems(target))


def main() -> int:
    """Build, and say what is wrong."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else TOP / "site").resolve()
    found = build(target)
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
