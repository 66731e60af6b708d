"""`EndpointResolver`: the endpoints of a run's LLMs, resolved once each, with their fallbacks, prices and state.

How one LLM resolves is in `endpoints`.
"""

from typing import Any
from weakref import WeakKeyDictionary

from crewrun.errors import AuthRefused, EndpointRefused, UsageError
from crewrun.limits.limiter import Limiters
from crewrun.llm import endpoints
from crewrun.llm.custom.model import as_plain, custom_endpoint, custom_of, is_base, is_custom, settings_of
from crewrun.llm.embeddings import for_embeddings
from crewrun.llm.endpoint_secrets import secrets_of, secrets_of_llm
from crewrun.llm.endpoint_state import EndpointState
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.options import GatewayOptions
from crewrun.llm.prices.price import Price, find_price
from crewrun.llm.prompt_cache.rules import rules_of
from crewrun.llm.tiers import check_custom
from crewrun.messages import Endpoint, Tier
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import environment_secrets

Fields = dict[str, Any]


class EndpointResolver:
    """Resolves the LLMs of one gateway. With `needs_keys` an endpoint without its key has no state."""

    def __init__(self, options: GatewayOptions, limiters: Limiters, *, needs_keys: bool) -> None:
        self._options = options
        self._limiters = limiters
        self._needs_keys = needs_keys
        self._endpoints: WeakKeyDictionary[ModelFields, tuple[Fields, Fields, Endpoint]] = WeakKeyDictionary()
        self._embedders: WeakKeyDictionary[ModelFields, Endpoint] = WeakKeyDictionary()
        self._fallbacks: WeakKeyDictionary[Endpoint, tuple[Endpoint, ...]] = WeakKeyDictionary()
        self._customs: WeakKeyDictionary[ModelFields, tuple[Fields, Endpoint]] = WeakKeyDictionary()
        self._default: Endpoint | None = None

    def endpoint(self, llm: ModelFields | None) -> Endpoint:
        """Where calls of `llm` go in this run; None is the default model. UsageError if it cannot be resolved."""
        if llm is None:
            self._default = self._default or self._resolve(None)
            return self._default
        # An LLM may be changed between calls, so the fields that it was resolved from are stored with the endpoint.
        entry = self._endpoints.get(llm)
        if entry is not None and entry[0] == llm.__dict__ and entry[1] == llm.model_extra:
            return entry[2]
        if is_custom(llm):
            return self._endpoint_of_custom(llm)
        endpoint = self._resolve(llm)
        self._endpoints[llm] = (dict(llm.__dict__), dict(llm.model_extra or {}), endpoint)
        return endpoint

    def _endpoint_of_custom(self, llm: ModelFields) -> Endpoint:
        """The endpoint of a model that the user's code calls, resolved again only if its parameters have changed."""
        settings = settings_of(custom_of(llm))
        entry = self._customs.get(llm)
        if entry is not None and entry[0] == settings:
            return entry[1]
        endpoint = self._resolve(llm)
        self._customs[llm] = settings, endpoint
        return endpoint

    def embedding_endpoint(self, embedder: ModelFields) -> Endpoint:
        """Where embeddings of `embedder` come from. --model does not replace its model."""
        endpoint = self._embedders.get(embedder)
        if endpoint is None:
            resolved = _resolved(endpoints.override(embedder, None, self._options.base_url), "standard")
            endpoint = self._embedders[embedder] = for_embeddings(resolved)
        return endpoint

    def fallbacks(self, endpoint: Endpoint) -> tuple[Endpoint, ...]:
        """The endpoints to try in turn if `endpoint` does not work."""
        return self._fallbacks.get(endpoint, ())

    def _resolve(self, llm: ModelFields | None) -> Endpoint:
        if llm is not None and (self._options.model or self._options.base_url):
            llm = as_plain(llm)
        selected = endpoints.override(llm, self._options.model, self._options.base_url)
        tier = self._options.tier
        endpoint = _resolved(selected, tier)
        if selected is not None and (others := getattr(selected, "fallbacks", None)):
            self._fallbacks[endpoint] = tuple(_resolved(other, tier) for other in others)
        return endpoint

    def price(self, endpoint: Endpoint) -> Price | None:
        """The price of a model's tokens: the one given to the run, else the published one, else None."""
        for name in (endpoint.name, endpoint.model):
            if name in self._options.prices:
                return self._options.prices[name]
        return find_price(endpoint)

    def state(self, endpoint: Endpoint) -> EndpointState:
        """What calls of an endpoint need. Raises AuthRefused if it has no key; in a run, EndpointRefused."""
        if endpoint.api_key is None and self._needs_keys and (variable := endpoints.missing_key(endpoint)):
            error = AuthRefused(f"{variable} is not set, and {endpoint.name} needs it; export it or put it into .env")
            raise EndpointRefused(endpoint.name, error) if self._limiters.is_of_a_run else error
        price = self.price(endpoint)
        rules = rules_of(endpoint, price, self._options.prompt_cache)
        return EndpointState(endpoint, self._limiters.of(endpoint), price, rules)


def _resolved(llm: ModelFields | None, tier: Tier) -> Endpoint:
    """Where calls of `llm` go, at `tier` if it names none. Its secrets are redacted from here on."""
    if llm is not None:
        learn(secrets_of_llm(llm), is_passing=True)
    if llm is not None and is_custom(llm):
        check_custom(llm, tier)
        endpoint = custom_endpoint(llm)
    elif is_base(llm):
        raise UsageError(f"{type(llm).__name__} has no call of its own; a BaseLLM needs `def call(self, messages, …)`")
    else:
        endpoint = endpoints.resolve(llm, tier=tier)
    learn(secrets_of(endpoint), is_passing=True)
    learn(environment_secrets())  # litellm's keys, and those of proxies
    return endpoint
