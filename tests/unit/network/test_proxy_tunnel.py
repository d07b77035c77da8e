"""CONNECT tunnels: bytes both ways, half-closes, back-pressure, nothing left behind."""

import asyncio
import hashlib
import os
import socket

import pytest

DEADLINE_S = 30
MIB = 1 << 20


async def upper(reader, writer):
    while data := await reader.read(MIB):
        writer.write(data.upper())
        await writer.drain()


async def test_bytes_go_both_ways_untouched(lab):
    backend = await lab.backend(upper)
    reader, writer = await lab.tunnel()
    async with asyncio.timeout(DEADLINE_S):
        for word in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff\r\n"):
            writer.write(word)
            assert await reader.readexactly(len(word)) == word.upper()
    assert bytes(backend.seen[0]) == b"GET / HTTP/1.1\r\n\r\n\x00\xff\r\n"
    assert lab.proxy.counts["tunnels"] == 1


async def test_bytes_sent_together_with_the_connect_arrive(lab):
    await lab.backend(upper)
    reader, writer = await lab.connect()
    writer.write(b"CONNECT web:80 HTTP/1.1\r\n\r\nearly")
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(5) == b"EARLY"


async def test_a_tunnel_after_a_request_on_the_same_connection(lab, read_response):
    async def serve(reader, writer):
        if (await reader.read(MIB)).startswith(b"GET /"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await upper(reader, writer)

    backend = await lab.backend(serve)
    reader, writer = await lab.connect()
    writer.write(b"GET http://web/ HTTP/1.1\r\n\r\n")
    assert await read_response(reader) == (200, b"ok")
    writer.write(b"CONNECT web:80 HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"first")
        writer.write_eof()
        await reader.read()
    assert len(backend.seen) == 2  # a tunnel begins with a connection that nothing was said on


@pytest.mark.parametrize("target", ["nobody:80", "web:81"])
async def test_a_refused_tunnel_says_why(lab, read_response, target):
    await lab.backend()
    reader, writer = await lab.connect()
    writer.write(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
    status, text = await read_response(reader)
    assert (status, text.decode()) == (502, f"sandbox proxy: {target} is no Service of this cluster\n")


async def test_a_clients_half_close_reaches_the_backend_and_the_answer_comes(lab):
    async def digest(reader, writer):
        writer.write(hashlib.sha256(await reader.read()).digest())

    await lab.backend(digest)
    reader, writer = await lab.tunnel()
    sent = os.urandom(MIB)
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.read() == hashlib.sha256(sent).digest()
    await lab.idle()


async def test_a_backends_half_close_leaves_the_other_way_open(lab):
    received = asyncio.get_running_loop().create_future()

    async def half(reader, writer):
        writer.write(b"all I say")
        writer.write_eof()
        received.set_result(await reader.read())

    await lab.backend(half)
    reader, writer = await lab.tunnel()
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.read() == b"all I say"
        writer.write(b"I go on")
        writer.write_eof()
        assert await received == b"I go on"
    await lab.idle()


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_nothing_is_left_of_a_tunnel_that_ended(lab, who):
    """Neither entry nor socket: a tunnel per request would use up the file descriptors."""

    async def serve(reader, writer):
        if who == "client":
            await reader.read()

    await lab.backend(serve)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        reader, writer = await lab.tunnel()
        if who == "backend":
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    await lab.idle()
    async with asyncio.timeout(DEADLINE_S):
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0.01)


async def test_a_reset_is_passed_on_as_one(lab):
    failed = asyncio.get_running_loop().create_future()

    async def wait(reader, writer):
        writer.write(b"hello")
        try:
            failed.set_result(await reader.read())
        except ConnectionResetError as error:
            failed.set_result(error)

    await lab.backend(wait)
    reader, writer = await lab.tunnel()
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.readexactly(5) == b"hello"
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        assert isinstance(await failed, ConnectionResetError)
    await lab.idle()


async def test_a_fast_sender_waits_for_a_slow_reader(lab):
    """With 64 MiB on their way the proxy itself holds next to nothing; and all of it arrives."""
    go_on, total = asyncio.Event(), 64 * MIB
    received = asyncio.get_running_loop().create_future()

    async def slow(reader, writer):
        await go_on.wait()
        count, digest = 0, hashlib.sha256()
        while count < total:
            data = await reader.read(MIB)
            digest.update(data)
            count += len(data)
        received.set_result(digest.digest())

    await lab.backend(slow)
    _, writer = await lab.tunnel()
    block, expected = os.urandom(MIB), hashlib.sha256()
    sent = 0

    async def send():
        nonlocal sent
        while sent < total:
            writer.write(block)
            expected.update(block)
            sent += len(block)
            await writer.drain()

    sending = asyncio.create_task(send())
    async with asyncio.timeout(DEADLINE_S):
        last = -1
        while last != sent:  # until sending has come to rest
            last = sent
            await asyncio.sleep(0.2)
        held = sum(side.peer.transport.get_write_buffer_size() for side in lab.proxy.open)
        assert sent < total / 2
        assert held < 2 * MIB
        go_on.set()
        await sending
        assert await received == expected.digest()


async def test_a_fast_backend_waits_for_a_slow_client(lab):
    total, sent = 64 * MIB, 0

    async def fast(reader, writer):
        nonlocal sent
        block = bytes(MIB)
        while sent < total:
            writer.write(block)
            sent += MIB
            await writer.drain()

    await lab.backend(fast)
    with socket.socket() as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DEADLINE_S):
            await loop.sock_connect(client, lab.address)
            await loop.sock_sendall(client, b"CONNECT web:80 HTTP/1.1\r\n\r\n")
            last = -1
            while last != sent or not sent:
                last = sent
                await asyncio.sleep(0.2)
            assert sent < total / 2
            count = 0
            while data := await loop.sock_recv(client, MIB):
                count += len(data)
    assert count == total + len(b"HTTP/1.1 200 Connection established\r\n\r\n")


async def test_many_tunnels_at_once(lab):
    await lab.backend(upper)

    async def one(number):
        reader, writer = await lab.tunnel()
        word = b"tunnel %d " % number * 1000
        writer.write(word)
        writer.write_eof()
        assert await reader.read() == word.upper()
        writer.close()

    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*map(one, range(200)))
    await lab.idle()


async def test_closing_the_proxy_ends_what_is_open(lab):
    backend = await lab.backend(upper)
    reader, writer = await lab.tunnel()
    writer.write(b"x")
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.readexactly(1) == b"X"
        lab.proxy.close()
        with pytest.raises(ConnectionResetError):
            assert await reader.read() == b"reset"
        await backend.ended.wait()
