#!/usr/bin/env python3
"""How well does the error of weights foretell divergence? Fits the rule of src/plan/sensitivity_loss.c.

    perf/plan_sensitivity.py --text FILE MODEL... [--types q4_0,q5_0] [--chunks 16] [--store FILE] [--untie]
                             [--imatrix-of FOLDER]

For every model each group of tensors (role by third of the layers) is measured at each type with `snug
sensitivity --method kld`, and the relative error of its weights is taken with --method weights; with
--imatrix-of, both with FOLDER/MODEL.imatrix.gguf. With --untie a tied output is made a tensor of its own first.

The rule is  loss = factor(role) * depth(third) / n_layer * error. Models differ in how much any error costs them
(their level), which their weights do not tell: factors and depths are fitted in logarithms with a free level for
each model, and the levels' geometric mean goes into the factors. Printed: the fit over all models, and its error
on each model that it was not fitted to: the scatter of single groups around the model's own level, for simpler
rules too, and measured over foretold for the sum of all groups, which is what a plan's loss is. At last that sum
is held against the divergence of the whole model in one type (are losses additive?). Groups whose divergence is
under two standard errors are left out. Measured groups are kept in --store."""
import argparse
import hashlib
import json
import math
import os
import re
import sqlite3
import statistics
import sys
import tempfile
from collections import namedtuple

import common
from gguf_untie import untie

# error: relative squared error, summed over the group's tensors and divided by n_layer
Row = namedtuple("Row", "model role third type error kld")
RULES = {"role and depth": (True, True), "role": (True, False), "depth": (False, True), "error alone": (False, False)}


def log_mean(values):
    values = list(values)
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
    extra, hashed = [], ""
    if args.imatrix_of:
        name = os.path.basename(model).removesuffix(".gguf").removesuffix("-untied")
        path = os.path.join(args.imatrix_of, name + ".imatrix.gguf")
        extra = ["--imatrix", path]
        with open(path, "rb") as file:
            hashed = hashlib.sha256(file.read()).hexdigest()
    by_weights = json.loads(common.run([common.SNUG, "sensitivity", model, "--json", *extra]))
    for kind in args.types.split(","):
        common.run([common.SNUG, "sensitivity", model, "--method", "kld", "--text", args.text, "--chunks",
                    str(args.chunks), "--types", kind, "--store", store, *extra])
        print(f"{os.path.basename(model)} {kind}: measured", file=sys.stderr)
    types = [t.lower() for t in by_weights["types"]]
    tensors = [(*role_of(t["name"]), [None if v is None else v / t["factor"] for v in t["loss"]])
               for t in by_weights["tensors"]]
    n_layer = max(layer for _, layer, _ in tensors) + 1
    is_tied = not any(role == "output" for role, _, _ in tensors)
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        found = db.execute("SELECT tensors, type, kld, se FROM sensitivity WHERE model_hash = ? AND n_chunks = ? AND "
                           "imatrix_hash = ?", (by_weights["model_hash"], args.chunks, hashed)).fetchall()
    rows = []
    for name, kind, kld, se in found:
        role, first, last = group_range(name)
        if kind.lower() not in args.types.split(",") or kld <= 2 * se:
            continue
        column = types.index(kind.lower())
        errors = [e[column] for r, layer, e in tensors if r == role and first <= layer <= last and e[column] is not None]
        third = -1 if first < 0 else min(2, 3 * (first + last + 1) // (2 * n_layer))
        role = "token_embd+output" if is_tied and role == "token_embd" else role
        rows.append(Row(os.path.basename(model), role, third, kind.lower(), sum(errors) / (1 if first < 0 else n_layer), kld))
    return rows


class Fit:
    """Least squares of the logarithm, one set of coefficients after the other until they stand."""

    def __init__(self, rows, with_role=True, with_depth=True):
        self.factors = {r.role: 1.0 for r in rows}
        self.depths = {third: 1.0 for third in (-1, 0, 1, 2)}
        self.levels = {r.model: 1.0 for r in rows}
        for _ in range(100):
            for model in self.levels:
                self.levels[model] = log_mean(r.kld / (r.error * self.shape(r)) for r in rows if r.model == model)
            middle = log_mean(self.levels.values())
            self.levels = {model: level / middle for model, level in self.levels.items()}
            for role in self.factors:
                mine = [r for r in rows if not with_role or r.role == role]
                self.factors[role] = log_mean(r.kld / (r.error * self.levels[r.model] * self.depths[r.third]) for r in mine)
            for third in (0, 1, 2) if with_depth else ():
                self.depths[third] = log_mean(r.kld / (r.error * self.levels[r.model] * self.factors[r.role])
                                              for r in rows if r.third == third)
            mean = statistics.fmean(self.depths[t] for t in (0, 1, 2))
            for third in (0, 1, 2):
                self.depths[third] /= mean

    def shape(self, row):
        return self.factors.get(row.role, log_mean(self.factors.values())) * self.depths[row.third]

    def scatter(self, rows):
        """Standard deviation of log(measured / foretold) around the model's own level."""
        return statistics.pstdev(math.log(r.kld / (r.error * self.shape(r))) for r in rows)

    def ratio(self, rows, kind):
        mine = [r for r in rows if r.type == kind]
        return sum(r.kld for r in mine) / sum(r.error * self.shape(r) for r in mine) if mine else None


def judge(rows, others, kinds):
    out = {"scatter_of_log": {name: Fit(others, *rule).scatter(rows) for name, rule in RULES.items()}}
    out["measured_over_foretold"] = {kind: Fit(others).ratio(rows, kind) for kind in kinds}
    return out


def additive(model, kind, rows, args, folder):
    """Divergence of the whole model in one type over the sum of its groups."""
    whole = os.path.join(folder, "whole.gguf")
    common.run([common.tool("llama-quantize"), "--pure", "--output-tensor-type", kind, "--token-embedding-type", kind,
                model, whole, kind])
    out = json.loads(common.run([common.SNUG, "eval", whole, "--reference", model, "--text", args.text, "--chunks",
                                 str(args.chunks), "--json", "--store", os.path.join(folder, "eval.db")]))
    os.remove(whole)
    return out["quality"]["kld_mean"]["value"] / sum(r.kld for r in rows if r.type == kind)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--text", required=True)
    parser.add_argument("--types", default="q4_0,q5_0")
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--store")
    parser.add_argument("--imatrix-of")
    parser.add_argument("--untie", action="store_true")
    parser.add_argument("--no-additive", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="snug-sensitivity-") as folder:
        store = os.path.abspath(args.store or os.path.join(folder, "store.db"))
        all_rows, kinds = {}, args.types.split(",")
        for model in args.models:
            own = os.path.join(folder, os.path.basename(model).removesuffix(".gguf") + "-untied.gguf")
            path = own if args.untie and untie(model, own) else model
            all_rows[path] = measure(path, args, store)
        every = Fit([r for rows in all_rows.values() for r in rows])
        result = {"factors": every.factors, "depths": every.depths, "levels": every.levels, "left_out": {}, "additive": {}}
        for path, rows in all_rows.items():
            name = os.path.basename(path)
            others = [r for p, rs in all_rows.items() if p != path for r in rs]
            if others:
                result["left_out"][name] = judge(rows, others, kinds)
            if not args.no_additive:
                result["additive"][name] = {kind: additive(path, kind, rows, args, folder) for kind in kinds
                                            if any(r.type == kind for r in rows)}
        common.finish("plan_sensitivity", result)


if __name__ == "__main__":
    main()
