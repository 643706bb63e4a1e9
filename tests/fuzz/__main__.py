"""A long run: `cd tests && python -m fuzz --minutes 60 --seed 1`. Prints each failure, minimised, as code.

The exit status is 1 if there are any.

Each batch runs in a process of its own, so that what compiled formulas keep in memory is gone after it.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from fuzz.batch import batch
from fuzz.cases import CHECKS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", choices=CHECKS, nargs="*", default=[], help="some of the checks; all by default")
    parser.add_argument("--examples", type=int, default=60, help="cases in a batch")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    checks = options.check or list(CHECKS)
    end = time.monotonic() + 60 * options.minutes
    total: Counter[str] = Counter()
    seed = options.seed * 1_000_000
    while time.monotonic() < end:
        with ProcessPoolExecutor(
            options.processes, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
        ) as pool:
            running: list[Any] = []
            for check in checks:
                running.append(pool.submit(batch, check, seed, options.examples))
                seed += 1
            for future in running:
                failures, count = future.result()
                total += count
                for failure in failures:
                    print(failure, "-" * 100, sep="\n", flush=True)
        print(
            f"{total['tried']} cases, {total['refused']} of them refused, {total['failed']} failed", file=sys.stderr, flush=True
        )
    return int(total["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
