#!/usr/bin/env python3
"""How near is the pick to the best there is? `snug tune` against an exhaustive sweep of the same lattice.

    perf/live_tune.py [--layers 0] [--seeds 5] [--trials 12] [--blocks 3] [--best 4] [--rounds 8] [--folder FOLDER]

The demo's task (qwen3-0.6b q4_0 of random weights, prompt 256, 24 tokens out; --layers cuts the model to
shorten the run). Each seed tunes the lattice of KNOBS, the rest at its default, in a history of its own, with
TRIALS trials, the default and the --fit choice among them, no check at the end counted. Swept: every
combination, once, in BLOCKS timed blocks (`snug bench` by itself goes on until their spread is small, up to 16).
What the sweep found best was best partly by luck: its BEST fastest configs and every pick are measured again,
in random order in every one of ROUNDS rounds, each in a process of its own.
Printed: each pick's median speed over the best median of the sweep's (wanted: at least 0.97), with a
bootstrap interval over rounds.

With --folder the same command goes on where it was stopped: each tuning, slice of the sweep and round is kept
there when it is through. Other options, or another build, need another folder."""
import argparse
import glob
import itertools
import json
import os
import random
import statistics
import sys
import tempfile

import common

KNOBS = {"n_threads": "1,2", "n_threads_batch": "1,2", "n_ubatch": "32,64,128,256,512", "flash_attn": "on,off",
         "repack": "on,off"}
HELD = {"n_batch": "2048", "load_mode": "auto", "poll": "50", "prio": "0"}
TASK = ["--prompt", "256", "--gen", "24", "-c", "4096"]
N_PROMPT, N_GEN = 256, 24


def kept(folder, name, make, *args):
    """What make(*args) gave in an earlier run of the same command, else what it gives now."""
    path = os.path.join(folder, name + ".json")
    if not os.path.exists(path):
        result = make(*args)
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(result, file)
        os.replace(path + ".new", path)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def options(config):
    return [word for name, value in config.items() for word in ("--" + name.replace("_", "-"), str(value))]


def bench(model, config, blocks, store):
    """[(config text, requests per second)] of one bench of all combinations."""
    rows = json.loads(common.run([common.SNUG, "bench", model, *TASK, *options({**HELD, **config}), "-r", str(blocks),
                                  "--json", "-q", "--store", store]))
    seconds = {}
    for row in rows:
        n = N_PROMPT if row["test"].startswith("pp") else N_GEN
        seconds.setdefault(row["config"], []).append(n / row["t/s"] if row["t/s"] else float("inf"))
    return [(text, 1 / sum(parts)) for text, parts in seconds.items() if len(parts) == 2]


def config_of(text, defaults):
    """The knobs of a config's words: those that are named, the rest at its default."""
    named = dict(word.split("=") for word in text.split() if "=" in word)
    return {name: named.get(name, str(defaults[name])) for name in KNOBS}


def tune(model, seed, trials, store):
    for left in glob.glob(store + "*"):  # of a run that was stopped: a new tuning would learn from it
        os.remove(left)
    answer = json.loads(common.run([common.SNUG, "tune", model, *TASK, *options(HELD), "--trials", str(trials - 2), "--seed",
                                    str(seed), "--json", "-q", "--store", store]))
    pick = next(t for t in answer["trials"] if t["id"] == answer["pick_trial"])
    default = next(t for t in answer["trials"] if t["role"] == "default")
    return {"seed": seed, "n_trials": len(answer["trials"]), "elapsed_s": answer["elapsed_s"],
            "pick": {k: str(pick["config"][k]) for k in KNOBS}, "default": default["config"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--best", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--folder")
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="snug-live-")
    model = common.synth(folder, layers=args.layers)
    wanted = {name: value for name, value in vars(args).items() if name != "folder"}
    if (begun := kept(folder, "options", lambda: wanted)) != wanted:
        sys.exit(f"live_tune.py: {folder} was begun with {begun}: give these again, or another --folder")
    runs, swept = [], []
    for seed in range(1, args.seeds + 1):
        run = kept(folder, f"tune-{seed}", tune, model, seed, args.trials, f"{folder}/tune-{seed}.db")
        defaults = run.pop("default")
        runs.append(run)
        print(f"seed {seed}: {run['n_trials']} trials, {run['elapsed_s']:.0f} s, pick {run['pick']}", file=sys.stderr)
    slices = [name for name in KNOBS if name != "n_ubatch"]
    for values in itertools.product(*(KNOBS[name].split(",") for name in slices)):
        swept += kept(folder, "sweep-" + "-".join(values), bench, model, {**KNOBS, **dict(zip(slices, values))},
                      args.blocks, f"{folder}/sweep.db")
    swept.sort(key=lambda row: -row[1])
    print(f"swept {len(swept)} configs; fastest once {swept[0]}", file=sys.stderr)
    best = [config_of(text, defaults) for text, _ in swept[:args.best]]
    again = {json.dumps(c, sort_keys=True): [] for c in best + [r["pick"] for r in runs]}
    rng = random.Random(1)

    def measure_again(keys):
        return {key: bench(model, json.loads(key), args.blocks, f"{folder}/again.db")[0][1] for key in keys}

    for i in range(args.rounds):
        found = kept(folder, f"round-{i + 1}", measure_again, rng.sample(sorted(again), len(again)))
        for key, speeds in again.items():
            speeds.append(found[key])
    median = {key: statistics.median(speeds) for key, speeds in again.items()}
    top = max((json.dumps(c, sort_keys=True) for c in best), key=median.get)
    for run in runs:
        key = json.dumps(run["pick"], sort_keys=True)
        run["ratio"] = common.interval(common.median_ratio, list(zip(again[key], again[top])))
        lo, mid, hi = run["ratio"]
        print(f"seed {run['seed']}: pick is {mid:.3f} of the best (95 % {lo:.3f} to {hi:.3f})", file=sys.stderr)
    common.finish("live_tune", {**wanted, "n_swept": len(swept), "best_config": json.loads(top), "runs": runs,
                                "again": [{"config": json.loads(k), "requests_s": v} for k, v in again.items()]})


if __name__ == "__main__":
    main()
