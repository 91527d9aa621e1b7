"""What a process that the library starts does first: it takes limits, and ends with its parent.

It imports nothing but the standard library's quick modules, so that a process that must start fast
can load it alone.
"""

from __future__ import annotations

import _thread
import os
import resource
import sys
import time

#: Seconds between two looks at the parent.
LOOK = 0.25


def confine(
    parent: int, *, address_bytes: int | None = None, cpu_seconds: int | None = None
) -> None:
    """Limit this process, and end it soon after the process ``parent`` has ended, however it did.

    Call it first thing in a child that does the work of ``parent``, with the number that
    ``os.getpid()`` gives there. The process then leaves no core file. ``address_bytes`` is what it
    may map (on Linux alone: macOS takes no such limit), ``cpu_seconds`` the processor time after
    which the system kills it. A thread looks at the parent, so that code that lets other threads
    run (SQLite, sleeping, reading, Python itself) cannot outlive it by more than :data:`LOOK`
    seconds.

    Linux's own signal at a parent's death is not used: it comes when the *thread* that started the
    child ends, and a child may be used from another.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if address_bytes is not None and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
    if cpu_seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    _thread.start_new_thread(_watch, (parent,))


def _watch(parent: int) -> None:
    while os.getppid() == parent:  # an orphan has another parent, from its first moment on
        time.sleep(LOOK)
    os._exit(1)
