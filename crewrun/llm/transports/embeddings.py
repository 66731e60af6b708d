"""The transport for embeddings: posts to `base_url` + /embeddings; otherwise like the direct transport."""

from typing import Any

from pydantic_core import from_json, to_json

from crewrun.errors import ServerError
from crewrun.limits.estimates import fewest_tokens
from crewrun.llm.embeddings import encode
from crewrun.llm.transports.http.exchange import HttpReply
from crewrun.llm.transports.openai import OpenAITransport
from crewrun.messages import ChatRequest, Completion, Usage
from crewrun.redaction.redactor import redact


class EmbeddingsTransport(OpenAITransport):
    """Returns completions whose text is made by `embeddings.encode`."""

    _path = "/embeddings"

    def _body(self, request: ChatRequest) -> bytes:
        texts = [message.content for message in request.messages]
        return to_json({"model": request.endpoint.model, **request.endpoint.fields, "input": texts})

    def _read(self, reply: HttpReply, request: ChatRequest) -> Completion:
        try:
            body = from_json(reply.body)
            vectors = _vectors(body["data"], len(request.messages))
            counted = (body.get("usage") or {}).get("prompt_tokens")
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            start = " ".join(redact(reply.body[:4_000].decode("utf-8", "replace"))[:200].split())
            raise ServerError(f"the reply has no embeddings: {start!r}", http_status=200) from None
        if isinstance(counted, int) and counted > 0:
            return Completion(encode(vectors), Usage(counted))
        return Completion(encode(vectors), Usage(fewest_tokens(request), estimated_calls=1))


def _vectors(data: Any, count: int) -> list[list[float]]:
    in_order = sorted(data, key=lambda entry: entry.get("index", 0))
    vectors = [[float(value) for value in entry["embedding"]] for entry in in_order]
    if len(vectors) != count or not all(vectors):
        raise ValueError("not one vector for each text")
    return vectors
