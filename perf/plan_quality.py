#!/usr/bin/env python3
"""Is a plan better than a uniform recipe of the same size? KL divergence against F16, at equal bytes.

    perf/plan_quality.py [--model F16.gguf ...] [--method kld] [--folder FOLDER]

For each model and each recipe of llama-quantize between 2.6 and 6.5 bits per weight: the plan of least
loss whose file is no larger than the recipe's, made from a sensitivity measured on one text, and both
files' divergence measured on another. Beside it the same knapsack with the position heuristic.
Wanted: lower for at least six budgets, all of them, by 20 % on the geometric mean."""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import common

DATA = os.environ.get("SNUG_TEST_DATA", os.path.join(common.ROOT, "..", "shared", "data"))
RECIPES = ("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_0", "q4_k_s", "q4_k_m", "q5_0", "q5_k_s", "q5_k_m", "q6_k")


def snug(*argv):
    done = subprocess.run([common.SNUG, *argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"snug {' '.join(argv)}: {done.stderr[-800:]}")
    return done.stdout


def divergence(path, model, args, folder):
    out = snug("eval", path, "--reference", model, "--text", args.text, "-c", "256", "--chunks", str(args.chunks),
               "--store", os.path.join(folder, "quality.db"), "--json")
    kld = json.loads(out)["quality"]["kld_mean"]
    return kld["value"], kld["se"]


def plan(model, sensitivity, size, out, folder, text=None):
    """Make the plan's file; no limit but the size. With a text the top few are measured on it."""
    path = os.path.join(folder, "plan.json")
    measured = ["--text", text] if text else []
    snug("plan", model, "--sensitivity", sensitivity, "--disk", str(size), "--memory", "1TiB", "-o", path, "--target-tps", "0.001", *measured)
    if os.path.exists(out):
        os.remove(out)
    snug("quantize", model, "--plan", path, "-o", out)
    return json.load(open(path, encoding="utf-8"))


def sensitivity(model, method, args, folder):
    path = os.path.join(folder, f"{os.path.basename(model)}-{method}.json")
    if not os.path.exists(path):
        text = ["--text", args.train, "--store", os.path.join(folder, "sensitivity.db")] if method == "kld" else []
        text += ["--per-tensor"] if method == "kld" and args.per_tensor else []
        snug("sensitivity", model, "--method", method, *text, "-o", path)
    return path


def study(model, args, folder):
    by = {m: sensitivity(model, m, args, folder) for m in (args.method, "position")}
    rows = []
    n_params = json.loads(snug("inspect", model, "--json"))["n_params"]
    for recipe in RECIPES:
        uniform = os.path.join(folder, "uniform.gguf")
        common.run([common.tool("llama-quantize"), model, uniform, recipe])
        size = os.path.getsize(uniform)
        bits = 8 * size / n_params
        if not 2.6 <= bits <= 6.5:
            continue
        row = {"model": os.path.basename(model), "recipe": recipe, "bits": bits, "bytes": size}
        row["uniform"], row["uniform_se"] = divergence(uniform, model, args, folder)
        for method, path in by.items():
            planned = os.path.join(folder, "planned.gguf")
            predicted = plan(model, path, size, planned, folder, args.train if method == args.method and args.measured else None)
            assert os.path.getsize(planned) <= size
            row[method], row[f"{method}_se"] = divergence(planned, model, args, folder)
            row[f"{method}_bytes"] = os.path.getsize(planned)
            row[f"{method}_predicted"] = predicted["predicted"]["loss"]["value"]
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append")
    parser.add_argument("--method", default="kld")
    parser.add_argument("--train", default=os.path.join(DATA, "text", "tinystories_train_head_2M.txt"))
    parser.add_argument("--text", default=os.path.join(DATA, "text", "tinystories_valid_794k.txt"))
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--measured", action="store_true", help="snug plan --text: the top few measured on the training text")
    parser.add_argument("--per-tensor", action="store_true", help="kld of each tensor, not of groups")
    parser.add_argument("--folder")
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="snug-plan-quality-")
    models = args.model or [os.path.join(DATA, "gguf", n) for n in ("tales7m-f16.gguf", "babyllama361-pad256-f32.gguf")]
    rows = [row for model in models for row in study(model, args, folder)]

    def ratio(a, b):
        return math.exp(sum(math.log(r[a] / r[b]) for r in rows) / len(rows))
    common.finish("plan_quality", {"rows": rows, "n": len(rows), "method": args.method,
                                   "lower_than_uniform": sum(r[args.method] < r["uniform"] for r in rows),
                                   "ratio_to_uniform": ratio(args.method, "uniform"),
                                   "lower_than_position": sum(r[args.method] < r["position"] for r in rows),
                                   "ratio_to_position": ratio(args.method, "position"),
                                   "position_to_uniform": ratio("position", "uniform")})


if __name__ == "__main__":
    main()
