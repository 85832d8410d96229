"""What a driver says of itself: its root, its folders, the place it has on this machine, what may be relied on."""

from __future__ import annotations

import os

import pytest

from renku_store.drivers.base import Driver
from renku_store.errors import InvalidIdError


class PlaceClaims:
    """Names of roots and folders, guarantees, and the ways around the driver that it offers."""

    def test_a_sub_driver_sees_the_same_storage_from_a_folder(self, driver: Driver) -> None:
        """In both directions, with names of its own."""
        sub = driver.sub("movie")
        sub.create("format.json", b"{}")
        driver.create("movie/current.json", b"[]")
        assert driver.read("movie/format.json") == b"{}"
        assert {found.name for found in sub.list("")} == {"format.json", "current.json"}
        assert "movie/" in driver.children("")
        with pytest.raises(InvalidIdError):
            driver.sub("../elsewhere")

    def test_the_scratch_folder_is_there_and_local(self, driver: Driver) -> None:
        """Files can be made in it."""
        folder = driver.scratch()
        (folder / "x").write_bytes(b"x")
        assert driver.scratch() == folder

    def test_a_folder_is_named_after_its_root(self, driver: Driver) -> None:
        """In its URL, and in the place that it has on this machine, which is not made by asking."""
        film = driver.sub("deep/film")
        assert film.url == f"{driver.url}/deep/film" == driver.sub("deep").sub("film").url
        top, below = driver.workspace(), film.workspace()
        assert below == (None if top is None else top / "deep" / "film")
        assert top == driver.workspace()
        assert below is None or not below.exists()

    def test_a_folder_has_the_guarantees_of_its_root(self, driver: Driver) -> None:
        """And can be written where the root can."""
        film = driver.sub("film")
        assert (film.guarantees, film.read_only) == (driver.guarantees, driver.read_only)

    def test_an_object_is_a_file_where_that_is_promised(self, driver: Driver) -> None:
        """It can be read, and linked, there; elsewhere no object is one, and what is not there is none anywhere."""
        driver.create("folder/object", b"bytes")
        path = driver.local_path("folder/object")
        assert (path is not None) >= driver.guarantees.links
        if path is not None:
            assert path.read_bytes() == b"bytes"
        if driver.guarantees.links:
            assert path is not None
            os.link(path, driver.scratch() / "linked")
            assert (driver.scratch() / "linked").read_bytes() == b"bytes"
        assert driver.local_path("folder") is None
        assert driver.local_path("nothing") is None

    def test_free_space_is_known_where_that_is_promised(self, driver: Driver) -> None:
        """As bytes."""
        free = driver.free_bytes()
        assert (free is not None) == driver.guarantees.free_space
        assert free is None or free > 0

    def test_the_guarantees_hold_that_the_protocols_rest_on(self, driver: Driver) -> None:
        """A driver under test is writable and creates atomically; where many share it, they can also compare."""
        found = driver.guarantees
        assert found.atomic_create
        assert found.strong_listing
        assert found.compare_and_swap or not found.shared_index
        assert not driver.read_only

    def test_closing_again_is_no_harm(self, driver: Driver) -> None:
        """With streams and folders of it in use before, and none after."""
        driver.sub("film").create("x", b"1")
        driver.close()
        driver.close()
