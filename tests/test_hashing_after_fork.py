"""Hashing in a process that was forked after its parent had hashed on several threads."""

from __future__ import annotations

from tests import children

FORK = """
    import os, signal, warnings
    from renku_store.hashing import hash_bytes
    warnings.simplefilter("ignore")  # later Pythons warn of any fork beside threads: that is what is tried here
    data = bytes(16 << 20)
    before = hash_bytes(data)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if hash_bytes(data) == before else 1)
    print(os.waitpid(child, 0)[1])
"""


def test_a_forked_process_hashes_large_content_too() -> None:
    """The threads of the parent are not there in the child: it does not wait for them."""
    ended = children.run(FORK)
    assert (ended.out, ended.err) == ("0\n", "")
