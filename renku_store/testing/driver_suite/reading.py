"""Reading: limits, streams that are read in part or out of order, large objects."""

from __future__ import annotations

import io
import random

import pytest

from renku_store.drivers.base import Driver
from renku_store.errors import StoreError
from renku_store.testing.driver_suite.racing import at_once

_LARGE = random.Random(0).randbytes(5 * 1_048_576 + 17)  # noqa: S311 (bytes, no secret)
_MIDDLE = len(_LARGE) // 2


class ReadingClaims:
    """What streams and limited reads give."""

    def test_a_read_can_be_limited(self, driver: Driver) -> None:
        """At most so many bytes come back; a limit beyond the end is no error."""
        driver.create("x", b"0123456789")
        assert [driver.read("x", limit) for limit in (0, 4, 10, 99)] == [b"", b"0123", b"0123456789", b"0123456789"]

    def test_a_large_object_is_read_back_whole(self, driver: Driver) -> None:
        """Some MiB at once, from the start, and as a stream."""
        driver.replace("large", _LARGE)
        assert driver.read("large") == _LARGE
        assert driver.read("large", _MIDDLE) == _LARGE[:_MIDDLE]
        with driver.open("large") as stream:
            assert stream.read() == _LARGE
            assert stream.read() == b""

    @pytest.mark.parametrize("length", [0, 1, 70_000, 2_000_000])
    @pytest.mark.parametrize("start", [0, 1, _MIDDLE, len(_LARGE) - 5, len(_LARGE)])
    def test_a_stream_gives_any_part(self, driver: Driver, start: int, length: int) -> None:
        """Counted from the start, from where it is and from the end; nothing comes from beyond the end."""
        driver.create("large", _LARGE)
        wanted = _LARGE[start : start + length]
        with driver.open("large") as stream:
            assert stream.seekable()
            assert stream.seek(start) == start == stream.tell()
            assert stream.read(length) == wanted
            assert stream.seek(-len(wanted), io.SEEK_CUR) == start
            assert stream.read(length) == wanted
            assert stream.seek(start - len(_LARGE), io.SEEK_END) == start
            assert stream.read(length) == wanted
            assert stream.tell() == start + len(wanted)

    def test_a_stream_that_is_read_in_part_can_be_closed(self, driver: Driver) -> None:
        """It can be read no more; everything else goes on."""
        driver.create("large", _LARGE)
        streams = [driver.open("large") for _ in range(3)]
        parts = [stream.read(100) for stream in streams]
        for stream in streams:
            stream.close()
            stream.close()
            with pytest.raises(ValueError, match="closed"):
                stream.read(1)
        assert parts == [_LARGE[:100]] * 3
        assert driver.read("large", 10) == _LARGE[:10]

    def test_streams_of_one_object_do_not_disturb_each_other(self, driver: Driver) -> None:
        """Each has a place of its own, also in threads."""
        driver.create("large", _LARGE)

        def read_from(number: int) -> bool:
            start = number * 500_000
            with driver.open("large") as stream:
                stream.seek(start)
                return b"".join(stream.read(9_999) for _ in range(20)) == _LARGE[start : start + 20 * 9_999]

        assert all(at_once(read_from))

    def test_a_stream_never_mixes_two_versions(self, driver: Driver) -> None:
        """Of an object that is replaced meanwhile the rest is the old one's, or an error."""
        other = bytes(len(_LARGE))
        driver.create("large", _LARGE)
        with driver.open("large") as stream:
            begun = stream.read(_MIDDLE)
            driver.replace("large", other)
            try:
                read = begun + stream.read()
            except StoreError:
                read = _LARGE
        assert read in {_LARGE, other}
        assert driver.read("large") == other
