"""The mock's embeddings: texts that share words are near to each other.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from crewrun.knowledge.ranking import words_of
from crewrun.mock.replies import MockReply
from crewrun.mock.request_body import read_request

# Enough that the words of a short text mostly fall on different places, and small enough for replies of 64 texts.
_DIMENSIONS = 256
# OpenAI's rule of thumb: https://help.openai.com/en/articles/4936856
_CHARS_PER_TOKEN = 4


class EmbeddedTexts(NamedTuple):
    """A request for embeddings."""

    model: str
    texts: Sequence[str]


def read_texts(body: bytes) -> EmbeddedTexts:
    """The request in `body`. Raises ValueError with what OpenAI would refuse."""
    request = read_request(body)
    model, texts = request["model"], request.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("input must be a text, or a list of texts that are not empty")
    return EmbeddedTexts(model, texts)


def embeddings(request: EmbeddedTexts) -> MockReply:
    """The reply: for each text a vector with a 1 for each of its words, at a place that is a hash of the word."""
    tokens = sum(max(1, len(text) // _CHARS_PER_TOKEN) for text in request.texts)
    data = [{"object": "embedding", "index": i, "embedding": _vector(text)} for i, text in enumerate(request.texts)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data, "model": request.model, "usage": usage}
    return MockReply(200, json.dumps(body).encode(), prompt_tokens=tokens)


def _vector(text: str) -> list[float]:
    vector = [0.0] * _DIMENSIONS
    for word in words_of(text):
        place = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=4).digest()) % _DIMENSIONS
        vector[place] = 1.0
    vector[0] += 0.01  # so that the vector of a text without words has a length too
    return vector
