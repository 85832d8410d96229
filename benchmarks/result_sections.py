"""The head of a README's section "Result": where, when and how, and the tables, as its newest result file has them.

What people wrote below the first table stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_SECTION: Final = re.compile(
    r"^## Result\n\n(?:(?!\||#).*\n)*(?:\|.*\n)+(?:\nBeside them, .*\n\n(?:\|.*\n)+)?", re.MULTILINE
)
_KNOWN: Final = frozenset({"task", "durability", "ours", "limit", "ratio", "ratios", "peers", "jobs", "of", "count"})

Document = Mapping[str, Any]


def renewed(readme: str, document: Document, file: str) -> str:
    """A README with the figures of `file` below "Result", or with that section at its end.

    ValueError if it has a section of that name without a table, or several.
    """
    if "\n## Result\n" not in readme:
        return f"{readme}\n{section(document, file)}"
    text, count = _SECTION.subn(lambda _: section(document, file), readme)
    if count != 1:
        raise ValueError(f"a README needs one section Result with a table, not {count}")
    return text


def section(document: Document, file: str) -> str:
    """The head of the section and its tables."""
    machine = document["machine"]
    where = (
        f"{document['date']}, {machine['processors']} processors ({machine['processor']}), {machine['file system']}, "
        f"Python {machine['python']}, renku-store {machine['renku-store']}; [all figures](results/{file})."
    )
    rounds = document["rounds"]
    how = f"Load {document['load']} when it began. Median of {rounds} rounds, smallest to largest, in seconds:"
    text = f"## Result\n\n{where}\n{how}\n\n{_table(_figures(document['results']))}"
    if beside := list(_beside(document["results"])):
        table = _table([("task", "who", "seconds"), *beside])
        text += f"\nBeside them, in {document.get('rounds of peers', rounds)} of the rounds:\n\n{table}"
    return text


def _figures(results: list[Document]) -> list[tuple[str, ...]]:
    more = sorted({name for result in results for name in result} - _KNOWN)
    rows = [("task", "ours", "limit", "ratio", *more)]
    for result in results:
        told = (_number(result[name]) if name in result else "" for name in more)
        rows.append(
            (result["task"], _spread(result["ours"]), _spread(result["limit"]), f"{result['ratio']:.2f}", *told)
        )
    return rows


def _beside(results: list[Document]) -> Iterator[tuple[str, str, str]]:
    for result in results:
        for name, seconds in result.get("peers", {}).items():
            yield result["task"], name, _spread(seconds)


def _spread(seconds: Mapping[str, float]) -> str:
    places = 2 if seconds["median"] >= 0.1 else 4
    median, low, high = (f"{seconds[name]:.{places}f}" for name in ("median", "min", "max"))
    return f"{median} ({low} to {high})"


def _number(value: float) -> str:
    return f"{value:,}"


def _table(rows: list[tuple[str, ...]]) -> str:
    heads, *lines = (f"| {' | '.join(row)} |\n" for row in rows)
    return "".join([heads, f"|{'---|' * len(rows[0])}\n", *lines])
