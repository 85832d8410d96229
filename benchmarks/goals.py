"""The goals in goals.json, and rows that say of each measured task whether it meets its own.

1. A goal of a question that matches no task of its full sizes would never be judged: a test holds them together.
2. With small sizes nothing is judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

GOALS: Final[dict[str, dict[str, Any]]] = json.loads(Path(__file__).with_name("goals.json").read_text(encoding="utf-8"))
"""By the folder of a question: title, goals, which in `peers` do something else, options of largest sizes."""
_OURS: Final = "ours, obstore"
"""Ours, where a benchmark has no limit but other libraries."""
_TOLD: Final = {
    "ratio": "{} x the limit",
    "speed": "{} x as fast as the limit",
    "seconds": "{} s",
    "microseconds each": "{} us each",
    "a second": "{} a second",
    "milliseconds over the limit": "{} ms over the limit",
    "milliseconds a job over the limit": "{} ms a job over the limit",
    "memory over idle, MiB": "{} MiB over idle",
    "share of the best that verifies": "{} x as fast as the best that verifies",
    "share": "{} of an unpaged manifest's bytes",
    "bytes a job": "{} bytes a job",
    "seconds beyond twice the imports": "2 x the imports + {} s",
}


@dataclass(frozen=True)
class Row:
    """A task: seconds of ours and its limit in the median, what is asked of it, and the fastest peer.

    `met` is None where nothing is asked, where the sizes were small, or where what would tell was not measured.
    """

    question: str
    task: str
    ours: float
    limit: float | None
    ratio: float | None
    goal: str
    met: bool | None
    peer: str
    peer_seconds: float | None

    def to_json(self) -> dict[str, object]:
        """The same for programs, its keys in camelCase."""
        peer = {"name": self.peer, "seconds": self.peer_seconds} if self.peer else None
        return {
            "question": self.question,
            "task": self.task,
            "oursSeconds": self.ours,
            "limitSeconds": self.limit,
            "ratio": self.ratio,
            "goal": self.goal,
            "met": self.met,
            "bestPeer": peer,
        }


def rows(question: str, document: Mapping[str, Any]) -> Iterator[Row]:
    """Those of one benchmark's document, in its order."""
    for result in document["results"]:
        seconds = result.get("seconds", {})
        ours = (seconds[_OURS] if seconds else result["ours"])["median"]
        limit = None if seconds else result["limit"]["median"]
        peers = _peers(question, result)
        asked = [goal for goal in GOALS[question]["goals"] if re.fullmatch(goal["tasks"], result["task"])]
        told = {**document, **result}
        judged = [] if document["quick"] else [_is_met(goal, told, ours, limit, peers) for goal in asked]
        best = min(peers, key=peers.__getitem__, default="")
        yield Row(
            question=question,
            task=result["task"],
            ours=ours,
            limit=limit,
            ratio=result.get("ratio"),
            goal="; ".join(map(_told, asked)),
            met=_all(judged),
            peer=best,
            peer_seconds=peers.get(best),
        )


def _all(judged: list[bool | None]) -> bool | None:
    """No if one is missed; yes if all are met; None if one is not known, or none is asked."""
    if False in judged:
        return False
    return True if judged and None not in judged else None


def _peers(question: str, result: Mapping[str, Any]) -> dict[str, float]:
    """Medians of those that do the same."""
    others = result.get("peers", result.get("seconds", {}))
    left_out = GOALS[question].get("not peers", [])
    return {
        name: each["median"] for name, each in others.items() if name not in left_out and not name.startswith("ours")
    }


def _told(goal: Mapping[str, Any]) -> str:
    if goal["figure"] == "peers":
        return "ahead of every peer"
    word, bound = ("at most", goal["most"]) if "most" in goal else ("at least", goal["least"])
    number = f"{100 * bound:g} %" if goal["figure"] == "share" else f"{bound:,}"
    return f"{word} {_TOLD[goal['figure']].format(number)}"


def _is_met(
    goal: Mapping[str, Any], result: Mapping[str, Any], ours: float, limit: float | None, peers: Mapping[str, float]
) -> bool | None:
    """None where what would tell was not measured."""
    if goal["figure"] == "peers":
        return ours <= min(peers.values()) if peers else None
    figure = _figure(goal, result, ours, limit)
    if figure is None:
        return None
    return figure <= goal["most"] if "most" in goal else figure >= goal["least"]


def _figure(goal: Mapping[str, Any], result: Mapping[str, Any], ours: float, limit: float | None) -> float | None:
    """What a goal asks for: computed of the medians, or told by the benchmark itself (0 or nothing: not measured)."""
    kind = goal["figure"]
    if kind == "seconds":
        return ours
    if kind == "microseconds each":
        return 1e6 * ours / goal["count"]
    if kind == "a second":
        return goal["count"] / ours
    if kind == "speed" and limit is not None:
        return limit / ours
    if kind == "milliseconds over the limit" and limit is not None:
        return 1e3 * (ours - limit)
    if kind == "seconds beyond twice the imports":
        imports = result.get("peers", {}).get(goal["imports"])
        return None if imports is None else ours - 2 * imports["median"]
    told = result.get(kind)
    return float(told) if told else None
