#!/usr/bin/env python3
"""snug lab, killed at random moments and resumed: the same set of rows, none twice?

    perf/lab_kill.py [--kills 10] [--seed 1] [ROUNDS.yaml]

Default: a small set of its own (a synthetic model of one layer). The plan is printed twice first: the
same file must give the same keys. Then the run is killed by SIGKILL after a random time, resumed, and
so on; at the end the rows in the store are compared with the plan."""
import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import common

OWN = """title: kill
repetitions: 6
models:
  - {name: small, synth: smollm2-135m, type: q4_0, layers: 1}
workloads:
  - {name: short, prompt: 64, gen: 16}
baseline: {n_threads: 1}
rounds:
  - {name: batch, knobs: {n_ubatch: [32, 64]}}
  - {name: attention, knobs: {flash_attn: off}}
"""


def keys_of(file):
    plan = common.run([common.SNUG, "lab", file, "--dry-run", "--json"])
    return [row["key"] for row in json.loads(plan)["rows"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="snug-lab-kill-")
    file = args.file or os.path.join(folder, "kill.yaml")
    if not args.file:
        with open(file, "w", encoding="utf-8") as f:
            f.write(OWN)
    keys = keys_of(file)
    same_plan = keys == keys_of(file)
    store, out = os.path.join(folder, "h.db"), os.path.join(folder, "out")
    base = [common.SNUG, "lab", file, "--store", store, "--output", out, "-q"]
    rng = random.Random(args.seed)
    n_killed, resumed = 0, []
    while True:
        process = subprocess.Popen(base + (resumed), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if n_killed < args.kills:
            # Also before the first row, so that a run may have to begin again
            time.sleep(rng.uniform(0.2, 1.5))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                n_killed += 1
                db = sqlite3.connect(store) if os.path.exists(store) else None
                has_lab = db and db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'labs'").fetchone()[0] and db.execute("SELECT count(*) FROM labs").fetchone()[0]
                resumed = ["--resume"] if has_lab else []
                continue
        code = process.wait()
        break
    db = sqlite3.connect(store)
    n_labs = db.execute("SELECT count(*) FROM labs").fetchone()[0]
    rows = [r[0] for r in db.execute("SELECT key FROM lab_rows")]
    n_trials = db.execute("SELECT count(*) FROM trials").fetchone()[0]
    check = db.execute("PRAGMA integrity_check").fetchone()[0]
    left = [f for f in os.listdir(out) if f.endswith((".gguf", ".snugref"))]
    ok = same_plan and sorted(rows) == sorted(keys) and n_trials == len(keys) and n_labs == 1 and check == "ok" and code == 0
    common.finish("lab_kill", {"n_killed": n_killed, "same_plan": same_plan, "n_rows_planned": len(keys), "n_rows": len(rows),
                               "n_twice": len(rows) - len(set(rows)), "n_trials": n_trials, "n_labs": n_labs, "integrity": check,
                               "model_files_left": left, "exit": code, "ok": ok})
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
