"""The house rules that no linter checks: sizes, names, docstrings, who imports whom and when."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import renku_store
from renku_store import errors

_CHECKOUT = Path(__file__).resolve().parent.parent
_PACKAGES = ("renku_store", "renku_cli")
_MODULES = sorted(path for package in _PACKAGES for path in (_CHECKOUT / package).rglob("*.py"))
_MODULE_MAX_LINES = 400
_FUNCTION_MAX_LINES = 60
_DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}
_HEAVY = {
    *("aiobotocore", "aiohttp", "asyncio", "boto3", "fsspec", "httpx2", "openai", "psycopg", "s3fs", "starlette"),
    "uvicorn",
}

every_module = pytest.mark.parametrize("path", _MODULES, ids=lambda path: str(path.relative_to(_CHECKOUT)))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(node: ast.AST) -> Iterator[tuple[int, str, str | None]]:
    """(line, module, name or None) of each absolute import below a node."""
    for below in ast.walk(node):
        if isinstance(below, ast.Import):
            yield from ((below.lineno, alias.name, None) for alias in below.names)
        elif isinstance(below, ast.ImportFrom):
            yield from ((below.lineno, below.module or "", alias.name) for alias in below.names)


def _is_first_party(module: str) -> bool:
    return module.partition(".")[0] in _PACKAGES


def _is_room(name: str) -> bool:
    folder = _CHECKOUT / "renku_store" / name
    return folder.is_dir() or folder.with_suffix(".py").is_file()


def test_there_is_something_to_check() -> None:
    """The rules below look at real modules, of both packages."""
    assert {path.relative_to(_CHECKOUT).parts[0] for path in _MODULES} == set(_PACKAGES)


@every_module
def test_modules_are_rooms_not_halls(path: Path) -> None:
    """No module is longer than 400 lines, and none is a drawer for odds and ends."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= _MODULE_MAX_LINES
    assert not _DRAWERS & {part.strip("_") for part in path.relative_to(_CHECKOUT).with_suffix("").parts}


@every_module
def test_functions_fit_on_a_screen(path: Path) -> None:
    """No function is longer than 60 lines."""
    functions = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > _FUNCTION_MAX_LINES}
    assert not long


@every_module
def test_the_first_line_says_the_job(path: Path) -> None:
    """Every module begins with a docstring whose first line is a sentence of its own."""
    docstring = ast.get_docstring(_tree(path))
    assert docstring, "no docstring"
    assert docstring.splitlines()[0].strip()


@every_module
def test_first_party_imports_stand_at_the_head(path: Path) -> None:
    """No function imports a room: what a module needs is seen at its head."""
    functions = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    hidden = {(line, module) for node in functions for line, module, _ in _imports(node) if _is_first_party(module)}
    assert not hidden


@every_module
def test_imports_are_absolute(path: Path) -> None:
    """Every import names its room in full, so that the floors can be read off it."""
    relative = [node.lineno for node in ast.walk(_tree(path)) if isinstance(node, ast.ImportFrom) and node.level]
    assert not relative


@pytest.mark.parametrize("package", _PACKAGES)
def test_no_package_imports_its_own_root(package: str) -> None:
    """Inside a package only its rooms are imported, never the names that its root gives to others."""
    found = {
        (str(path.relative_to(_CHECKOUT)), line)
        for path in _MODULES
        if path.relative_to(_CHECKOUT).parts[0] == package and path != _CHECKOUT / package / "__init__.py"
        for line, module, name in _imports(_tree(path))
        if module == package
        and (name is None or not (_CHECKOUT / package / name).with_suffix("").is_dir())
        and not (name is not None and (_CHECKOUT / package / f"{name}.py").is_file())
    }
    assert not found


def test_the_command_line_uses_public_names_only() -> None:
    """The command line imports `renku_store` itself, and nothing below it."""
    found = {
        (path.name, line, module, name)
        for path in _MODULES
        if path.relative_to(_CHECKOUT).parts[0] == "renku_cli"
        for line, module, name in _imports(_tree(path))
        if module.startswith("renku_store.") or (module == "renku_store" and name is not None and _is_room(name))
    }
    assert not found


def test_what_tests_need_is_imported_by_nothing_else() -> None:
    """`renku_store.testing` is there for tests, and no other room depends on it."""
    found = {
        (str(path.relative_to(_CHECKOUT)), line)
        for path in _MODULES
        if path.relative_to(_CHECKOUT).parts[:2] != ("renku_store", "testing")
        for line, module, name in _imports(_tree(path))
        if f"{module}.{name}".startswith("renku_store.testing")
    }
    assert not found


def test_public_names_are_sorted_and_there() -> None:
    """Each public name is listed once, in order, and can be had."""
    names = list(renku_store.__all__)
    assert names == sorted(set(names))
    for name in names:
        assert getattr(renku_store, name) is not None


def test_type_checkers_see_the_public_names() -> None:
    """The stub of the package imports each of them from the room that gives it, and nothing else."""
    stub = _tree(_CHECKOUT / "renku_store" / "__init__.pyi")
    assert all(isinstance(node, ast.ImportFrom) for node in stub.body)
    listed = {(name, module) for _, module, name in _imports(stub)}
    given = {(name, f"renku_store.{room}") for name, room in vars(renku_store)["_ROOMS"].items()}
    assert listed == given


def test_every_error_is_a_public_name() -> None:
    """Whoever catches an error of the tree can import it from the package."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert kinds <= set(renku_store.__all__)


def _loaded_by(code: str) -> set[str]:
    """The top-level names of `sys.modules` after a fresh interpreter has run the code."""
    report = "\nimport json, sys\nprint('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=True, timeout=600
    )
    loaded: list[str] = json.loads(done.stdout.splitlines()[-1])
    return set(loaded)


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import renku_store` loads no storage of others, no database server's client, no event loop and no web code."""
    assert not _loaded_by("import renku_store") & (_HEAVY | {"apsw", "pydantic"})


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_line_answers_without_loading_the_store(option: str) -> None:
    """Version and help come without records, SQLite or file systems being loaded."""
    code = f"""
import sys
sys.argv = ["renku-store", {option!r}]
from renku_cli.main import run
try:
    run()
except SystemExit as end:
    assert not end.code, end.code
"""
    assert not _loaded_by(code) & (_HEAVY | {"apsw", "pydantic", "yaml", "PIL"})
