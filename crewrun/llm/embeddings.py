"""Embeddings over OpenAI's wire: which embedder a crew names, and how vectors travel.

A request for embeddings is a request like others, one message for each text; the answer's text has the
vectors. So limits, budget, retries, journal and cache hold for them as for every call.
https://platform.openai.com/docs/api-reference/embeddings
"""

import struct
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from operator import mul
from typing import Any, TypeAlias

from crewrun.llm.model_fields import ModelFields
from crewrun.messages import Endpoint

# Providers of CrewAI's embedders that speak it, with the model that they take when none is named.
_DEFAULT_MODELS: Mapping[str, str] = {"openai": "text-embedding-3-small", "ollama": "nomic-embed-text"}
_MODEL_KEYS = ("model_name", "model")
_ADDRESS_KEYS = ("api_base", "base_url", "url")
_MARK = "vectors:"
_NATIVE_PATHS = ("/api/embeddings", "/api/embed")  # Ollama's own, which CrewAI's configuration names


def embedder_of(spec: Any) -> ModelFields | None:
    """The embedding model that CrewAI's `embedder` names, None where it does not speak OpenAI's wire.

    `{"provider": "openai", "config": {"model_name": …, "api_base": …, "api_key": …, "dimensions": …}}`
    """
    if not isinstance(spec, Mapping) or spec.get("provider") not in _DEFAULT_MODELS:
        return None
    provider, config = str(spec["provider"]), spec.get("config") or {}
    if not isinstance(config, Mapping) or config.get("api_type") == "azure":
        return None
    model = next((str(config[key]) for key in _MODEL_KEYS if config.get(key)), _DEFAULT_MODELS[provider])
    address = next((str(config[key]) for key in _ADDRESS_KEYS if config.get(key)), None)
    for path in _NATIVE_PATHS:
        address = address.removesuffix(path) if address is not None else None
    fields = {"dimensions": config["dimensions"]} if config.get("dimensions") else {}
    return ModelFields(model=model, provider=provider, base_url=address, api_key=config.get("api_key"), **fields)


def for_embeddings(endpoint: Endpoint) -> Endpoint:
    """`endpoint`, asked for embeddings."""
    return replace(endpoint, transport_name="embeddings", takes_tools=False, takes_schema=False, reply_schema=None)


Vector: TypeAlias = "array[float]"


def encode(vectors: Sequence[Sequence[float]]) -> str:
    """`vectors` as text, scaled to a length of 1, in half precision: a journal keeps one for each row."""
    return _MARK + ",".join(_encoded(vector) for vector in vectors)


def words_for(text: str) -> str:
    """What a person is shown of a reply: of vectors, which say nothing to one, how many there are."""
    count = text.count(",") + 1
    return f"[{count} vector{'s' if count != 1 else ''}]" if text.startswith(_MARK) else text


def _encoded(vector: Sequence[float]) -> str:
    length = sqrt(sum(value * value for value in vector)) or 1.0
    return b64encode(struct.pack(f"<{len(vector)}e", *(value / length for value in vector))).decode()


def decode(text: str) -> list[Vector]:
    """The vectors in `text`. Raises ValueError for what `encode` has not made."""
    found = []
    for vector in text.removeprefix(_MARK).split(","):
        content = b64decode(vector, validate=True)
        if len(content) % 2:
            raise ValueError("half a number")
        found.append(array("f", struct.unpack(f"<{len(content) // 2}e", content)))
    return found


def likeness(one: Vector, other: Vector) -> float:
    """How alike two vectors are, from 0 to 1, as CrewAI's store says it of cosines; 0 where they do not fit."""
    if len(one) != len(other):
        return 0.0
    cosine: float = sum(map(mul, one, other))
    return round((1.0 + cosine) / 2, 6)
