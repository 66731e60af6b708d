"""The mock's embeddings: texts that share words are near to each other.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

import json
import struct
from base64 import b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from crewrun.knowledge.ranking import words_of
from crewrun.llm.offline_model.fake_model import FakeAnswer
from crewrun.mock.replies import MockReply, Usage

# Enough that the words of a short text mostly fall on different places, and small enough for replies of 64 texts.
_DIMENSIONS = 256
_MOST_DIMENSIONS = 4096
# OpenAI's rule of thumb: https://help.openai.com/en/articles/4936856
_CHARS_PER_TOKEN = 4


class EmbeddedTexts(NamedTuple):
    """A request for embeddings."""

    model: str
    texts: Sequence[str]
    dimensions: int = _DIMENSIONS
    is_base64: bool = False


def read_texts(request: dict[str, Any]) -> EmbeddedTexts:
    """The texts to embed. Raises ValueError with what OpenAI would refuse."""
    texts, dimensions = request.get("input"), request.get("dimensions", _DIMENSIONS)
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("input must be a text, or a list of texts that are not empty")
    if not isinstance(dimensions, int) or isinstance(dimensions, bool) or not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise ValueError(f"dimensions must be a whole number from 1 to {_MOST_DIMENSIONS}")
    return EmbeddedTexts(request["model"], texts, dimensions, request.get("encoding_format") == "base64")


def embeddings(request: EmbeddedTexts) -> MockReply:
    """The reply: for each text a vector with a 1 for each of its words, at a place that is a hash of the word."""
    tokens = sum(max(1, len(text) // _CHARS_PER_TOKEN) for text in request.texts)
    vectors = (_vector(text, request.dimensions) for text in request.texts)
    data = [
        {"object": "embedding", "index": i, "embedding": _base64(vector) if request.is_base64 else vector}
        for i, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data, "model": request.model, "usage": usage}
    return MockReply(200, json.dumps(body).encode(), answer=FakeAnswer(""), usage=Usage(tokens))


def _base64(vector: Sequence[float]) -> str:
    """Little-endian 32-bit floats, which the official SDK asks for."""
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _vector(text: str, dimensions: int) -> list[float]:
    vector = [0.0] * dimensions
    for word in words_of(text):
        place = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=4).digest()) % dimensions
        vector[place] = 1.0
    vector[0] += 0.01  # so that the vector of a text without words has a length too
    return vector
