"""The inputs that every movie may have, whatever its blueprint declares."""

from __future__ import annotations

from typing import Final

BLUEPRINT: Final = "@blueprint"
"""The text of a blueprint, or a graph as JSON."""
CONFIG: Final = "@config"
"""Config by producer or job, over what the blueprint says."""
