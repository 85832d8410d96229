"""Typed reading of a mapping's keys, with an error at the right line for each that is not as it must be."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from renku_store.blueprint.names import RESERVED, is_identifier, nearest
from renku_store.blueprint.places import Place, describe, shown
from renku_store.blueprint.source import Source
from renku_store.errors import BlueprintError, InvalidIdError
from renku_store.records._base import Json
from renku_store.records.ids import check_id


class Fields:
    """The keys of one mapping. `what` names it in messages; with `known`, other keys are refused."""

    def __init__(
        self, source: Source, what: str, known: Collection[str] | None = None, at: Place | None = None
    ) -> None:
        self.what = what
        self.at = at or source.place
        if not isinstance(source.value, dict):
            raise self.at.error(f"{what} must be a mapping, not {describe(_outer(source))}.", "Write KEY: VALUE there.")
        self._entries = source.value
        self._keys = source.keys
        for key in self._entries if known is not None else ():
            if key not in (known or ()):
                raise self._keys[key].error(f"{what} has no key {shown(key)}.", nearest(key, known or ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def place(self, key: str) -> Place:
        """Where a key stands; where the mapping does if it has no such key."""
        return self._keys.get(key, self.at)

    def source(self, key: str) -> Source:
        """The value of a key that must be there."""
        if key not in self._entries:
            raise self.at.error(f"{self.what} has no {key}.", f"Add `{key}:`.")
        return self._entries[key]

    def wrong(self, key: str, wanted: str, hint: str) -> BlueprintError:
        """The error for a key whose value is not what is wanted."""
        given = describe(_outer(self._entries[key]))
        return self.place(key).error(f"{key} of {self.what} must be {wanted}, not {given}.", hint)

    def text(self, key: str, default: str | None = None) -> str:
        """A text; one that must be there unless it has a default."""
        if default is not None and key not in self._entries:
            return default
        value = self.source(key).value
        if not isinstance(value, str):
            raise self.wrong(key, "text", "Put it in quotes." if isinstance(value, int | float) else "Write one text.")
        return value

    def boolean(self, key: str) -> bool:
        """True or false; false where it is not there."""
        value = self._entries[key].value if key in self._entries else False
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", f"Write {key}: true, or leave it out.")
        return value

    def mapping(self, key: str, what: str, known: Collection[str] | None = None) -> Fields:
        """The keys of a mapping inside this one; none where it is not there."""
        if key not in self._entries:
            return Fields(Source({}, self.at), what, known)
        return Fields(self._entries[key], what, known, self.place(key))

    def values(self, key: str) -> dict[str, Json]:
        """A mapping as plain values; empty where it is not there."""
        fields = self.mapping(key, f"{key} of {self.what}")
        return {name: fields.source(name).plain() for name in fields}

    def texts(self, key: str) -> list[str]:
        """A list of texts, which must be there."""
        value = self.source(key).value
        if not isinstance(value, list):
            raise self.wrong(key, "a list of texts", f"For example {key}: [ONE, TWO].")
        for item in value:
            if not isinstance(item.value, str):
                raise item.place.error(
                    f"{key} of {self.what} must be a list of texts; it has {describe(_outer(item))}.",
                    "Put it in quotes." if isinstance(item.value, int | float) else f"For example {key}: [ONE, TWO].",
                )
        return [item.value for item in value if isinstance(item.value, str)]

    def check_names(self, thing: str) -> None:
        """Refuse keys that cannot be names of this kind of thing."""
        for key in self._entries:
            place = self._keys[key]
            if key.startswith("@"):
                raise place.error(f"The {thing} name {shown(key)} is reserved.", "Names with '@' are the store's own.")
            try:
                check_id(thing, key)
            except InvalidIdError as error:
                raise place.error(error.message, error.hint) from None
            if not is_identifier(key) or key in RESERVED:
                raise place.error(
                    f"The {thing} name {shown(key)} is not allowed.",
                    f"{key} is a word of `when`."
                    if key in RESERVED
                    else "Use a letter or underscore, then letters, digits, underscores or dashes.",
                )


def _outer(source: Source) -> object:
    return source.value
