#!/usr/bin/env python3
"""Is `snug compare` honest, and does it see?

    perf/honesty.py [--same 100] [--differ 10] [--pairs 0] [--cost 0.05] [--folder FOLDER]

A/A: a config against itself; the 95 % interval may exclude 1.0 in about 5 of 100 (wanted: at most 10).
A/B: a config whose every decode call is made slower by a shim (perf/plants/shim.c) against the same
config without; wanted for a true 5 %: found in at least 8 of 10, in the right direction. What the
shim's --cost comes to on this machine is the median of the ratios. Each metric counts."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import common
import plants


def compare(argv, env=None):
    done = subprocess.run([common.SNUG, "compare", *argv, "--json"], capture_output=True, text=True, check=False,
                          env={**os.environ, **(env or {})})
    if not done.stdout.startswith("{"):
        sys.exit(f"snug compare: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--same", type=int, default=100)
    parser.add_argument("--differ", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=0, help="0: the command's own rule")
    parser.add_argument("--cost", type=float, default=0.05)
    parser.add_argument("--folder")
    parser.add_argument("--model", help="default: smollm2-135m of 4 layers, random weights")
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="snug-honesty-")
    model = args.model or common.synth(folder, "smollm2-135m", "q4_0", 4)
    shim = plants.build_shim(folder)
    # A context of 512, so that the shim can tell the two by n_ubatch.
    shared = ["-p", "128", "-n", "32", "-c", "512", *(["--pairs", str(args.pairs)] if args.pairs else []), "--store", os.path.join(folder, "honesty.db")]
    same, differ = [], []
    for i in range(args.differ):
        differ.append(compare([model, "n_ubatch=448", *shared, "--seed", str(i + 1)],
                              {"LD_PRELOAD": shim, "SNUG_PLANT": "cost", "SNUG_PLANT_COST": str(args.cost)}))
        r = differ[-1]["ratio"]["request"]
        print(f"A/B {i + 1}: {differ[-1]['verdict']} {r['lo']:.3f} {r['mid']:.3f} {r['hi']:.3f}", file=sys.stderr)
    for i in range(args.same):
        same.append(compare([model, "default", *shared, "--seed", str(i + 1)]))
        r = same[-1]["ratio"]["request"]
        print(f"A/A {i + 1}: {same[-1]['verdict']} {r['lo']:.3f} {r['mid']:.3f} {r['hi']:.3f}", file=sys.stderr)
    result = {"pairs": args.pairs, "n_same": len(same), "n_differ": len(differ)}
    for metric in ("prefill", "decode", "request"):
        result[metric] = {
            "same_excludes_1": sum(not r["ratio"][metric]["lo"] <= 1.0 <= r["ratio"][metric]["hi"] for r in same),
            "differ_found": sum(r["ratio"][metric]["lo"] > 1.0 for r in differ),
            "differ_ratios": [[r["ratio"][metric][k] for k in ("lo", "mid", "hi")] for r in differ]}
    result["same_invalid"] = sum(r["verdict"] == "INVALID" for r in same)
    common.finish("honesty", result)


if __name__ == "__main__":
    main()
