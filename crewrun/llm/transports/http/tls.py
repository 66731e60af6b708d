"""TLS as a client: certificates are checked against the system's, and sessions are resumed."""

import asyncio
import ssl
import sys
from functools import cache


class _ResumingContext(ssl.SSLContext):
    """Offers a server the session of an earlier connection to it, which spares most of the handshake."""

    sessions: dict[str, ssl.SSLSession]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the base class; event loops call it without a session."""
        offer = self.sessions.get(str(server_hostname)) if session is None else session
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, offer)


@cache
def tls_context() -> ssl.SSLContext:
    """The context of all connections of the process: reading the certificates takes 20 ms."""
    context = _ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions = {}
    if sys.version_info >= (3, 13):  # as `ssl.create_default_context` does since then
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context


def remember_session(host: str, transport: asyncio.Transport) -> None:
    """Have the next connection to `host` offer the session of this one, which has had a reply: a TLS 1.3 server sends
    its tickets after the handshake.
    """
    context, connection = tls_context(), transport.get_extra_info("ssl_object")
    if isinstance(context, _ResumingContext) and connection is not None and connection.session is not None:
        context.sessions[host] = connection.session
