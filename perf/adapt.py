#!/usr/bin/env python3
"""Does `snug run --adapt` follow the load, and does it lose a request?

    perf/adapt.py [--model FILE] [--traces 20] [--first 1] [--seconds 60] [--threads 1,2] [--folder FOLDER]

A model (default: tales7m of SNUG_TEST_DATA, else smollm2-135m of random weights) is measured at each
thread count. Then, for each seed, the same trace of busy cores (`snug load`, steps of 6 to 12 s) runs
beside each of three servers, with one client that asks without pause:

  adapt    snug run --adapt
  static   llama-server with the thread count that is fastest when nothing else runs
  default  llama-server as it starts by itself

Printed: failed requests and dead servers (wanted: none); regret, 1 - rate / best rate, where the best
is that of the better static thread count at each level of the trace, measured in the same run; the
seconds from a step of the load to the change that followed it (wanted: under 5); the share of time in
which the present config needed more than was free (wanted: under 1 %). LaTune's rule (fastest that
needs at most 0.9 of what is free, once at the start) chooses what `static` is: a trace of cores alone
does not tell them apart."""
import argparse
import http.client
import json
import os
import random
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
    """A server of one of the modes, ready when the block begins."""

    def __init__(self, mode, model, folder, threads=0):
        self.port, self.mode = free_port(), mode
        self.log = os.path.join(folder, "log.jsonl")
        if mode == "adapt":
            open(self.log, "w").close()
            argv = [common.SNUG, "run", model, "--adapt", "--port", str(self.port), "--log", self.log,
                    "--store", os.path.join(folder, "adapt.db")]
        else:
            argv = [common.tool("llama-server"), "--model", model, "--port", str(self.port), "--ctx-size", str(N_CTX),
                    "--parallel", "1", "--cache-ram", "0"]
            argv += ["--threads", str(threads), "--threads-batch", str(threads)] if threads else []
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if ask(self.port, "GET", "/health")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        self.__exit__()
        sys.exit(f"{self.mode}: the server did not come up")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


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

    def stop(self):
        self.is_over.set()
        self.join()


class Watch(threading.Thread):
    """Looks at /snug/status twice a second: did the present config fit?"""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.n, self.n_over, self.is_over = port, 0, 0, threading.Event()

    def run(self):
        while not self.is_over.wait(0.5):
            status = json.loads(ask(self.port, "GET", "/snug/status")[1])
            free = status["budget"]["free_bytes"]
            self.n += 1
            self.n_over += free is not None and (status["member"] or {}).get("bytes", 0) > free

    def stop(self):
        self.is_over.set()
        self.join()


def start_load(steps, folder):
    """steps: (seconds, cores); the trace begins when the load says that it does."""
    path, at = os.path.join(folder, "trace.csv"), 0.0
    with open(path, "w", encoding="ascii") as file:
        file.write("t_s,cpu,memory_bytes,bandwidth_bps,disk\n")
        for seconds, cores in steps:
            file.write(f"{at:.3f},{cores:g},0,0,0\n")
            at += seconds
        file.write(f"{at:.3f},0,0,0,0\n")
    load = subprocess.Popen([common.SNUG, "load", "--profile", path], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)
    return load, load.stderr.readline()  # what it is going to do: said once it runs


def run_trace(server, steps, folder):
    """Rates of good requests by step, failures, and when each step began."""
    client = Client(server.port)
    watch = Watch(server.port) if server.mode == "adapt" else None
    client.start()
    if watch:
        watch.start()
    load, first = start_load(steps, folder)
    begin, begin_unix = time.monotonic(), time.time()
    _, said = load.communicate(timeout=sum(s for s, _ in steps) + 60)
    if load.returncode != 0:
        sys.exit(f"snug load: {first}{said}")
    client.stop()
    if watch:
        watch.stop()
    rates, at = [], 0.0
    for seconds, _ in steps:
        good = sum(1 for t, is_good in client.done if is_good and begin + at <= t < begin + at + seconds)
        rates.append(good / seconds)
        at += seconds
    return {"rates": rates, "n": len(client.done), "n_failed": sum(not good for _, good in client.done),
            "is_dead": server.process.poll() is not None, "begin_unix": begin_unix,
            "over_frac": watch.n_over / max(watch.n, 1) if watch else None}


def reactions(log, begin_unix, steps):
    """Seconds from a step to the first change after it, for steps that were followed by one."""
    changes = []
    with open(log, encoding="utf-8") as file:
        changes = [e["unix_s"] for e in map(json.loads, file) if e["event"] == "switch"]
    found, at = [], begin_unix
    for (seconds, _) in steps:
        found += [min(t - at for t in changes if at <= t < at + seconds)] if any(
            at <= t < at + seconds for t in changes) else []
        at += seconds
    return found, len(changes)


def make_steps(seed, seconds, n_cpus):
    rng, steps, left, cores = random.Random(seed), [], float(seconds), 0.0
    while left > 0:
        length = min(left, rng.uniform(6, 12))
        steps.append((length, cores))
        left -= length
        cores = rng.choice([c for c in range(n_cpus + 1) if c != cores]) * 1.0
    return steps


def best_rates(model, folder, threads, levels, seconds):
    """{level: (best rate, thread count)}"""
    table = {level: {} for level in levels}
    for count in threads:
        with Server("static", model, folder, count) as server:
            for level in levels:
                table[level][count] = run_trace(server, [(seconds, level)], folder)["rates"][0]
    return {level: max((rate, count) for count, rate in row.items()) for level, row in table.items()}, table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--traces", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="seed of the first trace")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--folder")
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="snug-adapt-")
    os.makedirs(folder, exist_ok=True)
    tales = os.path.join(os.environ.get("SNUG_TEST_DATA", ""), "gguf", "tales7m-f16.gguf")
    model = args.model or (tales if os.path.exists(tales) else common.synth(folder, "smollm2-135m", "q4_0", 4))
    threads = [int(t) for t in args.threads.split(",")]
    n_cpus = json.loads(common.run([common.SNUG, "probe", "--json"]))["machine"]["n_threads_usable"]
    common.run([common.SNUG, "bench", model, "-p", str(N_PROMPT), "-n", str(N_GEN), "-c", str(N_CTX), "--n-threads",
                args.threads, "--store", os.path.join(folder, "adapt.db")])
    levels = [float(c) for c in range(n_cpus + 1)]
    best, table = best_rates(model, folder, threads, levels, 6)
    print(f"requests/s by cores taken and threads: {table}", file=sys.stderr)
    results = []
    for seed in range(args.first, args.first + args.traces):
        steps = make_steps(seed, args.seconds, n_cpus)
        for mode in ("adapt", "static", "default"):
            with Server(mode, model, folder, best[0.0][1] if mode == "static" else 0) as server:
                row = run_trace(server, steps, folder)
                row.update(seed=seed, mode=mode, steps=steps)
                if mode == "adapt":
                    row["reactions_s"], row["n_switches"] = reactions(server.log, row["begin_unix"], steps)
            ideal = sum(seconds * best[cores][0] for seconds, cores in steps)
            row["regret"] = 1 - sum(s * r for (s, _), r in zip(steps, row["rates"])) / ideal
            results.append(row)
            print(f"seed {seed} {mode}: {row['n']} requests, {row['n_failed']} failed, regret {row['regret']:.1%}"
                  + (f", {row['n_switches']} switches, reactions {[round(r, 1) for r in row['reactions_s']]} s"
                     if mode == "adapt" else ""), file=sys.stderr)
    summary = {}
    for mode in ("adapt", "static", "default"):
        rows = [r for r in results if r["mode"] == mode]
        summary[mode] = {"requests": sum(r["n"] for r in rows), "failed": sum(r["n_failed"] for r in rows),
                         "died": sum(r["is_dead"] for r in rows), "regret_median": statistics.median(r["regret"] for r in rows)}
    adapt = [r for r in results if r["mode"] == "adapt"]
    summary["adapt"]["over_frac"] = statistics.mean(r["over_frac"] for r in adapt)
    summary["adapt"]["reaction_s_max"] = max((t for r in adapt for t in r["reactions_s"]), default=None)
    print(json.dumps(summary), file=sys.stderr)
    common.finish("adapt", {"model": os.path.basename(model), "table": {str(k): v for k, v in table.items()},
                            "summary": summary, "runs": results})


if __name__ == "__main__":
    main()
