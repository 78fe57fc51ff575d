#!/usr/bin/env python3
"""How well does the error of weights foretell divergence? Fits the rule of src/plan/sensitivity_loss.c.

    perf/plan_sensitivity.py --text FILE MODEL... [--types q4_0,q5_0] [--chunks 16] [--store FILE] [--imatrix-of FOLDER]

For every model each group of tensors (role by third of the layers) is measured at each type with `snug
sensitivity --method kld`, and the relative error of its weights is taken with --method weights (or, with
--imatrix-of, by FOLDER/MODEL.imatrix.gguf). The rule is  loss = factor(role) * depth(third) / n_layer * error;
factors and depths are fitted in logarithms. Printed: the fit over all models, and its error on each model that
it was not fitted to: of single groups, and of the sum over all groups, which is what a plan's loss is. At last
the sum of the groups is held against the divergence of the whole model in one type (are losses additive?).
Groups whose divergence is under two standard errors are left out. Measured groups are kept in --store."""
import argparse
import json
import math
import os
import re
import sqlite3
import statistics
import sys
import tempfile

import common


def log_mean(values):
    return math.exp(statistics.fmean(math.log(v) for v in values)) if values else 1.0


def role_of(name):
    match = re.match(r"blk\.(\d+)\.(.*)\.weight$", name)
    return (match[2], int(match[1])) if match else (name.removesuffix(".weight"), -1)


def group_range(name):
    """("attn_q", 0, 1) of "attn_q 0-1", ("output", -1, -1) of "output"."""
    role, _, layers = name.partition(" ")
    if not layers:
        return role, -1, -1
    first, _, last = layers.partition("-")
    return role, int(first), int(last or first)


def measure(model, args, store):
    """[(role, third, type, error, kld, se)] of a model; error is summed over tensors and divided by n_layer."""
    extra = []
    if args.imatrix_of:
        extra = ["--imatrix", os.path.join(args.imatrix_of, os.path.basename(model).removesuffix(".gguf") + ".imatrix.gguf")]
    by_weights = json.loads(common.run([common.SNUG, "sensitivity", model, "--json", *extra]))
    for kind in args.types.split(","):
        common.run([common.SNUG, "sensitivity", model, "--method", "kld", "--text", args.text, "--chunks", str(args.chunks),
                    "--types", kind, "--store", store])
        print(f"{os.path.basename(model)} {kind}: measured", file=sys.stderr)
    types = [t.lower() for t in by_weights["types"]]
    tensors = [(*role_of(t["name"]), [None if v is None else v / t["factor"] for v in t["loss"]])
               for t in by_weights["tensors"]]
    n_layer = max(layer for _, layer, _ in tensors) + 1
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        found = db.execute("SELECT tensors, type, kld, se FROM sensitivity WHERE model_hash = ? AND n_chunks = ? AND "
                           "imatrix_hash = ''", (by_weights["model_hash"], args.chunks)).fetchall()
    rows = []
    for name, kind, kld, se in found:
        role, first, last = group_range(name)
        if kind.lower() not in args.types.split(",") or kld <= 2 * se:
            continue
        column = types.index(kind.lower())
        errors = [e[column] for r, layer, e in tensors if r == role and first <= layer <= last and e[column] is not None]
        third = -1 if first < 0 else min(2, 3 * (first + last + 1) // (2 * n_layer))
        is_tied = role == "token_embd" and not any(r == "output" for r, _, _ in tensors)
        rows.append(("token_embd+output" if is_tied else role, third, kind.lower(),
                     sum(errors) / (1 if first < 0 else n_layer), kld, se))
    return rows


def fit(rows):
    """Factors by role and depths by third, least squares of the logarithm by turns."""
    factors, depths = {}, {0: 1.0, 1: 1.0, 2: 1.0, -1: 1.0}
    for _ in range(50):
        for role in {r[0] for r in rows}:
            factors[role] = log_mean([k / (e * depths[third]) for r, third, _, e, k, _ in rows if r == role])
        for third in (0, 1, 2):
            depths[third] = log_mean([k / (e * factors[r]) for r, t, _, e, k, _ in rows if t == third])
        mean = statistics.fmean(depths[t] for t in (0, 1, 2))
        for third in (0, 1, 2):
            depths[third] /= mean
    return factors, depths


def foretell(row, factors, depths):
    return factors.get(row[0], log_mean(list(factors.values()))) * depths[row[1]] * row[3]


def judge(rows, factors, depths):
    """Of one model: RMS log error of groups after and before its own level is taken out, and total ratios by type."""
    logs = [math.log(r[4] / foretell(r, factors, depths)) for r in rows]
    totals = {}
    for kind in sorted({r[2] for r in rows}):
        mine = [r for r in rows if r[2] == kind]
        totals[kind] = sum(r[4] for r in mine) / sum(foretell(r, factors, depths) for r in mine)
    return {"rms_log_error": math.sqrt(statistics.fmean(x * x for x in logs)), "rms_log_error_level_removed": statistics.pstdev(logs),
            "measured_over_foretold": totals}


def additive(model, kind, rows, args, folder):
    """Divergence of the whole model in one type over the sum of its groups."""
    whole = os.path.join(folder, "whole.gguf")
    common.run([common.tool("llama-quantize"), "--pure", "--output-tensor-type", kind, "--token-embedding-type", kind,
                model, whole, kind])
    out = json.loads(common.run([common.SNUG, "eval", whole, "--reference", model, "--text", args.text, "--chunks",
                                 str(args.chunks), "--json", "--store", os.path.join(folder, "eval.db")]))
    os.remove(whole)
    return out["quality"]["kld_mean"]["value"] / sum(r[4] for r in rows if r[2] == kind)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--text", required=True)
    parser.add_argument("--types", default="q4_0,q5_0")
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--store")
    parser.add_argument("--imatrix-of")
    parser.add_argument("--no-additive", action="store_true")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="snug-sensitivity-")
    store = os.path.abspath(args.store or os.path.join(folder, "store.db"))
    all_rows = {m: measure(m, args, store) for m in args.models}
    factors, depths = fit([r for rows in all_rows.values() for r in rows])
    result = {"factors": factors, "depths": depths, "fitted": {}, "left_out": {}, "additive": {}, "own_factors": {}}
    for model, rows in all_rows.items():
        name = os.path.basename(model)
        others = [r for m, rs in all_rows.items() if m != model for r in rs]
        result["fitted"][name] = judge(rows, factors, depths)
        result["own_factors"][name] = fit(rows)
        if others:
            result["left_out"][name] = judge(rows, *fit(others))
        if not args.no_additive:
            result["additive"][name] = {k: additive(model, k, rows, args, folder) for k in args.types.split(",")
                                        if any(r[2] == k for r in rows)}
    common.finish("plan_sensitivity", result)


if __name__ == "__main__":
    main()
