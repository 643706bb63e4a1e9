"""A worker process: reads stacks from its standard input, trains them, writes results to what was its standard output.

Run as ``python -m nonlin.comparison.worker``, a process of its own and not a child of multiprocessing: that would import the
user's script a second time, and a queue that is shared between workers stays locked when one of them is killed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle, which then ends its workers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the user's model prints must not get among the results
    tasks: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, tasks), daemon=True).start()
    import cloudpickle

    setup = cloudpickle.loads(tasks.get())
    from nonlin.comparison.training import train

    while True:
        stack, plan, made = cloudpickle.loads(tasks.get())
        results = train(stack, plan, made, setup["datasets"], setup["factories"])
        try:
            pickle.dump(results, answers)
            answers.flush()
        except BrokenPipeError:
            return


def _listen(source: BinaryIO, tasks: queue.Queue[Any]) -> None:
    """Hand tasks on; the end of the input is the end of the driver, however it died, and nobody waits for results then."""
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            tasks.put(pickle.load(source))
    os._exit(0)


if __name__ == "__main__":
    main()
