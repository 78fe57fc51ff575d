#!/bin/sh
# kill -9 of the parent, kill -9 of a worker, and a full disk, at random moments of `snug tune`.
#
#   SNUG_BIN=build/snug perf/kill_test.sh [N] [SEED]
#
# N times each (default 20), on a small model made for it, then once more with --resume. After each:
# no snug process is left, the store passes SQLite's integrity check, --resume finishes the session
# with exactly its trials. Ends with 0 only when all of that held. Needs python3. No speeds here.
#
# A full disk is a tmpfs of a few pages for root, else a file size limit (ulimit -f).
exec python3 - "${SNUG_BIN:-./snug}" "${1:-20}" "${2:-1}" <<'PYTHON'
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

SNUG, N, SEED = os.path.abspath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
TRIALS = 6
TUNE = ["--prompt", "16", "--gen", "4", "--context", "64", "--n-threads", "1",
        "--n-threads-batch", "1", "--trials", str(TRIALS), "--seed", str(SEED)]
LINES = 3 + TRIALS  # that a run says: its task, default, fit, each trial
PATIENCE_S = 120.0


def descendants(root):
    """Living processes below root, by the parents that /proc names."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(name)] = int(fields[1])
    found, todo = [], [root]
    while todo:
        parent = todo.pop()
        below = [pid for pid, its in parents.items() if its == parent]
        found += below
        todo += below
    return found


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def orphans_left(pids):
    """How many of these outlive their grace; they are killed then."""
    until = time.monotonic() + 5.0
    while time.monotonic() < until and any(map(is_alive, pids)):
        time.sleep(0.01)
    left = [pid for pid in pids if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return len(left)


def start(model, store, *more, before=None):
    return subprocess.Popen([SNUG, "tune", model, "--store", store, *TUNE, *more],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, preexec_fn=before)


def check_store(store):
    if not os.path.exists(store):
        return "none"
    base = sqlite3.connect(store)
    answer = base.execute("PRAGMA integrity_check").fetchone()[0]
    base.close()
    return answer


def resume(model, store):
    """Go on, or begin when nothing was begun; returns what is wrong, or None."""
    p = start(model, store, "--resume", "--json")
    err = p.communicate(timeout=PATIENCE_S)[1]
    if p.returncode == 2 and "no unfinished" in err:  # killed before it began, or after its end
        p = start(model, store)
        err = p.communicate(timeout=PATIENCE_S)[1]
    if p.returncode != 0:
        return f"resume ended with {p.returncode}: {err.strip()}"
    base = sqlite3.connect(store)
    n = base.execute("SELECT count(*) FROM trials WHERE role = 'search' AND session_id = "
                     "(SELECT max(id) FROM sessions)").fetchone()[0]
    open_sessions = base.execute("SELECT count(*) FROM sessions WHERE finished_unix_s IS NULL"
                                 ).fetchone()[0]
    base.close()
    if n != TRIALS:
        return f"{n} search trials, not {TRIALS}"
    return f"{open_sessions} sessions unfinished" if open_sessions else None


def start_and_wait(model, store, moment):
    """A run at that part of its way: after so many lines and some time, however fast it is."""
    p = start(model, store)
    lines = int(moment * (LINES + 1))
    for _ in range(lines):
        p.stderr.readline()
    time.sleep((moment * (LINES + 1) - lines) * 0.3)
    return p


def kill_parent(model, store, moment):
    p = start_and_wait(model, store, moment)
    below = descendants(p.pid)
    p.kill()
    p.communicate()
    return p.returncode, orphans_left(below)


def kill_worker(model, store, moment):
    """The tuning must get over it: the worker's death is an outcome of one trial."""
    p = start_and_wait(model, store, moment)
    below = descendants(p.pid)
    if below:
        try:
            os.kill(random.choice(below), signal.SIGKILL)
        except ProcessLookupError:
            pass
    p.communicate(timeout=PATIENCE_S)
    return p.returncode, orphans_left(below)


def fill_disk(model, store, moment):
    """Room for a part of the history only; how much is what is random here."""
    room = 16384 + int(moment * 90000)
    folder = os.path.dirname(store)
    is_mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={room + 65536}", "snug-kill", folder],
        stderr=subprocess.DEVNULL, check=False).returncode == 0

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    fill_disk.how = "tmpfs" if is_mounted else "ulimit -f"
    p = start(model, store, "-q", before=None if is_mounted else limit)
    below = []
    while p.poll() is None:
        below = descendants(p.pid) or below
        time.sleep(0.02)
    err = p.communicate()[1]
    fill_disk.said += p.returncode == 1 and err.count("\n") == 1 and "store" in err
    left = orphans_left(below)
    if is_mounted:
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    return p.returncode, left


def run(name, blow, model):
    bad, codes, n_orphans, n_corrupt, n_lost = [], {}, 0, 0, 0
    for i in range(N):
        moment = random.random()
        with tempfile.TemporaryDirectory(prefix="snug-kill-") as folder:
            store = os.path.join(folder, "s.db")
            try:
                code, orphans = blow(model, store, moment)
                answer = check_store(store)
                why = resume(model, store)
                after = check_store(store)
            finally:
                if os.path.ismount(folder):
                    subprocess.run(["umount", folder], check=True)
            codes[code] = codes.get(code, 0) + 1
            n_orphans += orphans
            n_corrupt += answer not in ("ok", "none") or after != "ok"
            n_lost += why is not None
            if orphans or answer not in ("ok", "none") or after != "ok" or why:
                bad.append(f"{name} {i} at {moment:.3f}: {orphans} orphans, {answer}, {after}, "
                           f"{why}")
    ends = " ".join(f"{code}:{n}" for code, n in sorted(codes.items()))
    print(f"| {name:12} | {N:4} | {ends:18} | {n_orphans:7} | {n_corrupt:7} | {n_lost:15} |",
          flush=True)
    return bad


def main():
    fill_disk.how, fill_disk.said = "", 0
    random.seed(SEED)
    with tempfile.TemporaryDirectory(prefix="snug-kill-") as folder:
        model = os.path.join(folder, "m.gguf")
        subprocess.run([SNUG, "synth", "smollm2-135m", "--type", "q4_0", "--layers", "1", "-o",
                        model, "-q"], check=True)
        begin = time.monotonic()
        p = start(model, os.path.join(folder, "s.db"))
        p.communicate(timeout=PATIENCE_S)
        print(f"seed {SEED}; a whole run takes {time.monotonic() - begin:.1f} s and ends with "
              f"{p.returncode}\n", flush=True)
        print("| what         |    N | exit status: times | orphans | corrupt | resume failed   |")
        print("| ------------ | ---: | ------------------ | ------: | ------: | --------------: |",
              flush=True)
        bad = run("kill parent", kill_parent, model)
        bad += run("kill worker", kill_worker, model)
        bad += run("full disk", fill_disk, model)
        print(f"\nfull disk by {fill_disk.how}; {fill_disk.said} of {N} runs met it, and said so in "
              "one line")
    for line in bad:
        print(line)
    sys.exit(1 if bad or p.returncode != 0 else 0)


main()
PYTHON
