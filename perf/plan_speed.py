#!/usr/bin/env python3
"""The law of this machine against measurement, on configs that it was not fitted to.

    perf/plan_speed.py [FOLDER] [--passes 2] [--minutes 20] [--only TEXT]

Calibrates (30 s at most) with build/plan_predict, then measures every config with `snug bench`, in
passes of opposite order, and prints the median absolute error of decode and of prefill and the share
inside the 90 % interval. Measurements go to FOLDER/plan_speed.jsonl as they come: the same command
goes on where it stopped. A measurement that other programs disturbed is repeated once; what is still
INVALID then is left out of the errors and counted. Quiet machine, please: nothing else running.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import common

# preset, type, layers (0: all), tokens of prompt and of answer, [(depth, threads)]
SMALL = [(0, 1), (0, 2), (512, 1), (512, 2), (2048, 2), (4096, 2)]
MIDDLE = [(0, 1), (0, 2), (512, 2), (2048, 2)]
LARGE = [(0, 1), (0, 2), (512, 2)]
GRID = [
    ("smollm2-135m", "q4_0", 0, 256, 24, SMALL),
    ("smollm2-135m", "q8_0", 12, 256, 24, SMALL),
    ("smollm2-135m", "f16", 6, 128, 24, [(0, 1), (0, 2), (2048, 2)]),
    ("smollm2-135m", "iq4_nl", 0, 256, 24, [(0, 2), (512, 1)]),
    ("qwen3-0.6b", "q8_0", 0, 128, 16, MIDDLE),
    ("qwen3-0.6b", "iq4_nl", 0, 128, 16, MIDDLE),
    ("qwen3-0.6b", "f16", 12, 64, 12, [(0, 1), (0, 2)]),
    ("tinyllama-1.1b", "q4_0", 0, 128, 16, MIDDLE),
    ("tinyllama-1.1b", "q4_k", 0, 128, 16, MIDDLE),
    ("tinyllama-1.1b", "q6_k", 0, 128, 16, [(0, 1), (0, 2)]),
    ("llama3.2-1b", "q4_0", 0, 96, 16, LARGE),
    ("llama3.2-1b", "q6_k", 8, 96, 16, LARGE),
    ("qwen3-1.7b", "q4_k", 14, 96, 12, LARGE),
    ("qwen3-1.7b", "q8_0", 10, 64, 12, [(0, 1), (0, 2)]),
    ("qwen3-4b", "q4_0", 24, 64, 12, [(0, 2)]),
    ("qwen3-4b", "q4_k", 16, 64, 12, [(0, 2)]),
]
N_UBATCH = 512


def configs():
    for preset, kind, layers, n_prompt, n_gen, places in GRID:
        for depth, threads in places:
            name = f"{preset}-{kind}" + (f"-l{layers}" if layers else "")
            yield {"key": f"{name} d{depth} t{threads}", "preset": preset, "type": kind, "layers": layers,
                   "n_prompt": n_prompt, "n_gen": n_gen, "depth": depth, "threads": threads}


def measure(folder, config):
    model = common.synth(folder, config["preset"], config["type"], config["layers"])
    argv = [common.SNUG, "bench", model, "-p", str(config["n_prompt"]), "-n", str(config["n_gen"]),
            "-d", str(config["depth"]), "-t", str(config["threads"]), "-ub", str(N_UBATCH), "-r", "3", "-q", "--json",
            "--store", f"{folder}/plan_speed.db"]
    for _ in range(2):
        start = time.monotonic()
        rows = json.loads(common.run(argv))
        took = time.monotonic() - start
        is_valid = all(row["verdict"] != "INVALID" for row in rows)
        if is_valid:
            break
    speed = {("prefill" if row["test"].startswith("pp") else "decode"): row["t/s"] for row in rows}
    return {"key": config["key"], "is_valid": is_valid, "notes": rows[0]["notes"], "wall_s": took, **speed}


def read_results(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.endswith("\n")]


def measure_all(args, todo):
    path = os.path.join(args.folder, "plan_speed.jsonl")
    results = read_results(path)
    end = time.monotonic() + 60 * args.minutes
    for n_pass in range(args.passes):
        done = {r["key"] for r in results if r["pass"] == n_pass}
        for config in todo if n_pass % 2 == 0 else reversed(todo):
            if config["key"] in done:
                continue
            if time.monotonic() > end:
                print("out of time: run it again to go on", file=sys.stderr)
                return results
            row = {**measure(args.folder, config), "pass": n_pass}
            results.append(row)
            with open(path, "a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")
            print(f"{row['key']}: {row['prefill']:.1f} {row['decode']:.2f} t/s {row['notes']}", file=sys.stderr)
    return results


def predict(args, todo):
    cache = os.path.join(args.folder, "law")
    lines = [f"{common.synth(args.folder, c['preset'], c['type'], c['layers'])} {c['threads']} {c['depth']} "
             f"{c['n_prompt']} {c['n_gen']} {N_UBATCH}\n" for c in todo]
    done = subprocess.run([os.path.join(common.ROOT, "build", "plan_predict"), cache], input="".join(lines),
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"plan_predict: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(todo, predictions, results):
    rows = []
    for config, p in zip(todo, predictions):
        mine = [r for r in results if r["key"] == config["key"]]
        valid = [r for r in mine if r["is_valid"]]
        if not mine:
            continue
        row = {"key": config["key"], "is_valid": bool(valid)}
        for phase in ("decode", "prefill"):
            truth = statistics.median(r[phase] for r in (valid or mine))
            guess = p[f"{phase}_tps"]
            row[phase] = {"measured": truth, "predicted": guess["value"], "error": guess["value"] / truth - 1,
                          "is_inside": guess["lo"] <= truth <= guess["hi"]}
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="build/perf/plan_speed")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--only", default="", help="configs with this text in their name")
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    todo = [c for c in configs() if args.only in c["key"]]
    predictions = predict(args, todo)
    if any("other programs" in p["source"] for p in predictions):
        print(f"the calibration was disturbed: {predictions[0]['source']}", file=sys.stderr)
    rows = compare(todo, predictions, measure_all(args, todo))
    summary = {"law": predictions[0]["source"] if predictions else "", "n_configs": len(rows),
               "n_invalid": sum(not row["is_valid"] for row in rows)}
    for row in rows:
        print(f"{row['key']:34} decode {row['decode']['predicted']:8.2f} / {row['decode']['measured']:8.2f} "
              f"{100 * row['decode']['error']:+6.1f} %   prefill {row['prefill']['predicted']:8.1f} / "
              f"{row['prefill']['measured']:8.1f} {100 * row['prefill']['error']:+6.1f} %"
              f"{'' if row['is_valid'] else '   disturbed'}", file=sys.stderr)
    valid = [row for row in rows if row["is_valid"]]
    for phase in ("decode", "prefill"):
        if valid:
            summary[phase] = {"median_error_frac": statistics.median(abs(r[phase]["error"]) for r in valid),
                              "bias_frac": statistics.median(r[phase]["error"] for r in valid),
                              "inside_frac": sum(r[phase]["is_inside"] for r in valid) / len(valid)}
            print(f"{phase}: median absolute error {100 * summary[phase]['median_error_frac']:.1f} %, "
                  f"{100 * summary[phase]['inside_frac']:.0f} % inside the 90 % interval", file=sys.stderr)
    common.finish("plan_speed", {**summary, "rows": rows})


main()
