"""From an LLM to the endpoint of its calls: transport, address, key, and each parameter in its place.

The direct transport takes everything that speaks OpenAI's chat completions: the well-known addresses and any
`base_url`. What is left goes through litellm. Environment variables are the ones that litellm and OpenAI's client use.
`providers` knows whose model a name is, `placement` where each parameter goes, `variables` what a variable holds.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import ValidationError

from crewrun.errors import UsageError
from crewrun.llm.known_models import check_speaks_chat
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.placement import place, written_params
from crewrun.llm.prices.table import table_entry
from crewrun.llm.providers import OFFLINE, PROVIDERS, check_offline, first_set, prefix_of, provider_named, split_name
from crewrun.llm.tiers import with_tier
from crewrun.llm.transports.provider_settings import has_login
from crewrun.llm.variables import Variables, has_references
from crewrun.messages import Endpoint, ReplySchema, Tier
from crewrun.redaction.key_shapes import REDACTED

DEFAULT_MODEL = "gpt-4.1-mini"
MODEL_VARIABLES = ("MODEL", "OPENAI_MODEL_NAME")  # as CrewAI has them; the first that is set names the default model
# Fields that belong to the address of one provider.
_OF_THE_ADDRESS = ("base_url", "api_key", "api_version", "organization", "project", "extra_query")
# Scheme, name and password, host and path, query.
_URL_PARTS = re.compile(r"(\s*(?:\w+://)?)([^@/?]*@)?([^?]*)(\?.*)?", re.DOTALL)


def resolve(llm: ModelFields | None, env: Mapping[str, str] = os.environ, tier: Tier = "standard") -> Endpoint:
    """Where calls of `llm` go; None is the default model, `$MODEL`, `$OPENAI_MODEL_NAME` or gpt-4.1-mini. `tier` is for
    an llm that names none.

    Raises UsageError for an unknown provider, a base_url that is no URL and a variable that is not set; ModelRefused
    for a parameter or a tier that it does not have and a model that does not speak chat completions. A missing key is
    found by `missing_key` and `missing_settings`.
    """
    written = llm or ModelFields(model=default_model(env))
    variables = Variables(env, f"model {written.model!r}")
    name = str(variables.fill(written.model, "model")).strip()
    if not name or name.endswith("/"):
        raise UsageError(f"model {name!r} names no model; write it as gpt-4.1-mini or provider/model")
    if name == OFFLINE or name.startswith(OFFLINE + "?"):
        return _offline(written, name)
    if written.provider is None:
        check_offline(name)
    llm = _filled(written, variables)
    provider, model = _whose(llm, name, env)
    base_url, api_key = _address(llm, provider, env)
    placed = place(llm, provider, model, base_url, env)
    endpoint = Endpoint(
        transport_name="direct" if provider in PROVIDERS else "litellm",
        provider=provider,
        model=model,
        base_url=base_url,
        api_key=api_key,
        params=placed.params,
        headers=placed.headers,
        timeout_s=llm.timeout,
        reply_schema=_reply_schema(llm) if "response_format" not in placed.dropped else None,
        takes_tools=_takes(llm.function_calling, "supports_function_calling", provider, llm.base_model or model)
        and "tools" not in placed.dropped,
        takes_schema=_takes(llm.structured_output, "supports_response_schema", provider, llm.base_model or model)
        and "response_format" not in placed.dropped,
        base_model=llm.base_model,
        tool_params=placed.tool_params,
        extra_body=placed.extra_body,
        query=placed.query,
        written_params=written_params(written, llm, provider, model),
        written_url=_written_url(written, provider, variables),
        secrets=tuple(variables.values),
        drops_params=bool((llm.model_extra or {}).get("drop_params")),
    )
    check_speaks_chat(endpoint)
    return with_tier(endpoint, llm, tier, env)


def _offline(llm: ModelFields, name: str) -> Endpoint:
    return Endpoint(
        "offline",
        OFFLINE,
        OFFLINE,
        params={"options": name.partition("?")[2]},
        takes_tools=llm.function_calling is not False,
        takes_schema=llm.structured_output is not False,
    )


def _whose(llm: ModelFields, name: str, env: Mapping[str, str]) -> tuple[str, str]:
    """The provider, and the model as that provider knows it."""
    if llm.provider is not None:
        return provider_named(llm.provider, name), name
    return split_name(name, bool(llm.base_url), env)


def _address(llm: ModelFields, provider: str, env: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Address and key, from the environment if the LLM has none. litellm looks up its own."""
    entry = PROVIDERS.get(provider)
    if entry is None:
        return llm.base_url, llm.api_key
    base_url = llm.base_url or first_set(entry.base_env, env) or entry.base_url
    return normalise_base_url(base_url), llm.api_key or first_set(entry.key_env, env)


def _filled(llm: ModelFields, variables: Variables) -> ModelFields:
    """`llm` with the values of the variables that it refers to, converted to the fields' types."""
    fields = {name: value for name, value in llm if name != "fallbacks"}
    if not has_references(fields):
        return llm
    filled = {name: variables.fill(value, name) for name, value in fields.items()}
    try:
        return ModelFields(**filled)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        why = f"{place}: {first['msg']}".removeprefix(": ").replace("Value error, ", "")
        raise UsageError(f"model {llm.model!r}: what a variable holds does not fit; {why}") from None


def _written_url(written: ModelFields, provider: str, variables: Variables) -> str | None:
    """The base_url for records, None if it has no references: host and path with the variables' values, name, password
    and query as written.
    """
    if written.base_url is None or not has_references(written.base_url):
        return None
    parts = _URL_PARTS.fullmatch(written.base_url)
    assert parts is not None  # noqa: S101  (it takes any text)
    whole = _URL_PARTS.fullmatch(str(variables.fill(f"{parts[1]}{parts[3]}", "base_url")))
    assert whole is not None  # noqa: S101
    url = f"{whole[1]}{parts[2] or ''}{whole[3]}{parts[4] or ''}"
    return normalise_base_url(url) if provider in PROVIDERS else url


def _reply_schema(llm: ModelFields) -> ReplySchema | None:
    """The schema of the class that the LLM has as its `response_format`."""
    wanted = llm.reply_model
    if wanted is None or llm.structured_output is False:
        return None
    from crewrun.llm.schema import OutputSchema

    declared = ReplySchema(wanted.__name__, wanted.model_json_schema())
    wire = OutputSchema.of_model(wanted, "pydantic", f"model {llm.model!r}: response_format").wire
    return replace(wire, original=declared) if wire.strict else declared


def _takes(declared: bool | None, capability: str, provider: str, model: str) -> bool:
    """Whether a model has a capability: as the LLM declares, else by litellm's table, wherever it is served.

    For a model that is not in the table it is tried; if that is refused, the prompt describes tools or schema instead.
    """
    if declared is not None:
        return declared
    entries = (table_entry(name) for name in (f"{provider}/{model}", model, model.rpartition("/")[2]))
    entry = next((entry for entry in entries if entry), None)
    return entry is None or entry.get(capability) is True


def default_model(env: Mapping[str, str] = os.environ) -> str:
    """The model of agents that name none, as CrewAI finds it."""
    return next((env[name] for name in MODEL_VARIABLES if env.get(name)), DEFAULT_MODEL)


def normalise_base_url(url: str) -> str:
    """`url` without a trailing slash or `/chat/completions`, and with `/v1` when it has no path at all.

    Raises UsageError unless it is an http or https URL with a host.
    """
    text = url.strip()
    if REDACTED in text:
        raise UsageError(
            f"base_url {url!r} has {REDACTED} in place of its name and password; write them, or export "
            "CREWRUN_BASE_URL or OPENAI_BASE_URL with all of it"
        )
    if "://" not in text:
        text = "http://" + text  # OLLAMA_HOST is commonly host:port
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (raises ValueError for a port that is none)
    except ValueError as wrong:
        raise UsageError(f"base_url {url!r} is not a URL: {wrong}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"base_url {url!r} is not an http:// or https:// URL with a host")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def missing_key(endpoint: Endpoint) -> str | None:
    """The environment variable to set before `endpoint` of the direct transport can be called, None when nothing is
    missing.

    A private address may need no key, so only the well-known ones are checked.
    """
    entry = PROVIDERS.get(endpoint.provider)
    if endpoint.api_key or has_login(endpoint) or entry is None or entry.local or not entry.key_env:
        return None
    return entry.key_env[0] if endpoint.base_url == normalise_base_url(entry.base_url) else None


def proxy_for(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY give for `url`.

    Looked up once per endpoint: aiohttp's own `trust_env` does it again for every request.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    if not proxy.startswith(("http://", "https://")):
        if "://" in proxy:
            raise UsageError(f"the proxy {proxy!r} from the environment is not an http proxy; unset it or use one")
        proxy = "http://" + proxy
    return proxy


def override(llm: ModelFields | None, model: str | None, base_url: str | None) -> ModelFields | None:
    """`llm` with the run's `--model` and `--base-url` in place of its own; None is the default model.

    Parameters stay. Address and key stay only while the provider does.
    """
    if model is None and base_url is None:
        return llm
    if model is not None and not model.strip():
        raise UsageError("--model is empty; name one, or leave it out")
    fields = dict(llm or ModelFields(model=default_model()))
    if model is not None:
        named = f"{fields['provider']}/" if fields["provider"] else fields["model"]
        if prefix_of(model) != prefix_of(_looked_up(named)):
            fields.update(dict.fromkeys(_OF_THE_ADDRESS), extra_headers={})
        # These belong to the model that is replaced.
        fields.update(model=model, provider=None, base_model=None, fallbacks=[])
    if base_url is not None:
        fields["base_url"] = base_url
    return ModelFields(**fields)


def _looked_up(model: str) -> str:
    """A model's name with its variables filled in. If one is not set, a name with a provider of its own."""
    try:
        return str(Variables(os.environ, "").fill(model, "model"))
    except UsageError:
        return "?/"
