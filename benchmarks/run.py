"""Runs the benchmarks, each in a process of its own, and prints one table of them all.

    python benchmarks/run.py                          # small sizes: shows that all work, not how fast
    python benchmarks/run.py --full --only gc plan    # figures
    python benchmarks/run.py --full --keep            # ... kept as results/DATE.json of each
    python benchmarks/run.py --table                  # the table of the kept results; --page writes it into the docs
    python benchmarks/run.py --readme --only gc       # the newest results of gc, written into its README

The exit code is 1 if one of them fails; the others run all the same.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from goals import GOALS, Row, rows
from result_sections import renewed

_HERE: Final = Path(__file__).resolve().parent
_PAGE: Final = _HERE.parent / "docs/explanation/performance.md"
_HEADS: Final = ("question", "task", "ours, median", "limit, median", "ratio", "goal", "met", "best peer")
_PAGE_TABLE: Final = re.compile(r"^\| question \| task \|.*\n(?:\|.*\n)+(?:\nMeasured on .*\n)?", re.MULTILINE)

Document = Mapping[str, Any]


def run(question: str, options: Iterable[str]) -> dict[str, Any]:
    """What one benchmark measured; ChildProcessError with the end of what it wrote if it failed."""
    command = [sys.executable, str(_HERE / question / "bench.py"), "--json", *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ChildProcessError(f"exit code {ended.returncode}: {ended.stderr.strip()[-2_000:]}")
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


def kept(question: str) -> dict[str, Any] | None:
    """The newest result file of a question."""
    files = sorted((_HERE / question / "results").glob("*.json"))
    return json.loads(files[-1].read_text(encoding="utf-8")) if files else None


def write_readme(question: str) -> None:
    """Put the newest figures of a question into the section "Result" of its README."""
    readme, files = _HERE / question / "README.md", sorted((_HERE / question / "results").glob("*.json"))
    document = json.loads(files[-1].read_text(encoding="utf-8"))
    readme.write_text(renewed(readme.read_text(encoding="utf-8"), document, files[-1].name), encoding="utf-8")


def keep(question: str, document: Document) -> None:
    """Make it that day's result file."""
    path = _HERE / question / "results" / f"{document['date']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{json.dumps(document, indent=2)}\n", encoding="utf-8")


def measured(given: argparse.Namespace, failed: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The documents of those that ran; those that did not, and why, go into `failed`."""
    documents = {}
    for question in given.only or GOALS:
        started = time.perf_counter()
        try:
            documents[question] = run(question, _options(question, given))
        except (ChildProcessError, json.JSONDecodeError) as error:
            failed[question] = str(error)
        else:
            if given.keep:
                keep(question, documents[question])
        word = "failed" if question in failed else "done"
        print(f"{question}: {word} after {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return documents


def _options(question: str, given: argparse.Namespace) -> Iterator[str]:
    yield from () if given.full or given.largest else ("--quick",)
    yield from GOALS[question].get("largest", ()) if given.largest else ()
    for name in ("rounds", "peers", "peer_rounds", "directory"):
        if (value := getattr(given, name)) is not None:
            yield from (f"--{name.replace('_', '-')}", str(value))


def seconds(value: float | None) -> str:
    """For people: in seconds, or milliseconds below a tenth of one."""
    if value is None:
        return ""
    return f"{value:.2f} s" if value >= 0.1 else f"{1e3 * value:.0f} ms" if value >= 0.01 else f"{1e3 * value:.1f} ms"


def cells(row: Row, title: str) -> tuple[str, ...]:
    """A row's texts, under the heads."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = {True: "yes", False: "no", None: ""}[row.met]
    peer = f"{row.peer}: {seconds(row.peer_seconds)}" if row.peer else ""
    return (title, row.task, seconds(row.ours), seconds(row.limit), ratio, row.goal, met, peer)


def as_text(documents: Mapping[str, Document]) -> str:
    """A table for a terminal."""
    lines = [_HEADS]
    lines += [cells(row, GOALS[name]["title"]) for name, document in documents.items() for row in rows(name, document)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*told, "", f"Measured on {_origin(documents)}."] if documents else told)


def as_markdown(documents: Mapping[str, Document]) -> str:
    """The table of the performance page, and below it where and when its figures were taken."""
    lines = [_HEADS, ("---",) * len(_HEADS)]
    for name, document in documents.items():
        title = f"[{GOALS[name]['title']}](../../benchmarks/{name}/README.md)"
        for row in rows(name, document):
            lines.append(cells(row, title))
            title = ""
    table = "".join(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|\n" for line in lines)
    return f"{table}\nMeasured on {_origin(documents)}.\n"


def _origin(documents: Mapping[str, Document]) -> str:
    places: dict[str, dict[str, list[str]]] = {}
    for name, document in documents.items():
        machine = document["machine"]
        place = (
            f"{machine['processors']} processors ({machine['processor']}), {machine['system']}, "
            f"{machine['file system']}, Python {machine['python']}"
        )
        places.setdefault(place, {}).setdefault(document["date"], []).append(GOALS[name]["title"])
    told = []
    for place, dates in places.items():
        days = ", ".join(f"{date} ({', '.join(names)})" for date, names in sorted(dates.items()))
        told.append(f"{place}: {days}")
    return "; ".join(told)


def write_page(table: str) -> None:
    """Put the table in the place of the one on the page."""
    text, count = _PAGE_TABLE.subn(lambda _: table, _PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{_PAGE} has {count} tables of questions and tasks, not one")
    _PAGE.write_text(text, encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(description="Run the benchmarks and print one table of them all.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes (the default)")
    size.add_argument("--full", action="store_true", help="full sizes; takes half an hour")
    size.add_argument("--largest", action="store_true", help="full sizes, and plans of 1,000,000 jobs and the like")
    size.add_argument("--table", action="store_true", help="run nothing: the kept results as a table in Markdown")
    size.add_argument("--page", action="store_true", help="run nothing: write that table into the performance page")
    size.add_argument(
        "--readme", action="store_true", help="run nothing: write the results of --only into their READMEs"
    )
    parser.add_argument("--only", nargs="+", metavar="QUESTION", choices=[*GOALS], help="these alone")
    parser.add_argument("--keep", action="store_true", help="write each into results/DATE.json of its question")
    parser.add_argument("--rounds", type=int, help="rounds of each")
    parser.add_argument("--peers", metavar="DIR", help="others, too, in environments of their own in this folder")
    parser.add_argument("--peer-rounds", type=int, help="rounds of the peers (default: as many as of ours)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--directory", help="where to work; a real disk, not memory (default: here)")
    given = parser.parse_args()
    if given.keep and not (given.full or given.largest):
        parser.error("--keep needs --full or --largest: results of small sizes say nothing")
    if given.page and given.only:
        parser.error("the page has all questions: --page goes without --only")
    if given.readme and not given.only:
        parser.error("--readme needs --only")
    return given


def main() -> int:
    """Run, print, and tell by the exit code whether all went well."""
    given = arguments()
    if given.table or given.page:
        every = {name: found for name in GOALS if not GOALS[name].get("drawn") and (found := kept(name))}
        table = as_markdown({name: every[name] for name in given.only or every})
        write_page(table) if given.page else print(table, end="")
        return 0
    if given.readme:
        for question in given.only:
            write_readme(question)
        return 0
    quick = not (given.full or given.largest)
    failed: dict[str, str] = {}
    documents = measured(given, failed)
    if given.json:
        found = [row.to_json() for name, document in documents.items() for row in rows(name, document)]
        print(json.dumps({"quick": quick, "rows": found, "failed": failed, "documents": documents}, indent=2))
    else:
        print(as_text(documents))
        if quick:
            print("Sizes were small: this shows that all works, not how fast it is, and no goal is judged.")
    for question, message in failed.items():
        print(f"{question} failed with {message}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
