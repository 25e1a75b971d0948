"""Priority: what may take long gives way to what answers requests, on the processors they share.

Nothing but the system's own scheduler is asked. A thread that gave way cannot take that back without rights that nobody
should have, so those that answer are never the ones that give way.
"""

from __future__ import annotations

import os
import sys
import threading

_NICE = 15


def give_way() -> None:
    """Lower this thread's priority, and that of all threads it starts from now on. Does nothing where it cannot."""
    # Elsewhere it would be the whole process, whichever thread asks.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
