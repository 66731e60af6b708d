"""The text of a PDF, with pypdf, which is an extra."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from crewrun.errors import DefinitionError
from crewrun.extras import install_command


def text_of(content: bytes, name: str) -> str:
    """The text of the PDF `content`, page after page. Raises DefinitionError if it cannot be read or has no text."""
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError, PyPdfError
    except ImportError:
        raise DefinitionError(f"{name}: reading PDF needs pypdf: {install_command('pdf')}") from None
    try:
        with _quiet():
            reader = PdfReader(io.BytesIO(content))
            # Many files are encrypted with an empty password, so that anybody can open them.
            if reader.is_encrypted and not reader.decrypt(""):
                raise DefinitionError(f"{name}: is encrypted; save it without a password")
            pages = [page.extract_text() for page in reader.pages]
    except DefinitionError:
        raise
    except DependencyError:
        raise DefinitionError(f"{name}: is encrypted; save it without encryption") from None
    except (PyPdfError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as broken:
        # pypdf raises all kinds of errors for damaged files.
        raise DefinitionError(
            f"{name}: is not a PDF that can be read: {str(broken) or type(broken).__name__}"
        ) from None
    text = "\n\n".join(page.strip() for page in pages if page.strip())
    if not text:
        raise DefinitionError(f"{name}: has no text in it, only pictures of pages; run it through OCR first")
    return text


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute pypdf's log messages about faults that it repairs itself."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
