#!/usr/bin/env python3
"""`snug inspect` of a sparse llama3-70b: wall time and peak memory, 21 runs.

    perf/inspect_70b.py [FOLDER]
"""
import os
import resource
import statistics
import subprocess
import sys
import time

import common


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "build/perf"
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "llama3-70b-shape.gguf")
    if not os.path.exists(path):
        common.run([common.SNUG, "synth", "llama3-70b", "--type", "q4_0", "--shape-only", "-o", path])
    times = []
    for _ in range(21):
        start = time.monotonic()
        subprocess.run([common.SNUG, "inspect", path], stdout=subprocess.DEVNULL, check=True)
        times.append(time.monotonic() - start)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    median = statistics.median(times)
    print(f"median {1000 * median:.1f} ms, worst {1000 * max(times):.1f} ms, peak {peak:.1f} MiB, "
          f"{os.stat(path).st_blocks * 512 / 1024:.0f} kB on disk", file=sys.stderr)
    common.finish("inspect_70b", {"median_s": median, "max_s": max(times), "peak_MiB": peak})


main()
