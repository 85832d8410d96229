"""Measures how long the program takes before it does anything."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import Task, arguments, measure, report, workplace

QUESTION = "How long does the program take before it does anything?"
DURABILITY = "reads only"
STARTS = {False: 5, True: 1}
"""Starts in a round: one alone is a few hundredths of a second."""


def start(times: int, *words: str) -> Callable[[int], float]:
    """Seconds of a start of Python, from call to end, on the average of several."""

    def run(_round: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - started) / times

    return run


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    times = STARTS[given.quick]
    with workplace(given.directory) as place:
        ours = ("-m", "renku_cli", "--root", str(place))
        click = start(times, "-c", "import click")
        both = start(times, "-c", "import click, apsw")
        bare = {"python -c pass": start(times, "-c", "pass")}
        tasks = [
            Task("renku-store --version", DURABILITY, start(times, *ours, "--version"), click, bare),
            Task("renku-store --help", DURABILITY, start(times, *ours, "--help"), click),
            Task("renku-store movies, of no movie", DURABILITY, start(times, *ours, "movies", "--json"), both),
        ]
        results = measure(tasks, given.rounds)
    report(QUESTION, {"starts in a round": times}, results, given)


if __name__ == "__main__":
    main()
