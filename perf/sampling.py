#!/usr/bin/env python3
"""What does sampling beside the run cost? snug bench with it and with --no-sampling, alternating.

    perf/sampling.py [--pairs 12] [--folder FOLDER]

Wanted: tokens per second within 1 %, and under 1 % of a core for the thread."""
import argparse
import json
import os
import statistics
import sys
import tempfile

import common


def bench(model, store, extra):
    out = common.run([common.SNUG, "bench", model, "-p", "256", "-n", "64", "-r", "5", "--store", store,
                      "--format", "jsonl", *extra])
    rows = [json.loads(line) for line in out.splitlines()]
    return rows[0]["t/s"], rows[1]["t/s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--folder")
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="snug-sampling-")
    model = common.synth(folder, "smollm2-135m", "q4_0")
    store = os.path.join(folder, f"sampling-{os.getpid()}.db")
    pairs = {"pp": [], "tg": []}
    for i in range(args.pairs):
        runs = {}
        for name in ("on", "off") if i % 2 == 0 else ("off", "on"):
            runs[name] = bench(model, store, [] if name == "on" else ["--no-sampling"])
        pairs["pp"].append((runs["on"][0], runs["off"][0]))
        pairs["tg"].append((runs["on"][1], runs["off"][1]))
        print(f"{i + 1}: pp {runs['on'][0] / runs['off'][0]:.3f} tg {runs['on'][1] / runs['off'][1]:.3f}", file=sys.stderr)
    trials = [json.loads(line) for line in common.run([common.SNUG, "export", model, "--store", store]).splitlines()]
    shares = [t["measurement"]["conditions"]["sampler_cpu_s"] / t["measurement"]["conditions"]["wall_s"]
              for t in trials if t["measurement"]["conditions"].get("sampler_cpu_s")
              and len(t["measurement"].get("samples", {}).get("t_s", [])) > 0]
    def ratio(p):
        return statistics.median(a / b for a, b in p)
    common.finish("sampling", {"ratio_on_off": {k: common.interval(ratio, v) for k, v in pairs.items()},
                               "sampler_share_of_a_core": statistics.median(shares) if shares else None,
                               "n_pairs": args.pairs})


if __name__ == "__main__":
    main()
