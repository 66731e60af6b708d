"""`TraceSpec`: what a process that runs rows has to know to trace them; the rest is in its environment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TraceSpec:
    """`run` is the run's name; `has_contents` says that spans have the texts of prompts and answers."""

    run: str
    has_contents: bool
