"""Regional surcharges: factors on all of a model's prices, by the address or location that is called."""

import os
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from crewrun.messages import Endpoint

# https://platform.openai.com/docs/guides/your-data
_OPENAI_HOST: Final = re.compile(r"(eu|us|gov)\.api\.openai\.com")
_OPENAI_KEYS: Final[Mapping[str, str]] = {
    "eu": "regional_processing_uplift_multiplier_eu",
    "us": "regional_processing_uplift_multiplier_us",
    "gov": "fedramp_uplift_multiplier",
}
# Where litellm looks for the location of Vertex AI, https://docs.litellm.ai/docs/providers/vertex
_LOCATION_PARAMS: Final = ("vertex_location", "vertex_ai_location")
_LOCATION_ENV: Final = ("VERTEXAI_LOCATION", "VERTEX_LOCATION")
_VERTEX_KEY: Final = "regional_endpoint_uplift_multiplier"


def uplift(entry: Mapping[str, Any], endpoint: Endpoint) -> float:
    """The factor for `endpoint`'s region from its model's entry in the price table; 1 if the entry has none."""
    key = _key(endpoint)
    return float(entry.get(key) or 1.0) if key else 1.0


def _key(endpoint: Endpoint) -> str | None:
    if endpoint.provider == "openai":
        host = _OPENAI_HOST.fullmatch(urlsplit(endpoint.base_url or "").hostname or "")
        return _OPENAI_KEYS[host[1]] if host else None
    if not endpoint.provider.startswith("vertex_ai"):
        return None
    values = [endpoint.fields.get(name) for name in _LOCATION_PARAMS] + [os.environ.get(name) for name in _LOCATION_ENV]
    location = next((str(value).strip().lower() for value in values if value), "global")
    return None if location == "global" else _VERTEX_KEY
