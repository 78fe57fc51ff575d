#!/usr/bin/env python3
"""Does `snug run --adapt` follow load and memory, and does it lose a request?

    perf/adapt.py --folder FOLDER [--traces 20] [--first 1] [--seconds 30] [--arms adapt,static,rule,default] [--model FILE]
                  [--threads 1,2]

A model (default: smollm2-135m of random weights, q4_0, 4 layers) is benched at each member: thread counts
times VARIANTS, which differ in memory. Then every member, as a plain llama-server, is asked at each level of busy
cores: the speed of each in requests, by which everything is scored (table.json).

A trace (by its seed) is a row of steps of 5 to 10 s: so many busy cores (`snug load`) and a cap of memory, which
`snug run --adapt` reads of its --budget file. The same trace, with one client that asks without pause, for each arm:

  adapt    snug run --adapt
  static   llama-server with the member that is fastest when nothing else runs and memory is free
  rule     LaTune's: the fastest that needs at most 0.9 of what is free, chosen once as the trace begins
  default  llama-server as it starts by itself

Printed for each arm: failed requests and dead servers (wanted: none); the share of time in which the member that
serves needed more than the cap (wanted: under 1 %); regret, 1 - rate / best rate, where the best is that of the
fastest member that fits the cap at that level of load, and requests answered over the cap do not count (`plain`:
they do); for adapt the seconds from a step to the change that followed (wanted: under 5). The best
members' rates are measured again before each trace, since a shared machine is not as fast in each as it was when the
table was made; `foreign` is how many CPUs anything else than this benchmark kept busy meanwhile (or the hypervisor
took), and `regret_quiet` is of the traces where that was under 0.1.

One JSON line for each trace and arm is appended to FOLDER/runs.jsonl as it ends, and what stands there is not run
again: the same command goes on where it was stopped. 20 traces and 4 arms of 30 s take some 55 min."""
import argparse
import contextlib
import http.client
import json
import os
import random
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import common

START_S = 120
N_CTX, N_PROMPT, N_GEN = 512, 64, 32
QUESTION = {"prompt": "one two three four " * 12, "max_tokens": N_GEN, "ignore_eos": True, "cache_prompt": False}
# From much memory to little; every one at every thread count.
VARIANTS = (("--n-ubatch", "512", "--repack", "on"), ("--n-ubatch", "32", "--repack", "on"),
            ("--n-ubatch", "32", "--repack", "off"))
ARMS = ("adapt", "static", "rule", "default")
LEVEL_S, ROUNDS = 2.5, 3  # of asking for a cell of the table, and how often
FIT_FRAC = 1.055  # a cap for a member is so much of its need: snug wants 5 % besides
ROOMY_FRAC = 3  # a cap that hinders nobody: two servers fit together
LATUNE_FRAC = 0.9
REFERENCE_S = 5      # of asking for each cell that a trace is scored by
QUIET_CPUS = 0.1     # that others may take in a trace that is called quiet


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def ask(port, method, path, body=None, timeout=60):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


class Server:
    """A process that listens, ready when the block begins."""

    def __init__(self, argv, port):
        self.argv, self.port = argv, port

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_S
        try:
            while time.monotonic() < end and self.process.poll() is None:
                with contextlib.suppress(OSError):
                    if ask(self.port, "GET", "/health")[0] == 200:
                        return self
                time.sleep(0.05)
            sys.exit(f"it did not come up: {' '.join(self.argv)}")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def is_dead(self):
        return self.process.poll() is not None


class Client(threading.Thread):
    """Asks until stopped; keeps (end time, was good)."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.done, self.is_over = port, [], threading.Event()

    def run(self):
        while not self.is_over.is_set():
            try:
                code, body = ask(self.port, "POST", "/v1/completions", json.dumps(QUESTION))
                good = code == 200 and b'"error"' not in body
            except (OSError, http.client.HTTPException):
                good = False
            self.done.append((time.monotonic(), good))
            if not good:
                time.sleep(0.1)


# ---- what is served with, and how fast that is ----

def bench(model, folder, threads):
    store = os.path.join(folder, "adapt.db")
    if os.path.exists(store):
        return store
    part = store + ".part"
    for variant in VARIANTS:
        common.run([common.SNUG, "bench", model, "-p", str(N_PROMPT), "-n", str(N_GEN), "-c", str(N_CTX), "-r", "5",
                    "--n-threads", threads, *variant, "--store", part])
    os.replace(part, store)
    return store


def adapt_argv(model, store, port, log, caps):
    return [common.SNUG, "run", model, "--adapt", "--objective", "request", "-p", str(N_PROMPT), "-n", str(N_GEN),
            "-c", str(N_CTX), "--port", str(port), "--store", store, "--log", log, "--budget", caps]


def write_caps(path, cap):
    with open(path + ".new", "w", encoding="ascii") as file:
        json.dump({"memory_bytes": cap} if cap else {}, file)
    os.replace(path + ".new", path)


def find_members(model, store, folder):
    """[{config, bytes}] as snug run --adapt forms them, and the flags of each."""
    port, log, caps = free_port(), os.path.join(folder, "members.log"), os.path.join(folder, "caps.json")
    write_caps(caps, None)
    with Server(adapt_argv(model, store, port, log, caps), port):
        members = json.loads(ask(port, "GET", "/snug/status")[1])["members"]
    for member in members:
        words = dict(word.split("=") for word in member["config"].split() if "=" in word)
        member["flags"] = []
        for name, flag in (("n_threads", "--threads"), ("n_threads_batch", "--threads-batch"), ("n_ubatch", "--ubatch-size")):
            member["flags"] += [flag, words[name]] if name in words else []
        member["flags"] += ["--no-repack"] if words.get("repack") == "off" else []
    return [{key: member[key] for key in ("config", "bytes", "flags")} for member in members]


def plain_argv(model, port, flags):
    return [common.tool("llama-server"), "--model", model, "--port", str(port), "--ctx-size", str(N_CTX),
            "--parallel", "1", "--cache-ram", "0", *flags]


def measure(model, folder, members, levels):
    """{config: {level: requests/s}}, medians of rounds over all members; what was measured stays."""
    path, rounds = os.path.join(folder, "table.json"), {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            rounds = json.load(file)
    for n in range(1, ROUNDS + 1):
        for member in members:
            row = rounds.setdefault(member["config"], {str(level): [] for level in levels})
            missing = [level for level in levels if len(row[str(level)]) < n]
            if not missing:
                continue
            port = free_port()
            with Server(plain_argv(model, port, member["flags"]), port) as server:
                for level in missing:
                    done = run_trace(server, [{"s": LEVEL_S, "cores": level, "cap": None}], folder)["done"]
                    row[str(level)].append(sum(good for t, good in done if 0 <= t < LEVEL_S) / LEVEL_S)
            with open(path, "w", encoding="utf-8") as file:
                json.dump(rounds, file, indent=1)
    return {config: {level: statistics.median(rates) for level, rates in row.items()} for config, row in rounds.items()}


# ---- who else was there ----

def cpu_seconds():
    """(what all CPUs were busy with or the hypervisor took, what we and our ended children took)"""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return ((user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"),
            sum(usage.ru_utime + usage.ru_stime for usage in own))


# ---- traces ----

def caps_of(members):
    """Caps that divide the members by memory, and one that hinders nobody."""
    sizes, caps = sorted({member["bytes"] for member in members}), []
    for size, above in zip(sizes, sizes[1:]):
        if size * FIT_FRAC < above:
            caps.append(round(size * FIT_FRAC))
    return caps + [ROOMY_FRAC * sizes[-1]]


def make_steps(seed, seconds, levels, caps):
    rng, steps, left, state = random.Random(seed), [], float(seconds), None
    states = [(cores, cap) for cores in levels for cap in caps]
    while left > 0:
        length = min(left, rng.uniform(5, 10))
        length = left if left - length < 2 else length
        state = rng.choice([other for other in states if other != state])
        steps.append({"s": length, "cores": state[0], "cap": state[1]})
        left -= length
    return steps


def start_load(steps, folder):
    """The trace begins when the load says that it does."""
    path, at = os.path.join(folder, "trace.csv"), 0.0
    with open(path, "w", encoding="ascii") as file:
        file.write("t_s,cpu,memory_bytes,bandwidth_bps,disk\n")
        for step in steps:
            file.write(f"{at:.3f},{step['cores']:g},0,0,0\n")
            at += step["s"]
        file.write(f"{at:.3f},0,0,0,0\n")
    load = subprocess.Popen([common.SNUG, "load", "--profile", path], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)
    return load, load.stderr.readline()  # what it is going to do: said once it runs


def run_trace(server, steps, folder, caps_path=None):
    """Requests [(seconds since the beginning, good)], and when it began."""
    client = Client(server.port)
    ends = [sum(step["s"] for step in steps[:i + 1]) for i in range(len(steps))]
    client.start()
    load, said = start_load(steps, folder)
    begin, begin_unix = time.monotonic(), time.time()
    try:
        for i, end in enumerate(ends):
            if caps_path and i > 0:
                write_caps(caps_path, steps[i]["cap"])
            time.sleep(max(0.0, begin + end - time.monotonic()))
        client.is_over.set()
        rest = load.communicate(timeout=60)[1]
    finally:
        load.kill()
    if load.returncode != 0:
        sys.exit(f"snug load: {said}{rest}")
    client.join()
    return {"done": [(t - begin, good) for t, good in client.done], "begin_unix": begin_unix,
            "is_dead": server.is_dead()}


def serving(log, begin_unix):
    """[(from, to, bytes)] of what adapt served with, by its log: asking it meanwhile would slow it."""
    spans, since, need = [], None, 0
    with open(log, encoding="utf-8") as file:
        for event in map(json.loads, file):
            at = event["unix_s"] - begin_unix
            if event["event"] == "died" and "which was to end" in event["text"]:
                continue
            if event["event"] in ("switch", "ready", "stop", "died", "end"):
                spans += [(since, at, need)] if since is not None else []
                since = at if event["event"] in ("switch", "ready") else None
                need = event.get("member", {}).get("bytes", 0)
    return spans + ([(since, float("inf"), need)] if since is not None else [])


def reactions(log, begin_unix, steps):
    """Seconds from a step to the first change after it, for steps that were followed by one."""
    with open(log, encoding="utf-8") as file:
        changes = [e["unix_s"] - begin_unix for e in map(json.loads, file) if e["event"] in ("switch", "ready")]
    found, at = [], 0.0
    changes = [t for t in changes if t >= 0]
    for step in steps:
        after = [t - at for t in changes if at <= t < at + step["s"]]
        found += [round(after[0], 2)] if after else []
        at += step["s"]
    return found, len(changes)


# ---- scoring ----

def fastest(members, table, cores, cap):
    fitting = [m for m in members if cap is None or m["bytes"] <= cap]
    return max(fitting, key=lambda m: table[m["config"]][str(cores)])


def score(row, steps, result, spans, best):
    """spans: what was served with; best: requests/s of each step."""
    at, over_s, good, good_over, ideal, row["steps"] = 0.0, 0.0, 0, 0, 0.0, []
    for step, rate in zip(steps, best):
        end = at + step["s"]
        times = [t for t, is_good in result["done"] if is_good and at <= t < end]
        overs = [(max(a, at), min(b, end)) for a, b, need in spans if need > step["cap"] and a < end and b > at]
        over, n = sum(b - a for a, b in overs) / step["s"], len(times)
        n_over = sum(any(a <= t < b for a, b in overs) for t in times)
        row["steps"].append({**step, "rate": n / step["s"], "best": rate, "over": over})
        over_s, good, good_over, ideal, at = over_s + over * step["s"], good + n, good_over + n_over, ideal + rate * step["s"], end
    row.update(n=len(result["done"]), n_failed=sum(not is_good for _, is_good in result["done"]),
               is_dead=result["is_dead"], over_frac=over_s / at, regret=1 - (good - good_over) / ideal,
               regret_plain=1 - good / ideal)


def best_of(step, context):
    return fastest(context["members"], context["table"], step["cores"], step["cap"])


def refer(seed, steps, context):
    """The rates of the best members of a trace, measured again beside it: a shared machine drifts by more than what
    is looked for. {config: {cores: requests/s}}"""
    wanted, rates = {}, {}
    for step in steps:
        wanted.setdefault(best_of(step, context)["config"], set()).add(step["cores"])
    for config, levels in wanted.items():
        member, port = next(m for m in context["members"] if m["config"] == config), free_port()
        with Server(plain_argv(context["model"], port, member["flags"]), port) as server:
            for cores in sorted(levels):
                done = run_trace(server, [{"s": REFERENCE_S, "cores": cores, "cap": None}], context["folder"])["done"]
                good = sum(is_good for t, is_good in done if 0 <= t < REFERENCE_S)
                rates.setdefault(config, {})[str(cores)] = good / REFERENCE_S
    return {"seed": seed, "arm": "reference", "rates": rates}


def run_arm(arm, seed, steps, context):
    model, folder, store, members, table = (context[k] for k in ("model", "folder", "store", "members", "table"))
    port, row = free_port(), {"seed": seed, "arm": arm}
    log, caps_path = os.path.join(folder, f"adapt-{seed}.jsonl"), os.path.join(folder, "caps.json")
    if arm == "adapt":
        write_caps(caps_path, steps[0]["cap"])
        open(log, "w", encoding="utf-8").close()
        with Server(adapt_argv(model, store, port, log, caps_path), port) as server:
            result = run_trace(server, steps, folder, caps_path)
        row["reactions_s"], row["n_changes"] = reactions(log, result["begin_unix"], steps)
        spans = serving(log, result["begin_unix"])
    else:
        roomy = context["caps"][-1]
        limit = steps[0]["cap"] * LATUNE_FRAC if arm == "rule" else roomy
        fitting = [m for m in members if m["bytes"] <= limit] or [min(members, key=lambda m: m["bytes"])]
        chosen = max(fitting, key=lambda m: table[m["config"]][str(steps[0]["cores"] if arm == "rule" else 0)])
        if arm == "default":
            chosen = next(m for m in members if m["config"] == "default")
        row["config"], spans = chosen["config"], [(0, float("inf"), chosen["bytes"])]
        with Server(plain_argv(model, port, chosen["flags"] if arm != "default" else []), port) as server:
            result = run_trace(server, steps, folder)
    best = [context["reference"][best_of(s, context)["config"]][str(s["cores"])] for s in steps]
    score(row, steps, result, spans, best)
    return row


def run_watched(arm, seed, steps, context):
    if arm == "reference":
        return refer(seed, steps, context)
    begin, (all_before, own_before) = time.monotonic(), cpu_seconds()
    row = run_arm(arm, seed, steps, context)
    all_after, own_after = cpu_seconds()
    row["foreign_cpus"] = (all_after - all_before - own_after + own_before) / (time.monotonic() - begin)
    return row


def summarise(rows):
    regrets = [row["regret"] for row in rows]
    quiet = [row["regret"] for row in rows if row["foreign_cpus"] < QUIET_CPUS]
    summary = {"traces": len(rows), "requests": sum(r["n"] for r in rows), "failed": sum(r["n_failed"] for r in rows),
               "died": sum(r["is_dead"] for r in rows), "over_frac": statistics.mean(r["over_frac"] for r in rows),
               "regret_mean": statistics.mean(regrets), "regret_median": statistics.median(regrets),
               "regret_plain_mean": statistics.mean(r["regret_plain"] for r in rows)}
    times = [t for row in rows for t in row.get("reactions_s", [])]
    summary["foreign_cpus_mean"] = statistics.mean(row["foreign_cpus"] for row in rows)
    if quiet:
        summary.update(traces_quiet=len(quiet), regret_quiet_mean=statistics.mean(quiet))
    if times:
        summary.update(reaction_s_median=statistics.median(times), reaction_s_max=max(times),
                       changes=sum(row["n_changes"] for row in rows))
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder")
    parser.add_argument("--traces", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="seed of the first trace")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--model")
    parser.add_argument("--threads", default="1,2")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a job in the background would ignore the first
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    folder = args.folder or tempfile.mkdtemp(prefix="snug-adapt-")
    os.makedirs(folder, exist_ok=True)
    model = args.model or common.synth(folder, "smollm2-135m", "q4_0", 4)
    n_cpus = json.loads(common.run([common.SNUG, "probe", "--json"]))["machine"]["n_threads_usable"]
    levels = list(range(n_cpus + 1))
    store = bench(model, folder, args.threads)
    members = find_members(model, store, folder)
    table = measure(model, folder, members, levels)
    caps = caps_of(members)
    for member in members:
        rates = "  ".join(f"{table[member['config']][str(level)]:6.1f}" for level in levels)
        print(f"{member['bytes'] / 1e6:7.1f} MB  {rates} requests/s  {member['config']}", file=sys.stderr)
    print(f"caps: {', '.join(f'{cap / 1e6:.1f} MB' for cap in caps)}", file=sys.stderr)
    context = {"model": model, "folder": folder, "store": store, "members": members, "table": table, "caps": caps}
    path, rows = os.path.join(folder, "runs.jsonl"), []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file if line.endswith("\n")]
    seeds, arms = range(args.first, args.first + args.traces), args.arms.split(",")
    for seed in seeds:
        steps = make_steps(seed, args.seconds, levels, caps)
        for arm in ["reference", *arms]:
            row = next((row for row in rows if (row["seed"], row["arm"]) == (seed, arm)), None)
            is_new = row is None
            row = run_watched(arm, seed, steps, context) if is_new else row
            if arm == "reference":
                context["reference"] = row["rates"]
            if not is_new:
                continue
            rows.append(row)
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            if arm == "reference":
                continue
            print(f"seed {seed} {arm}: {row['n']} requests, {row['n_failed']} failed, regret {row['regret']:.1%} (plain "
                  f"{row['regret_plain']:.1%}), over the cap {row['over_frac']:.1%}, foreign {row['foreign_cpus']:.2f} CPUs"
                  + (f", {row['n_changes']} changes, reactions {row['reactions_s']} s" if arm == "adapt" else ""),
                  file=sys.stderr)
    rows = [row for row in rows if row["seed"] in seeds and row["arm"] in arms]
    summary = {arm: summarise([row for row in rows if row["arm"] == arm]) for arm in arms}
    print(json.dumps(summary, indent=1), file=sys.stderr)
    common.finish("adapt", {"model": os.path.basename(model), "members": members, "table": table, "caps": caps,
                            "summary": summary, "runs": rows})


if __name__ == "__main__":
    main()
