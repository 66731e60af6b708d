"""Secrets in the command lines and URLs of servers: texts without them, for messages, names and fingerprints."""

import re
from collections.abc import Iterable, Iterator

from crewrun.redaction.values import (
    is_secret_name,
    is_secret_variable,
    literals_of,
    secrets_of_headers,
    secrets_of_url,
)

_HIDDEN = "…"
# `--flag=value`, `NAME=value` as after docker's `-e`, `Header: value` as after `--header`; no URL.
_PAIR = re.compile(r"([\w.-]+)(=|:(?!//)\s*)(.+)", re.DOTALL)


def args_without_secrets(args: Iterable[str]) -> Iterator[str]:
    """`args` with `…` for the values of flags, variables and headers with secret names, such as `--api-key X`,
    `-e API_KEY=X` and `--header "Authorization: X"`, and for what is secret in URLs.
    """
    return (shown for shown, _ in _split(args))


def secrets_of_args(args: Iterable[str]) -> Iterator[str]:
    """The values that `args_without_secrets` hides."""
    for _, secrets in _split(args):
        yield from secrets


def url_without_secrets(url: str) -> str:
    """`url` with `…` for passwords and for parameters with secret names; any other text as it is."""
    if "://" not in url:
        return url
    for secret in sorted(filter(None, secrets_of_url(url)), key=len, reverse=True):
        url = url.replace(secret, _HIDDEN)
    return url


def _split(args: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Each argument without its secrets, and these."""
    is_secret = False  # by the flag before it
    for arg in args:
        is_flag = arg.startswith("-")
        yield (_HIDDEN, literals_of(arg)) if is_secret and not is_flag else _split_one(arg)
        is_secret = is_flag and "=" not in arg and is_secret_name(arg)


def _split_one(arg: str) -> tuple[str, list[str]]:
    pair = _PAIR.fullmatch(arg)
    if pair is None:
        return url_without_secrets(arg), list(secrets_of_url(arg)) if "://" in arg else []
    name, sign, value = pair.groups()
    if not is_secret_variable(name):
        shown, secrets = _split_one(value)  # `--env=NAME=value`
        return f"{name}{sign}{shown}", secrets
    is_header = sign != "="
    return f"{name}{sign}{_HIDDEN}", list(secrets_of_headers({name: value})) if is_header else literals_of(value)
