#!/usr/bin/env python3
"""What a suggestion costs, beside Optuna's TPE and, where it is there, its GP sampler, with the same past.

    perf/ask_cost.py [--trials 100] [--rounds 9] [--asks 20]

Needs Optuna (Debian: python3-optuna; the GP sampler needs Optuna 3.6, python3-torch and python3-scipy) for the
interpreter that runs it. bench_ask (of the build folder) tells snug's strategy N trials of a task of ten
knobs, one in ten failed, and writes them down. Optuna is given the same trials, two objectives as in snug
(speed up, memory down), failed ones as failed; the GP sampler, which took one objective only at first, is
given the speed alone. Rounds alternate: snug's mean ask and tell, then Optuna's. CPU seconds of the
process on both sides, one thread. A suggestion is one ask and one tell: Optuna learns in ask, snug in tell, and
not at every one as much."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import common

BENCH = os.environ.get("SNUG_BENCH_ASK", os.path.join(common.ROOT, "build", "bench_ask"))
ONE_THREAD = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def snug_once(n_trials, n_asks, history):
    done = subprocess.run([BENCH, str(n_trials), str(n_asks), "0", history], capture_output=True, text=True, check=True,
                          env={**os.environ, **ONE_THREAD})
    times = json.loads(done.stdout)
    return {"ask_ms": times["ask"]["mean_ms"], "tell_ms": times["tell"]["mean_ms"],
            "ask_median_ms": times["ask"]["median_ms"]}


def optuna_once(optuna, past, sampler, n_objectives, n_asks):
    """CPU milliseconds of ask, and of telling its trial, each time with the same past: means."""
    kinds = {f"k{i}": optuna.distributions.IntDistribution(0, n - 1) for i, n in enumerate(past["n_levels"])}
    study = optuna.create_study(directions=["maximize", "minimize"][:n_objectives], sampler=sampler)
    for trial in past["trials"]:
        params = {f"k{i}": level for i, level in enumerate(trial["levels"])}
        state = optuna.trial.TrialState.COMPLETE if trial["is_ok"] else optuna.trial.TrialState.FAIL
        study.add_trial(optuna.trial.create_trial(
            params=params, distributions=kinds, state=state,
            values=[trial["speed"], float(trial["bytes"])][:n_objectives] if trial["is_ok"] else None))
    asks, tells = [], []
    for _ in range(n_asks):
        start = time.process_time()
        trial = study.ask(kinds)
        middle = time.process_time()
        study.tell(trial, state=optuna.trial.TrialState.FAIL)  # the past of the next ask stays the same
        end = time.process_time()
        asks.append(1e3 * (middle - start))
        tells.append(1e3 * (end - middle))
    return {"ask_ms": statistics.mean(asks), "tell_ms": statistics.mean(tells)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--asks", type=int, default=20)
    args = parser.parse_args()
    os.environ.update(ONE_THREAD)
    try:
        import optuna
    except ImportError:
        sys.exit("ask_cost.py: no Optuna for this interpreter: apt-get install python3-optuna, and run /usr/bin/python3")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")  # some samplers call themselves experimental
    samplers = {"tpe": (2, lambda seed: optuna.samplers.TPESampler(seed=seed)),
                "tpe-multivariate": (2, lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True))}
    if hasattr(optuna.samplers, "GPSampler"):
        samplers["gp"] = (1, lambda seed: optuna.samplers.GPSampler(seed=seed))
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        history = os.path.join(folder, "history.json")
        for seed in range(args.rounds):
            row = {"snug": snug_once(args.trials, args.asks, history)}
            with open(history, encoding="ascii") as file:
                past = json.load(file)
            for name, (n_objectives, make) in samplers.items():
                row[name] = optuna_once(optuna, past, make(seed), n_objectives, args.asks)
            rounds.append(row)
    result = {"optuna": optuna.__version__, "n_trials": args.trials, "rounds": rounds}
    own = [r["snug"]["ask_ms"] + r["snug"]["tell_ms"] for r in rounds]
    for key in ("ask_median_ms", "ask_ms", "tell_ms"):
        result["snug_" + key] = statistics.median(r["snug"][key] for r in rounds)
    print(f"snug: ask {result['snug_ask_ms']:.1f} ms (median {result['snug_ask_median_ms']:.1f}), "
          f"tell {result['snug_tell_ms']:.1f} ms", file=sys.stderr)
    for name in samplers:
        others = [r[name]["ask_ms"] + r[name]["tell_ms"] for r in rounds]
        lo, mid, hi = common.interval(common.median_ratio, list(zip(others, own)))
        result[name] = {"ms": statistics.median(others), "ratio": [lo, mid, hi]}
        print(f"Optuna {name}: {statistics.median(others):.1f} ms a suggestion, {mid:.2f} times snug's "
              f"(95 % {lo:.2f} to {hi:.2f})", file=sys.stderr)
    common.finish("ask_cost", result)


if __name__ == "__main__":
    main()
