"""What all tests share: hypothesis profiles, an environment of their own, and no skipping in continuous integration."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from renku_store.drivers.objects.opening import workspace_of
from tests import roots
from tests.ramdisk import fast_folder

pytest_plugins = ["tests.drivers.servers"]

_NO_SKIPS = os.environ.get("CI", "").lower() == "true"
_FOREIGN = (
    "RENKU_STORE_ROOT",
    "RENKU_STORE_MOVIE",
    "RENKU_STORE_CACHE_BYTES",
    "NO_COLOR",
    "FORCE_COLOR",
    "COLUMNS",
    "LINES",
)

settings.register_profile("default", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), max_examples=100, print_blob=True)
settings.register_profile("long", settings.get_profile("default"), max_examples=500, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if _NO_SKIPS else "default"))


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """The settings of whoever runs the tests must not decide how they end, nor may the tests write to their cache."""
    from tests.drivers.servers import BUCKET  # a plugin: pytest rewrites its assertions before anybody imports it

    users = workspace_of("s3://any", None, os.environ).parent
    ours = f"{BUCKET}-{os.getpid():x}-*"  # the prefixes of `Server.place`
    before = set(users.glob(ours))
    with pytest.MonkeyPatch.context() as patch:
        for name in _FOREIGN:
            patch.delenv(name, raising=False)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("RENKU_STORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    assert set(users.glob(ours)) <= before, f"Tests have written to the user's cache: {users}"


def pytest_configure(config: pytest.Config) -> None:
    """The marks of tests that not every kind of root can have, or not in the same manner."""
    config.addinivalue_line("markers", "ramdisk: syncs a lot and asks nothing of a disk; its `tmp_path` is in memory")
    for mark, meaning in (roots.MARKS | roots.MANNERS).items():
        config.addinivalue_line("markers", f"{mark}: {meaning}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for any root, itself or through its fixtures, with every kind of root that it is for."""
    if "any_root" in metafunc.fixturenames:
        metafunc.parametrize("any_root", roots.kinds_for(metafunc.definition), indirect=True)


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Path]:
    """An empty folder, in memory for tests marked `ramdisk`."""
    if request.node.get_closest_marker("ramdisk"):
        with fast_folder() as folder:
            yield folder
    else:
        yield tmp_path


@pytest.fixture
def any_root(request: pytest.FixtureRequest) -> Generator[roots.Root]:
    """An empty build root, of each kind in turn."""
    with roots.KINDS[request.param].make(request) as root:
        yield root


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The top folder of this project."""
    return Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where CI=true: what was not run has not been shown."""
    report = yield
    if _NO_SKIPS and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI=true does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped module into a failure where CI=true."""
    report = yield
    if _NO_SKIPS and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, which CI=true does not allow: {report.longrepr}"
    return report
