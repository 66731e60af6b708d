"""Token counts of a reply, in every provider's spelling, as one `Usage`."""
