"""One engine in a process of its own: makes it, then times slices of it when told to by `measure.interleave`.

Only the standard library is imported here, since this also runs in the peers' environment.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

WARM_SECONDS = 0.03
"""Of calls at the start of a slice that do not count: caches and threads come back from the others."""


def time_slice(
    call: Callable[[], object], seconds: float, warm: bool, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, int]:
    """Call until `seconds` have passed, at least once; the seconds that took and the number of calls."""
    start = clock()
    while warm:
        call()
        warm = clock() - start < WARM_SECONDS
    calls, start = 0, clock()
    while True:
        call()
        calls += 1
        elapsed = clock() - start
        if elapsed >= seconds:
            return elapsed, calls


def peak_memory(processes: int) -> float:
    """Peak resident memory of this process in MB (10^6 bytes), and of its largest child times `processes`."""
    # Not ru_maxrss, which begins with that of the process that started this one.
    own = _high_water(Path("/proc/self/status"))
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text(encoding="ascii").split():
            child = max(child, _high_water(Path(f"/proc/{pid}/status")))
    return (own + processes * child) * 1024 / 1e6


def _high_water(status: Path) -> int:
    lines = status.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def main() -> None:
    # What libraries print must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        order = json.loads(sys.stdin.readline())
        clock = time.process_time if order["processor_time"] else time.perf_counter
        module, function = order["make"].split(":")
        call = getattr(importlib.import_module(module), function)(**order["arguments"])
        elapsed, _ = time_slice(call, 0, warm=False)  # the first call prepares much that the others do not
        elapsed, _ = time_slice(call, 0, warm=False) if elapsed < order["slice"] else (elapsed, 1)
        answer(ready=True)
        for line in sys.stdin:
            if line.strip() == "memory":
                answer(memory=peak_memory(order["processes"]))
                continue
            elapsed, calls = time_slice(call, order["slice"], elapsed < order["slice"], clock)
            answer(seconds=elapsed / calls)
            elapsed /= calls
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
