"""`Refusals`: which models take no tools, or no schema for their reply, although they were said to."""

import re

from crewrun.errors import BadRequest, CallError, SchemaRefused, ToolsRefused
from crewrun.llm.recorder import Recorder, describe_endpoint
from crewrun.messages import ChatRequest, Endpoint

# How providers word that they do not take `tools` or `response_format`: vLLM, Ollama and OpenRouter (a 404) among them.
_REFUSING = frozenset({400, 404, 405, 415, 422, 501})
_ABOUT_TOOLS = re.compile(r"\btools?\b|tool[_ ]choice|tool[_ -]call|function[_ -]?call", re.IGNORECASE)
_ABOUT_SCHEMA = re.compile(
    r"response[_ ]?format|json[_ ]?schema|structured[_ ]?output|response[_ ]schema", re.IGNORECASE
)


class Refusals:
    """Learned from what providers answer. `known` has (endpoint, error's name), and may be added to from outside."""

    def __init__(self, known: set[tuple[str, str]]) -> None:
        self._known = known

    def takes_tools(self, endpoint: Endpoint) -> bool:
        """Whether tools go to `endpoint` as tools, not in words."""
        return endpoint.takes_tools and not self._has_refused(endpoint, ToolsRefused)

    def takes_schema(self, endpoint: Endpoint) -> bool:
        """Whether a reply's schema goes to `endpoint` as such, not only in words."""
        return endpoint.takes_schema and not self._has_refused(endpoint, SchemaRefused)

    def told_apart(self, error: CallError, request: ChatRequest, recorder: Recorder | None) -> CallError:
        """`error`, as its own class when what was refused is something that can be done without. That is remembered."""
        if error.http_status not in _REFUSING or not (request.tools or request.schema):
            return error
        kind: type[BadRequest] | None = None
        if request.schema and _ABOUT_SCHEMA.search(str(error)):
            kind = SchemaRefused
        elif request.tools and _ABOUT_TOOLS.search(str(error)):
            kind = ToolsRefused
        if kind is None:
            return error
        if not any(message.tool_calls for message in request.messages):  # else it may be about those turns
            refusal = (describe_endpoint(request.endpoint), kind.__name__)
            self._known.add(refusal)
            if recorder is not None:
                recorder.refused(*refusal)
        return kind(str(error), http_status=error.http_status)

    def _has_refused(self, endpoint: Endpoint, kind: type[BadRequest]) -> bool:
        return bool(self._known) and (describe_endpoint(endpoint), kind.__name__) in self._known
