#!/usr/bin/env python3
"""Does the verdict find what is wrong with a run? 20 plants of six kinds and 40 clean runs in random
order, and the confusion table.

    perf/plants.py [--clean 40] [--each 4,4,3,3,3,3] [--folder FOLDER]

Needs root for two of the kinds (a CPU quota through cgroups, dropping the page cache); without it
they are left out and said so. Wanted: 19 of 20 found with the right rule, at most 2 of 40 clean runs
INVALID."""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import common

RULES = {"quota": {"throttled"}, "burn": {"other_load"}, "cold": {"cold_cache", "paging"},
         "config": {"config_differs"}, "short": {"output_length"}, "slow-first": {"slow_first_run"}}
HERE = os.path.dirname(os.path.abspath(__file__))


def build_shim(folder):
    """The shim, against the same headers as snug."""
    shim = os.path.join(folder, "shim.so")
    sysroot = os.path.join(common.ROOT, ".deps", "sysroot")
    flags = []
    if os.path.isdir(sysroot):
        lib = os.path.join(sysroot, "usr", "lib", os.uname().machine + "-linux-gnu")
        flags = ["--sysroot=" + sysroot, "-B" + lib, "-L" + lib]
    common.run(["cc", "-shared", "-fPIC", "-O2", *flags, "-o", shim, os.path.join(HERE, "plants", "shim.c"), "-ldl"])
    return shim


class Quota:
    """A cgroup with half a CPU; v2 where it has a cpu controller, else v1."""

    def __init__(self, cpus=0.5):
        name = f"snug-plant-{os.getpid()}"
        self.folder = None
        for base, v2 in (("/sys/fs/cgroup", True), ("/sys/fs/cgroup/cpu", False)):
            folder = os.path.join(base, name)
            try:
                os.mkdir(folder)
                # r+: where the kernel makes no such file, this folder is no cgroup
                with open(os.path.join(folder, "cpu.max" if v2 else "cpu.cfs_quota_us"), "r+", encoding="ascii") as f:
                    f.write(f"{int(cpus * 100000)} 100000" if v2 else str(int(cpus * 100000)))
                self.folder = folder
                return
            except OSError:
                if os.path.isdir(folder):
                    os.rmdir(folder)
        raise PermissionError("no cgroup with a CPU quota can be made")

    def join(self):
        with open(os.path.join(self.folder, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write(str(os.getpid()))

    def close(self):
        for _ in range(50):
            try:
                os.rmdir(self.folder)
                return
            except OSError:
                time.sleep(0.1)


def drop_page_cache():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("1")


def bench(model, store, kind, shim):
    """One run of the command a user types, under the plant; its two rows."""
    env = dict(os.environ)
    quota = burner = None
    if kind in ("config", "short", "slow-first"):
        env.update(LD_PRELOAD=shim, SNUG_PLANT=kind)
    if kind == "cold":
        drop_page_cache()
    if kind == "quota":
        quota = Quota()
    if kind == "burn":
        burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        argv = [common.SNUG, "bench", model, "-p", "128", "-n", "32", "-r", "4", "--store", store, "--format", "jsonl"]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False,
                              preexec_fn=quota.join if quota else None)
    finally:
        if burner:
            burner.kill()
            burner.wait()
        if quota:
            quota.close()
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not rows:
        sys.exit(f"no rows from snug bench ({kind}): {done.stderr[-500:]}")
    return {"kind": kind, "verdict": rows[0]["verdict"], "rules": sorted(set(", ".join(r["notes"] or "" for r in rows).split(", ")) - {""}),
            "pp": rows[0]["t/s"], "tg": rows[1]["t/s"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=40)
    parser.add_argument("--each", default="4,4,3,3,3,3", help="plants of each kind: " + ", ".join(RULES))
    parser.add_argument("--folder")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="snug-plants-")
    model = common.synth(folder, "smollm2-135m", "q4_0")
    shim = build_shim(folder)
    store = os.path.join(folder, f"plants-{os.getpid()}.db")
    plan = ["clean"] * args.clean
    for kind, n in zip(RULES, args.each.split(",")):
        plan += [kind] * int(n)
    random.Random(args.seed).shuffle(plan)
    # The noise floor first, as a user would get it.
    common.run([common.SNUG, "compare", model, "default", "--store", store])
    runs = []
    for i, kind in enumerate(plan):
        run = bench(model, store, kind, shim)
        runs.append(run)
        print(f"{i + 1}/{len(plan)} {kind}: {run['verdict']} {' '.join(run['rules'])} (tg {run['tg']:.1f})", file=sys.stderr)
    plants = [r for r in runs if r["kind"] != "clean"]
    clean = [r for r in runs if r["kind"] == "clean"]
    found = [r for r in plants if RULES[r["kind"]] & set(r["rules"])]
    table = {}
    for r in runs:
        row = table.setdefault(r["kind"], {})
        for rule in r["rules"] or ["VALID"]:
            row[rule] = row.get(rule, 0) + 1
    common.finish("plants", {"n_plants": len(plants), "n_found": len(found), "n_clean": len(clean),
                             "n_clean_invalid": sum(r["verdict"] == "INVALID" for r in clean),
                             "n_clean_valid": sum(r["verdict"] == "VALID" for r in clean),
                             "confusion": table, "runs": runs})


if __name__ == "__main__":
    main()
