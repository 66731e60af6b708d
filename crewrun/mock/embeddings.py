"""The mock's embeddings: texts with words in common are near to each other.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from crewrun.knowledge.ranking import words_of
from crewrun.mock.replies import Reply
from crewrun.mock.request_body import read_request

_DIMENSIONS = 256
# As many characters as a token mostly has.
_TOKEN_CHARS = 4


class Texts(NamedTuple):
    """A request for embeddings."""

    model: str
    texts: Sequence[str]


def read_texts(body: bytes) -> Texts:
    """The request in `body`. Raises ValueError with what OpenAI would refuse."""
    request = read_request(body)
    model, texts = request["model"], request.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("input must be a text, or a list of texts that are not empty")
    return Texts(model, texts)


def embeddings(asked: Texts) -> Reply:
    """The reply: for each text a vector with a one for each of its words, at a place that the word decides."""
    tokens = sum(max(1, len(text) // _TOKEN_CHARS) for text in asked.texts)
    data = [{"object": "embedding", "index": i, "embedding": _vector(text)} for i, text in enumerate(asked.texts)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data, "model": asked.model, "usage": usage}
    return Reply(200, json.dumps(body).encode(), prompt_tokens=tokens)


def _vector(text: str) -> list[float]:
    vector = [0.0] * _DIMENSIONS
    for word in words_of(text):
        place = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=4).digest()) % _DIMENSIONS
        vector[place] = 1.0
    vector[0] += 0.01  # one without words has a length too
    return vector
