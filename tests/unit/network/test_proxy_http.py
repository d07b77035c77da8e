"""Plain HTTP through the proxy: keep-alive, bodies, refusals."""

import asyncio
import json
import os
import random
import socket

import aiohttp
import pytest

from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.network.address import AddressMap, NoAnswer
from vllm_sandbox.network.directory import ClusterDirectory

DEADLINE_S = 20
GET = b"GET http://web/ HTTP/1.1\r\nHost: web\r\n\r\n"


async def test_one_connection_serves_many_requests_by_one_backend(lab, read_response):
    backend = await lab.backend()
    reader, writer = await lab.connect()
    for _ in range(5):
        writer.write(GET)
        assert await read_response(reader) == (200, b"ok")
    assert [bytes(record) for record in backend.seen] == [b"GET / HTTP/1.1\r\nHost: web\r\n\r\n" * 5]
    assert lab.proxy.counts == {"accepted": 1, "requests": 5}


async def test_another_host_on_the_same_connection_is_another_backend(lab, read_response):
    web, api = await lab.backend(), await lab.backend(name="api")
    reader, writer = await lab.connect()
    for name in (b"web", b"api", b"web"):
        writer.write(GET.replace(b"web", name))
        assert await read_response(reader) == (200, b"ok")
    assert (len(web.seen), len(api.seen)) == (2, 1)


async def test_a_request_in_pieces(lab, read_response):
    backend = await lab.backend()
    reader, writer = await lab.connect()
    for byte in b"POST http://web/x HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody" + GET:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert await read_response(reader) == (200, b"ok")
    assert await read_response(reader) == (200, b"ok")
    assert bytes(backend.seen[0]).startswith(b"POST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET / ")


async def test_chunked_bodies_both_ways_with_a_real_client(lab):
    async def echo(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower()
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (line := await reader.readuntil(b"\r\n")) != b"0\r\n":
            writer.write(line + await reader.readexactly(int(line, 16) + 2))
        writer.write(line + await reader.readexactly(2))
        await asyncio.wait_for(reader.read(1), DEADLINE_S)

    async def parts():
        for number in range(50):
            yield b"%d," % number * 1000

    await lab.backend(echo)
    proxy = "http://{}:{}".format(*lab.address)
    async with (
        aiohttp.ClientSession() as session,
        session.post("http://web/", data=parts(), proxy=proxy) as answer,
    ):
        assert await answer.read() == b"".join([b"%d," % number * 1000 for number in range(50)])


async def test_after_a_chunked_body_the_next_request_is_understood(lab, read_response):
    async def serve(reader, writer):
        for end in (b"0\r\n\r\n", b"\r\n\r\n"):
            await reader.readuntil(end)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    backend = await lab.backend(serve)
    reader, writer = await lab.connect()
    writer.write(b"POST http://web/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert await read_response(reader) == (200, b"ok")
    writer.write(GET)
    assert await read_response(reader) == (200, b"ok")
    assert bytes(backend.seen[0]).endswith(b"abc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: web\r\n\r\n")


async def test_a_response_is_streamed_as_it_comes(lab):
    go_on = asyncio.Event()

    async def stream(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        writer.write(b"data: 2\n\n")

    await lab.backend(stream)
    reader, writer = await lab.connect()
    writer.write(GET)
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.readuntil(b"data: 1\n\n")).startswith(b"HTTP/1.1 200")
        go_on.set()
        assert await reader.read() == b"data: 2\n\n"


async def test_a_server_that_hangs_up_between_requests_is_asked_anew(lab, read_response):
    async def once(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    backend = await lab.backend(once)
    proxy = "http://{}:{}".format(*lab.address)
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get("http://web/", proxy=proxy) as answer:
                assert await answer.text() == "ok"
    assert len(backend.seen) == 3


# -- refusals --------------------------------------------------------------------------------


async def test_an_unknown_name_is_a_502_that_says_so(lab, read_response):
    reader, writer = await lab.connect()
    writer.write(GET.replace(b"web", b"wbe"))
    assert await read_response(reader) == (502, b"sandbox proxy: wbe:80 is no Service of this cluster\n")
    assert await reader.read() == b""
    assert lab.proxy.counts["refused"] == 1
    writer.close()
    await lab.idle()


async def test_a_refused_upload_still_learns_why(lab):
    """Closing with unread bytes would reset the connection, and the answer with it."""
    proxy = "http://{}:{}".format(*lab.address)
    async with (
        aiohttp.ClientSession() as session,
        session.post("http://nobody/", data=os.urandom(8 << 20), proxy=proxy) as answer,
    ):
        assert answer.status == 502
        assert "nobody:80 is no Service" in await answer.text()


async def test_a_closed_port_is_a_502_with_the_address_and_the_reason(lab, read_response):
    with socket.socket() as unused:
        unused.bind(("127.213.1.9", 0))
        lab.routes["web", 80] = unused.getsockname()
        reader, writer = await lab.connect()
        writer.write(GET)
        status, text = await read_response(reader)
    assert status == 502
    assert f"connection to web:80 (127.213.1.9:{unused_port(lab)}) failed: Connection refused" in text.decode()


def unused_port(lab):
    return lab.routes["web", 80][1]


async def test_a_server_that_takes_no_connection_is_a_504(lab, read_response):
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.213.1.9", 0))
        full.listen(0)
        for waiting in (first, second):  # the queue takes one; further ones get no answer at all
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        lab.routes["web", 80] = full.getsockname()
        reader, writer = await lab.connect()
        writer.write(GET)
        status, text = await read_response(reader)
    assert status == 504
    assert text.decode().rstrip().endswith("gave no answer within 1 s")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\nHost: web\r\n\r\n", "a proxy needs an http:// URL, not b'/'"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "not a request line"),
        (b"GET http://web/ HTTP/1.1\r\nX: " + b"x" * 70_000, "head is longer than 65536 bytes"),
    ],
)
async def test_what_is_no_request_is_a_400(lab, read_response, sent, said):
    reader, writer = await lab.connect()
    writer.write(sent)
    status, text = await read_response(reader)
    assert status == 400
    assert said in text.decode()


async def test_a_bug_in_resolving_is_told_and_not_waited_for(lab, read_response):
    def broken(host, port, source):
        raise ZeroDivisionError("oops")

    lab.proxy.resolve = broken
    reader, writer = await lab.connect()
    writer.write(GET)
    status, text = await read_response(reader)
    assert status == 500
    assert b"ZeroDivisionError: oops" in text


# -- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rudely", [False, True], ids=["close", "reset"])
async def test_the_backend_learns_that_its_client_has_gone(lab, rudely):
    """vLLM aborts a request whose client has left, also while nothing is being written."""

    async def slow(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read(1) == b""

    backend = await lab.backend(slow)
    _, writer = await lab.connect()
    writer.write(GET)
    async with asyncio.timeout(DEADLINE_S):
        while not backend.seen:
            await asyncio.sleep(0.01)
        if rudely:
            writer.transport.abort()
        else:
            writer.close()
        await backend.ended.wait()
    await lab.idle()


async def test_a_client_that_only_stops_sending_gets_its_answer(lab):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

    await lab.backend(serve)
    reader, writer = await lab.connect()
    writer.write(GET)
    writer.write_eof()
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.read()).endswith(b"\r\n\r\nlate")
    writer.close()
    await lab.idle()


async def test_a_reset_backend_is_a_reset_client(lab):
    async def rude(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        await writer.drain()
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    await lab.backend(rude)
    reader, writer = await lab.connect()
    writer.write(GET)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), DEADLINE_S)


async def test_an_upgraded_connection_is_no_longer_http(lab, read_response):
    async def upgrade(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data.upper())

    await lab.backend(upgrade)
    reader, writer = await lab.connect()
    writer.write(GET)
    assert await read_response(reader) == (200, b"ok")
    head = b"GET http://web/ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    writer.write(head + b"early ")  # some clients don't wait for the 101
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(6) == b"EARLY "
        writer.write(b"late")
        assert await reader.readexactly(4) == b"LATE"


# -- a Service --------------------------------------------------------------------------------


async def test_a_service_is_balanced_per_connection_over_what_is_ready(lab, read_response):
    """Two ready pods, one not ready; each connection stays with its pod."""
    first = await lab.backend(host="127.213.1.5")
    pods = [first, *[await lab.backend(host=f"127.213.1.{n}", port=first.port) for n in (6, 7)]]
    directory = ClusterDirectory(AddressMap(SandboxConfig(slot=31)), ("127.0.0.1", 1), {}, rng=random.Random(4))
    directory.service_event("ADDED", json.loads(SERVICE))
    state = [{"ready": True}, {"ready": True}, {"ready": False, "serving": False}]
    ends = [{"addresses": [f"10.213.1.{n}"], "conditions": c} for n, c in zip((5, 6, 7), state, strict=True)]
    slice_meta = {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}}
    slices = {"metadata": slice_meta, "ports": [{"name": "", "port": first.port}], "endpoints": ends}
    directory.slice_event("ADDED", slices)
    lab.proxy.resolve = directory.resolve
    for _ in range(40):
        reader, writer = await lab.connect()
        for _ in range(3):
            writer.write(GET)
            assert (await read_response(reader))[0] == 200
        writer.close()
    requests = [[bytes(record).count(b"GET /") for record in pod.seen] for pod in pods]
    assert [set(each) for each in requests] == [{3}, {3}, set()]
    assert sum(map(len, requests)) == 40
    assert min(len(requests[0]), len(requests[1])) >= 10


SERVICE = """{"metadata": {"name": "web", "namespace": "default"},
"spec": {"clusterIP": "10.127.0.9", "ports": [{"port": 80, "protocol": "TCP"}]}}"""


async def test_who_never_answers_keeps_a_client_waiting_to_the_limit(lab, read_response, monkeypatch):
    def resolve(host, _port, _source):
        raise NoAnswer(f"{host} gave no answer")

    monkeypatch.setattr(lab.proxy, "resolve", resolve)
    reader, writer = await lab.connect()
    began = asyncio.get_running_loop().time()
    writer.write(GET)
    status, body = await read_response(reader)
    assert (status, body) == (504, b"sandbox proxy: web gave no answer within 1 s\n")
    assert asyncio.get_running_loop().time() - began >= 0.99
