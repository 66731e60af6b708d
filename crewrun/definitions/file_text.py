"""The text of a definition's file: `read_bytes`, then `decode`. `yaml_source` and `jsonc_source` parse it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from crewrun.errors import DefinitionError
from crewrun.redaction.redactor import learn
from crewrun.redaction.written_secrets import written_secrets

# Refuses a data file that is given by mistake. 1 MiB of YAML takes 0.6 s of CPU to read.
MAX_BYTES = 1024 * 1024

_BOM = b"\xef\xbb\xbf"

_read: ContextVar[set[str] | None] = ContextVar("crewrun_files_read", default=None)


@contextmanager
def files_read() -> Iterator[set[str]]:
    """Collect the paths of all files that are read in the block. The set is complete when the block ends."""
    around = _read.get()
    files: set[str] = set()
    token = _read.set(files)
    try:
        yield files
    finally:
        _read.reset(token)
        if around is not None:
            around |= files


def read_bytes(file: str) -> bytes:
    """The content of `file`, up to one byte more than is allowed. Raises DefinitionError if it cannot be read."""
    try:
        # A FIFO without a writer would keep a plain open waiting forever.
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise DefinitionError(f"{file}: is not a regular file; write the crew into one")
            if (files := _read.get()) is not None:
                files.add(os.path.abspath(file))
            return stream.read(MAX_BYTES + 1)
    except DefinitionError:  # which is a ValueError
        raise
    except FileNotFoundError:
        raise DefinitionError(f"{file}: no such file") from None
    except IsADirectoryError:
        raise DefinitionError(f"{file}: is a folder, not a file") from None
    except (OSError, ValueError) as unreadable:  # ValueError: a null byte in the name
        reason = getattr(unreadable, "strerror", None) or unreadable
        raise DefinitionError(f"{file}: cannot be read: {reason}") from None


def decode(content: bytes, file: str) -> str:
    """`content` as text, its secrets known to the redactor. Raises DefinitionError if it is too large or not UTF-8."""
    if len(content) > MAX_BYTES:
        raise DefinitionError(f"{file}: is larger than 1 MiB, too large for a crew file")
    content = content.removeprefix(_BOM)
    try:
        text = content.decode()
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        byte = f"byte 0x{content[wrong.start]:02x}"
        raise DefinitionError(f"{file}:{line}: is not UTF-8 ({byte}); save it as UTF-8") from None
    learn(written_secrets(text))  # before any message can quote the text
    return text
