"""What the scripts of this folder share: running snug and its peers, medians, bootstrap intervals."""
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SNUG = os.environ.get("SNUG_BIN", os.path.join(ROOT, "snug"))


def tool(name):
    """A packaged llama.cpp program: of the build, else from PATH."""
    own = os.path.join(ROOT, ".deps", "bin", name)
    return own if os.path.exists(own) else name


def run(argv, **options):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}: status {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def synth(folder, preset="qwen3-0.6b", kind="q4_0", layers=0):
    """A model of real shape with random weights, made once per folder."""
    os.makedirs(folder, exist_ok=True)
    name = f"{preset}-{kind}" + (f"-l{layers}" if layers else "") + ".gguf"
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        run([SNUG, "synth", preset, "--type", kind, "-o", path] + (["--layers", str(layers)] if layers else []))
    return path


def interval(statistic, pairs, level=0.95, n=2000, seed=1):
    """Percentile bootstrap over pairs; returns (lo, mid, hi)."""
    rng = random.Random(seed)
    values = sorted(statistic([rng.choice(pairs) for _ in pairs]) for _ in range(n))
    cut = (1 - level) / 2
    return values[int(cut * n)], statistic(pairs), values[min(n - 1, int((1 - cut) * n))]


def median_ratio(pairs):
    return statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)


def machine():
    probe = json.loads(run([SNUG, "probe", "--json"]))["machine"]
    return {"cpu": probe.get("cpu_name"), "threads": probe.get("n_threads_usable"),
            "os": probe.get("os"), "kernel": platform.release(), "load": os.getloadavg()[0],
            "date": time.strftime("%Y-%m-%d")}


def finish(name, result):
    """Words to stderr were the caller's; the numbers go to stdout as JSON."""
    json.dump({"benchmark": name, "machine": machine(), **result}, sys.stdout, indent=1)
    print()
