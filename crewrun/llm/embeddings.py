"""Embeddings by OpenAI's protocol: which embedder a crew names, and how vectors are stored.

A request for embeddings is like any other, with one message for each text, and its answer's text holds the vectors. So
limits, budget, retries, journal and cache work as for every call.
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

# CrewAI's providers of embeddings that speak it, with their default models.
_DEFAULT_MODELS: Mapping[str, str] = {"openai": "text-embedding-3-small", "ollama": "nomic-embed-text"}
_MODEL_KEYS = ("model_name", "model")
_ADDRESS_KEYS = ("api_base", "base_url", "url")
_MARK = "vectors:"
_NATIVE_PATHS = ("/api/embeddings", "/api/embed")  # Ollama's own, which CrewAI's configuration names


def embedder_of(spec: Any) -> ModelFields | None:
    """The embedding model that CrewAI's `embedder` names, None if it does not speak OpenAI's protocol.

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
    """`endpoint` as one for embeddings."""
    return replace(endpoint, transport_name="embeddings", takes_tools=False, takes_schema=False, reply_schema=None)


Vector: TypeAlias = "array[float]"


def encode(vectors: Sequence[Sequence[float]]) -> str:
    """`vectors` as text, scaled to a length of 1, in half precision, since a journal keeps one for each row."""
    return _MARK + ",".join(_encoded(vector) for vector in vectors)


def words_for(text: str) -> str:
    """A reply as people are shown it: the number of vectors in place of the vectors."""
    count = text.count(",") + 1
    return f"[{count} vector{'s' if count != 1 else ''}]" if text.startswith(_MARK) else text


def _encoded(vector: Sequence[float]) -> str:
    length = sqrt(sum(value * value for value in vector)) or 1.0
    return b64encode(struct.pack(f"<{len(vector)}e", *(value / length for value in vector))).decode()


def decode(text: str) -> list[Vector]:
    """The vectors in `text`. Raises ValueError for text that is not from `encode`."""
    vectors = []
    for vector in text.removeprefix(_MARK).split(","):
        content = b64decode(vector, validate=True)
        if len(content) % 2:
            raise ValueError("half a number")
        vectors.append(array("f", struct.unpack(f"<{len(content) // 2}e", content)))
    return vectors


def likeness(one: Vector, other: Vector) -> float:
    """How alike two vectors are, from 0 to 1, by their cosine as in CrewAI's store; 0 if their lengths differ."""
    if len(one) != len(other):
        return 0.0
    cosine: float = sum(map(mul, one, other))
    return round((1.0 + cosine) / 2, 6)
