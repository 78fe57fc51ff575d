#!/usr/bin/env python3
"""Does what a plan says of memory hold? Peak resident set of the process, over many shapes.

    perf/plan_memory.py [FOLDER] [--limit N]

Each case: a synthetic model is planned as it is (types stay) at a context, cache types, ubatch and
number of sequences, read into memory or mapped (then without repacking, as plans have it), and run
through the engine with the context filled to the end; the peak of the process is held against the
plan's interval. Wanted: at least 40 runs, 95 % inside, median error under 2 %, none that was said to
fit and ran out. Trials and models are kept in FOLDER: the same command goes on where it stopped.
Memory does not depend on what else runs, as long as nothing is swapped."""
import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys

import common

MODELS = (("smollm2-135m", "q4_0", 12), ("qwen3-0.6b", "q8_0", 8), ("tinyllama-1.1b", "q4_k", 6), ("llama3.2-1b", "f16", 3))
PLACES = ((512, 512), (2048, 128), (4096, 512))
CACHES = (("f16", 1), ("q8_0", 1), ("q4_0", 2))


def cases():
    for model, (context, ubatch), (cache, parallel), mapped in itertools.product(MODELS, PLACES, CACHES, (False, True)):
        yield {"model": model, "context": context, "ubatch": ubatch, "cache": cache, "parallel": parallel, "mapped": mapped}


def predict(path, case):
    line = f"{path} {case['context']} {case['parallel']} {case['ubatch']} {case['cache']} {case['cache']} {int(case['mapped'])}\n"
    program = os.path.join(common.ROOT, "build", "plan_predict")
    return json.loads(common.run([program], input=line))["predicted"]


def measure(path, case, store):
    """The peak of one trial whose depth fills the context, None when it did not end well."""
    argv = [common.SNUG, "bench", path, "-p", "0", "-n", "4", "-d", str(case["context"] - 8), "-r", "1", "--store", store, "--json", "-q",
            "-c", str(case["context"]), "-ub", str(case["ubatch"]), "-ctk", case["cache"], "-ctv", case["cache"], "-fa", "on",
            "--parallel", str(case["parallel"])] + (["-lm", "mmap", "--repack", "off"] if case["mapped"] else ["-lm", "none"])
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"{case}: status {done.returncode}: {done.stderr[-300:]}", file=sys.stderr)
        return None
    last = common.run([common.SNUG, "export", "--store", store]).splitlines()[-1]
    return json.loads(last)["measurement"]["bytes"]["rss_peak"]


def read_results(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.endswith("\n")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="build/perf/plan_memory")
    parser.add_argument("--limit", type=int, default=0)
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    kept = os.path.join(args.folder, "plan_memory.jsonl")
    measured = {json.dumps(r["case"]): r["peak"] for r in read_results(kept)}
    rows = []
    for case in list(cases())[:args.limit or None]:
        path = common.synth(args.folder, *case["model"])
        key = json.dumps(case)
        if key not in measured:
            measured[key] = measure(path, case, os.path.join(args.folder, "memory.db"))
            with open(kept, "a", encoding="utf-8") as f:
                f.write(json.dumps({"case": json.loads(key), "peak": measured[key]}) + "\n")
        p, peak = predict(path, case)["host_bytes"], measured[key]
        row = {**case, "predicted": p, "peak": peak}
        if peak:
            row.update(error=peak / p["value"] - 1, is_inside=p["lo"] <= peak <= p["hi"])
            print(f"{case['model'][0]} c{case['context']} ub{case['ubatch']} {case['cache']} x{case['parallel']}"
                  f"{' mapped' if case['mapped'] else ''}: {p['value'] / 2**20:.0f} MiB ({p['lo'] / 2**20:.0f} to {p['hi'] / 2**20:.0f}), "
                  f"peak {peak / 2**20:.0f} MiB, {100 * row['error']:+.1f} %{'' if row['is_inside'] else '  OUTSIDE'}", file=sys.stderr)
        rows.append(row)
    good = [r for r in rows if r["peak"]]
    parts = {}
    for name, some in (("all", good), ("read", [r for r in good if not r["mapped"]]), ("mapped", [r for r in good if r["mapped"]])):
        if some:
            errors = sorted(abs(r["error"]) for r in some)
            parts[name] = {"n": len(some), "median_error": statistics.median(errors), "largest": errors[-1],
                           "inside": sum(r["is_inside"] for r in some) / len(some)}
            print(f"{name}: {parts[name]}", file=sys.stderr)
    common.finish("plan_memory", {**parts, "failed": len(rows) - len(good), "rows": rows})


if __name__ == "__main__":
    main()
