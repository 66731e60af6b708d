"""Notices that a Ray cluster is gone while a run uses it.

Ray ends the process, with an exit code of its own, a minute after losing the head node's GCS, and waits silently when
only its raylet has died. So this checks whether the processes that a run needs still listen.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

CONNECT_S = 4.0  # two retransmissions of a lost SYN, after 1 and 3 s, fit in
_EVERY_S = 3.0
# A raylet never comes back; the second check rules out a hiccup of the network.
_RAYLET_S = 6.0
# A GCS that is set up to be fault tolerant restarts, so it gets time for that. Ray itself gives up after 60 s and ends
# the process (gcs_rpc_server_reconnect_timeout_s in ray/src/ray/common/ray_config_def.h).
_GCS_S = 40.0


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A process of the cluster that a run needs. It is gone when nothing has listened at its port for `patience_s`."""

    name: str
    host: str
    port: int
    patience_s: float


async def lifelines(ray: Any, address: str | None) -> list[Lifeline]:
    """The processes that a run needs of the cluster at `address`, as far as they are reachable from here."""
    if address is not None and address.startswith("ray://"):
        lines = [_lifeline(f"the Ray cluster at {address}", address.removeprefix("ray://").partition("/")[0], _GCS_S)]
    else:
        lines = []
    context = ray.get_runtime_context()
    lines.append(_lifeline("the head node of the Ray cluster (its GCS)", context.gcs_address, _GCS_S))
    own = context.get_node_id()
    lines += [
        Lifeline(
            "the Ray node that the run is connected to (its raylet)",
            node["NodeManagerAddress"],
            node["NodeManagerPort"],
            _RAYLET_S,
        )
        for node in ray.nodes()
        if node["NodeID"] == own
    ]
    # With ray:// only one port may be open to this machine.
    return [line for line in lines if await is_listening(line.host, line.port)]


def _lifeline(name: str, address: str, patience_s: float) -> Lifeline:
    host, _, port = address.rpartition(":")
    return Lifeline(name, host, int(port), patience_s)


async def wait_gone(lines: Sequence[Lifeline]) -> str:
    """Return when one of `lines` is gone, with a sentence that says which."""
    silent_since: dict[Lifeline, float] = {}
    while True:
        await anyio.sleep(_EVERY_S)
        for line in lines:
            if await is_listening(line.host, line.port):
                silent_since.pop(line, None)
                continue
            silent_s = anyio.current_time() - silent_since.setdefault(line, anyio.current_time())
            if silent_s >= line.patience_s:
                return f"{line.name} is gone: nothing listens at {line.host}:{line.port}"


async def is_listening(host: str, port: int) -> bool:
    """Whether a connection can be made."""
    with suppress(OSError, TimeoutError):
        await connect(host, port)
        return True
    return False


async def connect(host: str, port: int) -> None:
    """Connect and close the connection. Raises OSError, and TimeoutError after four seconds."""
    with anyio.fail_after(CONNECT_S):
        await (await anyio.connect_tcp(host.strip("[]"), port)).aclose()
