"""Crews: the definitions users write (`agent`, `task`, `crew`), and how one kickoff goes through them."""
