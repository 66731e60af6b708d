"""What OpenTelemetry's variables say, as far as crewrun does not leave them to the SDK.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/ and …/configuration/sdk-environment-variables/
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Final, Literal, cast
from urllib.parse import unquote, urlsplit

from crewrun.errors import UsageError
from crewrun.monitoring.collector import CollectorOptions, Compression
from crewrun.monitoring.span_queue import QueueOptions

Signal = Literal["traces", "metrics"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics")
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_DEFAULT_ENDPOINT: Final = "http://localhost:4318"
_PROTOCOL: Final = "http/protobuf"
_COMPRESSIONS: Final = ("none", "gzip", "deflate")
# How long the end of a run waits at most for what is not sent yet, whatever the variable for it says.
_LONGEST_FLUSH_S: Final = 5.0
_FEWEST_MS: Final = 100.0
_LAST_IN_HEADERS: Final = "\xff"


def is_wanted(env: Mapping[str, str]) -> bool:
    """Whether a collector is named, for all signals or for one."""
    return any(env.get(name) for name in (ENDPOINT, _own("ENDPOINT", "traces"), _own("ENDPOINT", "metrics")))


def is_disabled(env: Mapping[str, str]) -> bool:
    """Whether OTEL_SDK_DISABLED turns everything off."""
    return env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def collector_options(signal: Signal, env: Mapping[str, str]) -> CollectorOptions | None:
    """Where `signal` goes, None if it is not to be sent (`OTEL_TRACES_EXPORTER=none`).

    Raises UsageError for what crewrun cannot do: another protocol or exporter, or an address that is no URL.
    """
    exporters = [name.strip() for name in env.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").split(",")]
    if "none" in exporters:
        return None
    if "otlp" not in exporters and any(exporters):
        raise UsageError(f"OTEL_{signal.upper()}_EXPORTER={','.join(exporters)}: crewrun sends by otlp, or none")
    protocol = _get("PROTOCOL", signal, env) or _PROTOCOL
    if protocol != _PROTOCOL:
        raise UsageError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: crewrun speaks {_PROTOCOL}, which collectors take at port 4318"
        )
    compression = _get("COMPRESSION", signal, env) or "none"
    if compression not in _COMPRESSIONS:
        raise UsageError(f"OTEL_EXPORTER_OTLP_COMPRESSION={compression}: needs to be one of {', '.join(_COMPRESSIONS)}")
    url, login = _without_login(_url(signal, env))
    return CollectorOptions(
        url=url,
        headers={**login, **_headers(_get("HEADERS", signal, env) or "")},
        timeout_s=_timeout_s(_get("TIMEOUT", signal, env)),
        compression=cast("Compression", compression),
        certificate=_get("CERTIFICATE", signal, env),
        client_certificate=_get("CLIENT_CERTIFICATE", signal, env),
        client_key=_get("CLIENT_KEY", signal, env),
    )


def queue_options(env: Mapping[str, str]) -> QueueOptions:
    """The numbers of `OTEL_BSP_…`; nonsense counts as not set, as the specification asks."""
    default = QueueOptions()
    size = int(_number(env.get("OTEL_BSP_MAX_QUEUE_SIZE"), default.size))
    at_once = int(_number(env.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), default.at_once))
    return QueueOptions(
        size=size,
        at_once=min(at_once, size),
        delay_s=_number(env.get("OTEL_BSP_SCHEDULE_DELAY"), default.delay_s * 1e3) / 1e3,
        flush_s=min(_LONGEST_FLUSH_S, _number(env.get("OTEL_BSP_EXPORT_TIMEOUT"), default.flush_s * 1e3) / 1e3),
    )


def longest_text(env: Mapping[str, str]) -> int | None:
    """The length that an attribute's text may have, None for any."""
    for name in ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"):
        if (limit := env.get(name, "").strip()).isdecimal():
            return int(limit)
    return None


def _own(what: str, signal: Signal) -> str:
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}"


def _get(what: str, signal: Signal, env: Mapping[str, str]) -> str | None:
    """A variable of one signal, else that of all."""
    return (env.get(_own(what, signal)) or env.get(f"OTEL_EXPORTER_OTLP_{what}") or "").strip() or None


def _url(signal: Signal, env: Mapping[str, str]) -> str:
    """A signal's own address is used as it is; to that of all signals, the signal's path is added."""
    own = env.get(_own("ENDPOINT", signal), "").strip()
    name, url = (_own("ENDPOINT", signal), own) if own else (ENDPOINT, env.get(ENDPOINT, "").strip())
    url = url or _DEFAULT_ENDPOINT
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError(f"{name}: needs to be the URL of a collector, such as {_DEFAULT_ENDPOINT}")
    return url if own else f"{url.rstrip('/')}/v1/{signal}"


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """`url` without its `user:password@`, and the header that stands for it, as in the SDK."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    login = b64encode(unquote(userinfo).encode()).decode()
    return parts._replace(netloc=host).geturl(), {"Authorization": f"Basic {login}"}


def _headers(written: str) -> dict[str, str]:
    """`api-key=abc,other=x%20y`, percent-encoded. What is no `name=value` is left out.

    Raises UsageError for what no header may have, such as a line's end, without quoting it.
    """
    pairs = (pair.partition("=") for pair in written.split(","))
    headers = {name.strip(): unquote(value.strip()) for name, sign, value in pairs if sign and name.strip()}
    text = "".join((*headers, *headers.values()))
    if not text.isprintable() or max(text, default="") > _LAST_IN_HEADERS:
        raise UsageError("OTEL_EXPORTER_OTLP_HEADERS has characters that a header cannot have, such as a line's end")
    return headers


def _timeout_s(written: str | None) -> float:
    """Milliseconds by the specification, seconds by the SDK for Python: nobody means a tenth of one, or 17 minutes."""
    timeout = _number(written, 10.0)
    return timeout if timeout < _FEWEST_MS else timeout / 1e3


def _number(written: str | None, default: float) -> float:
    try:
        number = float(written or "")
    except ValueError:
        return default
    return number if 0 < number < float("inf") else default
