#!/usr/bin/env python3
"""snug eval against the packaged llama-perplexity: the same numbers, at the same speed?

    perf/vs_llama_perplexity.py [--model F16.gguf] [--text FILE] [--chunks 40] [-c 256] [--runs 5]

Agreement: perplexity to 4 significant digits and mean KL divergence within 2 %, for weights F16, Q8_0,
Q4_0, Q5_1 (made with llama-quantize) and cache types f16, q8_0, q4_0. Speed: alternating runs of
perplexity, the programs' own seconds of evaluation (load and tokenising left out); wanted within 5 %."""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

import common

DATA = os.environ.get("SNUG_TEST_DATA", os.path.join(common.ROOT, "..", "shared", "data"))


def snug(model, args, extra, folder):
    env = {**os.environ, "XDG_CACHE_HOME": folder}
    done = subprocess.run([common.SNUG, "eval", model, "--text", args.text, "-c", str(args.ctx), "--chunks", str(args.chunks),
                           "--store", os.path.join(folder, "eval.db"), "--json", *extra], env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"snug eval: {done.stderr[-500:]}")
    return json.loads(done.stdout)["quality"]


def peer(model, args, extra, wanted="Final estimate"):
    """llama-perplexity's words. Its log is written by a thread, and at times it ends without its last
    lines: then it is asked again, twice at most."""
    for _ in range(3):
        text = peer_once(model, args, extra)
        if wanted in text:
            return text
    sys.exit(f"llama-perplexity does not say '{wanted}': {text[-500:]}")


def peer_once(model, args, extra):
    done = subprocess.run([common.tool("llama-perplexity"), "-m", model, "-f", args.text, "-c", str(args.ctx), "--chunks",
                           str(args.chunks), "-fa", "on", *extra], capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    if done.returncode != 0:
        sys.exit(f"llama-perplexity: {text[-500:]}")
    return text


def stamp(line):
    """0.01.127.607: minutes, seconds, milliseconds, microseconds. The last of a line: the final estimate
    follows the guess of the remaining time ("ETA") without a line break, with a stamp each."""
    minutes, seconds, milli, micro = re.findall(r"(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) I", line)[-1]
    return int(minutes) * 60 + int(seconds) + int(milli) / 1e3 + int(micro) / 1e6


def peer_seconds(text):
    begin = next(line for line in text.splitlines() if "calculating perplexity" in line)
    end = next(line for line in text.splitlines() if "Final estimate" in line)
    return stamp(end) - stamp(begin)


def digits(x, n=4):
    return f"{x:.{n}g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.path.join(DATA, "gguf", "tales7m-f16.gguf"))
    parser.add_argument("--text", default=os.path.join(DATA, "text", "tinystories_valid_794k.txt"))
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("-c", "--ctx", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5, help="alternating pairs for the speed; 0: agreement only")
    parser.add_argument("--speed-only", action="store_true", help="no agreement, only the pairs")
    parser.add_argument("--folder")
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp(prefix="snug-perplexity-")
    base = os.path.join(folder, "base.kld")
    peer(args.model, args, ["--kl-divergence-base", base])
    rows = []
    weights = {"f16": args.model}
    for kind in ("q8_0", "q4_0", "q5_1"):
        weights[kind] = os.path.join(folder, f"{kind}.gguf")
        common.run([common.tool("llama-quantize"), args.model, weights[kind], kind])
    cases = [(kind, "f16") for kind in weights] + [("f16", "q8_0"), ("f16", "q4_0"), ("q4_0", "q8_0"), ("q4_0", "q4_0")]
    for kind, cache in cases:
        types = ["-ctk", cache, "-ctv", cache]
        ours = snug(weights[kind], args, ["--reference", args.model, *types], folder)
        text = peer(weights[kind], args, ["--kl-divergence-base", base, "--kl-divergence", *types], "Mean    KLD")
        theirs = {"ppl": float(re.search(r"Mean PPL\(Q\)\s*:\s*([\d.]+)", text)[1]),
                  "kld": float(re.search(r"Mean\s+KLD:\s*(-?[\d.]+)", text)[1])}
        kld = ours["kld_mean"]["value"]
        # Below 1e-5 both see only what their formats round off.
        same_kld = abs(kld / theirs["kld"] - 1) <= 0.02 if theirs["kld"] > 1e-5 else abs(kld - theirs["kld"]) < 1e-5
        rows.append({"weights": kind, "cache": cache, "snug_ppl": ours["perplexity"]["value"], "peer_ppl": theirs["ppl"],
                     "snug_kld": kld, "peer_kld": theirs["kld"],
                     "same_ppl": digits(ours["perplexity"]["value"]) == digits(theirs["ppl"]), "same_kld": same_kld})
        print(rows[-1], file=sys.stderr)
    pairs = []
    for i in range(args.runs):
        order = ("snug", "peer") if i % 2 == 0 else ("peer", "snug")
        s = {}
        for name in order:
            s[name] = snug(args.model, args, [], folder)["wall_s"] if name == "snug" else peer_seconds(peer(args.model, args, []))
        pairs.append((s["peer"], s["snug"]))
        print(f"{i + 1}: snug {s['snug']:.2f} s, llama-perplexity {s['peer']:.2f} s", file=sys.stderr)
    result = {"rows": rows, "n_same_ppl": sum(r["same_ppl"] for r in rows), "n_same_kld": sum(r["same_kld"] for r in rows), "n": len(rows)}
    if pairs:
        result["speed_ratio"] = common.interval(lambda p: statistics.median(a / b for a, b in p), pairs)
    common.finish("vs_llama_perplexity", result)


if __name__ == "__main__":
    main()
