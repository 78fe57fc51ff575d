#!/usr/bin/env python3
"""Record a whole lattice of configs through `snug bench`, for perf/compare_strategies.

    perf/record_table.py TABLE.jsonl [--layers 6] [--prompt 128] [--gen 16]

Several timed blocks per config are kept; the first line of the table holds the space.
"""
import argparse
import json
import os

import common

GRID = {"load-mode": "auto,none", "repack": "on,off", "n-threads": "1,2", "n-threads-batch": "1,2",
        "n-ubatch": "32,64,128,256,512", "flash-attn": "on,off"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--gen", type=int, default=16)
    args = parser.parse_args()
    folder = os.path.dirname(args.table) or "."
    model = common.synth(folder, layers=args.layers)
    store = args.table + ".db"
    for path in (store, store + "-wal", store + "-shm"):
        if os.path.exists(path):
            os.remove(path)
    knobs = [word for name, values in GRID.items() for word in ("--" + name, values)]
    common.run([common.SNUG, "bench", model, "-p", str(args.prompt), "-n", str(args.gen), "-r", "5", "-q", "-c", "2048",
                "--store", store] + knobs)
    lines = common.run([common.SNUG, "export", model, "--store", store, "-q"]).splitlines()
    names = {"load_mode": ["auto", "none"]}
    space = []
    for name, kind, low, high, step, default in (
            ("load_mode", "enum", 0, 1, 1, "auto"), ("repack", "bool", 0, 1, 1, "on"), ("n_threads", "int", 1, 2, 1, 2),
            ("n_threads_batch", "int", 1, 2, 1, 2), ("n_ubatch", "log2", 32, 512, 1, 512), ("flash_attn", "bool", 0, 1, 1, "on")):
        space.append({"name": name, "kind": kind, "when": "context", "min": low, "max": high, "step": step, "default": default,
                      "values": names.get(name, []), "is_tuned": True})
    with open(args.table, "w", encoding="utf-8") as out:
        header = {"space": space, "workload": json.loads(lines[0])["workload"]}
        out.write(json.dumps(header) + "\n")
        for line in lines:
            trial = json.loads(line)
            m = trial["measurement"]
            config = {row["name"]: trial["config"][row["name"]] for row in space}
            out.write(json.dumps({"config": config, "outcome": m["outcome"], "bytes": m["bytes"],
                                  "prefill_block_tps": m["prefill_block_tps"],
                                  "decode_block_tps": m["decode_block_tps"]}) + "\n")


main()
