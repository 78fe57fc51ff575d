#!/bin/sh
# Record the CPU tables of this folder on this machine: three models of real shape with random weights
# (dense of 135 M, dense of 0.6 B cut to 12 layers, a mixture of experts cut to 2), and the smallest one
# beside load. Resumable: what is recorded is kept in *.part, and the same command goes on.
#
# Usage  perf/tunebench/record_tables.sh [FOLDER [MINUTES]]   (default build/tables, 20 a table)
# Needs  make, ninja -C build tunebench_record; 1.5 GB of disk; a quiet machine.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-build/tables} minutes=${2:-20}
mkdir -p "$out"
model() { # NAME PRESET LAYERS
    [ -s "$out/$1.gguf" ] || ./snug synth "$2" --layers "$3" --type q4_0 -q -o "$out/$1.gguf"
}
record() { # TABLE MODEL [more]
    table=$1 file=$2
    shift 2
    build/tunebench_record "$out/$file.gguf" "$out/$table.jsonl.gz" --name "$table" --reps 3 \
        --minutes "$minutes" --prompt 128 --gen 8 --context 1024 \
        --knob n_threads=1,2 --knob n_threads_batch=1,2 --knob n_ubatch=32,64,128 \
        --knob flash_attn=on,off --knob repack=on,off "$@"
}
model s smollm2-135m 30
model m qwen3-0.6b 12
model e qwen3-30b-a3b 2
record cpu-s s --predict "$out/law"
record cpu-m m --predict "$out/law"
record cpu-e e --predict "$out/law"
record cpu-s-load s --beside "./snug load --cpu 1 --bandwidth 2GB -q"
