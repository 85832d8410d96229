"""What the code says of a public name: its signature, its fields, its docstring and those of its methods."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

import renku_store
from renku_store.records._base import Record

_LINE_MAX_CHARS: Final = 110
_ROOMS: Final[dict[str, str]] = vars(renku_store)["_ROOMS"]


class _AsWritten:
    """A piece of a signature that is shown as it stands."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def entry_of(name: str) -> str:
    """The part of the page on one public name; raises `LookupError` where it has no docstring."""
    thing = getattr(renku_store, name)
    if inspect.isclass(thing):
        return "\n".join([f"### `{name}`\n", _block(_class_head(thing)), _text(name, thing.__doc__), *_members(thing)])
    if inspect.isfunction(thing):
        return "\n".join([f"### `{name}`\n", _block(_function_head(name, thing)), _text(name, thing.__doc__)])
    return _alias(name)


def _block(code: str) -> str:
    return f"```py\n{code}\n```\n"


def _text(name: str, docstring: str | None) -> str:
    """A docstring as Markdown; what is indented below the first line stays a list or a block of code."""
    if not docstring:
        raise LookupError(f"{name} has no docstring")
    return re.sub(r"(?<=[^\n])\n(?=- )", "\n\n", inspect.cleandoc(docstring), count=1) + "\n"


def _annotation(annotation: Any) -> Any:
    return _AsWritten(annotation) if isinstance(annotation, str) else annotation


def _shown_default(value: Any) -> Any:
    """A default as code; one whose text would differ from process to process is left open."""
    shown = repr(value)
    return _AsWritten("...") if " at 0x" in shown or shown.startswith("<") else _AsWritten(shown)


def _function_head(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    given = [
        one.replace(
            annotation=_annotation(one.annotation),
            default=one.default if one.default is one.empty else _shown_default(one.default),
        )
        for one in signature.parameters.values()
    ]
    answer = _annotation(signature.return_annotation)
    word = "async def" if inspect.iscoroutinefunction(function) else "def"
    return _wrapped(f"{word} {name}", [str(one) for one in _marked(given)], answer)


def _marked(given: list[inspect.Parameter]) -> Iterator[Any]:
    """Parameters, and the star that begins those with names only."""
    starred = any(one.kind is one.VAR_POSITIONAL for one in given)
    for one in given:
        if one.kind is one.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        yield one


def _wrapped(head: str, parameters: list[str], answer: Any) -> str:
    end = "" if answer is inspect.Signature.empty else f" -> {inspect.formatannotation(answer)}"
    line = f"{head}({', '.join(parameters)}){end}"
    if len(line) <= _LINE_MAX_CHARS:
        return line
    return "\n".join([f"{head}(", *(f"    {one}," for one in parameters), f"){end}"])


def _class_head(cls: type) -> str:
    bases = [
        base.__name__ for base in cls.__bases__ if base is not object and base.__name__ not in {"Generic", "Struct"}
    ]
    head = f"class {cls.__name__}({', '.join(bases)})" if bases else f"class {cls.__name__}"
    if fields := list(_fields(cls)):
        return "\n".join([f"{head}:", *(f"    {field}" for field in fields)])
    if issubclass(cls, BaseException) or "__init__" not in vars(cls) or getattr(cls, "_is_protocol", False):
        return head if not issubclass(cls, BaseException) else _error_head(cls, head)
    return f"{head}\n\n{_function_head('__init__', vars(cls)['__init__'])}"


def _error_head(cls: type, head: str) -> str:
    own = vars(cls).get("__init__")
    return f"{head}\n\n{_function_head('__init__', own)}" if own else head


def _fields(cls: type) -> Iterator[str]:
    """`name: type = default` of a record or a dataclass."""
    if issubclass(cls, msgspec.Struct):
        for field in msgspec.structs.fields(cls):
            default = "" if field.required else f" = {_default_of_record(field)}"
            yield f"{field.name}: {_declared(cls, field.name)}{default}"
    elif dataclasses.is_dataclass(cls):
        for one in dataclasses.fields(cls):
            missing = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
            factory = None if one.default_factory is dataclasses.MISSING else one.default_factory
            default = "" if missing else f" = {_default_of(one.default, factory)}"
            if not one.name.startswith("_"):
                yield f"{one.name}: {_declared(cls, one.name)}{default}"


def _default_of_record(field: msgspec.structs.FieldInfo) -> str:
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return "..." if value is msgspec.UNSET or isinstance(value, msgspec.Struct) else repr(value)


def _default_of(value: Any, factory: Any) -> str:
    return "..." if factory is not None else repr(_shown_default(value))


def _declared(cls: type, field: str) -> str:
    """The type of a field as the class, or the one that it inherits from, declares it."""
    for one in cls.__mro__:
        if field in vars(one).get("__annotations__", {}):
            declared = vars(one)["__annotations__"][field]
            return declared if isinstance(declared, str) else inspect.formatannotation(declared)
    raise LookupError(f"{cls.__name__}.{field} has no type")


def _members(cls: type) -> Iterator[str]:
    """The public methods and properties that a class defines itself; what every record has is in its base."""
    given = {*dir(Record), *cls.__struct_fields__} if issubclass(cls, Record) and cls is not Record else set[str]()
    for name, member in vars(cls).items():
        if name.startswith("_") or name in given:
            continue
        full = f"{cls.__name__}.{name}"
        if isinstance(member, property):
            answer = inspect.formatannotation(_annotation(inspect.signature(member.fget or str).return_annotation))
            yield f"#### `{full}`\n\n{_block(f'{name}: {answer}')}\n{_text(full, member.__doc__)}"
        elif isinstance(member, classmethod | staticmethod) or inspect.isfunction(member):
            function: Any = getattr(member, "__func__", member)
            mark = "" if function is member else f"@{type(member).__name__}\n"
            wrapped = inspect.unwrap(function)
            mark += "@contextmanager\n" if wrapped is not function and inspect.isgeneratorfunction(wrapped) else ""
            yield f"#### `{full}`\n\n{_block(mark + _function_head(name, wrapped))}\n{_text(full, wrapped.__doc__)}"


@cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))


def _alias(name: str) -> str:
    """A name that is neither a class nor a function: how it is defined, and the text below its definition."""
    body = _tree(importlib.import_module(f"renku_store.{_ROOMS[name]}")).body
    for place, node in enumerate(body):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", getattr(node, "name", None))]
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            below = body[place + 1] if place + 1 < len(body) else None
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
            shown = name if name == "__version__" else ast.unparse(node)
            return "\n".join([f"### `{name}`\n", _block(shown), _text(name, text if isinstance(text, str) else None)])
    raise LookupError(f"{name} is not defined in renku_store.{_ROOMS[name]}")
