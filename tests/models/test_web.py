"""The server under the endpoint: access control, limits, timeouts."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from threading import Event, active_count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("tornado", reason="the extra train is not installed")

from distill_sql.models.chat import Refused
from distill_sql.models.web import HEAD, READ, RESERVE, Limits, Server
from tests.models.wire import connect, read, request, running, send

QUICK = Limits(idle=1, body=0.5, write=0.3, connections=8, body_bytes=1000)


async def echo(body: bytes) -> Any:
    return {"size": len(body)}


async def fail(body: bytes) -> Any:
    if body == b"refuse":
        raise Refused(400, "no")
    if body == b"panic":
        raise BaseException("/a/path")
    raise RuntimeError("/a/path")


ROUTES = {("GET", "/health"): echo, ("POST", "/echo"): echo, ("POST", "/fail"): fail}


def quick(**options: Any) -> Server:
    return Server("127.0.0.1", 0, ROUTES, **{"limits": QUICK} | options)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(quick()) as port:
        yield port


def answer(port: int, *headers: str, **options: Any) -> Any:
    found = send(port, request(port, *headers, **options))
    assert found is not None
    return found


# --- Who is served ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_loopback_names_are_served(port: int, name: str) -> None:
    assert answer(port, f"Host: {name}:{port}").body == {"size": 2}
    own = answer(port, f"Host: {name}:{port}", f"Origin: http://{name}:{port}")
    assert own.status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}", "evil.example", "127.0.0.1", "localhost", "localhost:1",
        "localhost.evil.example:{port}", "localhost:{port}.evil.example", "127.0.0.1:0{port}",
        "user@localhost:{port}", "localhost:{port}, evil.example", "localhost.:{port}",
        "http://localhost:{port}", "127.1:{port}", "0.0.0.0:{port}", "localhost:{port}/", "*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_names_are_refused(port: int, host: str, method: str) -> None:
    """DNS rebinding: a page's own host name resolves to this machine."""
    path = "/health" if method == "GET" else "/echo"
    found = answer(port, f"Host: {host.format(port=port)}", method=method, path=path)
    if found.status != 400:  # no name at all
        assert found.status == 403
        assert "is not served here" in found.message


def test_a_host_is_given_once(port: int) -> None:
    assert answer(port, without=("Host",)).status == 400
    assert answer(port, "Host:").status == 403
    assert answer(port, f"Host: 127.0.0.1:{port}", f"Host: 127.0.0.1:{port}").status == 400
    assert answer(port, "Host: evil.example", f"Host: 127.0.0.1:{port}").status == 400
    old = request(port, without=("Host",)).replace(b"HTTP/1.1", b"HTTP/1.0")
    found = send(port, old)
    assert found is not None
    assert found.status == 403


def test_what_decides_is_given_once() -> None:
    with running(quick(key="k")) as port:
        good = [
            f"Origin: http://127.0.0.1:{port}", "Authorization: Bearer k",
            "Content-Type: application/json",
        ]  # fmt: skip
        assert answer(port, *good).status == 200
        statuses = [answer(port, *good, again).status for again in good]
    assert statuses == [403, 401, 415]


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1",
     "http://localhost:{port}", "http://127.0.0.1:{port}.evil.example", "file://"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_origins_are_refused(port: int, origin: str, method: str) -> None:
    path = "/health" if method == "GET" else "/echo"
    found = answer(port, f"Origin: {origin.format(port=port)}", method=method, path=path)
    assert found.status == 403
    assert not any(name.lower().startswith("access-control") for name in found.headers)


def test_a_page_gets_no_consent(port: int) -> None:
    found = answer(
        port, "Origin: http://evil.example", "Access-Control-Request-Method: POST",
        method="OPTIONS",
    )  # fmt: skip
    assert found.status == 403
    assert answer(port, method="OPTIONS").status == 405
    assert not any(name.lower().startswith("access-control") for name in found.headers)


def test_names_that_are_given_are_served() -> None:
    server = quick(allowed=["Box", "fd00::1", "outside:9000"])
    with running(server) as port:
        for good in (f"box:{port}", f"[fd00::1]:{port}", "outside:9000"):
            assert answer(port, f"Host: {good}").status == 200
        for bad in ("box", "box:9000", f"outside:{port}"):
            assert answer(port, f"Host: {bad}").status == 403


def test_the_server_listens_at_the_address_that_it_is_given() -> None:
    with running(Server("localhost", 0, ROUTES)) as port:
        with socket.create_connection(("localhost", port), timeout=5) as connection:
            connection.sendall(request(port, f"Host: localhost:{port}"))
            found = read(connection)
        assert found is not None
        assert found.status == 200


def test_a_key_is_asked_of_every_request() -> None:
    with running(quick(key="s3cret")) as port:
        for good in ("Bearer s3cret", "bearer s3cret", "Bearer  s3cret"):
            assert answer(port, f"Authorization: {good}").status == 200
        for bad in ("Bearer s3cre", "Bearer", "s3cret", "Basic s3cret", "Bearer s3cret\xe9", ""):
            found = answer(port, f"Authorization: {bad}")
            assert (found.status, found.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "s3cret" not in found.message
        assert answer(port).status == 401
        assert answer(port, method="GET", path="/health").status == 401


# --- What is read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200), ("GET", "/health?a=b", 200), ("GET", "/", 404),
        ("GET", "/echo", 405), ("POST", "/health", 405), ("POST", "/none", 404),
        ("GET", "//health", 404), ("GET", "/health/", 404), ("GET", "http://evil/health", 404),
        ("HEAD", "/health", 405), ("PUT", "/echo", 405), ("DELETE", "/none", 404),
        ("TRACE", "/echo", 405), ("CONNECT", "evil:80", 405), ("BREW", "/echo", 405),
        ("get", "/health", 405),
    ],
)  # fmt: skip
def test_paths_and_methods(port: int, method: str, path: str, status: int) -> None:
    found = answer(port, method=method, path=path)
    assert found.status == status
    if status == 405:
        assert set(found.headers["Allow"].split(", ")) <= {"GET", "POST"}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200), ("application/json; charset=utf-8", 200),
        ("Application/JSON;charset=UTF-8", 200), ("text/plain", 415), ("", 415),
        ("application/x-www-form-urlencoded", 415), ("multipart/form-data; boundary=x", 415),
        ("text/plain; application/json", 415), ("application/jsonp", 415),
    ],
)  # fmt: skip
def test_bodies_are_json(port: int, kind: str, status: int) -> None:
    """Content types that a form or a page may send without a CORS preflight are refused."""
    assert answer(port, f"Content-Type: {kind}").status == status


def test_a_body_says_that_it_is_json(port: int) -> None:
    assert answer(port, without=("Content-Type",)).status == 415
    kinds = ("Content-Type: application/json", "Content-Type: text/plain")
    assert answer(port, *kinds).status == 415


def test_nothing_is_decompressed(port: int) -> None:
    """A small compressed body could expand to a large one."""
    packed = gzip.compress(b" " * 100_000)
    found = answer(port, "Content-Encoding: gzip", body=packed)
    assert found.body == {"size": len(packed)}


@pytest.mark.parametrize(
    ("length", "status"),
    [
        ("2", 200), ("02", 200), ("-1", 400), ("+2", 400), ("2.0", 400), ("0x2", 400), ("2_0", 400),
        ("two", 400), ("", 400), ("2, 3", 400), ("\xb2", 400), ("9" * 5000, 400), ("9" * 19, 400),
        (f"{READ + 1}", 400), ("inf", 400), ("1e3", 400),
    ],
)  # fmt: skip
def test_lengths(port: int, length: str, status: int) -> None:
    assert answer(port, f"Content-Length: {length}").status == status


def test_a_body_has_one_length(port: int) -> None:
    assert answer(port, "Content-Length: 2", "Content-Length: 3").status == 400
    none = send(port, request(port, body=b"", without=("Content-Length",)))
    assert none is not None
    assert none.body == {"size": 0}
    assert answer(port, "Transfer-Encoding: chunked").status == 400  # and Content-Length
    assert answer(port, "Transfer-Encoding: gzip", without=("Content-Length",)).status == 400


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"2\r\n{}\r\n0\r\n\r\n", 200), (b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200),
        (b"3e9\r\n" + b" " * 1001 + b"\r\n0\r\n\r\n", 413),
        (b"1\r\n \r\n" * 1001 + b"0\r\n\r\n", 413),
        (b"ffffffffffffffff\r\n", 400), (b"-1\r\n", 400), (b"2\r\n{}}}", 400),
    ],
)  # fmt: skip
def test_chunks_have_the_bound_of_a_body(port: int, chunks: bytes, status: int) -> None:
    chunked = "Transfer-Encoding: chunked"
    found = answer(port, chunked, without=("Content-Length",), body=chunks)
    assert found.status == status
    assert status != 200 or found.body == {"size": 2}
    assert answer(port).body == {"size": 2}


def test_a_body_beyond_the_bound_is_discarded() -> None:
    """A client that sends the whole body gets the response and keeps its connection."""
    server = quick(limits=replace(QUICK, idle=10, body=10))
    with running(server) as port, connect(port) as connection:
        for size, status in ((1001, 413), (30_000_000, 413), (1000, 200)):
            connection.sendall(request(port, body=b" " * size))
            found = read(connection)
            assert found is not None
            assert found.status == status


def test_what_is_discarded_takes_no_memory() -> None:
    """Memory with many clients at the limit at the same time, for a server in another process."""
    with serving_elsewhere() as (process, port), ExitStack() as stack:
        before = resident(process.pid)
        for _ in range(16):
            connection = stack.enter_context(connect(port))
            connection.sendall(request(port, f"Content-Length: {READ}") + b" " * (READ // 2))
        assert answer(port).status == 200
        assert resident(process.pid) < before + 50_000_000  # 16 bodies of a megabyte, and buffers


def test_a_client_may_wait_for_the_go_ahead(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(request(port, "Expect: 100-continue", "Content-Length: 2", body=b""))
        first = read(connection)
        assert first is not None
        assert first.status == 100
        connection.sendall(b"{}")
        found = read(connection)
    assert found is not None
    assert found.body == {"size": 2}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n", 400), (b"GET /health\r\n\r\n", 400),
        (b"GET  /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/2.0\r\n\r\n", 400), (b"GET /health HTTP/0.9\r\n\r\n", 400),
        (b"GET /health FTP/1.1\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00\n", None),
        (b"GET /health HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nA: b\rHost: c\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nA: \x00\r\n\r\n", 400),
        (b"GET /hea\x00lth HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n: b\r\n\r\n", 400),
        (b"GET /" + b"a" * HEAD + b" HTTP/1.1\r\n\r\n", None),
        (b"GET /health HTTP/1.1\r\nA: " + b"b" * HEAD, None),
        (b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * (HEAD // 6), None),
    ],
)  # fmt: skip
def test_a_malformed_head_is_refused(port: int, data: bytes, status: int | None) -> None:
    """With status 400, or by closing the connection if it is too long or too late."""
    with connect(port) as connection, suppress(ConnectionError):
        connection.sendall(data)
        found = read(connection)
        assert (found.status if found else None) == status
        assert connection.recv(1) == b""
    assert answer(port).body == {"size": 2}


def test_a_connection_serves_many_requests(port: int) -> None:
    with connect(port) as connection:
        for size in (2, 7):
            connection.sendall(request(port, body=b"x" * size))
            found = read(connection)
            assert found is not None
            assert (found.body, found.closed) == ({"size": size}, False)
        connection.sendall(request(port, path="/fail", body=b"refuse"))
        found = read(connection)
        assert found is not None
        assert (found.status, found.message, found.closed) == (400, "no", False)
        connection.sendall(request(port, "Connection: Close"))
        found = read(connection)
        assert found is not None
        assert found.closed
        assert read(connection) is None
    with connect(port) as connection:
        connection.sendall(request(port).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert read(connection) is not None
        assert connection.recv(1) == b""


def test_answers_do_not_tell_what_serves(port: int) -> None:
    for found in (answer(port), answer(port, path="/none"), answer(port, method="BREW")):
        assert "Server" not in found.headers
        assert "tornado" not in str(found).lower()


@pytest.mark.parametrize("body", [b"panic", b"other"])
def test_what_goes_wrong_inside_is_an_answer(
    port: int, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    found = answer(port, path="/fail", body=body)
    assert found.status == 500
    assert "/a/path" not in found.message
    assert answer(port).status == 200
    assert capfd.readouterr() == ("", "")


LINES = st.sampled_from(
    [b"GET /health HTTP/1.1", b"POST /echo HTTP/1.1", b"Host: 127.0.0.1", b"Host: localhost:PORT",
     b"Content-Length: 3", b"Content-Length: -3", b"Transfer-Encoding: chunked", b"", b"{}",
     b"\xff",
     b"Content-Type: application/json", b"Expect: 100-continue", b"Origin: null", b"Connection: x"]
)  # fmt: skip
NOISE = st.one_of(
    st.binary(max_size=300),
    st.builds(bytes.join, st.sampled_from([b"\r\n", b"\n", b"\r"]), st.lists(LINES, max_size=8)),
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(noise=NOISE, finish=st.booleans())
@example(noise=b"", finish=True)
@example(noise=b"POST /echo HTTP/1.1\r\n", finish=True)
def test_no_bytes_break_the_server(
    port: int, capfd: pytest.CaptureFixture[str], noise: bytes, finish: bool
) -> None:
    """Any bytes get a status below 500 or no response, and the next request is served."""
    data = noise.replace(b"PORT", str(port).encode())
    with connect(port) as connection:
        connection.sendall(data)
        if finish:
            connection.shutdown(socket.SHUT_WR)
            found = read(connection)
            assert found is None or found.status < 500
    assert answer(port).body == {"size": 2}
    assert capfd.readouterr() == ("", "")


# --- Every wait ends ----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["line", "head", "body", "chunks"])
def test_a_drip_does_not_outlive_the_deadline(port: int, where: str) -> None:
    """One byte at a time, with gaps far below the timeout."""
    begun = {
        "line": b"G",
        "head": b"GET /health HTTP/1.1\r\nA: b",
        "body": request(port, "Content-Length: 900"),
        "chunks": request(
            port, "Transfer-Encoding: chunked", without=("Content-Length",), body=b"100\r\n"
        ),
    }[where]
    began = time.monotonic()
    with connect(port) as connection:
        connection.sendall(begun)
        connection.settimeout(0.05)
        closed = False
        while not closed and time.monotonic() - began < 5:
            try:
                connection.sendall(b"x")
                closed = connection.recv(100) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                closed = True
    assert closed
    assert time.monotonic() - began < 2


def test_a_body_that_ends_early_is_not_answered(port: int) -> None:
    assert send(port, request(port, "Content-Length: 900"), finish=True) is None


def test_a_silent_connection_is_closed() -> None:
    with running(quick(limits=replace(QUICK, idle=0.1))) as port, connect(port) as connection:
        assert connection.recv(1) == b""
        connection.close()
        with connect(port) as used:
            used.sendall(request(port))
            assert read(used) is not None
            assert used.recv(1) == b""


def test_a_client_that_does_not_read_is_left() -> None:
    async def much(_: bytes) -> Any:
        return {"much": "x" * 50_000_000}

    server = Server("127.0.0.1", 0, {("GET", "/much"): much}, limits=QUICK)
    with running(server) as port, connect(port) as connection:
        connection.sendall(request(port, method="GET", path="/much"))
        assert connection.recv(1) == b"H"
        time.sleep(1)
        found = b"x"
        size = 0
        with suppress(ConnectionError):
            while found:
                found = connection.recv(1 << 20)
                size += len(found)
        assert size < 50_000_000


def test_a_client_that_reads_slowly_is_served() -> None:
    async def much(_: bytes) -> Any:
        return {"much": "x" * 50_000_000}

    server = Server("127.0.0.1", 0, {("GET", "/much"): much}, limits=replace(QUICK, write=10))
    with running(server) as port, connect(port) as connection:
        connection.sendall(request(port, method="GET", path="/much"))
        time.sleep(0.2)
        found = read(connection)
    assert found is not None
    assert len(found.body["much"]) == 50_000_000


def test_connections_beyond_the_bound_are_told_so() -> None:
    with running(quick(limits=replace(QUICK, idle=5))) as port:
        with ExitStack() as stack:
            for _ in range(QUICK.connections):
                held = stack.enter_context(connect(port))
                held.sendall(request(port))
                assert read(held) is not None
            late = stack.enter_context(connect(port))
            late.sendall(request(port))
            found = read(late)
            assert found is not None
            assert (found.status, found.headers["Retry-After"]) == (503, "1")
            held.sendall(request(port))  # those that were there first are served on
            still = read(held)
            assert still is not None
            assert still.status == 200
            threads = active_count()
            for _ in range(RESERVE + 20):
                stack.enter_context(connect(port))
            assert answer_or_none(port) is None
            assert active_count() == threads
        end = time.monotonic() + 5
        while answer_or_none(port) != 200:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_late_connection_is_served_when_there_is_room() -> None:
    server = quick(limits=replace(QUICK, idle=5, connections=1))
    with running(server) as port, connect(port) as first, connect(port) as late:
        first.sendall(request(port))
        assert read(first) is not None
        late.sendall(request(port))
        found = read(late)
        assert found is not None
        assert found.status == 503
        first.close()
        end = time.monotonic() + 5
        while found.status == 503:
            assert time.monotonic() < end
            late.sendall(request(port))
            found = read(late)
            assert found is not None
        assert found.status == 200


def answer_or_none(port: int) -> int | None:
    found = send(port, request(port))
    return found.status if found else None


def test_closing_ends_every_connection() -> None:
    entered = Event()

    async def wait(_: bytes) -> Any:
        entered.set()
        await asyncio.sleep(60)

    closed = Event()
    before = active_count()
    with ExitStack() as stack:
        server = Server("127.0.0.1", 0, {("POST", "/wait"): wait}, on_close=closed.set)
        with running(server) as port:
            idle, half, waiting = (stack.enter_context(connect(port)) for _ in range(3))
            half.sendall(b"POST /wait HT")
            waiting.sendall(request(port, path="/wait"))
            assert entered.wait(5)
            began = time.monotonic()
        assert time.monotonic() - began < 2
        assert active_count() == before
        assert closed.is_set()
        told = read(waiting)
        assert told is not None
        assert (told.status, told.message) == (503, "the server is closing")
        assert idle.recv(100) == half.recv(100) == b""


def test_closing_before_serving_ends_it_at_once() -> None:
    server = quick()
    server.close()
    server.close()
    server.serve()


@pytest.mark.parametrize("half", [False, True])
def test_a_route_is_cancelled_when_its_client_is_gone(half: bool) -> None:
    entered, cancelled = Event(), Event()

    async def wait(_: bytes) -> Any:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with running(Server("127.0.0.1", 0, {("POST", "/wait"): wait})) as port:
        with connect(port) as connection:
            connection.sendall(request(port, path="/wait"))
            assert entered.wait(5)
            if half:
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(100) == b""
        assert cancelled.wait(5)


# --- Resources ----------------------------------------------------------------------------------

ELSEWHERE = """
import logging, resource, sys, time
from distill_sql.models.web import Server

async def echo(body):
    return {"size": len(body)}

async def spent(_):
    return {"seconds": time.process_time()}

async def fail(body):
    raise RuntimeError

logging.basicConfig(level="INFO")
routes = {("POST", "/echo"): echo, ("GET", "/spent"): spent}
server = Server("127.0.0.1", 0, routes | {("POST", "/fail"): fail})
print(server.port, flush=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
server.serve()
"""


@contextmanager
def serving_elsewhere(files: int = 1000) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in its own process with a limit on open files; it must print nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, str(files)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == ""


def resident(pid: int) -> int:
    """The memory of a process, in bytes."""
    found = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True)
    return int(found.stdout) * 1024


def spent(connection: socket.socket, port: int) -> float:
    """The processor time of a server, in seconds."""
    connection.sendall(request(port, method="GET", path="/spent"))
    found = read(connection)
    assert found is not None
    return float(found.body["seconds"])


def test_nothing_is_logged() -> None:
    """Neither requests nor errors are logged, even in a program that configures logging."""
    with serving_elsewhere() as (_, port):
        assert [
            answer(port, path=path, method=method).status
            for path, method in (("/echo", "POST"), ("/fail", "POST"), ("/", "GET"), ("/", "BREW"))
        ] == [200, 500, 404, 405]
        assert send(port, b"GET\r\n\r\n") is not None


def test_without_file_descriptors_it_waits_for_some() -> None:
    """It uses little processor time meanwhile, and logs nothing."""
    with serving_elsewhere(files=30) as (_, port):
        with ExitStack() as stack:
            before = spent(first := stack.enter_context(connect(port)), port)
            for _ in range(60):
                stack.enter_context(connect(port))
            time.sleep(1)
            assert spent(first, port) - before < 0.3
        assert answer(port).body == {"size": 2}
