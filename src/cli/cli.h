/* What the commands share: the option table, output helpers, exit status. Only this room prints and
 * exits. Data goes to stdout, talk to stderr. */
#ifndef SNUG_CLI_H
#define SNUG_CLI_H

#include <stdio.h>

#include "base/buffer.h"
#include "snug/base.h"
#include "snug/trial.h"

/* 99 as k6 has it: everything ran, and some --require was not met. */
enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_MISUSE = 2, CLI_NOT_MET = 99 };

#define CLI_KNOBS_MAX 32
#define CLI_LIST_MAX 16

/* Every option of every command, filled by cli_parse. Zero and NULL mean: not given. */
struct cli_args {
    const char *operand;  /* MODEL or PRESET */
    const char *operand2; /* of compare and history */
    const char *operand3; /* of history */
    char **rest;          /* after "--" */
    int n_rest;
    /* options */
    bool json, help, resume, ladder, drop_inert, print, shape_only, allow_cache_types, measure, all,
        refresh, quiet, dry_run, strict, no_sampling, allow_requantize, rank;
    const char *require[CLI_LIST_MAX]; /* thresholds */
    int n_require;
    const char *output; /* -o */
    const char *format; /* --format md|csv|json|jsonl */
    const char *store;
    const char *strategy;
    const char *objective;
    const char *type;
    const char *tool;
    const char *disk;
    const char *reference, *task, *answers, *labels; /* of eval */
    const char *text;                                /* a file of text */
    const char *prompt_text;
    const char *plan; /* of quantize */
    const char *imatrix;
    const char *method, *types; /* of sensitivity */
    bool no_transfer;           /* of tune */
    bool per_tensor;
    bool floor;
    int64_t n_chunks, n_items;
    const char *workload; /* a workload file */
    const char *depths;   /* of bench: a comma list */
    const char *rpc;
    const char *machine, *goal, *min_quality, *sensitivity; /* of plan */
    bool pareto, compare, shadow, commands, verify;
    uint64_t vram_bytes, ram_bytes, disk_bytes;
    double gpu_gbps, ram_gbps, disk_gbps, target_tps, target_ttft_s;
    uint64_t memory_bytes;
    double time_s;
    const char *profile, *folder; /* of load */
    double cpu;
    uint64_t bandwidth_bps;
    bool disk_load;
    bool adapt, has_port; /* of run */
    const char *host, *budget, *log;
    int64_t port;
    double ttft_s, tpot_s;
    double max_ttft_s, max_tpot_s, max_kld; /* of tune */
    int64_t n_pairs, n_trials, seed, n_prompt, n_gen, n_depth, n_parallel, n_ctx, n_layer,
        repetitions;
    bool has_seed, has_prompt, has_gen, has_depth;
    /* knobs given by hand: name and text, possibly a comma list */
    struct {
        const char *name, *text;
    } knobs[CLI_KNOBS_MAX];
    int n_knobs;
};

/* One row per command; the order is the order of help. */
struct cli_command {
    const char *name;
    const char *operands; /* "MODEL", "A B", "" or, in [], what may be left away; ..: up to three */
    const char *summary;  /* one line */
    const char *about;    /* some paragraphs for `snug COMMAND --help` */
    const char *example;
    unsigned bit; /* its bit in the option rows */
    int (*run)(const struct cli_args *args);
    bool takes_knobs;
    const char *rest; /* what may stand behind "--"; NULL: nothing */
};
extern const struct cli_command cli_commands[]; /* ended by name NULL */

/* Parse argv behind the command's name. On misuse prints what and what would be accepted, and
 * returns false. */
bool cli_parse(const struct cli_command *command, int argc, char **argv, struct cli_args *out);
void cli_help(FILE *out);
void cli_help_command(FILE *out, const struct cli_command *command);
const struct cli_command *cli_find_command(const char *name);
/* The known word nearest to text, or NULL when none is near. next(i) gives words, NULL at the end.
 */
const char *cli_nearest(const char *text, const char *(*next)(int i));

/* A knob row's name by its own name (with _ or -), llama.cpp's long flag or short name; or NULL. */
const char *cli_find_knob(const char *name, size_t n);

/* "snug: error: ..." on stderr; returns CLI_MISUSE for SNUG_BAD_INPUT and SNUG_NOT_FOUND of an
 * operand, else CLI_FAILED. */
int cli_fail(const struct snug_error *err);
int cli_fail_text(enum cli_exit status, const char *format, ...) SNUG_PRINTF(2, 3);
/* Talk: stderr, unless --quiet. */
void cli_say(const char *format, ...) SNUG_PRINTF(1, 2);
void cli_set_quiet(bool is_quiet);
/* Write data to stdout; CLI_FAILED with a message when it cannot be written (full disk, closed). */
int cli_put(const char *text);
/* The same of a buffer; CLI_FAILED when an append to it had failed: half a table is no data. */
int cli_put_buffer(const struct snug_buffer *out);
/* Append a JSON text and a line end; takes the text, and NULL is a failed append. */
void cli_buffer_json(struct snug_buffer *out, char *json);

/* The live line: redrawn in place on a terminal, dropped elsewhere. */
void cli_live(const char *format, ...) SNUG_PRINTF(1, 2);
void cli_live_end(void);
/* A snug_engine_progress_fn that draws it: "DATA: PHASE", data being a text or NULL. */
void cli_live_phase(const char *phase, void *data);
bool cli_is_terminal(void);

/* Set by SIGINT and SIGTERM once cli_catch_signals was called; a second one ends at once. */
extern volatile int cli_stop;
void cli_catch_signals(void);

int cmd_probe(const struct cli_args *args);
int cmd_inspect(const struct cli_args *args);
int cmd_synth(const struct cli_args *args);
int cmd_bench(const struct cli_args *args);
int cmd_tune(const struct cli_args *args);
int cmd_front(const struct cli_args *args);
int cmd_history(const struct cli_args *args);
int cmd_export(const struct cli_args *args);
int cmd_pick(const struct cli_args *args);
int cmd_run(const struct cli_args *args);
int cmd_report(const struct cli_args *args);
int cmd_compare(const struct cli_args *args);
int cmd_eval(const struct cli_args *args);
int cmd_trace(const struct cli_args *args);
int cmd_lab(const struct cli_args *args);
int cmd_plan(const struct cli_args *args);
int cmd_quantize(const struct cli_args *args);
int cmd_imatrix(const struct cli_args *args);
int cmd_sensitivity(const struct cli_args *args);
int cmd_load(const struct cli_args *args);
/* `snug __under COMMAND ARGS`: become the command, tied to the load that started it. Returns only
 * when that is not possible: 127 where there is no such program, else 126. */
int cli_load_under(char **argv);
int cmd_knobs(const struct cli_args *args);
/* `snug __engine PROGRAM ARGS`: become the program, tied to the snug that started it. Returns only
 * when that is not possible. */
int cli_run_engine(char **argv);

#endif
