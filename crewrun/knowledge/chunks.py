"""Text cut into passages of a bounded length, at the ends of paragraphs, lines and words where there are any: `split`.
`joined` puts them together again.
"""

from collections.abc import Sequence

# From the best place for a cut to the worst.
_ENDS = ("\n\n", "\n", ". ", " ")


def split(text: str, size_chars: int, overlap_chars: int) -> list[str]:
    """`text` in passages of at most `size_chars`, each of which begins with the last `overlap_chars` of the one before.

    A passage of the full length ends in its last quarter, at the best end that is there.
    """
    size_chars = max(1, size_chars)
    overlap_chars = min(max(0, overlap_chars), size_chars // 2)
    passages: list[str] = []
    start = 0
    while len(text) - start > size_chars:
        end = _end(text, start, size_chars)
        passages.append(text[start:end])
        start = max(start + 1, end - overlap_chars)
    if text[start:].strip() or not passages:
        passages.append(text[start:])
    return passages


def _end(text: str, start: int, size_chars: int) -> int:
    earliest, latest = start + size_chars - size_chars // 4, start + size_chars
    for end in _ENDS:
        at = text.rfind(end, earliest, latest)
        if at >= 0:
            return at + len(end)
    return latest


def joined(chunks: Sequence[str], overlap_chars: int) -> str:
    """The text that `chunks` were cut from, where each repeats the last `overlap_chars` of the one before; chunks that
    do not are lines of their own.
    """
    text = ""
    for i, chunk in enumerate(chunks):
        if i and overlap_chars > 0 and len(chunk) >= overlap_chars and text.endswith(chunk[:overlap_chars]):
            text += chunk[overlap_chars:]
        else:
            text += f"\n{chunk}" if text else chunk
    return text
