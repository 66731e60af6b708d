"""`Account`: whose limits an endpoint's are: a model at an address with a key.

They are kept under a name that is a hash of these, so that no file has a key or an address in it.
"""

import json
import os
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from crewrun.messages import Endpoint

# Set to 1, limits of addresses of this machine are kept and shared too: those of a proxy to a provider.
LOOPBACK_VARIABLE = "CREWRUN_SHARE_LOOPBACK_LIMITS"
DIGEST_PREFIX = "digest:"
# Where litellm finds the login of a provider by itself, if not in a variable that begins with the provider's name.
_CLOUD_LOGINS = {
    "bedrock": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_REGION", "AWS_REGION_NAME", "AWS_DEFAULT_REGION"),
    "gemini": ("GOOGLE_API_KEY",),
    "sagemaker": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_REGION", "AWS_REGION_NAME", "AWS_DEFAULT_REGION"),
    "vertex_ai": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"),
}


@dataclass(frozen=True, slots=True)
class Account:
    """The account of an endpoint. `name` is the name of its file, `model` and `host` are for people."""

    name: str
    model: str
    host: str


def account_of(endpoint: Endpoint) -> Account | None:
    """The account whose limits hold for `endpoint`; None if they are nobody else's: models of the program itself, and
    of this machine.
    """
    if endpoint.transport_name in ("offline", "custom"):
        return None
    host = urlsplit(endpoint.base_url).hostname or "" if endpoint.base_url else ""
    if host and is_loopback(host) and os.environ.get(LOOPBACK_VARIABLE) != "1":
        return None
    parts = [endpoint.provider, endpoint.model, endpoint.base_url or "", key_digest(endpoint)]
    return Account(blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest(), endpoint.name, host)


def key_digest(endpoint: Endpoint) -> str:
    """A hash of what an endpoint's requests authenticate with; it is a key's own if it stands in place of the key, as
    on the side of the run for an endpoint of a worker.
    """
    key = endpoint.api_key
    if key is not None and key.startswith(DIGEST_PREFIX):
        return key
    secrets = [key or _login(endpoint.provider), sorted(endpoint.headers.items()), sorted(endpoint.query.items())]
    return DIGEST_PREFIX + blake2b(json.dumps(secrets).encode(), digest_size=16).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def limits_folder() -> Path:
    """Where limits are kept. Raises RuntimeError if there is no home directory."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # Relative paths are to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/#variables
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "crewrun" / "limits"


def _login(provider: str) -> list[str]:
    """The variables that tell one login of a provider from another, for a key that litellm looks up by itself."""
    names = _CLOUD_LOGINS.get(provider, ())
    prefix = f"{provider.upper().replace('-', '_')}_"
    return sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name in names or (name.startswith(prefix) and "KEY" in name)
    )
