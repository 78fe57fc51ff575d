#!/usr/bin/env python3
"""Does what a plan predicts fit what a run takes? Peak memory of the process, over many shapes.

    perf/plan_memory.py [--folder FOLDER] [--limit N]

Each case: a synthetic model is planned as it is (types stay) at a context, cache type, ubatch and number
of sequences, then run through the engine with the context filled to the end, and the peak resident set
is held against the predicted total. Wanted: at least 40 runs, 95 % within the stated interval, median
error under 2 %, none that was said to fit and ran out."""
import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile

import common

MODELS = (("smollm2-135m", "q4_0", 12), ("qwen3-0.6b", "q8_0", 8), ("tinyllama-1.1b", "q4_k", 6), ("llama3.2-1b", "f16", 3))
SHAPES = [{"-c": c, "-ub": ub, "-ctk": k, "-ctv": k, "--parallel": par, "mmap": mmap}
          for (c, ub), (k, par), mmap in itertools.product(((512, 512), (2048, 128), (4096, 512)), (("f16", 1), ("q8_0", 1), ("q4_0", 2)), (True, False))]


def one(model, shape, store):
    """The stated bytes and the measured peak of one trial: the depth fills the context."""
    argv = [common.SNUG, "bench", model, "-p", "0", "-n", "4", "-d", str(shape["-c"] - 8), "-r", "1", "--store", store, "--format", "jsonl",
            "-c", str(shape["-c"]), "-ub", str(shape["-ub"]), "-ctk", shape["-ctk"], "-ctv", shape["-ctv"],
            "--parallel", str(shape["--parallel"]), "-lm", "mmap" if shape["mmap"] else "none"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder")
    parser.add_argument("--limit", type=int, default=0)
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="snug-plan-memory-")
    store = os.path.join(folder, "memory.db")
    cases = [(m, s) for m in MODELS for s in SHAPES]
    cases = cases[:args.limit] if args.limit else cases
    n_out = 0
    for (preset, kind, layers), shape in cases:
        model = common.synth(folder, preset, kind, layers)
        code, text = one(model, shape, store)
        n_out += code != 0
        if code != 0:
            print(f"{preset} {shape}: status {code}: {text[-300:]}", file=sys.stderr)
    rows = []
    for line in common.run([common.SNUG, "export", "--store", store]).splitlines():
        trial = json.loads(line)
        b = trial["measurement"]["bytes"]
        if not b.get("rss_peak"):
            continue
        predicted = b["rss_base"] + b["weights"] + b["cache"] + b["compute"]
        rows.append({"model": trial["model"]["name"], "config": trial["config"], "predicted": predicted,
                     "peak": b["rss_peak"], "ratio": b["rss_peak"] / predicted})
        print(f"{rows[-1]['model']}: {predicted / 2**20:.0f} MiB, peak {b['rss_peak'] / 2**20:.0f} MiB, {rows[-1]['ratio']:.3f}", file=sys.stderr)
    errors = [abs(r["ratio"] - 1) for r in rows]
    common.finish("plan_memory", {"n": len(rows), "median_error": statistics.median(errors), "p95_error": sorted(errors)[int(0.95 * len(errors))],
                                  "worst": max(rows, key=lambda r: abs(r["ratio"] - 1)), "failed": n_out})


if __name__ == "__main__":
    main()
