"""What a process that the library starts does first: it takes limits, and ends with its parent.

It imports nothing but the standard library's quick modules, so that a process that must start fast
can load it alone.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import resource
import sys
import time

#: Seconds between two looks at the parent, where the system does not tell of its end.
LOOK = 0.25
#: Linux's number for "the signal that I get when my parent ends".
PR_SET_PDEATHSIG = 1
SIGKILL = 9  # the module signal would add a tenth to a worker's start


def confine(
    parent: int, *, address_bytes: int | None = None, cpu_seconds: int | None = None
) -> None:
    """Limit this process, and end it when the process ``parent`` has ended, however it did.

    Call it first thing in a child that does the work of ``parent``, with the number that
    ``os.getpid()`` gives there. The process then leaves no core file. ``address_bytes`` is what it
    may map (on Linux alone: macOS takes no such limit), ``cpu_seconds`` the processor time after
    which the system kills it.

    Linux kills it at once, and it does so when the *thread* that started it ends, too: use a child
    in that thread, or start it in the main one. Elsewhere a thread looks at the parent, and lets
    the child live for up to :data:`LOOK` seconds more.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if address_bytes is not None and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
    if cpu_seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    try:
        prctl = ctypes.CDLL(None).prctl
    except AttributeError:  # not Linux
        _thread.start_new_thread(watch, (parent,))
        return
    # Not a thread here as well: with a second one, every row costs the locks that it needs.
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:  # it ended before the system was asked
        os._exit(1)


def watch(parent: int) -> None:
    """End this process soon after ``parent`` has; run it in a thread."""
    while os.getppid() == parent:  # an orphan has another parent, from its first moment on
        time.sleep(LOOK)
    os._exit(1)
