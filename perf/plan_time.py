#!/usr/bin/env python3
"""How long the planner's exact solve takes, and a plain Python dynamic program of the same choice.

    perf/plan_time.py [--preset llama3-70b] [--buckets 1024] [--repeats 3]

Wanted: under 50 ms for a solve of all tensors of llama3-70b with 20 types, under 1 s for a menu of 64
points, time linear in tensors. The Python program rounds bytes up to budget / buckets, so it may lose
more; both losses are printed."""
import argparse
import json
import os
import statistics
import tempfile
import time

import common

BUILD = os.environ.get("SNUG_BUILD", os.path.join(common.ROOT, "build"))


def plain(options, budget, buckets):
    """The textbook: least[b] = least loss of the items so far within b buckets."""
    grain = -(-budget // buckets)
    infinite = float("inf")
    least = [0.0] * (buckets + 1)
    for item in options:
        rounded = [(-(-size // grain), cost) for size, cost in item]
        new = [infinite] * (buckets + 1)
        for size, cost in rounded:
            for b in range(size, buckets + 1):
                value = least[b - size] + cost
                if value < new[b]:
                    new[b] = value
        least = new
    return least[buckets]


def read_options(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            yield [(int(words[i]), float(words[i + 1])) for i in range(0, len(words), 2)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="llama3-70b")
    parser.add_argument("--buckets", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    program = os.path.join(BUILD, "plan_time")
    with tempfile.TemporaryDirectory(prefix="snug-plan-time-") as folder:
        dump = os.path.join(folder, "options")
        scaling = {}
        for copies in (1, 2, 4):
            runs = [json.loads(common.run([program, args.preset, str(copies), "64", dump])) for _ in range(args.repeats)]
            scaling[runs[0]["tensors"]] = {k: statistics.median(r[k] for r in runs) for k in ("init_s", "solve_median_s", "solve_max_s", "menu_s")}
            scaling[runs[0]["tensors"]]["proved"] = f"{runs[0]['proved']} of {runs[0]['points']}"
            if copies == 1:
                mid, options = runs[0]["mid"], list(read_options(dump))
    begin = time.perf_counter()
    cost = plain(options, mid["budget"], args.buckets)
    python_s = time.perf_counter() - begin
    one = scaling[len(options)]
    common.finish("plan_time", {"preset": args.preset, "by_tensors": scaling, "python_s": python_s, "python_buckets": args.buckets,
                                "ratio": python_s / (one["init_s"] + one["solve_median_s"]), "loss": mid["cost"], "python_loss": cost})


if __name__ == "__main__":
    main()
