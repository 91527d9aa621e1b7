"""Confining a child process: it limits its resources and ends with its parent.

This module imports only a few small modules of the standard library, so that a process that must
start fast can load it on its own.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import resource
import sys
import time

#: Seconds between two checks of the parent, on systems without PR_SET_PDEATHSIG.
LOOK = 0.25
#: Linux's option for the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1
SIGKILL = 9  # importing signal would make a worker's start 10 % slower


def confine(
    parent: int, *, address_bytes: int | None = None, cpu_seconds: int | None = None
) -> None:
    """Limit this process, and end it when the process ``parent`` has ended for any reason.

    Call it first in a child process, with the parent's process id. The process then writes no core
    file. ``address_bytes`` limits its address space (on Linux only: macOS has no such limit), and
    ``cpu_seconds`` is the processor time after which the system kills it.

    Linux kills it at once, also when only the *thread* that started it ends: use a child in that
    thread, or start it in the main thread. On other systems a thread checks the parent, and the
    child ends up to :data:`LOOK` seconds later.
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
    # No thread on Linux: with a second thread, locks would slow down every row.
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:  # it ended before the call of prctl
        os._exit(1)


def watch(parent: int) -> None:
    """End this process soon after ``parent`` has ended; run it in a thread."""
    while os.getppid() == parent:  # an orphan gets another parent at once
        time.sleep(LOOK)
    os._exit(1)
