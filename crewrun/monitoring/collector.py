"""`Collector`: sends exports to an OpenTelemetry collector, by OTLP over HTTP, from a thread that nobody waits for.

https://opentelemetry.io/docs/specs/otlp/#otlphttp says which failures are worth another attempt.
"""

import gzip
import random
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from threading import Event
from typing import Final, Literal

from crewrun.redaction.credentials import without_credentials
from crewrun.redaction.redactor import redact

Compression = Literal["none", "gzip", "deflate"]
_COMPRESS: Mapping[Compression, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
_WORTH_RETRYING: Final = frozenset({429, 502, 503, 504})
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_MESSAGE: Final = 200


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """Where exports go, and how. An export may take `timeout_s` with all its attempts. The files are in PEM."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 10.0
    compression: Compression = "none"
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None


class Collector:
    """Sends exports one after another. The first failure is told to `warn`, later ones only counted by the caller."""

    def __init__(self, options: CollectorOptions, warn: Callable[[str], None]) -> None:
        """Raises OSError for a certificate that cannot be read."""
        self._options = options
        self._warn = warn
        self._has_warned = False
        self._is_hurried = Event()
        context = ssl.create_default_context(cafile=options.certificate)
        if options.client_certificate is not None:
            context.load_cert_chain(options.client_certificate, options.client_key)
        self._open = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirects()).open

    def hurry(self) -> None:
        """Make no further attempts: the run has ended."""
        self._is_hurried.set()

    def post(self, body: bytes) -> bool:
        """Send one export. Returns whether the collector has taken it."""
        ends_at = time.monotonic() + self._options.timeout_s
        body = _COMPRESS.get(self._options.compression, bytes)(body)
        pause_s = _FIRST_PAUSE_S
        while True:
            failure = self._attempt(body, ends_at - time.monotonic())
            if failure is None:
                return True
            wait_s = failure.retry_after_s or pause_s * random.uniform(0.8, 1.2)  # noqa: S311  (spreads retries)
            is_last = not failure.may_pass or time.monotonic() + wait_s >= ends_at
            if is_last or self._is_hurried.wait(wait_s):
                self._tell(failure.reason)
                return False
            pause_s *= 2

    def _attempt(self, body: bytes, timeout_s: float) -> "_Failure | None":
        encoding = {} if self._options.compression == "none" else {"Content-Encoding": self._options.compression}
        headers = {"Content-Type": "application/x-protobuf", **encoding, **self._options.headers}
        request = urllib.request.Request(self._options.url, body, headers, method="POST")  # noqa: S310  (http or https)
        try:
            with self._open(request, timeout=max(0.1, timeout_s)) as reply:
                reply.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return _Failure(
                    f"HTTP {refused.code} {refused.reason}",
                    refused.code in _WORTH_RETRYING,
                    _seconds(refused.headers.get("Retry-After")),
                )
        except (OSError, HTTPException) as failed:
            reason = failed.reason if isinstance(failed, urllib.error.URLError) else failed
            return _Failure(str(getattr(reason, "strerror", None) or reason or type(failed).__name__), may_pass=True)
        return None

    def _tell(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            shown = redact(reason)[:_LONGEST_MESSAGE]
            self._warn(
                f"warning: telemetry: {without_credentials(self._options.url)}: {shown}; the run goes on without"
            )


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt failed, and whether another one may succeed, after `retry_after_s` if the collector says so."""

    reason: str
    may_pass: bool
    retry_after_s: float | None = None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is a refusal: followed, it would become a GET without the spans."""

    def redirect_request(self, *_: object) -> None:
        return None


def _seconds(header: str | None) -> float | None:
    """The seconds of a `Retry-After`; a date is not worth understanding here."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else None
