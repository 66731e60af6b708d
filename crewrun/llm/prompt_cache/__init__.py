"""Providers' prompt caches: which requests share a prefix, in which order they go, and what they say to the cache."""
