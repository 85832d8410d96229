"""Records docs/pictures/demo.svg: real commands on a terminal, after the demo, as they look at their ends.

    python docs/building/demo_picture.py

The demo is built in a temporary folder. What the commands write is put on a small screen, which understands what a live
view needs (cursor up, erase line), and drawn by rich. Nothing in the picture is written by hand.
"""

from __future__ import annotations

import os
import pty
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

PICTURE: Final = Path(__file__).resolve().parents[1] / "pictures" / "demo.svg"
COMMANDS: Final = (
    ("set", "segments[1].text", "The sun warms the sea, and water rises as a gas."),
    ("plan",),
    ("run",),
    ("log",),
)
_COLUMNS: Final = 110
_CONTROL: Final = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|(\r\n|\r|\n)")
_FONTS: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Screen:
    """What a terminal shows at the end: lines that may have been written over; colours stay in them."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = 0

    def write(self, text: str) -> None:
        """Take what a program has written."""
        at = 0
        for found in _CONTROL.finditer(text):
            self.lines[self._row] += text[at : found.start()]
            at = found.end()
            self._obey(found)
        self.lines[self._row] += text[at:]

    def _obey(self, found: re.Match[str]) -> None:
        number, letter, line_end = found.groups()
        if letter == "m":
            self.lines[self._row] += found[0]
        elif letter == "A":
            self._row = max(0, self._row - int(number or 1))
        elif letter == "K":
            self.lines[self._row] = ""
        elif line_end and "\n" in line_end:
            self._row += 1
            if self._row == len(self.lines):
                self.lines.append("")


def typed(*arguments: str) -> str:
    """What `renku-store` writes to a terminal; its exit code must be 0."""
    program = str(Path(sys.executable).with_name("renku-store"))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(program, [program, *arguments], {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(_COLUMNS)})  # noqa: S606
    parts: list[bytes] = []
    while True:
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # the program has ended
            break
        if not data:
            break
        parts.append(data)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise SystemExit(b"".join(parts).decode())
    return b"".join(parts).decode()


def drawn(written: list[tuple[str, str]]) -> str:
    """Commands with what they wrote as an SVG that needs no font from elsewhere."""
    console = Console(record=True, width=_COLUMNS, file=Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    for command, text in written:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        screen = Screen()
        screen.write(text)
        console.print(Text.from_ansi("\n".join(screen.lines).strip("\n")))
        console.print()
    return _FONTS.sub("", console.export_svg(title="renku-store", unique_id="demo"))


def main() -> None:
    """Build the demo, change a sentence, and draw what was seen."""
    with tempfile.TemporaryDirectory(prefix="renku-picture-") as folder:
        os.chdir(folder)
        os.environ["RENKU_STORE_ROOT"] = "demo-build"
        typed("demo")
        written = [(_shown(command), typed(*command)) for command in COMMANDS]
        os.chdir("/")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn(written), encoding="utf-8")


def _shown(command: tuple[str, ...]) -> str:
    words = (f"'{word}'" if re.search(r"[^\w./=-]", word) else word for word in command)
    return " ".join(["renku-store", *words])


if __name__ == "__main__":
    main()
