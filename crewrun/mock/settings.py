"""`Settings`: the flags of `crewrun mock`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from crewrun.mock.faults import RandomFault


@dataclass(frozen=True, slots=True)
class Settings:
    """The command's flags.

    `rpm` and `tpm` limit requests and tokens per minute, and with `limit_headers` replies report them. `reply` is the
    text of every answer. Without `tools` or `schemas`, requests with them are refused, as by a server that lacks them.
    `flex` is how often requests at that tier are refused for lack of capacity. A batch job takes `batch_latency_s`, and
    `batch_faults` are what goes wrong with jobs, by name. With `prompt_cache`, beginnings of prompts that were answered
    before are read from a cache.
    """

    host: str = "127.0.0.1"
    port: int = 8123
    latency_s: float = 0.0
    jitter_s: float = 0.0
    fail: RandomFault | None = None
    rpm: int | None = None
    tpm: int | None = None
    limit_headers: bool = True
    seed: int | None = None
    reply: str | None = None
    tools: bool = True
    schemas: bool = True
    flex: RandomFault | None = None
    prompt_cache: bool = True
    batch_latency_s: float = 1.0
    batch_faults: Mapping[str, float] = field(default_factory=dict)
