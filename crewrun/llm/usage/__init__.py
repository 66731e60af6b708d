"""Reads the token counts of a reply, in any provider's spelling, into one `Usage`."""
