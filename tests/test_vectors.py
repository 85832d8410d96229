"""The golden vectors: what another implementation checks itself against must be what this one does."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from renku_store.clock import uuid7
from renku_store.encoding import cut_pages
from renku_store.errors import InvalidValueError
from renku_store.hashing import canonical_json, content_hash, hash_bytes, hash_value, signature
from renku_store.records.graph import GraphNode
from renku_store.records.ids import check_run_id
from renku_store.records.manifest import ManifestArtefact, ManifestInput

_FOLDER = Path(__file__).parent / "vectors"


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


def _cases(name: str, part: str = "cases") -> list[Any]:
    return [pytest.param(case, id=str(case.get("name", index))) for index, case in enumerate(_read(name)[part])]


def _double(bits: str) -> float:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert isinstance(number, float)
    return number


@pytest.mark.parametrize("case", _cases("numbers"))
def test_numbers_have_their_golden_text(case: dict[str, str]) -> None:
    """A double is written as RFC 8785 says, alone and among others."""
    number = _double(case["bits"])
    assert canonical_json(number).decode() == case["canonical"]
    assert canonical_json({"a": [number]}).decode() == f'{{"a":[{case["canonical"]}]}}'


@pytest.mark.parametrize("case", _cases("numbers", "refused"))
def test_refused_numbers_are_refused(case: dict[str, str]) -> None:
    """A double without a text that everybody reads back is refused by name."""
    name = "2^53" if "2^53" in case["why"] else case["why"]
    with pytest.raises(InvalidValueError) as refusal:
        canonical_json([_double(case["bits"])])
    assert name in refusal.value.message


@pytest.mark.parametrize("case", _cases("values"))
def test_values_have_their_golden_text_and_hash(case: dict[str, str]) -> None:
    """A JSON text has the golden canonical form and hash."""
    value = json.loads(case["source"])
    assert canonical_json(value).decode() == case["canonical"]
    assert hash_value(value) == case["hash"]


@pytest.mark.parametrize("case", _cases("values", "refused"))
def test_refused_values_are_refused(case: dict[str, str]) -> None:
    """A JSON text whose value not every reader can keep is refused."""
    with pytest.raises(InvalidValueError):
        canonical_json(json.loads(case["source"]))


@pytest.mark.parametrize("case", _cases("hashes"))
def test_bytes_have_their_golden_hash(case: dict[str, Any]) -> None:
    """Bytes have the golden hash, short or long enough for several threads."""
    data = (
        case["text"].encode() if "text" in case else (bytes(range(251)) * (case["length"] // 251 + 1))[: case["length"]]
    )
    assert hash_bytes(data) == case["hash"]
    assert hash_bytes(memoryview(bytearray(data))) == case["hash"]


@pytest.mark.parametrize("case", _cases("signatures"))
def test_jobs_have_their_golden_signature(case: dict[str, Any]) -> None:
    """A job with these inputs has the golden signature, and the signed document is the one shown."""
    assert signature(GraphNode.from_json(case["node"]), case["inputs"]) == case["signature"]
    assert hash_bytes(case["signed"].encode()) == case["signature"]


@pytest.mark.parametrize("case", _cases("content-hashes"))
def test_manifests_have_their_golden_content_hash(case: dict[str, Any]) -> None:
    """Inputs, artefacts and timeline have the golden content hash."""
    inputs = {key: ManifestInput.from_json(value) for key, value in case["inputs"].items()}
    artefacts = {key: ManifestArtefact.from_json(value) for key, value in case["artefacts"].items()}
    assert content_hash(inputs, artefacts, case["timeline"]) == case["contentHash"]
    assert hash_bytes(case["hashed"].encode()) == case["contentHash"]


def test_pages_begin_at_the_golden_ids() -> None:
    """A large manifest is cut where the golden list says, and nowhere else."""
    vector = _read("pages")
    ids = [f"narration[{number}].audio" for number in range(vector["count"])]
    pages = list(cut_pages(dict.fromkeys(ids, 0)))
    assert [next(iter(page)) for page in pages] == [min(ids), *vector["begins"]]
    assert [key for page in pages for key in page] == sorted(ids)
    assert all(hash_bytes(case["id"].encode()) == case["hash"] for case in vector["hashes"])


@pytest.mark.parametrize("case", _cases("uuid7"))
def test_uuids_are_the_golden_ones(case: dict[str, Any]) -> None:
    """Time and random bytes give the golden UUID, which is a run id."""
    made = uuid7(case["unixMilliseconds"], bytes.fromhex(case["random"]))
    assert made == case["uuid"]
    assert check_run_id(made) == made
