"""The state folder: which pieces are begun, with the time they took, and who works in it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

from distill_sql.errors import ParameterError
from distill_sql.files import read_json, write_json

#: Seconds between two writings of the time that a piece took.
BEAT = 30.0


@dataclass(frozen=True)
class Session:
    """Work on a piece: its inputs, the sessions so far with this one, and their time."""

    inputs: Mapping[str, Any]
    number: int
    before: float
    began: float

    @property
    def seconds(self) -> float:
        """The seconds of all sessions until now."""
        return round(self.before + monotonic() - self.began, 2)


def begun(state: Path, name: str) -> dict[str, Any]:
    """What is known of a piece that was begun: inputs, seconds, sessions; empty if it was not."""
    file = _file(state, name)
    found: dict[str, Any] = read_json(file) if file.is_file() else {}
    return found


@contextmanager
def working(state: Path, name: str, inputs: Mapping[str, Any]) -> Iterator[Session]:
    """Record that a piece is worked on; sessions with other inputs do not count.

    The seconds are written every :data:`BEAT` seconds, so that a killed session counts as well.
    """
    earlier = begun(state, name)
    if earlier.get("inputs") != inputs:
        earlier = {"seconds": 0.0, "sessions": 0}
    session = Session(inputs, earlier["sessions"] + 1, earlier["seconds"], monotonic())
    ended = Event()

    def write() -> None:
        record = {"inputs": inputs, "sessions": session.number, "seconds": session.seconds}
        write_json(_file(state, name), record)

    def beat() -> None:
        while not ended.wait(BEAT):
            write()

    write()
    clock = Thread(target=beat, daemon=True)
    clock.start()
    try:
        yield session
    finally:
        ended.set()
        clock.join()
        write()


def _file(state: Path, name: str) -> Path:
    return state / "pieces" / f"{name}.json"


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Hold the lock of a state folder; the system releases it when the process ends.

    Raises :class:`ParameterError` if another process holds it.
    """
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ParameterError(
                f"Another command works in {state}. Wait for its end, or give another --state."
            ) from None
        yield
