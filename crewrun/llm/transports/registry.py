"""Which class is the transport of which name, and `Transports`, which opens each when it is first used."""

from collections.abc import Callable, Mapping

import anyio
import sniffio

from crewrun.errors import UsageError
from crewrun.llm.transports.base import Transport
from crewrun.messages import TransportName


def _direct() -> Callable[[], Transport]:
    if sniffio.current_async_library() != "asyncio":
        raise UsageError("calls over the network need asyncio; only the offline model runs under trio")
    from crewrun.llm.transports.openai import OpenAITransport

    return OpenAITransport


def _embeddings() -> Callable[[], Transport]:
    _direct()  # the same needs
    from crewrun.llm.transports.embeddings import EmbeddingsTransport

    return EmbeddingsTransport


def _litellm() -> Callable[[], Transport]:
    from crewrun.llm.transports.litellm.transport import LitellmTransport

    return LitellmTransport


def _offline() -> Callable[[], Transport]:
    from crewrun.llm.transports.offline import OfflineTransport

    return OfflineTransport


def _custom() -> Callable[[], Transport]:
    from crewrun.llm.transports.custom import CustomTransport

    return CustomTransport


# Imported when first used: aiohttp and litellm cost start-up time that an offline run need not pay.
_TRANSPORTS: Mapping[TransportName, Callable[[], Callable[[], Transport]]] = {
    "direct": _direct,
    "litellm": _litellm,
    "offline": _offline,
    "custom": _custom,
    "embeddings": _embeddings,
}


def import_transport(transport_name: TransportName) -> Callable[[], Transport]:
    """Import the class of a transport and return it."""
    return _TRANSPORTS[transport_name]()


class Transports:
    """The transports of one gateway. `substitute` stands for all of them, as a scripted model does in tests."""

    def __init__(self, substitute: Transport | None = None) -> None:
        self.substitute = substitute
        self._opened: dict[TransportName, Transport] = {}

    def of(self, transport_name: TransportName) -> Transport:
        """The transport of that name, opened if it is not yet."""
        if self.substitute is not None:
            return self.substitute
        transport = self._opened.get(transport_name)
        if transport is None:
            transport = self._opened[transport_name] = import_transport(transport_name)()
        return transport

    async def aclose(self) -> None:
        """Close every transport."""
        opened = [*self._opened.values(), *([self.substitute] if self.substitute else [])]
        self._opened.clear()
        with anyio.CancelScope(shield=True):
            for transport in opened:
                await transport.aclose()
