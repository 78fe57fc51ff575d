/* The rows of the option table, and the bits of the commands that take them. */
#ifndef SNUG_CLI_OPTIONS_H
#define SNUG_CLI_OPTIONS_H

#include "cli/cli.h"

/* A command's own bit, then what several share. */
enum cli_command_bit {
    PROBE = 1,
    INSPECT = 2,
    SYNTH = 4,
    BENCH = 8,
    TUNE = 16,
    FRONT = 32,
    HISTORY = 64,
    EXPORT = 128,
    PICK = 256,
    RUN = 512,
    REPORT = 1024,
    EVAL = 2048,
    COMPARE = 4096,
    LAB = 8192,
    TRACE = 16384,
    QUANTIZE = 32768,
    IMATRIX = 65536,
    SENSITIVITY = 131072,
    PLAN = 262144,
    KNOBS = 524288,
    LOAD = 1048576,
    TASK = BENCH | TUNE | PICK | RUN | COMPARE,
    STORED = BENCH | TUNE | FRONT | HISTORY | EXPORT | PICK | RUN | REPORT | COMPARE | EVAL | LAB |
             SENSITIVITY | PLAN | KNOBS,
    ALL = 2 * LOAD - 1, /* LOAD has the last bit */
};

/* LIST: this word and those behind it that hold < or >. GOAL: objectives between commas. */
enum cli_option_kind { FLAG, TEXT, CHOICE, BYTES, SECONDS, INT, NUMBER, LIST, GOAL };

struct cli_option {
    const char *name; /* without "--" */
    char letter;      /* or 0 */
    enum cli_option_kind kind;
    size_t at;         /* in struct cli_args */
    size_t at_has;     /* of the bool that says it was given, or 0 */
    const char *value; /* metavar; CHOICE: "a|b|c" */
    unsigned commands;
    int64_t min, max;
    const char *help;
};

extern const struct cli_option cli_options[];
extern const int cli_n_options;

#endif
