"""`tool_name`: how models know a tool of an MCP server."""

from hashlib import blake2b

from crewrun.tools.toolbox import MAX_NAME_CHARS, wire_name

_DIGITS = 6  # of a hash of what was cut off, so that two servers with long names do not get the same


def tool_name(prefix: str, tool: str) -> str:
    """`{prefix}_{tool}`, or `tool` for an empty prefix. Of a prefix that is too long for models the end is kept."""
    if not prefix:
        return tool
    if prefix[0].isdecimal():  # as that of an address; Gemini takes no names that begin so
        prefix = f"mcp_{prefix}"
    room = MAX_NAME_CHARS - len(wire_name(tool)) - 1
    words = wire_name(prefix, None)
    if len(words) <= room:
        return f"{prefix}_{tool}"
    digest = blake2b(words.encode(), digest_size=_DIGITS // 2).hexdigest()
    end = words[len(words) - max(0, room - _DIGITS - 1) :].lstrip("_")
    return "_".join(part for part in (end, digest if room > _DIGITS else "", tool) if part)
