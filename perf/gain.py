#!/usr/bin/env python3
"""The pick of a fresh tuning against llama.cpp's default and its --fit choice, and against the worst corner.

    perf/gain.py [FOLDER] [--seeds 1 2 3]

Each seed is one `snug tune` of the demo's task in a store of its own; the ratios and intervals are those of its
alternating check. The worst corner is the slowest config that the tunings met.
"""
import argparse
import json
import sys

import common


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="build/perf")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    model = common.synth(args.folder)
    rows = []
    for seed in args.seeds:
        answer = json.loads(common.run([common.SNUG, "tune", model, "--prompt", "256", "--gen", "24", "--seed", str(seed), "-q",
                                        "--json", "--store", f"{args.folder}/gain-{seed}.db"]))
        speeds = [t["speed"] for t in answer["trials"] if t["speed"]]
        pick = next(t for t in answer["trials"] if t["id"] == answer["pick_trial"])
        default = next(t for t in answer["trials"] if t["role"] == "default")
        row = {"seed": seed, "confirm": answer["confirm"], "elapsed_s": answer["elapsed_s"], "n_trials": len(answer["trials"]),
               "is_default": pick["config"] == default["config"], "pick": pick["config"],
               "best_over_worst": max(speeds) / min(speeds)}
        rows.append(row)
        checks = "; ".join(f"vs {c['against']} {c['mid']:.3f} [{c['lo']:.3f}, {c['hi']:.3f}]" for c in row["confirm"])
        print(f"seed {seed}: {checks or 'best is the default'}; pick is {'the default' if row['is_default'] else 'another'}; "
              f"best/worst {row['best_over_worst']:.1f}; {row['elapsed_s']:.0f} s", file=sys.stderr)
    common.finish("gain", {"rows": rows})


main()
