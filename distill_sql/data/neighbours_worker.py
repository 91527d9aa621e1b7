"""The worker process in which :mod:`distill_sql.data.neighbours` has rows redrawn. Run as a script.

Its argument is the id of its parent process; it ends with it. It reads requests from standard input
and answers on standard output. A request is a length of four bytes and a pickled tuple, the
arguments of :func:`distill_sql.data.redrawing.redraw`; an answer is a length and a text: the error,
or nothing.
"""

from __future__ import annotations

import pickle
import struct
import sys
from pathlib import Path
from typing import BinaryIO

#: Limit of the process's address space.
ADDRESS_BYTES = 2 * 2**30


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests until the input ends."""
    from distill_sql.data.redrawing import redraw

    while header := source.read(4):
        request = pickle.loads(source.read(struct.unpack("<I", header)[0]))
        try:
            redraw(*request)
            answer = b""
        except Exception as error:  # no database may stop the worker
            answer = f"{type(error).__name__}: {error}".encode(errors="replace")
        sink.write(struct.pack("<I", len(answer)) + answer)
        sink.flush()


if __name__ == "__main__":
    # Only the standard library and this package are on the path, which makes the start faster.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from distill_sql.sql.processes import confine

    confine(int(sys.argv[1]), address_bytes=ADDRESS_BYTES)
    serve(sys.stdin.buffer, sys.stdout.buffer)
