"""Where each parameter of an LLM goes: into the body, the URL or the headers of its transport's requests.

A parameter without a meaning there is refused before the first call, with the reason. `capabilities` handles what a
server refuses later.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from crewrun.errors import ModelRefused
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.parameters import OF_TOOLS, OTHER_NAME, OURS, STREAMING, without
from crewrun.llm.providers import PROVIDERS, first_set
from crewrun.messages import Endpoint

# These refuse max_tokens: https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_tokens
_RENAMED_MAX_TOKENS: Final = re.compile(r"(?:ft:)?(?:o[1-9]|gpt-5)")
_LITELLM_ONLY: Final = frozenset(
    {"drop_params", "additional_drop_params", "custom_llm_provider", "allowed_openai_params"}
)
_NOT_IN_BODY: Final = frozenset({"api_version", "extra_query"})
# Fields that decide answers and are not secret: records have the value of a variable, not its reference.
PLAIN: Final = frozenset(
    {"temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty"}
    | {"frequency_penalty", "reasoning_effort", "verbosity", "service_tier", "top_k", "thinking", "tool_choice"}
    | {"parallel_tool_calls", "logprobs", "top_logprobs", "api_version", "drop_params", "additional_drop_params"}
)
# Parameters that OpenAI's own address does not have: https://platform.openai.com/docs/api-reference/chat/create
_NOT_OPENAI: Final[Mapping[str, str]] = {
    "thinking": "OpenAI's models take reasoning_effort in its place",
    "top_k": "OpenAI has top_p in its place",
}
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_WITH_VERSIONS: Final = ("azure", "watsonx")
_AS_OPENAI: Final = frozenset({"custom_openai", "litellm_proxy", "text-completion-openai"})
# litellm's names for the project of a cloud.
_PROJECTS: Final[Mapping[str, str]] = {
    "vertex_ai": "vertex_project",
    "vertex_ai_beta": "vertex_project",
    "watsonx": "project_id",
    "watsonx_text": "project_id",
}
# For these, and for Claude at other clouds, litellm passes on unknown parameters, but not those in extra_body.
_MERGING: Final = ("anthropic", "bedrock", "sagemaker")


@dataclass(slots=True)
class Placed:
    """The parts of an endpoint that come from parameters. `dropped` are never sent."""

    params: dict[str, Any] = field(default_factory=dict)
    tool_params: dict[str, Any] = field(default_factory=dict)
    extra_body: dict[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()


def place(llm: ModelFields, provider: str, model: str, base_url: str | None, env: Mapping[str, str]) -> Placed:
    """The parameters of `llm`, whose references have been filled in, in their places.

    Raises ModelRefused for one that has no meaning there, and for a body that is not JSON.
    """
    extra = llm.model_extra or {}
    for name in OURS & (extra.get("extra_body") or {}).keys():
        raise _refused(llm, f"extra_body.{name}", f"{name} is what the run itself says in each request")
    placed = Placed(
        params={name: value for name, value in llm.params.items() if name not in OF_TOOLS},
        tool_params={name: value for name, value in llm.params.items() if name in OF_TOOLS},
        extra_body={k: v for k, v in (extra.get("extra_body") or {}).items() if k not in STREAMING},
        headers=dict(llm.extra_headers),
        dropped=frozenset(extra.get("additional_drop_params") or ()),
    )
    _let_limit_win(placed)
    if provider in PROVIDERS:
        _on_direct(placed, llm, provider, model, base_url or "", env)
    else:
        _on_litellm(placed, llm, provider, model)
    _check_json(llm, {**placed.params, **placed.tool_params, **placed.extra_body})
    _check_headers(llm, placed.headers)
    return placed


def _let_limit_win(placed: Placed) -> None:
    """A limit of tokens in extra_body replaces all others, since the highest price of a call depends on it."""
    if OTHER_NAME.keys() & placed.extra_body.keys():
        placed.params = {name: value for name, value in placed.params.items() if name not in OTHER_NAME}


def written_params(written: ModelFields, llm: ModelFields, provider: str, model: str) -> dict[str, Any]:
    """The parameters as records have them: `written` has references where `llm` has the variables' values."""
    params = llm.params
    fields = {name: params[name] if name in PLAIN else value for name, value in written.params.items()}
    body = (written.model_extra or {}).get("extra_body") or {}
    fields |= {name: value for name, value in body.items() if name not in STREAMING}
    return _for_openai(fields, model) if provider in PROVIDERS else fields


def left_out(endpoint: Endpoint) -> list[str]:
    """The parameters that are not sent because the endpoint is known not to take them, and its llm says drop_params."""
    if not endpoint.drops_params or endpoint.provider != "openai":
        return []
    return [name for name in _NOT_OPENAI if name in (endpoint.written_params or {}) and name not in endpoint.params]


def is_own_address(provider: str, base_url: str | None) -> bool:
    """Whether `base_url` is the well-known address of `provider`, or None where litellm knows it."""
    entry = PROVIDERS.get(provider)
    if entry is None:
        return base_url is None
    here, own = urlsplit(base_url or ""), urlsplit(entry.base_url)
    # OpenAI's regions are eu.api.openai.com and the like.
    is_there = here.hostname == own.hostname or str(here.hostname).endswith(f".{own.hostname}")
    return not entry.local and is_there and (here.scheme, here.path) == (own.scheme, own.path)


def _on_direct(
    placed: Placed, llm: ModelFields, provider: str, model: str, base_url: str, env: Mapping[str, str]
) -> None:
    extra = llm.model_extra or {}
    is_own = is_own_address(provider, base_url)
    placed.params = _for_openai(placed.params, model)
    if provider == "openai" and is_own:
        for name, reason in _NOT_OPENAI.items():
            if name not in placed.params or name in placed.dropped:
                continue
            if not extra.get("drop_params"):
                raise _refused(llm, name, f"{reason}; take it out, or say drop_params: true to have it left out")
            placed.dropped |= {name}
    if is_own and extra.get("api_version"):
        raise _refused(llm, "api_version", f"{provider} has none; Azure's models are azure/DEPLOYMENT")
    _place_query(placed, extra)
    _place_account(placed, llm, provider, env, is_own=is_own)
    placed.params = {name: value for name, value in placed.params.items() if name not in _NOT_IN_BODY}
    if "tools" not in placed.extra_body:
        placed.tool_params |= {name: placed.extra_body.pop(name) for name in OF_TOOLS & placed.extra_body.keys()}
    placed.params = without({**placed.params, **placed.extra_body}, placed.dropped)
    placed.tool_params = without(placed.tool_params, placed.dropped)
    placed.extra_body = {}


def _place_query(placed: Placed, extra: Mapping[str, Any]) -> None:
    query = {name: _in_query(value) for name, value in (extra.get("extra_query") or {}).items()}
    if extra.get("api_version"):
        query.setdefault("api-version", extra["api_version"])
    placed.query = query


def _in_query(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _place_account(placed: Placed, llm: ModelFields, provider: str, env: Mapping[str, str], *, is_own: bool) -> None:
    """Organization and project as headers; those of the environment go to OpenAI's own address only.

    https://platform.openai.com/docs/api-reference/authentication
    """
    extra = llm.model_extra or {}
    taken = {name.lower() for name in placed.headers}
    for name, header, variables in (
        ("organization", "OpenAI-Organization", ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION")),
        ("project", "OpenAI-Project", ("OPENAI_PROJECT_ID",)),
    ):
        value = extra.get(name)
        if value and provider != "openai" and is_own:
            raise _refused(llm, name, f"it is a part of OpenAI's accounts, and {provider} has none")
        if not value and provider == "openai" and is_own:
            value = first_set(variables, env)
        if value and header.lower() not in taken:
            placed.headers[header] = value


def _on_litellm(placed: Placed, llm: ModelFields, provider: str, model: str) -> None:
    extra = llm.model_extra or {}
    if extra.get("extra_query"):
        raise _refused(llm, "extra_query", f"litellm, which calls {provider}, has no such thing")
    if extra.get("api_version") and not provider.startswith(_WITH_VERSIONS):
        raise _refused(llm, "api_version", f"{provider} has none")
    if organization := extra.get("organization"):
        if provider not in _AS_OPENAI:
            raise _refused(llm, "organization", f"it is a part of OpenAI's accounts, and {provider} has none")
        placed.params["organization"] = organization
    if project := extra.get("project"):
        if provider in _PROJECTS:
            placed.params.setdefault(_PROJECTS[provider], project)
        elif provider in _AS_OPENAI:
            placed.headers.setdefault("OpenAI-Project", project)
        else:
            raise _refused(llm, "project", f"it is a part of OpenAI's accounts, and {provider} has none")
    if provider.startswith("azure") and "service_tier" in placed.params:
        # Azure has tiers, https://learn.microsoft.com/azure/ai-foundry/openai/concepts/priority-processing
        allowed = placed.params.get("allowed_openai_params") or []
        placed.params["allowed_openai_params"] = [*allowed, "service_tier"]
    is_merged = provider.startswith(_MERGING) or "claude" in model
    for name in [name for name in placed.extra_body if is_merged or name in OTHER_NAME]:
        placed.params[name] = placed.extra_body.pop(name)


def _for_openai(params: Mapping[str, Any], model: str) -> dict[str, Any]:
    """`params` without those that are for litellm, and with max_tokens under the name that `model` takes."""
    renamed = {name: value for name, value in params.items() if name not in _LITELLM_ONLY}
    if "max_tokens" in renamed and _RENAMED_MAX_TOKENS.match(model):
        renamed.setdefault("max_completion_tokens", renamed.pop("max_tokens"))
    return renamed


def _check_json(llm: ModelFields, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as wrong:
            raise _refused(llm, name, f"it cannot be sent as JSON: {wrong}") from None


def _check_headers(llm: ModelFields, headers: Mapping[str, str]) -> None:
    """Raise ModelRefused for what no HTTP header can be: https://www.rfc-editor.org/rfc/rfc9110#name-field-values."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise _refused(llm, f"header {name!r}", "that is no name of a header")
        if not _HEADER_VALUE.fullmatch(value):
            raise _refused(llm, f"header {name!r}", "its value has a line break or another control character in it")


def _refused(llm: ModelFields, name: str, reason: str) -> ModelRefused:
    return ModelRefused(f"model {llm.model!r}: its {name} cannot be sent: {reason}")
