"""Request heads and the ends of bodies, however the bytes arrive."""

import pytest

from vllm_sandbox.network.request import BadRequest, Body, parse


def test_a_request_is_passed_on_in_origin_form():
    request = parse(b"GET http://web.default:8000/a/b?x=1%20&y HTTP/1.1\r\nHost: web.default:8000\r\nX-Y: z")
    assert (request.host, request.port, request.tunnel, request.length) == ("web.default", 8000, False, 0)
    assert request.head == b"GET /a/b?x=1%20&y HTTP/1.1\r\nHost: web.default:8000\r\nX-Y: z\r\n\r\n"


def test_defaults_of_a_url():
    request = parse(b"GET http://user:secret@web HTTP/1.1\r\nHost: web")
    assert (request.host, request.port) == ("web", 80)
    assert request.head.startswith(b"GET / HTTP/1.1\r\n")


def test_headers_for_the_proxy_stay_with_it():
    request = parse(
        b"POST http://web/ HTTP/1.1\r\nHost: web\r\nProxy-Connection: keep-alive\r\n"
        b"Proxy-Authorization: Basic eDp5\r\nAuthorization: Bearer t\r\nContent-Length: 3"
    )
    assert request.head == b"POST / HTTP/1.1\r\nHost: web\r\nAuthorization: Bearer t\r\nContent-Length: 3\r\n\r\n"
    assert request.length == 3


def test_connect():
    request = parse(b"CONNECT kube.default.svc:443 HTTP/1.1\r\nHost: whatever")
    assert (request.host, request.port, request.tunnel, request.head) == ("kube.default.svc", 443, True, b"")
    assert parse(b"CONNECT [::1]:8443 HTTP/1.1").host == "::1"


@pytest.mark.parametrize("order", [1, -1])
def test_chunked_wins_over_a_length(order):
    both = [b"Transfer-Encoding: gzip, Chunked", b"Content-Length: 3"][::order]
    assert parse(b"\r\n".join([b"POST http://web/ HTTP/1.1", *both])).length is None


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET",
        b"GET / HTTP/1.1\r\nHost: web",
        b"GET https://web/ HTTP/1.1",
        b"GET http:// HTTP/1.1",
        b"GET http://[::1/ HTTP/1.1",
        b"GET http://web:0/ HTTP/1.1",
        b"GET http://web:99999/ HTTP/1.1",
        b"GET http://web:\xb2/ HTTP/1.1",
        b"CONNECT web HTTP/1.1",
        b"CONNECT :80 HTTP/1.1",
        b"POST http://web/ HTTP/1.1\r\nContent-Length: -1",
        b"POST http://web/ HTTP/1.1\r\nContent-Length: 1x",
    ],
)
def test_what_is_no_request_for_a_proxy(head):
    with pytest.raises(BadRequest):
        parse(head)


def taken(body, data, size):
    """Feed ``data`` in pieces; how much of it belonged to the body."""
    total = 0
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        count = body.take(piece)
        total += count
        if body.complete:
            return total
        assert count == len(piece)
    return total


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_counted_body_ends_where_it_says(size):
    body = Body(10)
    assert taken(body, b"0123456789GET http://next/ HTTP/1.1", size) == 10
    assert body.complete


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;name=value\r\nhello\r\nA\r\n0123\r\n\r\n01\r\n0\r\nTrailer: x\r\n\r\n",
    ],
)
def test_a_chunked_body_ends_after_its_trailer(data, size):
    body = Body(None)
    assert taken(body, data + b"GET http://next/ HTTP/1.1", size) == len(data)
    assert body.complete


def test_no_body_is_complete_from_the_start():
    assert Body(0).complete
    assert not Body(None).complete


@pytest.mark.parametrize("line", [b"-5\r\n", b"+5\r\n", b"0x5\r\n", b"1_0\r\n", b"\r\n", b"zz\r\n", b"f" * 100_000])
def test_a_bad_chunk_is_refused(line):
    with pytest.raises(BadRequest):
        Body(None).take(line)
