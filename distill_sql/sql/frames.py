"""Frames that this process and a worker exchange over pipes: a length, then that many bytes."""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

_LENGTH = struct.Struct("<I")


def start_worker(script: Path) -> subprocess.Popen[bytes]:
    """Start a script as a worker, with this process's id as its argument; raises OSError."""
    worker = subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), str(os.getpid())],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C in a terminal must reach this process only
    )
    assert worker.stdin is not None
    os.set_blocking(worker.stdin.fileno(), False)
    return worker


def close_pipes(worker: subprocess.Popen[bytes]) -> None:
    """Close the pipes to a worker."""
    for pipe in (worker.stdin, worker.stdout):
        if pipe:
            pipe.close()


def pack(body: bytes) -> bytes:
    """The frame of a body."""
    return _LENGTH.pack(len(body)) + body


def unpack(frame: bytearray) -> memoryview | None:
    """The body of a frame; None if the frame is incomplete or has bytes to spare."""
    size = _LENGTH.size
    if len(frame) < size or _LENGTH.unpack_from(frame)[0] != len(frame) - size:
        return None
    return memoryview(frame)[size:]


def exchange(worker: subprocess.Popen[bytes], frame: bytes, seconds: float) -> bytearray | None:
    """Send a frame and return the answer: a frame, or what the worker sent of it before it ended.

    None if the answer does not begin within ``seconds``, or does not end within ``seconds`` more.
    """
    assert worker.stdin is not None
    assert worker.stdout is not None
    sink, source = worker.stdin.fileno(), worker.stdout.fileno()
    end = time.monotonic() + seconds
    while frame:
        try:
            frame = frame[os.write(sink, frame) :]
        except BlockingIOError:  # the frame is longer than the pipe's buffer
            if not _wait(_poll(sink, select.POLLOUT), end):
                return None
        except BrokenPipeError:
            return bytearray()
    poll = _poll(source, select.POLLIN)
    data = bytearray()
    size = _LENGTH.size
    while len(data) < size:
        if not _wait(poll, end):
            return None
        chunk = os.read(source, 65536)
        if not chunk:
            break
        has_begun = len(data) >= _LENGTH.size
        data += chunk
        if not has_begun and len(data) >= _LENGTH.size:
            size += _LENGTH.unpack_from(data)[0]
            end = time.monotonic() + seconds
    return data


def _poll(descriptor: int, event: int) -> select.poll:
    poll = select.poll()  # select() takes no descriptor over 1023
    poll.register(descriptor, event)
    return poll


def _wait(poll: select.poll, end: float) -> bool:
    """Wait for a pipe until ``end``. A pipe that is ready counts even after ``end``."""
    return bool(poll.poll(max(end - time.monotonic(), 0) * 1000))
