"""`split` cuts text into passages of a bounded length, preferably at the end of a paragraph, line, sentence or word.

`joined` puts them together again.
"""

from collections.abc import Sequence

# Where to cut, the best first.
_ENDS = ("\n\n", "\n", ". ", " ")


def split(text: str, size_chars: int, overlap_chars: int) -> list[str]:
    """`text` in passages of at most `size_chars`, each of which begins with the last `overlap_chars` of the one before.

    A passage is cut at the best place in the last quarter of its full length.
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
    """The text that `chunks` were cut from, if each begins with the last `overlap_chars` of the one before.

    A chunk that does not begins a new line.
    """
    text = ""
    for i, chunk in enumerate(chunks):
        if i and overlap_chars > 0 and len(chunk) >= overlap_chars and text.endswith(chunk[:overlap_chars]):
            text += chunk[overlap_chars:]
        else:
            text += f"\n{chunk}" if text else chunk
    return text
