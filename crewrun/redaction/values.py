"""Which values are secrets: judged by the names of fields, headers and variables, and by their place in URLs.

This only finds them; `redactor` blacks them out. `written_secrets` finds those in the text of a file, and
`llm.endpoint_secrets` collects those of an LLM's endpoint.
"""

import json
import os
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

# Words that make a name secret, in any case and with any punctuation: `api-key`, `awsSecretAccessKey`, `DB_PWD`.
_SECRET_WORDS: Final = frozenset(
    {"key", "keys", "token", "secret", "secrets", "password", "passwd", "passphrase", "pass", "pwd", "pw", "auth"}
    | {"passwords", "passphrases", "cookies"}
    | {"authorization", "authorisation", "credential", "credentials", "cookie", "signature", "sig", "jwt", "bearer"}
)
_SECRET_ENDING = re.compile(r"(?:apikey|token|secret|password|passwd|passphrase)$")
# Last words of names that are about a secret but hold none: `AWS_SHARED_CREDENTIALS_FILE`, `RAY_AUTH_MODE`.
_ABOUT: Final = frozenset(
    {"file", "path", "dir", "folder", "name", "type", "mode", "url", "uri", "host", "port", "sock", "limit", "count"}
    | {"size", "policy", "method", "provider", "enabled", "timeout", "version", "env", "var"}
)
_OF_TOKENS: Final = frozenset({"api", "access", "refresh", "session", "team", "user", "bot", "service"})
# Named like a secret but not one: OpenAI's and CrewAI's fields, the shell's variables.
_NO_SECRETS: Final = frozenset({"prompt_cache_key", "cache_key", "primary_key", "sort_key", "group_key"})
_OF_THE_SHELL: Final = frozenset({"PWD", "OLDPWD"})
# Personal access tokens; in fields `pat` is short for a pattern.
_SECRET_VARIABLE = re.compile(r"_PAT(?:_\d+)?$", re.IGNORECASE)
# `Name=value;Name=value`, as Azure's and databases' connection strings are.
_CONNECTION = re.compile(r"[\w .-]{1,60}=[^;]*(?:;[\w .-]{1,60}=[^;]*)+;?\s*")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

HEADER_BLOCKS: Final = frozenset({"extra_headers", "default_headers", "headers"})
# Headers that only describe the content or the program; any other header that a user sets may be a secret.
PLAIN_HEADERS: Final = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-type", "user-agent", "referer", "http-referer"}
    | {"x-title", "anthropic-version", "anthropic-beta", "openai-beta", "connection", "cache-control"}
)
_REFERENCE = re.compile(r"\$\{[^}]*\}|\$\w+|os\.environ/\w+|\{\w*\}|<.*>")
_REFERENCE_WITHIN = re.compile(r"\$\{[^}\n]{0,80}\}")
# A limit for objects that produce values without end; no crew's settings come near it.
_MOST_VALUES: Final = 10_000


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a field or variable of this name holds a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT or "_".join(words) in _NO_SECRETS:
        return False
    if words[-1] == "tokens":  # other tokens are counted, as in max_tokens
        return len(words) == 1 or words[-2] in _SECRET_WORDS or words[-2] in _OF_TOKENS
    return not _SECRET_WORDS.isdisjoint(words) or bool(_SECRET_ENDING.search("".join(words)))


def is_secret_variable(name: str) -> bool:
    """As `is_secret_name`, for environment variables, where `_PAT` at the end is a token too."""
    return is_secret_name(name) or bool(_SECRET_VARIABLE.search(name))


def secrets_in(fields: Mapping[str, Any]) -> Iterator[str]:
    """The secrets in settings at any depth, also inside pydantic models: everything under a secret name, headers, and
    credentials in URLs.
    """
    left: list[tuple[str, Any, bool]] = [("", fields, False)]
    seen: set[int] = set()  # users' objects may refer to each other
    for _ in range(_MOST_VALUES):
        if not left:
            return
        name, value, is_secret = left.pop()
        if id(value) in seen and not isinstance(value, str | bytes):
            continue
        seen.add(id(value))
        reveal = None if isinstance(value, type) else getattr(value, "get_secret_value", None)
        if callable(reveal):  # pydantic's SecretStr, whatever the field is called
            value, is_secret = reveal(), True
        if isinstance(getattr(type(value), "model_fields", None), Mapping):
            value = {**vars(value), **(getattr(value, "__pydantic_private__", None) or {})}
        if isinstance(value, Mapping):
            if snake(name) in HEADER_BLOCKS:
                yield from secrets_of_headers({str(key): inner for key, inner in value.items()})
            left += [(str(key), inner, is_secret or is_secret_name(str(key))) for key, inner in value.items()]
        elif isinstance(value, list | tuple | set | frozenset):
            left += [(name, inner, is_secret) for inner in value]
        elif isinstance(value, str | bytes):
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            yield from _secrets_of_text(text, is_secret=is_secret)


def literals_of(value: str) -> list[str]:
    """The parts of a written value that are not references to variables, which are not secrets and stay readable."""
    return [] if _REFERENCE.fullmatch(value.strip()) else _REFERENCE_WITHIN.split(value)


def secrets_of_headers(headers: Mapping[str, Any]) -> Iterator[str]:
    """The values of headers that a user sets, and what follows the scheme in them."""
    for name, value in headers.items():
        if not isinstance(value, str) or name.lower() in PLAIN_HEADERS:
            continue
        literals = literals_of(value)
        yield from literals
        if literals != [value]:
            continue
        scheme, _, token = value.strip().partition(" ")
        if token and scheme.isalpha():
            yield token
        if scheme.lower() == "basic":
            yield from _userinfo(_decoded(token))
        for pair in value.split(";") if "cookie" in name.lower() else ():
            yield pair.partition("=")[2]


def secrets_of_url(url: str) -> Iterator[str]:
    """A URL's user name and password, and the values of query parameters with secret names."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        return
    if "@" in parts.netloc:
        userinfo = parts.netloc.rpartition("@")[0]
        for value in (*_userinfo(userinfo), *_userinfo(unquote(userinfo))):
            yield from literals_of(value)
    for name, value in parse_qsl(parts.query):
        if is_secret_name(name):
            yield from literals_of(value)


def environment_secrets(env: Mapping[str, str] = os.environ) -> Iterator[str]:
    """The secrets in environment variables: by their names, in addresses such as those of proxies, and in connection
    strings.
    """
    for name, value in env.items():
        if is_secret_name(name) and name not in _OF_THE_SHELL and not _is_location(value):
            yield from _secrets_of_text(value, is_secret=True)
        elif _SECRET_VARIABLE.search(name) and not _is_location(value):
            yield value
        elif "://" in value and ("WEBHOOK" in name.upper() or "@" in value):
            yield from secrets_of_url(value)
            if "WEBHOOK" in name.upper():  # anybody who has the URL may post to it
                yield value
        elif _CONNECTION.fullmatch(value):
            for pair in value.split(";"):
                field, _, content = pair.partition("=")
                if is_secret_name(field):
                    yield content


def _secrets_of_text(text: str, *, is_secret: bool) -> Iterator[str]:
    """The secrets in a field's text: all of it, or, if it is a JSON object, that object's secret fields."""
    if text.lstrip().startswith("{"):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            inner = None
        if isinstance(inner, dict):  # such as a service account's file, most of which is the same for everybody
            yield from secrets_in(inner)
            return
    if is_secret:
        yield from literals_of(text)
    if "://" in text and ("@" in text or "?" in text):
        yield from secrets_of_url(text)


def _userinfo(userinfo: str) -> Iterator[str]:
    name, _, password = userinfo.partition(":")
    yield from (userinfo, password)
    if not (password and name.isalpha()):  # a plain user name is not a token, and appears in paths too
        yield name


def _decoded(token: str) -> str:
    try:
        return b64decode(token, validate=True).decode()
    except ValueError:
        return ""


def _is_location(value: str) -> bool:
    """Whether it names a file; errors are more useful when they show its path."""
    return value.startswith(("~", "./", "../")) or (len(value) < 4096 and "\0" not in value and os.path.exists(value))


def snake(name: str) -> str:
    """`X-Api-Key` → `x_api_key`."""
    return name.lower().replace("-", "_")
