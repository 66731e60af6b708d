"""Reads a form with a file, as `POST /v1/files` sends it: https://www.rfc-editor.org/rfc/rfc7578.

It cuts the body at its boundaries; parsers for mail go through 200 MB line by line.
"""

from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form. `filename` is empty unless it is a file."""

    filename: str
    content: bytes


def read_form(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields of a form by name. Raises ValueError for what is no form, or was cut off."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary() if header.get_content_type() == "multipart/form-data" else None
    if not boundary:
        raise ValueError("the body must be a form: multipart/form-data with a boundary")
    delimiter = b"\r\n--" + boundary.encode()
    chunks = (b"\r\n" + body).split(delimiter)
    if not chunks[-1].startswith(b"--"):
        raise ValueError("the form is cut off: its last boundary is missing")
    return dict(_field(chunk) for chunk in chunks[1:-1])


def _field(chunk: bytes) -> tuple[str, Part]:
    head, separator, content = chunk.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    headers = BytesParser().parsebytes(head + b"\r\n\r\n", headersonly=True)
    name = headers.get_param("name", header="content-disposition")
    if not separator or not isinstance(name, str):
        raise ValueError("a field of the form has no name")
    return name, Part(headers.get_filename() or "", content)
