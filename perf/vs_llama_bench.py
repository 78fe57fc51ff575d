#!/usr/bin/env python3
"""snug bench against the packaged llama-bench: same model, same settings, alternating runs.

    perf/vs_llama_bench.py [FOLDER] [--runs 5] [--prompt 256] [--gen 32]

For 1 and 2 threads and flash attention on and off: the ratio of the medians of the runs' medians
(snug / llama-bench), for prefill and decode, with a bootstrap interval over pairs of runs. Each run
of either program is a fresh process with 5 repetitions. The model has real shape and random weights.
"""
import argparse
import csv
import io
import json
import statistics
import sys

import common


def llama_bench(args, model, threads, flash):
    out = common.run([common.tool("llama-bench"), "-m", model, "-p", str(args.prompt), "-n", str(args.gen),
                      "-t", str(threads), "-fa", "on" if flash else "off", "-r", str(args.repetitions), "-o", "json"])
    speeds = {}
    for row in json.loads(out):
        speeds["pp" if row["n_prompt"] else "tg"] = statistics.median(row["samples_ts"])
    return speeds


def snug_bench(args, model, threads, flash, store):
    out = common.run([common.SNUG, "bench", model, "-p", str(args.prompt), "-n", str(args.gen), "-t", str(threads),
                      "-fa", "on" if flash else "off", "-r", str(args.repetitions), "-o", "csv", "-q", "--store", store])
    return {row["test"][:2]: float(row["t/s"]) for row in csv.DictReader(io.StringIO(out))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="build/perf")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--gen", type=int, default=32)
    args = parser.parse_args()
    model = common.synth(args.folder)
    rows = []
    for threads in (1, 2):
        for flash in (True, False):
            ours, theirs = [], []
            for i in range(args.runs):
                order = [0, 1] if i % 2 == 0 else [1, 0]
                for who in order:
                    if who == 0:
                        ours.append(snug_bench(args, model, threads, flash, args.folder + "/bench.db"))
                    else:
                        theirs.append(llama_bench(args, model, threads, flash))
            for test in ("pp", "tg"):
                pairs = [(a[test], b[test]) for a, b in zip(ours, theirs)]
                lo, mid, hi = common.interval(common.median_ratio, pairs)
                row = {"test": test, "threads": threads, "flash_attn": flash, "ratio": mid, "lo": lo, "hi": hi,
                       "snug_tps": [a for a, _ in pairs], "llama_bench_tps": [b for _, b in pairs]}
                rows.append(row)
                print(f"{test} t={threads} fa={int(flash)}: snug {statistics.median(row['snug_tps']):8.2f}  llama-bench "
                      f"{statistics.median(row['llama_bench_tps']):8.2f}  ratio {mid:.3f} [{lo:.3f}, {hi:.3f}]", file=sys.stderr)
    common.finish("vs_llama_bench", {"model": model, "rows": rows})


main()
