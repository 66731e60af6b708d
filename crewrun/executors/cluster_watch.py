"""Noticing that a Ray cluster is gone while a run uses it.

Ray ends the process a minute after it lost the head node's GCS, with an exit code of its own, and waits in silence when
only its raylet has died. So this looks whether the processes that a run needs still listen.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

CONNECT_S = 4.0
_EVERY_S = 3.0
# A raylet never comes back: looking again rules out a hiccup of the network.
_RAYLET_S = 6.0
# A GCS that was set up to be fault tolerant restarts and is waited for; Ray itself gives up after 60 s, and ends the
# process with it (gcs_rpc_server_reconnect_timeout_s in ray/src/ray/common/ray_config_def.h).
_GCS_S = 40.0


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A process of the cluster that a run needs; it is gone when nothing has listened for `patience_s`."""

    name: str
    host: str
    port: int
    patience_s: float


async def lifelines(ray: Any, address: str | None) -> list[Lifeline]:
    """What the run needs of the cluster that it has joined at `address`, as far as it can be reached from here."""
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
    # Behind ray:// only one port may be open to this machine.
    return [line for line in lines if await is_listening(line.host, line.port)]


def _lifeline(name: str, address: str, patience_s: float) -> Lifeline:
    host, _, port = address.rpartition(":")
    return Lifeline(name, host, int(port), patience_s)


async def wait_gone(lines: Sequence[Lifeline]) -> str:
    """Return when one of `lines` is gone: which, in words."""
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
    """Connect, and hang up. Raises OSError, TimeoutError after four seconds."""
    with anyio.fail_after(CONNECT_S):
        await (await anyio.connect_tcp(host.strip("[]"), port)).aclose()
