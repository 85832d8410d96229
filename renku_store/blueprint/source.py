"""YAML text to a tree that knows its lines, by the core schema of YAML 1.2, bounded in size, depth and expansion.

`NO`, `on`, `1_000`, `12:30:00` and `2024-01-01` stay text, as in YAML 1.2; PyYAML gives the events, what they mean is
decided here. Aliases are allowed, merge keys and other tags than those of the core schema are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml
from msgspec import Struct, field

from renku_store import bounds
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import Place, shown
from renku_store.blueprint.scalars import CORE, Scalar, resolve, unknown_tag
from renku_store.errors import BlueprintError
from renku_store.records._base import Json

_LOOK: Final = "See whether a bracket or quote is left open there or before, and whether the lines are indented alike."
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_YAML: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_BLUEPRINT_WANTED: Final = "A blueprint is a mapping that has `producers`."
_VALUES_WANTED: Final = "Write `name: value`, one a line."


class Source(Struct, frozen=True):
    """A node of the text: a scalar, a list, or a mapping by key; `keys` says where each key stands.

    `size` counts the nodes below and this one, aliases each time they are used; `height` is how deep they nest.
    """

    value: Scalar | list[Source] | dict[str, Source]
    place: Place
    keys: Mapping[str, Place] = field(default_factory=dict)
    size: int = 1
    height: int = 0

    def plain(self) -> Json:
        """The value without its lines."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


def read_yaml(
    text: str, file: str | None = None, *, max_bytes: int = bounds.BLUEPRINT_MAX_BYTES, wanted: str = _BLUEPRINT_WANTED
) -> Source:
    """The tree of a text of one YAML document; raises `BlueprintError` with file and line.

    `wanted` is the hint for an empty text: what there should be.
    """
    _check_text(text, file, max_bytes)
    composer = _Composer(file)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except yaml.YAMLError as error:
        raise Place(file, 1).error(f"The text is not YAML: {error}.", _LOOK) from None
    if composer.root is None:
        raise Place(file, 1).error("The text is empty.", wanted)
    return composer.root


def load_yaml_mapping(text: str, file: str | None = None) -> dict[str, Json]:
    """A mapping of names to values, such as a file of inputs, by the same rules as blueprints; JSON is read too.

    Raises `BlueprintError` with file and line.
    """
    root = read_yaml(text, file, max_bytes=bounds.INPUTS_FILE_MAX_BYTES, wanted=_VALUES_WANTED)
    if not isinstance(root.value, dict):
        raise root.place.error("The file is not a mapping of names to values.", _VALUES_WANTED)
    return {key: item.plain() for key, item in root.value.items()}


def _check_text(text: str, file: str | None, max_bytes: int) -> None:
    if len(text) > max_bytes or len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise Place(file, 1).error(f"The text has more than {max_bytes} bytes.", "Put large texts into inputs.")
    wrong = _NOT_YAML.search(text)
    if wrong:
        line = text.count("\n", 0, wrong.start()) + 1
        raise Place(file, line).error(f"The character U+{ord(wrong[0]):04X} is not allowed in YAML.", "Remove it.")


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str | None) -> BlueprintError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = error.problem or "the text breaks off"
    lines = text.split("\n", line)
    indent = re.match(r"\s*", lines[line - 1])[0] if line <= len(lines) else ""  # type: ignore[index]
    hint = _LOOK
    if "\t" in indent or "\\t" in problem:
        hint = "Indent with spaces: YAML allows no tabs there."
    elif problem.startswith("mapping values"):
        hint = "Put quotes around a text that has ': ' in it."
    context = f"{error.context}, " if error.context else ""
    return Place(file, line).error(f"The text is not YAML: {context}{problem}.", hint)


class _Open(Struct):
    """A list or mapping whose end has not come yet."""

    place: Place
    anchor: str | None
    is_mapping: bool
    items: list[Source] = field(default_factory=list)
    entries: dict[str, Source] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    key: str | None = None
    size: int = 1
    height: int = 0

    def close(self) -> Source:
        value = self.entries if self.is_mapping else self.items
        return Source(value, self.place, self.keys, self.size, self.height)


class _Composer:
    """Events to a tree, without recursion, so that no text can exhaust the stack."""

    def __init__(self, file: str | None) -> None:
        self.root: Source | None = None
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, Source] = {}
        self._size = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            opened = self._open.pop()
            self._add(opened.close(), opened.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise self._place(event).error("The text has more than one document.", "Remove what follows the '---'.")

    def _place(self, event: yaml.Event) -> Place:
        return Place(self._file, event.start_mark.line + 1 if event.start_mark else 1)

    def _scalar(self, event: Any) -> None:
        place = self._place(event)
        value = resolve(event, place)
        if isinstance(value, str) and not value.isascii():
            _check_unicode(value, place)
        top = self._open[-1] if self._open else None
        if top is not None and top.is_mapping and top.key is None:
            self._key(top, value, event, place)
        else:
            self._add(Source(value, place), event.anchor)

    def _key(self, top: _Open, value: Scalar, event: Any, place: Place) -> None:
        if not isinstance(value, str):
            raise place.error(f"The key {event.value or 'null'} is not text.", f'Put it in quotes: "{event.value}".')
        if value == "<<" and event.implicit[0]:
            raise place.error("Merge keys (<<) are not supported.", "Write the keys out, or use an alias as a value.")
        if value in top.entries:
            raise place.error(
                f"The key {shown(value)} is there twice.", f"It is first on line {top.keys[value].line}; remove one."
            )
        top.key = value
        top.keys[value] = place
        if event.anchor:
            self._anchors[event.anchor] = Source(value, place)

    def _start(self, event: Any) -> None:
        place = self._place(event)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if self._open and self._open[-1].is_mapping and self._open[-1].key is None:
            raise place.error("A key is a list or a mapping.", "Keys are text.")
        if event.tag not in {None, "!", CORE + ("map" if is_mapping else "seq")}:
            raise unknown_tag(event.tag, place)
        if len(self._open) >= bounds.VALUE_MAX_DEPTH:
            raise _too_deep(place)
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        self._open.append(_Open(place, event.anchor, is_mapping))

    def _alias(self, event: Any) -> None:
        place = self._place(event)
        target = self._anchors.get(event.anchor)
        if target is None:
            raise place.error(
                f"The alias *{event.anchor} stands for nothing, or for what it is a part of.",
                nearest(event.anchor, self._anchors),
            )
        if self._open and self._open[-1].is_mapping and self._open[-1].key is None:
            raise place.error("A key is an alias.", "Write the key out.")
        self._add(Source(target.value, place, target.keys, target.size, target.height), None)

    def _add(self, node: Source, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        top.size += node.size
        top.height = max(top.height, node.height + 1)
        if top.size > bounds.YAML_MAX_NODES:
            raise node.place.error(
                f"The text stands for more than {bounds.YAML_MAX_NODES} values.",
                "Aliases of aliases multiply; large data belongs into inputs.",
            )
        if top.height + len(self._open) > bounds.VALUE_MAX_DEPTH:
            raise _too_deep(node.place)
        if top.key is None:
            top.items.append(node)
        else:
            top.entries[top.key] = node
            top.key = None


def _too_deep(place: Place) -> BlueprintError:
    return place.error(f"Lists and mappings nest deeper than {bounds.VALUE_MAX_DEPTH}.", "Flatten them.")


def _check_unicode(value: str, place: Place) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise place.error("The text has a lone surrogate.", "It is not valid Unicode.") from None
