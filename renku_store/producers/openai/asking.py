"""What a job asks of a model: the kind of output, the prompt with its inputs filled in, and the options."""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from renku_store.calls import FileItem, Item, Job, ValueItem
from renku_store.errors import BadInputError, ProducerError
from renku_store.hashing import canonical_json
from renku_store.media_types import is_text
from renku_store.records._base import Json

Kind = Literal["text", "json", "image", "speech"]

API_KEY: Final = "OPENAI_API_KEY"
"""The secret that is used unless the config names another as `secret`."""

_TEXT_OPTIONS: Final = {
    "temperature": "temperature",
    "topP": "top_p",
    "maxTokens": "max_completion_tokens",
    "seed": "seed",
    "stop": "stop",
    "reasoningEffort": "reasoning_effort",
}
_OPTIONS: Final[Mapping[Kind, Mapping[str, str]]] = {
    "text": _TEXT_OPTIONS,
    "json": _TEXT_OPTIONS,
    "image": {"size": "size", "quality": "quality", "background": "background", "style": "style"},
    "speech": {"voice": "voice", "instructions": "instructions", "speed": "speed"},
}
_SETTINGS: Final[Mapping[Kind, frozenset[str]]] = {
    "text": frozenset({"prompt", "system"}),
    "json": frozenset({"prompt", "system", "schema", "strict"}),
    "image": frozenset({"prompt"}),
    "speech": frozenset({"prompt"}),
}
_COMMON: Final = frozenset({"baseUrl", "secret", "prices", "extra"})
_PLACE: Final = re.compile(r"\{([A-Za-z0-9_-]+)\}")


@dataclass(frozen=True, slots=True)
class Asked:
    """One job as it is put to a model; `options` are already named as the protocol names them."""

    kind: Kind
    output: str
    mime_type: str
    prompt: str
    system: str | None
    images: tuple[str, ...]
    schema: Json
    strict: bool
    options: dict[str, Json]
    extra: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a job's model is: a base URL (None: the environment's, or OpenAI) and the name of the secret, if any."""

    base_url: str | None
    secret: str | None


def read_job(job: Job) -> Asked:
    """Read a job; raises `ProducerError` that names the first thing wrong with it."""
    output, mime_type = _only_output(job)
    kind = _kind(job, mime_type)
    _check_keys(job, kind)
    prompts = _Prompts(job)
    prompt = prompts.text("prompt")
    system = prompts.text("system") if "system" in _SETTINGS[kind] else None
    if not prompt:
        raise ProducerError(
            f"{job.producer}: There is no prompt.", hint="Give it an input `prompt`, or a `prompt` in its config."
        )
    prompts.check_all_used(kind)
    options = _OPTIONS[kind]
    return Asked(
        kind=kind,
        output=output,
        mime_type=mime_type,
        prompt=prompt,
        system=system,
        images=tuple(prompts.images),
        schema=prompts.schema(),
        strict=job.config.get("strict", True) is True,
        options={options[key]: value for key, value in job.config.items() if key in options},
        extra=_mapping(job, "extra"),
    )


def address_of(producer: str, config: Mapping[str, Json]) -> Address:
    """Where to call; raises `ProducerError` for a config that says it wrongly, or that holds a password."""
    base_url, secret = config.get("baseUrl"), config.get("secret", API_KEY)
    if base_url is not None and (not isinstance(base_url, str) or not base_url.startswith(("http://", "https://"))):
        raise ProducerError(f"{producer}: baseUrl is not a URL.", hint="For example http://localhost:8000/v1.")
    if isinstance(base_url, str) and "@" in urlsplit(base_url).netloc:
        raise ProducerError(f"{producer}: baseUrl holds a password.", hint="Name a secret with `secret` instead.")
    if secret is not None and not isinstance(secret, str):
        raise ProducerError(
            f"{producer}: secret is not the name of a secret.", hint=f"The default is {API_KEY}; null is for none."
        )
    return Address(base_url, secret or None)


class _Prompts:
    """The prompts of a job: inputs, or texts of the config with inputs filled in where `{NAME}` stands."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._used: set[str] = set()
        self.images: list[str] = []

    def text(self, name: str) -> str | None:
        """The prompt `name`: the input of that name, or else that of the config."""
        if name in self._job.inputs:
            self._used.add(name)
            return self._said(name, self._job.inputs[name])
        template = self._job.config.get(name)
        if template is None:
            return None
        if not isinstance(template, str):
            raise ProducerError(f"{self._job.producer}: {name} in the config is not text.", hint="Put it in quotes.")
        return _PLACE.sub(self._filled, template)

    def schema(self) -> Json:
        """The JSON Schema of the answer: the input `schema`, or else that of the config."""
        item = self._job.inputs.get("schema")
        return item.value if isinstance(item, ValueItem) else self._job.config.get("schema")

    def check_all_used(self, kind: Kind) -> None:
        """Attach images to a text prompt; raise `ProducerError` for an input that would not be used."""
        for name, item in self._job.inputs.items():
            if name in self._used or (kind == "json" and name == "schema"):
                continue
            pictures = _pictures(item)
            if kind not in ("text", "json") or pictures is None:
                raise ProducerError(
                    f"{self._job.producer}: The input {name!r} is not used.",
                    hint=f"Write {{{name}}} where it belongs in the prompt of the config.",
                )
            self.images += pictures

    def _filled(self, place: re.Match[str]) -> str:
        name = place[1]
        if name not in self._job.inputs:
            near = difflib.get_close_matches(name, self._job.inputs, n=1)
            raise ProducerError(
                f"{self._job.producer}: The prompt names {place[0]}, which is no input with a value.",
                hint=f"Did you mean {{{near[0]}}}?" if near else "",
            )
        self._used.add(name)
        return self._said(name, self._job.inputs[name])

    def _said(self, name: str, item: Item) -> str:
        match item:
            case ValueItem(str() as text):
                return text
            case ValueItem(value):
                return canonical_json(value).decode()
            case FileItem(path, mime_type) if is_text(mime_type):
                try:
                    return path.read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    raise BadInputError(
                        f"{self._job.producer}: The input {name!r} is not UTF-8.", hint="Save it as UTF-8."
                    ) from None
            case list():
                return "\n\n".join(self._said(name, place) for place in item if place is not None)
            case _:
                raise ProducerError(
                    f"{self._job.producer}: The input {name!r} is no text.", hint="Texts and JSON can be said."
                )


def _only_output(job: Job) -> tuple[str, str]:
    if len(job.outputs) != 1:
        raise ProducerError(
            f"{job.producer}: openai makes one output, not {len(job.outputs)}.", hint="Make a producer of each."
        )
    name, spec = next(iter(job.outputs.items()))
    return name, spec.mime_type.partition(";")[0].strip().lower()


def _kind(job: Job, mime_type: str) -> Kind:
    group = mime_type.partition("/")[0]
    if mime_type == "application/json":
        return "json"
    if group == "text":
        return "text"
    if group == "image":
        return "image"
    if group == "audio":
        return "speech"
    raise ProducerError(
        f"{job.producer}: openai makes nothing of the type {mime_type}.",
        hint="Known are text/..., application/json, image/... and audio/....",
    )


def _check_keys(job: Job, kind: Kind) -> None:
    if "apiKey" in job.config:
        raise ProducerError(
            f"{job.producer}: A key does not belong into a blueprint: it is kept with the movie for ever.",
            hint=f"Put it into the environment as {API_KEY}, or under the name that `secret` gives; revoke this one.",
        )
    known = {*_COMMON, *_SETTINGS[kind], *_OPTIONS[kind]}
    for key in job.config:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(sorted(known))}."
            raise ProducerError(
                f"{job.producer}: The config of openai has no {key!r} for {kind}.",
                hint=f"{hint} What the protocol has beyond that goes into `extra`.",
            )


def _mapping(job: Job, key: str) -> dict[str, Json]:
    value = job.config.get(key, {})
    if not isinstance(value, dict):
        raise ProducerError(f"{job.producer}: {key} in the config is not a mapping.", hint="Write KEY: VALUE there.")
    return dict(value)


def _pictures(item: Item) -> list[str] | None:
    """Images as data URLs; None for anything else."""
    items = [place for place in item if place is not None] if isinstance(item, list) else [item]
    found: list[str] = []
    for one in items:
        if not isinstance(one, FileItem) or not one.mime_type.startswith("image/"):
            return None
        found.append(f"data:{one.mime_type};base64,{base64.b64encode(one.path.read_bytes()).decode()}")
    return found
