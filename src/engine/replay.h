/* Replaying a recorded table: the k-th time a cell is asked, its k-th repetition answers, in an
 * order drawn from the seed, and its recorded seconds go to a simulated clock. */
#ifndef SNUG_ENGINE_REPLAY_H
#define SNUG_ENGINE_REPLAY_H

#include "engine/table.h"

struct snug__replay {
    const struct snug__table *table; /* kept */
    uint64_t seed;
    double clock_s;            /* charged so far */
    uint32_t *n_asked;         /* [n_cells][n_fidelities] */
    bool *was_stated;          /* [n_cells] */
    struct snug_config loaded; /* whose load-time knobs the model was loaded with */
    bool is_loaded;
};

snug_status snug__replay_open(struct snug__replay *replay, const struct snug__table *table,
                              uint64_t seed, struct snug_error *err) SNUG_CHECKED;
void snug__replay_close(struct snug__replay *replay);
/* The stated bytes of a config; charged the first time. NULL: refused, or not recorded. */
const struct snug__table_cell *snug__replay_estimate(struct snug__replay *replay,
                                                     const struct snug_config *config);
/* What of a recorded repetition is wanted: zero for all of it. */
struct snug__replay_effort {
    int n_blocks; /* the first so many of each phase, where more were recorded; 0: all */
    /* Generate so many tokens per block at most, where more were recorded; 0: all. A shorter block
     * costs its share, and is noisier: off the median by the square root of what it lacks, as gaps
     * between tokens that know nothing of each other would have it. */
    int64_t n_gen_max;
    /* The beginning of a trial, without the block of warm-up that recordings are charged with: the
     * repetition that answers is the one that answers next. */
    bool is_cold;
    double deadline_s; /* > 0: end what would take longer */
};

/* One trial. A cell that was not recorded is refused, at the cost of an estimate; so is one that
 * was not recorded at this fidelity. Fewer blocks cost their share of the seconds. The model counts
 * as loaded when the trial before ended ok with the same load-time knobs. Nothing to clear in out.
 */
void snug__replay_run(struct snug__replay *replay, const struct snug_config *config, int fidelity,
                      const struct snug__replay_effort *effort, struct snug_measurement *out);

#endif
