"""`in_keywords`: what is said of a batch, in the words of a program: `budget` where the command says `--budget`."""

import re
from typing import Final

from crewrun.batch_flags import batch_flags

_PAIR: Final = re.compile(r"(?:--(map|price|rpm|tpm)|-i) ([^\s=,;:]+)=([^\s;:]+?)(?=[,;:]?(?:\s|$))")
_CONSTANT: Final = re.compile(r"-i (\w+)(?=:)")
_MODEL: Final = re.compile(r"-m ([\w./-]+)")
# A value in quotes, one that begins with a digit, or a word that the message is about.
_VALUE: Final = re.compile(r"--([a-z][a-z-]+) (?:('[^']*')|(\d[\w.%]*)|([^\s:'\"-][^\s:]*)(?=: ))")
_BARE: Final = re.compile(r"--([a-z][a-z-]+)")


def in_keywords(message: str) -> str:
    """`message` with the flags of `batch` in it as keyword arguments of `run_batch`; those of other programs stay."""
    message = _PAIR.sub(_pair, message)
    message = _CONSTANT.sub(r"input={'\1': …}", message)
    message = _MODEL.sub(r"model='\1'", message)
    message = _BARE.sub(_bare, _VALUE.sub(_with_value, message))
    return message.replace("the same command", "the same call")


def _pair(match: re.Match[str]) -> str:
    name, key, value = match[1] or "input", match[2], match[3]
    text = f"({value.replace(',', ', ')})" if name == "price" else value if name in ("rpm", "tpm") else repr(value)
    return f"{name}={{{key!r}: {'…' if value == '…' else text}}}"


def _with_value(match: re.Match[str]) -> str:
    name, number = _keyword(match[1]), match[3]
    if name is None:
        return match[0]
    is_number = number is not None and number.replace(".", "", 1).isdigit()
    return f"{name}={match[2] or (number if is_number else repr(number or match[4]))}"


def _bare(match: re.Match[str]) -> str:
    if (name := _keyword(match[1])) is not None:
        return name
    opposite = _keyword(match[1].removeprefix("no-"))
    return match[0] if opposite is None else f"{opposite}=False"


def _keyword(flag: str) -> str | None:
    name = flag.replace("-", "_")
    return name if name in batch_flags() else None
