"""Time that only a schedule moves: one clock for programs, database and files, and its jumps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_BEGIN: Final = 1_800_000_000.0
STEP_SECONDS: Final = 0.001
"""What one step takes."""


class Timeline:
    """Seconds since the schedule began, which never go back, and a time of day, which an administrator may set."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.jumped = 0.0

    def reset(self) -> None:
        """Begin anew."""
        self.elapsed = self.jumped = self._ahead = 0.0

    def pass_by(self, seconds: float) -> None:
        """Let time go by, for all clocks alike."""
        self.elapsed += seconds

    def pass_until(self, elapsed: float) -> None:
        """Let time go by until so many seconds have since the schedule began."""
        self.elapsed = max(self.elapsed, elapsed)

    def jump(self, seconds: float) -> None:
        """Set the time of day forward, or back; what measures durations does not notice."""
        self._ahead = max(self._ahead, self.unix_seconds())
        self.jumped += seconds

    @property
    def latest(self) -> float:
        """The latest time of day that there has been, in Unix seconds."""
        return max(self._ahead, self.unix_seconds())

    def unix_seconds(self) -> float:
        """The time of day as files and the database have it."""
        return _BEGIN + self.elapsed + self.jumped

    # What the store asks of a clock

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.fromtimestamp(self.unix_seconds(), UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self.elapsed
