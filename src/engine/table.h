/* Recorded tables: whole lattices of configs that were measured once, to be replayed for ever.
 *
 * File   JSON lines, plain or gzip. The first line is the header:
 *   {"snug_table": 1, "name": "...", "space": [rows as snug_space_to_json writes them],
 *    "workloads": [full, shorter ...], "memory": "stated" or "device", "limit_bytes": 0 for none,
 *    "estimate_s": seconds that stating a config's bytes takes, "fit": {config of --fit} or absent,
 *    "made": {how, on what machine}, "n_lines": of what follows, "sha256": of all that follows}
 * Each further line is one recorded repetition:
 *   {"config": {...}, "fidelity": index of the workload, "rep": 0.., "outcome": "ok",
 *    "prefill_block_tps": [...], "decode_block_tps": [...], "ttft_s": x, "bytes": {...},
 *    "wall_s": seconds without loading, "setup_s": seconds of loading, "conditions": {...},
 *    "predicted": {"prefill_tps": x, "decode_tps": x} of a cost model that saw none of it}
 * bytes may be missing where the engine refused the config, and only there. ttft_s and conditions
 * may be missing, and predictions; what the first line of a config says counts. Cells of the
 * lattice may be missing. Keys that are not known are skipped. */
#ifndef SNUG_ENGINE_TABLE_H
#define SNUG_ENGINE_TABLE_H

#include "base/arena.h"
#include "snug/trial.h"

#define SNUG__TABLE_VERSION 1
#define SNUG__TABLE_BYTES_MAX ((size_t)64 << 20) /* unpacked */
#define SNUG__TABLE_LINES_MAX 131072
#define SNUG__TABLE_REPS_MAX 64 /* of one config at one fidelity */
#define SNUG__TABLE_FIDELITIES_MAX 4
#define SNUG__TABLE_TOKENS_MAX                                                                     \
    (INT64_C(1) << 30) /* each length of a workload, as engines have it */

struct snug__table_rep {
    int fidelity, rep;
    enum snug_outcome outcome;
    double ttft_s; /* 0: not recorded */
    double wall_s, setup_s;
    const double *block; /* n_prefill speeds, then n_decode */
    int n_prefill, n_decode;
};

struct snug__table_cell {
    struct snug_config config;
    uint64_t hash;
    struct snug_bytes bytes;                            /* zero: the engine refuses it */
    double predicted_prefill_tps, predicted_decode_tps; /* 0: none */
    const struct snug__table_rep *reps; /* by fidelity, then rep; borrowed from the table */
    int n_reps;
};

struct snug__table {
    const char *name, *made; /* made: JSON text */
    struct snug_space space;
    struct snug_workload workloads[SNUG__TABLE_FIDELITIES_MAX];
    int n_fidelities;
    bool is_device_memory; /* the memory axis is device bytes, else all stated bytes */
    uint64_t limit_bytes;  /* of that axis; 0: none */
    double estimate_s;
    bool has_fit;
    struct snug_config fit;
    struct snug__table_cell *cells; /* sorted by hash */
    size_t n_cells;
    struct snug__table_rep *reps; /* sorted by cell, fidelity, rep */
    size_t n_reps;
    struct snug_arena arena; /* everything above */
};

/* text[n] must end in a NUL byte (not counted). `name` begins error texts, with the line.
 * Errors  SNUG_BAD_INPUT; SNUG_NEWER: a version after this one. */
snug_status snug__table_parse(const char *name, const char *text, size_t n,
                              struct snug__table **out, struct snug_error *err) SNUG_CHECKED;
/* A file, plain or gzip. */
snug_status snug__table_read(const char *path, struct snug__table **out,
                             struct snug_error *err) SNUG_CHECKED;
void snug__table_free(struct snug__table *table);
/* The recorded cell nearest to a config: each value goes to its row's nearest level. NULL: that
 * cell was not recorded. */
const struct snug__table_cell *snug__table_find(const struct snug__table *table,
                                                const struct snug_config *config);
/* Bytes of a cell on the table's memory axis; 0 where the engine refuses it. */
uint64_t snug__table_memory(const struct snug__table *table, const struct snug__table_cell *cell);
/* Repetitions of one fidelity of a cell, and the first of them; 0 and NULL when there is none. */
int snug__table_reps_of(const struct snug__table_cell *cell, int fidelity,
                        const struct snug__table_rep **out_first);
/* What a repetition says, as a measurement; no charge in it. Nothing to clear. */
void snug__table_measurement(const struct snug__table_cell *cell, const struct snug__table_rep *rep,
                             struct snug_measurement *out);

#endif
