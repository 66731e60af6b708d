"""Models that the user's own code calls."""
