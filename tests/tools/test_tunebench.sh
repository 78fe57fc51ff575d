#!/bin/sh
# The programs of tunebench, as TAP: what they refuse, and that a recording loses nothing.
#
#   tests/tools/test_tunebench.sh SNUG TUNEBENCH TUNEBENCH_RECORD
set -u
snug=$(realpath "$1") bench=$(realpath "$2") record=$(realpath "$3")
tools=$(dirname "$(realpath "$0")")
tables=$tools/../../perf/tunebench/tables
. "$tools/tap.sh"

ends() { # ends STATUS TEXT COMMAND...: with this status, and TEXT in what it says
    want=$1 text=$2
    shift 2
    said=$("$@" 2>&1)
    status=$?
    case $said in *"$text"*) [ $status -eq "$want" ] && return 0 ;; esac
    echo "status $status: $said"
    return 1
}

# Two configs of a tiny model, short trials.
recording() { # recording OPTION...
    "$record" m.gguf t.gz --name t --knob n_ubatch=32,64 --knob n_threads=1 --prompt 8 --gen 2 \
        --context 64 "$@"
}

refused() { # refused TEXT OPTION...: before anything is recorded
    text=$1
    shift
    rm -f t.gz.part
    ends "$bad" "$text" recording --blocks 1 "$@" && [ ! -e t.gz.part ]
}

trials() { # trials N: so many lines stand in the part file, behind its head
    [ "$(wc -l <t.gz.part)" -eq $(($1 + 1)) ] || { cat t.gz.part; return 1; }
}

goes_on() {
    recording --blocks 1 --reps 2 || return 1
    trials 4 || return 1
    cp t.gz.part all
    # as kill -9 leaves it: two trials, and a piece of the third
    { head -n 3 all; sed -n 4p all | head -c 40; } >t.gz.part
    recording --blocks 1 --reps 2 || return 1
    trials 4 || return 1
    head -n 3 all >a && head -n 3 t.gz.part | cmp - a
}

keeps_all() {
    cp t.gz.part all
    recording --blocks 1 --reps 1 || return 1
    cmp t.gz.part all && recording --blocks 1 --reps 2 && cmp t.gz.part all
}

head_has() { # head_has PATTERN: the first line of the sealed table
    gunzip -c t.gz | head -n 1 >head && grep -q "$1" head || { cat head; return 1; }
}

# The engine states the bytes of configs that differ in poll once.
stating_costs() {
    rm -f t.gz.part
    recording --blocks 1 --reps 1 --knob poll=0,50,100 && head_has '"estimate_s":0\.0*[1-9]'
}

fit_is_of_the_table() {
    rm -f t.gz.part
    "$record" m.gguf t.gz --name t --knob type_k=q8_0,f16 --knob flash_attn=off --prompt 8 --gen 2 \
        --context 64 --blocks 1 --reps 1 && head_has '"fit":{"type_k":"f16","flash_attn":"off"}'
}

replays() { # the sealed table is one that tunebench reads
    "$bench" t.gz --seeds 1 --trials 3 --methods random --objective decode | grep -q '"n_cells": *2'
}

plays_all() { # every recorded table, and no declared front breaks its limit
    for table in "$tables"/*.jsonl.gz; do
        "$bench" "$table" --seeds 2 --trials 12 --methods snug,random >figures 2>&1 || { cat figures; return 1; }
        [ "$(grep -c '"n_violations": *0' figures)" -eq 2 ] || { cat figures; return 1; }
    done
}

beside_is_gone() {
    rm -f t.gz.part
    ends 1 'ended with code 7' recording --blocks 1 --beside 'exit 7' && trials 0
}

# A line of the shell, longer than any buffer it might be cut to.
beside_runs() {
    rm -f t.gz.part
    recording --blocks 1 --reps 1 --beside "x=$(printf '%02000d' 0); while :; do sleep 1; done" &&
        trials 2
}

check help_is_an_answer ends 0 'usage: tunebench' "$bench" --help
check help_of_recorder_is_an_answer ends 0 'usage: tunebench_record' "$record" --help
check no_table_is_refused ends 2 '1 to 16 tables, not 0' "$bench" --methods snug
check unknown_method_is_refused ends 2 '--methods snug,nope' "$bench" --generate 1 --methods snug,nope
check objectives_that_no_table_has_are_refused ends 2 '--objectives decode,energy' "$bench" --generate 1 --objectives decode,energy
check noise_that_is_no_number_is_refused ends 2 '--noise abc' "$bench" --generate 1 --noise abc
check full_disk_is_seen ends 1 'cannot be written' sh -c '"$1" --write 1 >/dev/full' sh "$bench"
check full_disk_is_seen_at_the_end ends 1 'cannot be written' \
    sh -c '"$1" --generate 1 --seeds 1 --trials 2 --methods fit >/dev/full' sh "$bench"

check recorded_tables_are_played plays_all

"$snug" synth smollm2-135m -o m.gguf --type q4_0 --layers 1 >"$log" 2>&1 || {
    echo "Bail out! no model: $(cat "$log")"
    exit 1
}
bad=2
check prompt_that_is_no_number_is_refused refused '--prompt' --prompt abc
check no_tokens_are_refused refused 'both 0' --prompt 0 --gen 0
check long_name_is_refused refused 'more than 64 characters' --name "$(printf '%065d' 0)"
check minutes_that_are_no_number_are_refused refused '--minutes x' --minutes x
check law_beside_a_load_is_refused refused 'of a quiet machine' --beside true --predict law
bad=1
check value_twice_is_refused refused 'f16 stands twice' --knob type_k=f16,q8_0,f16
check switch_value_twice_is_refused refused 'on stands twice' --knob repack=on,on
check knob_twice_is_refused refused 'n_ubatch stands twice' --knob n_ubatch=64
check too_long_a_list_is_refused refused 'more than 511' --knob "n_threads_batch=$(printf '%0512d' 1)"
types=f16,q8_0,q4_0,bf16,q5_1,q5_0,q4_1,iq4_nl,f32
check too_many_trials_are_refused refused '3888 configs, 64 times each' --reps 64 --knob type_k=$types \
    --knob type_v=$types --knob poll=0,50,100 --knob flash_attn=off,on --knob repack=off,on --knob kv_unified=off,on
check recording_goes_on_where_it_was_killed goes_on
check fewer_repetitions_drop_nothing keeps_all
check other_blocks_are_another_recording ends 1 'of another recording' recording --blocks 2
check sealed_table_replays replays
check stating_bytes_is_charged stating_costs
check choice_of_fit_is_a_config_of_the_table fit_is_of_the_table
check switch_at_one_value_is_recorded_there sh -c 'rm -f t.gz.part; "$0" m.gguf t.gz --name t \
    --knob n_ubatch=32,64 --knob flash_attn=on --prompt 8 --gen 2 --context 64 --blocks 1 --reps 1 &&
    ! grep -q "\"flash_attn\": *\"off\"" t.gz.part && [ "$(grep -c "\"rep\"" t.gz.part)" -eq 2 ]' "$record"
check trials_beside_what_ended_are_not_kept beside_is_gone
check command_beside_goes_whole_to_the_shell beside_runs
echo "1..$n"
