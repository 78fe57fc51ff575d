/* snug/trial.h: the words every room shares: knob, space, config, workload, measurement.
 *
 * A knob row describes one tunable; a space is the table of knobs valid for one model on one
 * machine; a config is one value per row of its space; a trial runs a config and ends, always, in a
 * measurement. Rows drive option parsing, help, the tuner's lattice, JSON and emitted commands. */
#ifndef SNUG_TRIAL_H
#define SNUG_TRIAL_H

#include "snug/base.h"
#include "snug/conditions.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- knobs ---- */

enum snug_knob_kind {
    SNUG_KNOB_INT,  /* min, min + step, ... max */
    SNUG_KNOB_LOG2, /* min, 2 min, 4 min, ... max; max need not be a power of two times min */
    SNUG_KNOB_ENUM, /* 0 .. n_values - 1, named by values[]; tried up to max where that is less */
    SNUG_KNOB_BOOL  /* 0 or 1, written off / on */
};

enum snug_knob_when {
    SNUG_KNOB_LOAD,   /* changing it loads the model again */
    SNUG_KNOB_CONTEXT /* changing it makes a new context, some 10 ms */
};

#define SNUG_KNOBS_MAX 24
#define SNUG_KNOB_VALUES_MAX 12

struct snug_knob {
    const char *name; /* field's term: "n_ubatch" */
    enum snug_knob_kind kind;
    enum snug_knob_when when;
    int64_t min, max, step;                   /* bounds for this machine and model; step for INT */
    int64_t def;                              /* the engine's own default, effective here */
    const char *values[SNUG_KNOB_VALUES_MAX]; /* ENUM names */
    int n_values;
    bool is_quality;      /* changes the answer; tuned only when the user allows it */
    bool is_tuned;        /* more than one useful value here; else held at def */
    const char *flag;     /* llama.cpp option, "--ubatch-size"; BOOL: text when on, "" for none */
    const char *flag_off; /* BOOL: text when off, or NULL */
    const char *help;     /* one line */
    const char *why_not;  /* why is_tuned is false: "one device only"; else NULL */
};

struct snug_space {
    struct snug_knob knobs[SNUG_KNOBS_MAX];
    int n;
};

/* Values in the order of the space's rows. */
struct snug_config {
    int64_t value[SNUG_KNOBS_MAX];
};

/* Index of a row by name, or -1. */
int snug_space_find(const struct snug_space *space, const char *name);
void snug_space_default(const struct snug_space *space, struct snug_config *out_config);
/* How many lattice values a row has, and the i-th of them; LOG2 and INT always include max. */
int snug_knob_n_levels(const struct snug_knob *knob);
int64_t snug_knob_level(const struct snug_knob *knob, int i);
/* The nearest lattice index of a value. */
int snug_knob_index(const struct snug_knob *knob, int64_t value);
/* Read one value in the row's own notation ("on", "q8_0", "512"). Any value within bounds is
 * accepted, on the lattice or not. Error names the row and what would be accepted. */
snug_status snug_knob_parse(const struct snug_knob *knob, const char *text, int64_t *out_value,
                            struct snug_error *err) SNUG_CHECKED;
/* Write it; returns out, or the row's own name when that is longer than out. */
const char *snug_knob_text(const struct snug_knob *knob, int64_t value, char out[32]);
bool snug_config_equal(const struct snug_space *space, const struct snug_config *a,
                       const struct snug_config *b);
/* "n_threads=2 n_ubatch=512 ...", only rows that differ from the default when is_short; "default"
 * when none does. Returns out. */
const char *snug_config_text(const struct snug_space *space, const struct snug_config *config,
                             bool is_short, char *out, size_t cap);

/* ---- workload ---- */

#define SNUG_WORKLOAD_NAME_MAX 64
#define SNUG_WORKLOAD_PATH_MAX 1024

struct snug_workload {
    int64_t n_prompt;   /* tokens of prompt that prefill is timed on, per sequence */
    int64_t n_gen;      /* tokens generated that decode is timed on, per sequence */
    int64_t n_depth;    /* tokens already in the cache before both */
    int64_t n_parallel; /* sequences at once */
    int64_t n_ctx;      /* context the config must hold, per sequence */
    /* Zero for random tokens of these lengths. Else a workload file (trial/workload_file.h): what
     * it is called, the SHA-256 of all that it says, and where it lies. */
    char name[SNUG_WORKLOAD_NAME_MAX];
    char hash[65];
    char path[SNUG_WORKLOAD_PATH_MAX];
};

/* ---- measurement ---- */

enum snug_outcome {
    SNUG_TRIAL_OK,
    SNUG_TRIAL_OOM,     /* an allocation failed, or the memory limit was passed */
    SNUG_TRIAL_CRASH,   /* the worker died: abort, signal, killed */
    SNUG_TRIAL_TIMEOUT, /* the deadline passed */
    SNUG_TRIAL_REFUSED, /* the engine refused the config */
    SNUG_N_OUTCOMES
};

/* "ok", "oom", "crash", "timeout", "refused". */
const char *snug_outcome_name(enum snug_outcome outcome);
/* The outcome of that name, or SNUG_N_OUTCOMES. */
enum snug_outcome snug_outcome_from_name(const char *name);

/* The rules of the verdict; a bit of `warnings` each. NOTE: know this before you quote the number.
 * INVALID: the number is of something else than the config alone. Thresholds are in verdict.c. */
#define SNUG_WARNINGS(X)                                                                           \
    X(NOISY, "noisy", NOTE, "blocks spread more than this machine's noise floor allows")           \
    X(SLOW_FIRST, "slow_first_run", NOTE, "the first run was much slower than the settled ones")   \
    X(THROTTLED, "throttled", INVALID, "a CPU quota stopped the process during the run")           \
    X(OTHER_LOAD, "other_load", INVALID, "other processes kept the CPUs busy during the run")      \
    X(UNSETTLED, "unsettled", NOTE, "speed had not settled when warm-up reached its limit")        \
    X(DRIFT, "drift", NOTE, "speed rose or fell steadily over the timed blocks")                   \
    X(THERMAL, "thermal", INVALID, "the CPU throttled itself because of its heat")                 \
    X(COLD_CACHE, "cold_cache", NOTE, "the model was not in the page cache when it was loaded")    \
    X(PAGING, "paging", INVALID, "pages of the model were read from disk while it was timed")      \
    X(SWAPPING, "swapping", INVALID, "the machine swapped during the run")                         \
    X(BIMODAL, "bimodal", NOTE, "blocks fall into two groups: a median of them is of neither")     \
    X(FEW_SAMPLES, "few_samples", NOTE,                                                            \
      "fewer samples than the quantile needs: the maximum is "                                     \
      "shown instead")                                                                             \
    X(CONFIG_DIFFERS, "config_differs", INVALID, "the engine ran another config than was asked")   \
    X(CACHE_HITS, "cache_hits", INVALID, "part of the prompt was in the cache already")            \
    X(OUTPUT_LENGTH, "output_length", INVALID, "the output was not as long as asked")

enum snug_warning_bit {
#define SNUG_WARNING_ENUM(name, text, level, meaning) SNUG_WARN_BIT_##name,
    SNUG_WARNINGS(SNUG_WARNING_ENUM)
#undef SNUG_WARNING_ENUM
        SNUG_N_WARNINGS
};
#define SNUG_WARN(name) (1u << SNUG_WARN_BIT_##name)
const char *snug_warning_name(enum snug_warning_bit bit);
const char *snug_warning_meaning(enum snug_warning_bit bit);

enum snug_verdict { SNUG_VALID, SNUG_NOTE, SNUG_INVALID, SNUG_N_VERDICTS };
/* "VALID", "NOTE", "INVALID", and the worst level among the rules of these bits. */
const char *snug_verdict_name(enum snug_verdict verdict);
enum snug_verdict snug_verdict_of(uint32_t warnings);
/* "other_load throttled": names of the bits with separator; "" for none. Returns out. */
const char *snug_warnings_text(uint32_t warnings, const char *separator, char *out, size_t cap);
/* Bits of names between spaces or commas; names that are not known are dropped. */
uint32_t snug_warnings_from_text(const char *text);

/* Bytes by kind. Stated: what libllama says it allocates; measured: what the process held. */
struct snug_bytes {
    uint64_t weights;  /* all model buffers on all devices, mapped file included */
    uint64_t cache;    /* key-value cache and recurrent state */
    uint64_t compute;  /* graph buffers, output logits, CPU work buffer of unfused attention */
    uint64_t device;   /* part of the sum of the three that lies on devices other than the CPU */
    uint64_t rss_peak; /* worker's peak resident set during the trial; 0: not measured */
    uint64_t rss_base; /* the worker's own resident set before any model */
};

/* Sum of weights, cache and compute: the memory axis of every front. */
uint64_t snug_bytes_stated(const struct snug_bytes *bytes);

#define SNUG_BLOCKS_MAX 64
#define SNUG_WARMUP_BLOCKS_MAX 12
#define SNUG_REASON_MAX 256

/* What one trial gave. Speeds are medians over timed blocks; 0 when outcome is not OK.
 * prefill_tps = n_prompt * n_parallel / block seconds; decode_tps likewise with n_gen.
 * ttft_s = median over blocks of (end of first sampled token - start of prefill) at n_depth.
 * tpot = gap between successive tokens of one sequence: (last - first) / (n - 1) on average. */
struct snug_measurement {
    enum snug_outcome outcome;
    char reason[SNUG_REASON_MAX]; /* why not OK; "" else */
    double prefill_tps, decode_tps;
    double ttft_s, tpot_p50_s, tpot_p95_s;
    double load_s; /* load of the model for this trial; 0 when it was loaded already */
    double wall_s; /* whole trial as charged to the budget, load and warm-up included */
    struct snug_bytes bytes;
    double prefill_block_tps[SNUG_BLOCKS_MAX]; /* raw timed blocks, in order */
    double decode_block_tps[SNUG_BLOCKS_MAX];
    int n_prefill_blocks, n_decode_blocks;
    double warmup_prefill_tps, warmup_decode_tps;            /* last warm-up block */
    double warmup_prefill_block_tps[SNUG_WARMUP_BLOCKS_MAX]; /* all of them, never averaged in */
    double warmup_decode_block_tps[SNUG_WARMUP_BLOCKS_MAX];
    int n_warmup_prefill_blocks, n_warmup_decode_blocks;
    double first_sample_s; /* part of ttft_s that is choosing the first token; median */
    double *gaps_s;        /* every token gap of the timed blocks, malloc'ed, or NULL */
    int n_gaps;
    uint32_t warnings; /* SNUG_WARN(...) bits: see snug_verdict_judge */
    /* Seconds the CPU quota stopped us, share of CPU time taken by others, load: of conditions. */
    double throttled_s, other_load_frac, load_average;
    struct snug_conditions conditions;
    struct snug_condition_sample *samples; /* over time; malloc'ed, or NULL */
    int n_samples;
    /* Of a workload of sessions, else 0: mean seconds of a turn, and the share of its prompt that
     * was in the cache from the turns before. */
    double turn_s, reused_frac;
    double noise_frac; /* noise floor of the machine that spread was judged by; 0: not known */
    /* Tokens per sequence and block: what the cache held before the prompt beyond the depth, and
     * what came out; -1: not counted. */
    int64_t n_cached_hits, n_output;
    struct snug_config effective; /* read back from the engine */
    double started_unix_s;
    char build[64]; /* engine and version: "libllama 0.7.0" */
};

void snug_measurement_clear(struct snug_measurement *m);
/* Take gaps and samples away from a copy whose original keeps them. */
void snug_measurement_forget(struct snug_measurement *m);

/* Judge a trial that ended ok: sets m->warnings from what it holds, against what was asked.
 * noise_frac: relative spread (MAD / median) of repeated blocks of one config on this machine; 0
 * when it was not measured, and then 5 % is taken. Pure. */
void snug_verdict_judge(struct snug_measurement *m, const struct snug_space *space,
                        const struct snug_config *asked, const struct snug_workload *workload,
                        double noise_frac);
/* One rule in words, with the figures of this trial: "other processes took 31 % of the CPUs".
 * Returns out. */
const char *snug_warning_words(const struct snug_measurement *m, enum snug_warning_bit bit,
                               char *out, size_t cap);
/* Joules per token with idle power subtracted where it is known; NAN when there is no meter.
 * Includes every sequence. *out_error (may be NULL): half-width from the counter's update. */
double snug_measurement_prefill_j(const struct snug_measurement *m,
                                  const struct snug_workload *workload, double *out_error);
double snug_measurement_decode_j(const struct snug_measurement *m,
                                 const struct snug_workload *workload, double *out_error);

/* Seconds of one request of this workload: n_prompt / prefill + n_gen / decode (both per sequence);
 * INFINITY when a speed it needs is missing. */
double snug_measurement_request_s(const struct snug_measurement *m,
                                  const struct snug_workload *workload);

enum snug_objective {
    SNUG_OBJECTIVE_DECODE,
    SNUG_OBJECTIVE_PREFILL,
    SNUG_OBJECTIVE_REQUEST,
    SNUG_OBJECTIVE_ENERGY
};
#define SNUG_N_OBJECTIVES 4
/* "decode", "prefill", "request", "energy", and back (-1 for none). */
const char *snug_objective_name(enum snug_objective objective);
int snug_objective_from_name(const char *name);
/* The speed that is maximised: tokens per second; for request, requests per second over all
 * sequences, n_parallel / request_s; for energy, tokens of decode per joule. 0 when not OK, and
 * where energy was not measured. */
double snug_measurement_speed(const struct snug_measurement *m,
                              const struct snug_workload *workload, enum snug_objective objective);
/* Speed of each timed block i (paired by index for request; none for energy, whose meter counts
 * over all of them); fills out[SNUG_BLOCKS_MAX], returns n. */
int snug_measurement_block_speeds(const struct snug_measurement *m,
                                  const struct snug_workload *workload,
                                  enum snug_objective objective, double out[SNUG_BLOCKS_MAX]);

#ifdef __cplusplus
}
#endif
#endif
