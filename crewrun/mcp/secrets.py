"""Secrets in the command lines and URLs of servers: texts without them, for messages, names and fingerprints."""

from collections.abc import Iterable, Iterator

from crewrun.redaction.values import is_secret_name, secrets_of_url

_HIDDEN = "…"


def args_without_secrets(args: Iterable[str]) -> Iterator[str]:
    """`args` with `…` for the value of a flag with a secret name: `--api-key X`, `--api-key=X`."""
    is_secret = False
    for arg in args:
        flag, equals, value = arg.partition("=")
        is_flag = flag.startswith("-")
        if is_secret and not is_flag:
            yield _HIDDEN
        else:
            yield f"{flag}={_HIDDEN}" if is_flag and value and is_secret_name(flag) else url_without_secrets(arg)
        is_secret = is_flag and not equals and is_secret_name(flag)


def url_without_secrets(url: str) -> str:
    """`url` with `…` for passwords and for parameters with secret names; any other text as it is."""
    if "://" not in url:
        return url
    for secret in sorted(filter(None, secrets_of_url(url)), key=len, reverse=True):
        url = url.replace(secret, _HIDDEN)
    return url


def secrets_of_args(args: Iterable[str]) -> Iterator[str]:
    """The values that `args_without_secrets` hides."""
    args = list(args)
    for arg, shown in zip(args, args_without_secrets(args), strict=True):
        if shown != arg:
            yield from secrets_of_url(arg) if "://" in arg else [arg.partition("=")[2] if "=" in arg else arg]
