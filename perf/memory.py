#!/usr/bin/env python3
"""Bytes stated before the run against the peak resident set of the worker, mmap off, 12 configs.

    perf/memory.py [FOLDER]

Stated: `snug bench --dry-run` (libllama's dry run; nothing is allocated). Measured: the worker's
VmHWM during the trial, less its own empty footprint (libraries and the model's vocabulary). Without flash
attention the attention scores grow with what is in the cache, so those runs fill the context.
"""
import csv
import io
import json
import sys

import common

CONFIGS = [  # model, context, ubatch, flash attention, cache type
    ("a", 2048, 128, "on", "f16"), ("a", 2048, 512, "on", "f16"), ("a", 4096, 512, "on", "f16"),
    ("a", 4096, 512, "off", "f16"), ("a", 8192, 512, "on", "f16"), ("a", 8192, 256, "on", "q8_0"),
    ("a", 4096, 512, "on", "q4_0"), ("a", 2048, 64, "off", "f16"), ("b", 2048, 512, "on", "f16"),
    ("b", 4096, 512, "on", "f16"), ("b", 4096, 512, "off", "f16"), ("b", 8192, 512, "on", "q8_0"),
]


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "build/perf"
    models = {"a": common.synth(folder), "b": common.synth(folder, "smollm2-135m", "q8_0")}
    rows = []
    for which, context, ubatch, flash, cache in CONFIGS:
        base = [common.SNUG, "bench", models[which], "-c", str(context), "-p", "512", "-n", "4", "-r", "1", "-q", "-ub",
                str(ubatch), "-fa", flash, "-d", str(context - 512 if flash == "off" else 0), "-ctk", cache, "-ctv", cache, "--load-mode", "none", "-t", "2"]
        store = f"{folder}/memory-{len(rows)}.db"
        dry = next(csv.DictReader(io.StringIO(common.run(base + ["--dry-run", "-o", "csv"]))))
        stated = sum(float(dry[k]) for k in ("weights_MiB", "cache_MiB", "compute_MiB"))
        common.run(base + ["--store", store, "-o", "csv"])
        last = json.loads(common.run([common.SNUG, "export", models[which], "--store", store, "-q"]).splitlines()[-1])
        held = last["measurement"]["bytes"]
        measured = (held["rss_peak"] - held["rss_base"]) / 2**20
        error = measured - stated
        ok = abs(error) <= max(0.03 * stated, 32)
        rows.append({"model": which, "context": context, "ubatch": ubatch, "flash_attn": flash, "cache": cache,
                     "stated_MiB": stated, "measured_MiB": measured, "error_MiB": error, "within": ok})
        print(f"{which} c={context} ub={ubatch} fa={flash} kv={cache}: stated {stated:8.1f}  measured {measured:8.1f}  "
              f"error {error:+7.1f} MiB ({100 * error / stated:+.1f} %) {'ok' if ok else 'OUT'}", file=sys.stderr)
    common.finish("memory", {"rows": rows, "n_within": sum(r["within"] for r in rows), "n": len(rows)})


main()
