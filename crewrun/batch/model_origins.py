"""`model_origins`: for each model of a crew its address, and where that and the model's name came from."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crewrun.definitions.definition import Definition
from crewrun.definitions.project_file import find_defaults
from crewrun.errors import UsageError
from crewrun.llm.endpoints import DEFAULT_MODEL, MODEL_VARIABLES, override
from crewrun.llm.gateway import Gateway
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.providers import PROVIDERS, first_set
from crewrun.llm.transports.provider_settings import address_variables
from crewrun.llm.variables import has_references
from crewrun.messages import Endpoint
from crewrun.redaction.credentials import without_credentials
from crewrun.target import Target


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """A model, and what uses it.

    `address` is None where only litellm knows it; `address_from` too for the offline model and the user's own code.
    """

    name: str
    used_by: tuple[str, ...]
    name_from: str
    address: str | None
    address_from: str | None

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {**asdict(self), "used_by": list(self.used_by)}

    def in_words(self) -> str:
        """`openai/gpt-4.1-mini (-m) at https://…/v1 (OPENAI_BASE_URL in the environment)`."""
        return f"{self.name} ({self.name_from}){at_in_words(self.address, self.address_from)}"


@dataclass(frozen=True, slots=True)
class Origins:
    """What decides a run's models besides the crew: `flags` says where --model and --base-url came from, if they were
    flags or variables.
    """

    definition: Definition
    gateway: Gateway
    flags: Mapping[str, str]

    def of(self, target: Target) -> list[ModelOrigin]:
        """The models of `target` that can be resolved, each once."""
        users: dict[tuple[str, str, str | None, str | None], list[str]] = {}
        for user, llm in target.models(self.gateway):
            for key in self._of_model(llm, user):
                users.setdefault(key, []).append(user)
        if not self.gateway.is_offline:
            for embedder in target.embedders:
                endpoint = self.gateway.embedding_endpoint(embedder)
                address, address_from = self._address(embedder, endpoint, "embedder", keeps_name=True)
                users.setdefault((endpoint.name, "the embedder", address, address_from), []).append("embedder")
        return [
            ModelOrigin(name, tuple(dict.fromkeys(used_by)), name_from, address, address_from)
            for (name, name_from, address, address_from), used_by in users.items()
        ]

    def _of_model(self, llm: ModelFields | None, user: str) -> list[tuple[str, str, str | None, str | None]]:
        try:
            first = self.gateway.endpoint(llm)
        except UsageError:  # which the caller reports
            return []
        entries = [(first.name, self._name_from(llm, user), *self._address(llm, first, user))]
        others = () if self.gateway.options.model is not None or llm is None else llm.fallbacks
        for other, endpoint in zip(others, self.gateway.fallbacks(first), strict=False):
            entries.append((endpoint.name, f"fallbacks of {user!r}", *self._address(other, endpoint, user)))
        return entries

    def _name_from(self, llm: ModelFields | None, user: str) -> str:
        if self.gateway.options.model is not None:
            return self._setting("model")
        if llm is not None:
            return _place_of(llm, "model", user)
        name = next((name for name in MODEL_VARIABLES if os.environ.get(name)), None)
        return self._variable(name) if name is not None else f"crewrun's default, {DEFAULT_MODEL}"

    def _address(
        self, llm: ModelFields | None, endpoint: Endpoint, user: str, *, keeps_name: bool = False
    ) -> tuple[str | None, str | None]:
        """The address as it may be shown, and where it came from."""
        if endpoint.transport_name in ("offline", "custom"):
            return None, None
        shown = without_credentials(endpoint.base_url) if endpoint.base_url else None
        if self.gateway.options.base_url is not None:
            return shown, self._setting("base_url")
        own = override(llm, None if keeps_name else self.gateway.options.model, None)
        if own is not None and own.base_url is not None:
            key = "base_url" if llm is None or "base_url" in llm._crewrun_places else "api_base"
            written = str(llm.base_url) if llm is not None else ""
            by = f": {without_credentials(written)}" if has_references(written) else ""
            return shown, f"{_place_of(own if llm is None else llm, key, user)}{by}"
        entry = PROVIDERS.get(endpoint.provider)
        variables = entry.base_env if entry is not None else address_variables(endpoint.provider)
        name = next((name for name in variables if os.environ.get(name, "").strip()), None)
        if name is not None:
            return shown or without_credentials(str(first_set((name,), os.environ))), self._variable(name)
        return shown, f"{endpoint.provider}'s own"

    def _setting(self, name: str) -> str:
        """Where --model or --base-url came from."""
        if name in self.flags:
            return self.flags[name]
        defaults = find_defaults()
        if defaults.path is not None and defaults.batch.get(name) == self.definition.batch.get(name):
            return defaults.path
        return f"batch: in {self.definition.path}"

    def _variable(self, name: str) -> str:
        """`MODEL in shop/.env`, for a variable that is set there to what it is, else `MODEL in the environment`."""
        for folder in (Path(), self.definition.folder):
            if _read_env(folder / ".env").get(name) == os.environ[name]:
                return f"{name} in {os.path.relpath(folder / '.env')}"
        return f"{name} in the environment"


def at_in_words(address: str | None, address_from: str | None) -> str:
    """` at https://…/v1 (--base-url)`; empty for a model that has no address."""
    if address is None:
        return f" at {address_from} address" if address_from is not None else ""
    return f" at {address} ({address_from})"


def _place_of(llm: ModelFields, key: str, user: str) -> str:
    place = llm._crewrun_places.get(key)
    what = "llm" if key == "model" else key
    return f"{what} in {place}" if place is not None else f"{what} of {user!r}"


def _read_env(path: Path) -> Mapping[str, str | None]:
    if not os.path.isfile(path):
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(path)
    except (OSError, UnicodeDecodeError, ValueError):
        return {}
