"""The HTTP of the direct transport: what servers send, cut, garble and hold back; parsing is held against h11."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any

import h11
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from support.raw_server import CLOSE, OK, RESET, WORK, Pieces, RawServer, raw_server

from crewrun.errors import CallError, NetworkError, ServerError, Unreachable
from crewrun.llm.transports.http import tls
from crewrun.llm.transports.http.client import DirectClient
from crewrun.llm.transports.http.connection import ConnectionBroke, HttpConnection
from crewrun.llm.transports.http.exchange import HttpClient, HttpReply, http_route
from crewrun.llm.transports.http.proxied import ProxiedClient

pytestmark = pytest.mark.anyio

_NOT_HTTP = "the reply is not HTTP: "


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops, whose connections are not the same."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=[DirectClient, ProxiedClient], ids=["direct", "aiohttp"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[HttpClient]:
    """Both clients, which have to do the same; without a proxy, since what differs then is aiohttp's own."""
    opened: HttpClient = request.param()
    yield opened
    await opened.aclose()


@pytest.fixture
async def direct() -> AsyncIterator[DirectClient]:
    opened = DirectClient()
    yield opened
    await opened.aclose()


async def post(client: HttpClient, server: RawServer, path: str = "/v1/x") -> HttpReply:
    return await client.post(http_route(f"http://127.0.0.1:{server.port}{path}", {"X-Own": "y"}), b"{}")


@pytest.mark.parametrize(
    ("pieces", "reply"),
    [
        pytest.param([OK], (200, b"hi"), id="with a length"),
        pytest.param([OK[:1], OK[1:30], OK[30:]], (200, b"hi"), id="in pieces"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\nh\r\n", b"1\r\ni\r\n0\r\nX-T: 1\r\n\r\n"],
            (200, b"hi"),
            id="in chunks with extensions and a trailer",
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nh", b"i", CLOSE], (200, b"hi"), id="up to the connection's end"),
        pytest.param([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi"], (200, b"hi"), id="HTTP/1.0"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n", OK], (200, b"hi"), id="after 100 Continue"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK], (200, b"hi"), id="after early hints"),
        pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n"], (204, b""), id="without a body"),
        pytest.param([b"HTTP/1.1 503 \r\ncontent-length: 4\r\n\r\nbusy"], (503, b"busy"), id="without a reason"),
    ],
)
async def test_a_whole_reply_is_read(client: HttpClient, pieces: Pieces, reply: tuple[int, bytes]) -> None:
    """However it is framed, and the next request is answered too."""
    async with raw_server(pieces, [OK]) as server:
        got = await post(client, server)
        assert (got.status, got.body) == reply
        assert (await post(client, server)).body == b"hi"


@pytest.mark.parametrize(
    ("pieces", "status", "message"),
    [
        pytest.param([CLOSE], None, "the connection broke before the reply was whole", id="nothing"),
        pytest.param([RESET], None, "the connection broke before the reply was whole", id="a reset"),
        pytest.param([OK[:20], CLOSE], None, "the connection broke", id="half a head"),
        pytest.param([OK[:-1], CLOSE], 200, "the connection broke before the reply was whole", id="half a body"),
        pytest.param([OK[:-1], RESET], 200, "the connection broke before the reply was whole", id="half, and a reset"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n", CLOSE],
            200,
            "the connection broke before the reply was whole",
            id="chunks without an end",
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nh", RESET], 200, "the connection broke", id="a reset for an end"),
        pytest.param([b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE], None, _NOT_HTTP, id="another protocol"),
        pytest.param([b"HTTP/1.1 2x0 OK\r\n\r\n", CLOSE], None, _NOT_HTTP, id="no status"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n", CLOSE],
            None,
            _NOT_HTTP,
            id="a negative length",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi", CLOSE],
            None,
            _NOT_HTTP,
            id="two lengths",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", CLOSE],
            200,
            _NOT_HTTP,
            id="no chunk",
        ),
    ],
)
async def test_a_reply_that_is_not_whole_is_an_error_of_the_network(
    direct: DirectClient, pieces: Pieces, status: int | None, message: str
) -> None:
    """Whose status says whether its head had come. It is not sent again by itself, and the next request works."""
    async with raw_server([OK], pieces, [OK]) as server:
        await post(direct, server)
        with pytest.raises(NetworkError, match=message) as raised:
            await post(direct, server)
        assert str(raised.value).startswith(f"127.0.0.1:{server.port}: ")
        assert raised.value.http_status == status
        assert len(server.requests) == 2
        assert (await post(direct, server)).body == b"hi"


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param([OK + OK.replace(b"hi", b"no")], id="a second reply at once"),
        pytest.param([OK + b"more than it said"], id="more than its length"),
        pytest.param([OK, OK.replace(b"hi", b"no")], id="a second reply later"),
        pytest.param([OK + b"HTTP/1.1 500 no\r\n"], id="half of a second one"),
    ],
)
async def test_what_nobody_asked_for_is_not_taken_for_the_next_reply(direct: DirectClient, extra: Pieces) -> None:
    """Its connection is not used again."""
    async with raw_server(extra, [b"HTTP/1.1 201 OK\r\ncontent-length: 5\r\n\r\nright"]) as server:
        first = await post(direct, server)
        while len(server.requests) == 1 and server.connections == 1:
            await asyncio.sleep(0)
            second = await post(direct, server)
        assert (first.status, first.body, second.status, second.body) == (200, b"hi", 201, b"right")
        assert server.connections == 2


async def test_connections_are_kept_and_those_that_a_server_closes_are_not(client: HttpClient) -> None:
    """One connection for requests one after another, until the server says that it closes it."""
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi"
    async with raw_server([OK], [OK], [closing, CLOSE], [OK]) as server:
        for _ in range(4):
            await post(client, server)
        assert (len(server.requests), server.connections) == (4, 2)


@pytest.mark.parametrize(
    ("pieces", "kept_s", "is_sent_again"),
    [
        pytest.param([CLOSE], 0, True, id="closed while it was kept"),
        pytest.param([RESET], 0, True, id="reset while it was kept"),
        pytest.param([CLOSE], 60, False, id="closed just after a reply"),
        pytest.param([b"H", CLOSE], 0, False, id="closed after a byte"),
        pytest.param([WORK, CLOSE], 0, False, id="closed after more than a round trip"),
    ],
)
async def test_a_request_is_sent_again_only_over_a_connection_that_was_stale(
    pieces: Pieces, kept_s: float, *, is_sent_again: bool
) -> None:
    """Not when the server may have been at work on it, which could be paid twice."""
    client = DirectClient(kept_s=kept_s)
    async with raw_server([OK], pieces, [OK]) as server:
        await post(client, server)
        if is_sent_again:
            assert (await post(client, server)).body == b"hi"
        else:
            with pytest.raises(NetworkError, match="the connection broke before the reply was whole"):
                await post(client, server)
        assert len(server.requests) == 2 + is_sent_again
    await client.aclose()


async def test_as_many_connections_are_open_as_requests_are_in_flight(direct: DirectClient) -> None:
    """And all of them are used again."""
    async with raw_server([OK]) as server:
        for _ in range(2):
            await asyncio.gather(*(post(direct, server) for _ in range(30)))
        assert (len(server.requests), server.connections) == (60, 30)


async def test_a_cancelled_request_takes_its_connection_with_it(direct: DirectClient) -> None:
    """Its reply, should it come, is nobody's."""
    async with raw_server([OK], [b"HTTP/1.1 200"], [OK]) as server:
        await post(direct, server)
        waiting = asyncio.create_task(post(direct, server))
        while len(server.requests) < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await post(direct, server)).body == b"hi"
        assert server.connections == 2


@pytest.mark.parametrize(
    ("head", "kind", "message"),
    [
        pytest.param(b"content-length: 100000000", ServerError, "larger than 64 MiB", id="a length"),
        pytest.param(b"x: " + b"y" * 600_000, NetworkError, "its headers are larger than 256 KiB", id="a header"),
        pytest.param(b"upgrade: x\r\nconnection: upgrade", NetworkError, "broke|protocol", id="an upgrade"),
    ],
)
async def test_sizes_are_bounded(direct: DirectClient, head: bytes, kind: type[CallError], message: str) -> None:
    """Before they are read to the end."""
    status = b"101 Switching" if b"upgrade" in head else b"200 OK"
    async with raw_server([b"HTTP/1.1 %b\r\n%b\r\n\r\n" % (status, head), CLOSE], [OK]) as server:
        with pytest.raises(kind, match=message):
            await post(direct, server)
        assert (await post(direct, server)).body == b"hi"


async def test_a_stream_of_hints_without_a_reply_ends(direct: DirectClient) -> None:
    """A server cannot fill the memory with replies that are none."""
    hints = [b"HTTP/1.1 103 Early Hints\r\nlink: <%b>\r\n\r\n" % (b"x" * 1000) for _ in range(400)]
    async with raw_server(hints) as server:
        with pytest.raises(NetworkError, match="larger than 256 KiB"):
            await post(direct, server)


async def test_a_request_is_what_the_route_says(client: HttpClient) -> None:
    """Its path and query as they were given, its headers, name and password as their authorization."""
    async with raw_server([OK]) as server:
        url = f"http://me:p%40ss@127.0.0.1:{server.port}/v1/ä b?q=1&r=%2F"
        await client.post(http_route(url, {"X-Own": "ü"}), b'{"a":1}')
        [asked] = server.requests
    first, *lines = asked.partition(b"\r\n\r\n")[0].split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    if isinstance(client, DirectClient):
        assert first == b"POST /v1/%C3%A4%20b?q=1&r=%2F HTTP/1.1"
    assert headers[b"x-own"] == "ü".encode()
    assert headers[b"authorization"] == b"basic bwu6cebzcw=="  # "me:p@ss", all in lower case here
    assert headers[b"host"] == b"127.0.0.1:%d" % server.port
    assert asked.endswith(b'\r\n\r\n{"a":1}')


@pytest.mark.parametrize("headers", [{"a b": "c"}, {"a": "b\r\nc: d"}, {"a": "b\n"}, {"": "x"}])
def test_a_header_that_would_be_two_is_refused(headers: dict[str, str]) -> None:
    """As one call's problem that a retry does not solve."""
    with pytest.raises(Unreachable, match=r"^h: the request cannot be sent: HTTP does not allow the header"):
        http_route("http://h/v1", headers)


async def test_nobody_listening_and_unknown_names_say_so(client: HttpClient) -> None:
    """With the address."""
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1:9.*: cannot connect: ") as refused:
        await client.post(http_route("http://127.0.0.1:9/", {}), b"")
    with pytest.raises(NetworkError, match=r"name\.invalid.*: no address found for this name"):
        await client.post(http_route("http://name.invalid/", {}), b"")
    assert refused.value.reason == "Connection refused"


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b", ".b"])
def test_a_name_that_no_host_can_have_is_refused(host: str) -> None:
    """As an address that has to be corrected, and not as a bug."""
    with pytest.raises(Unreachable, match="the request cannot be sent: no host can have this name"):
        http_route(f"http://{host}/v1", {})


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # uvloop's lookups are not Python's
async def test_a_name_that_was_not_found_is_looked_up_by_the_next_request(
    direct: DirectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name servers fail for moments, and a run has to go on after that."""
    look_up = socket.getaddrinfo
    failures = [socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")]

    def answer(host: str, *args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return look_up({"model.test": "127.0.0.1"}.get(host, host), *args, **options)

    async with raw_server([OK]) as server:
        monkeypatch.setattr(socket, "getaddrinfo", answer)
        route = http_route(f"http://model.test:{server.port}/", {})
        with pytest.raises(NetworkError, match="no address found for this name"):
            await direct.post(route, b"")
        assert (await direct.post(route, b"")).status == 200


async def test_a_proxy_s_address_that_is_no_url_is_not_an_outage() -> None:
    """A retry does not mend it, and the password in it is nobody's business."""
    client = ProxiedClient()
    try:
        with pytest.raises(Unreachable, match=r"^h \(through the proxy p:x\): the request cannot be sent: ") as refused:
            await client.post(http_route("http://h/", {}, "http://me:secret@p:x"), b"")
    finally:
        await client.aclose()
    assert "secret" not in str(refused.value)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA) -> Iterator[None]:
    """The process trusts the authority, as after `SSL_CERT_FILE`."""
    tls.tls_context.cache_clear()
    authority.configure_trust(tls.tls_context())
    yield
    tls.tls_context.cache_clear()


@pytest.mark.usefixtures("trusted")
async def test_tls_sessions_are_resumed(direct: DirectClient, server_tls: ssl.SSLContext) -> None:
    """By the second connection to a server."""
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi"
    async with raw_server([OK], [closing, CLOSE], [OK], tls=server_tls) as server:
        for _ in range(3):
            await direct.post(http_route(f"https://127.0.0.1:{server.port}/", {}), b"")
        assert server.resumed == [False, True]


async def test_a_certificate_that_nobody_signed_is_not_trusted(client: HttpClient, server_tls: ssl.SSLContext) -> None:
    """And a server without TLS is told from it."""
    async with raw_server([OK], tls=server_tls) as server:
        with pytest.raises(Unreachable, match="its TLS certificate is not trusted: "):
            await client.post(http_route(f"https://127.0.0.1:{server.port}/", {}), b"")

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match=r"no TLS there; is it http:// and not https://\?"):
            await client.post(http_route(f"https://127.0.0.1:{port}/", {}), b"")


class _Transport(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Nothing."""

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


_TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda name: f"x-{name}")
_VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
_BODIES = st.lists(st.binary(min_size=1, max_size=50), max_size=5)


@given(
    status=st.integers(200, 599),
    headers=st.dictionaries(_TOKENS, _VALUES, max_size=5),
    body=_BODIES,
    framing=st.sampled_from(["length", "chunks", "end"]),
    hints=st.integers(0, 2),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
    kept=st.integers(0, 1000),
)
async def test_a_reply_means_what_it_means_to_h11(
    status: int,
    headers: dict[str, str],
    body: list[bytes],
    framing: str,
    hints: int,
    cuts: list[int],
    kept: int,
) -> None:
    """Whole or cut off anywhere, in pieces of any size: the same status, headers and body, or no reply for both."""
    wire = _written(status, headers, body, framing, hints)
    wire = wire[: kept * len(wire) // 700] if kept < 700 else wire
    assert await _ours(_split(wire, cuts)) == _h11(wire)


def _written(status: int, headers: dict[str, str], body: list[bytes], framing: str, hints: int) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    lines += {
        "length": [f"content-length: {sum(map(len, body))}"],
        "chunks": ["transfer-encoding: chunked"],
        "end": [],
    }[framing]
    head = "\r\n".join([f"HTTP/1.1 {status} reason", *lines, "", ""]).encode()
    content = b"".join(body)
    if framing == "chunks":
        content = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in body) + b"0\r\n\r\n"
    if status in (204, 304):
        content = b""
    return b"HTTP/1.1 103 hint\r\nlink: x\r\n\r\n" * hints + head + content


def _split(wire: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    return [wire[start:end] for start, end in pairwise(places)]


async def _ours(pieces: list[bytes]) -> tuple[int, dict[str, str], bytes] | None:
    connection = HttpConnection(asyncio.get_running_loop())
    connection.connection_made(_Transport())
    asked = asyncio.create_task(connection.post(b"POST / HTTP/1.1\r\ncontent-length: ", b""))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    try:
        reply = await asked
    except ConnectionBroke:
        return None
    return reply.status, dict(reply.headers), reply.body


def _h11(wire: bytes) -> tuple[int, dict[str, str], bytes] | None:
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/", headers=[("host", "h"), ("content-length", "0")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(wire)
    parser.receive_data(b"")
    head: h11.Response | None = None
    body = b""
    try:
        while True:
            match parser.next_event():
                case h11.Response() as response:
                    head = response
                case h11.Data() as piece:
                    body += bytes(piece.data)
                case h11.EndOfMessage() if head is not None:
                    return head.status_code, {k.decode(): v.decode() for k, v in head.headers}, body
                case h11.ConnectionClosed() | h11.NEED_DATA | h11.PAUSED:
                    return None
    except h11.RemoteProtocolError:
        return None
