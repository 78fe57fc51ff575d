/* Past sessions for the methods that learn from them: what a tuning with snug saw of a table, not
 * what is true of it. */
#include "perf/tunebench/tunebench.h"

#include <stdlib.h>

/* Seeds of sessions of the past lie apart from those that are scored. */
#define SEED_APART 1000

int tb_n_pasts;
static struct tb_session *sessions; /* [seed][tb_n_pasts] */
static int n_seeds_kept;

const struct tb_session *tb_sessions_of(uint64_t seed)
{
    return seed < (uint64_t)n_seeds_kept ? sessions + seed * (uint64_t)tb_n_pasts : NULL;
}

static snug_status record(const struct tb_table *table, int seed, struct tb_session *out,
                          struct snug_error *err)
{
    struct tb_run *run = calloc(1, sizeof *run);
    const struct tb_run_options options = {.table = table,
                                           .method = tb_methods(),
                                           .seed = SEED_APART + (uint64_t)seed,
                                           .n_trials = TB_PAST_TRIALS,
                                           .session = out};
    const snug_status status = run ? tb_run_once(&options, run, err)
                                   : snug_fail(err, SNUG_NO_MEMORY, "no memory for a run");
    free(run);
    out->table = table;
    return status;
}

snug_status tb_sessions_open(const struct tb_table *tables, int n_tables, int n_seeds,
                             struct snug_error *err)
{
    snug_status status = SNUG_OK;
    sessions = calloc((size_t)(n_tables * n_seeds) + 1, sizeof *sessions);
    if (!sessions)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for sessions of the past");
    for (int i = 0; status == SNUG_OK && i < n_tables * n_seeds; i++)
        status = record(&tables[i % n_tables], i / n_tables, &sessions[i], err);
    if (status != SNUG_OK) {
        tb_sessions_close();
        return status;
    }
    tb_n_pasts = n_tables;
    n_seeds_kept = n_seeds;
    return SNUG_OK;
}

void tb_sessions_close(void)
{
    free(sessions);
    sessions = NULL;
    tb_n_pasts = n_seeds_kept = 0;
}
