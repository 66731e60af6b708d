"""Which addresses are public, and a resolver that returns only addresses that have been checked.

Against server-side request forgery, for tools that fetch URLs from a model, which reads what strangers write:
https://owasp.org/www-community/attacks/Server_Side_Request_Forgery
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import anyio
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL


async def addresses_of(url: URL) -> list[str]:
    """The addresses of `url`'s host. The system resolves `127.1`, `0x7f000001` and `0177.0.0.1` as for a connection."""
    try:
        addresses = await anyio.getaddrinfo(url.raw_host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ConnectionError(f"{url.host}: no address found for this name") from None
    return list(dict.fromkeys(address for *_, (address, _) in addresses))


def refuse_private(url: URL, addresses: list[str]) -> None:
    """Raise PermissionError if any of `addresses` is not public, since a client may connect to any of them."""
    for address in addresses:
        if not _is_public(ip_address(address)):
            raise PermissionError(f"{url} is refused: {url.host} is at {address}, which is not a public address")


# The part of IPv6 that is allocated for public use: https://www.iana.org/assignments/ipv6-address-space
_PUBLIC_IPV6 = IPv6Network("2000::/3")
# The IPv4 address of a NAT64 address is its last 32 bits: https://www.rfc-editor.org/rfc/rfc6052#section-2.1
_NAT64 = IPv6Network("64:ff9b::/96")
# A public address that inside Azure belongs to the virtual machine's host:
# https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16
_AZURE_HOST = IPv4Address("168.63.129.16")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        nat64 = IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None
        if inner := address.ipv4_mapped or address.sixtofour or nat64:
            return _is_public(inner)
        return address.is_global and address in _PUBLIC_IPV6
    # `is_global` is also true for multicast addresses.
    return address.is_global and not (address.is_multicast or address.is_reserved or address == _AZURE_HOST)


class Pinned(AbstractResolver):
    """Returns the checked addresses instead of asking DNS again, which may answer differently the second time."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass
