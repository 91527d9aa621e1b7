from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sql.sql import frames

ECHO = """
import struct, sys
while head := sys.stdin.buffer.read(4):
    sys.stdout.buffer.write(head + sys.stdin.buffer.read(struct.unpack("<I", head)[0]))
    sys.stdout.buffer.flush()
"""
ONE_BYTE_SHORT = """
import sys
sys.stdin.buffer.read(4)
sys.stdout.buffer.write(bytes([2, 0, 0, 0, 7]))
"""


@contextmanager
def worker(folder: Path, code: str) -> Iterator[Popen[bytes]]:
    script = folder / "worker.py"
    script.write_text(code)
    started = frames.start_worker(script)
    yield started
    started.kill()
    started.wait()
    frames.close_pipes(started)


@given(st.binary())
def test_a_frame_is_its_length_and_its_body(body: bytes) -> None:
    frame = frames.pack(body)
    assert frame == struct.pack("<I", len(body)) + body
    assert frames.unpack(bytearray(frame)) == body
    assert frames.unpack(bytearray(frame[:-1])) is None
    assert frames.unpack(bytearray(frame + b"x")) is None


def test_a_body_longer_than_the_pipes_buffer_comes_back(tmp_path: Path) -> None:
    body = bytes(range(256)) * 4000
    with worker(tmp_path, ECHO) as echo:
        for sent in (body, b"", b"after it"):
            answer = frames.exchange(echo, frames.pack(sent), 20)
            assert answer is not None
            assert frames.unpack(answer) == sent


def test_a_worker_that_ends_leaves_an_incomplete_answer(tmp_path: Path) -> None:
    with worker(tmp_path, ONE_BYTE_SHORT) as short:
        answer = frames.exchange(short, frames.pack(b""), 20)
        assert answer == bytearray([2, 0, 0, 0, 7])
        assert frames.unpack(answer) is None
        short.wait()
        assert frames.exchange(short, frames.pack(b""), 20) == b""


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_a_worker_that_does_nothing_is_given_up(tmp_path: Path, size: int) -> None:
    with worker(tmp_path, "import time; time.sleep(60)") as idle:
        start = time.monotonic()
        assert frames.exchange(idle, frames.pack(bytes(size)), 0.1) is None
        assert time.monotonic() - start < 2
