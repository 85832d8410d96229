"""The documentation is followed: every command and every piece of Python in it runs, in order, as a reader would."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.docs.pages import Block, Reader, blocks, commands, missing_lines

_TOP = Path(__file__).resolve().parents[2]
_PAGES = [_TOP / "README.md", *sorted((_TOP / "docs").rglob("*.md"))]
_SHOWN_ONLY = frozenset({"yaml", "json", "toml", "text", "mermaid", "sql", "typescript", "py"})
_RUN = frozenset({"console", "python"})


def _name(page: Path) -> str:
    return page.relative_to(_TOP).as_posix()


def _steps(page: Path) -> list[Block]:
    return [block for block in blocks(page.read_text(encoding="utf-8")) if block.language in _RUN or block.options]


@pytest.mark.parametrize("page", [page for page in _PAGES if _steps(page)], ids=_name)
def test_a_page_can_be_followed_to_its_end(
    page: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever types what a page says, in an empty folder, sees what it shows."""
    folder = tmp_path_factory.mktemp("reader") / "checkout"
    folder.mkdir()
    reader = Reader(folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    known = set(sys.modules)
    try:
        for block in _steps(page):
            place = f"{_name(page)}, line {block.line}"
            reader.follow(block)
    except Exception as error:
        error.add_note(f"in {place}")
        raise
    finally:
        for name in sys.modules.keys() - known:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_a_fenced_block_says_what_it_is(page: Path) -> None:
    """There is no block whose commands would be run by nobody because of its language."""
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    opening = {fence.partition(" ")[0] for fence in fences[::2]}
    assert opening <= _RUN | _SHOWN_ONLY
    assert set(fences[1::2]) <= {""}


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_a_file_that_a_page_writes_is_named_before_it(page: Path) -> None:
    """What the test takes from the block's options, a reader finds in the paragraph above."""
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines()
    for block in blocks(text):
        if "file" in block.options:
            above = "\n".join(lines[max(0, block.line - 5) : block.line - 1])
            assert f"`{block.options['file']}`" in above, f"line {block.line}"


def test_make_demo_is_the_command_that_the_pages_run(checkout: Path) -> None:
    """The pages say `make demo`; their test calls what that ends in."""
    recipe = re.search(
        r"^demo:.*\n\t@\"\$\(BIN\)/renku-store\" demo$", (checkout / "Makefile").read_text(), re.MULTILINE
    )
    assert recipe


def test_a_missing_line_is_noticed() -> None:
    """A page whose command prints something else does not pass, whatever is masked."""
    output = "made\tslide[1]\t0.8 s\npublished rev-0001: made 20, reused 0.\n"
    assert missing_lines(["made  slide[1]  12 s", "...", "published ...: made 20, reused 0."], output) == []
    assert missing_lines(["made slide[2] 0.8 s"], output) == ["made slide[2] 0.8 s"]
    assert missing_lines(["published"], output) == ["published"]


def test_commands_are_told_from_what_they_print() -> None:
    """A prompt begins a command, `> ` goes on with it, and everything else is output."""
    (first, second) = commands("$ cat <<E\n> a\n> E\na\n\n$ true\n")
    assert (first.text, first.shown) == ("cat <<E\na\nE", ["a"])
    assert (second.text, second.shown) == ("true", [])


def test_a_wrong_exit_code_is_noticed(tmp_path: Path) -> None:
    """A command that fails where the page does not say so fails the page."""
    folder = tmp_path / "folder"
    folder.mkdir()
    reader = Reader(folder)
    reader.follow(Block("console", {"exit": "3"}, "$ export X=3\n$ (exit $X)\n", 1))
    with pytest.raises(AssertionError, match="ended with 1, not 0"):
        reader.follow(Block("console", {}, "$ false\n", 1))
