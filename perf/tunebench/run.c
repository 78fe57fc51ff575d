/* One run: a method against a replayed table, scored after every trial. */
#include "perf/tunebench/tunebench.h"

#include "tune/ladder.h"

#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct run {
    const struct tb_run_options *options;
    const struct tb_table *table;
    struct snug__replay replay;
    struct snug_space space; /* the table's rows, then inert ones */
    struct snug_problem problem;
    struct snug_strategy *strategy;
    struct snug_sha256 hash;
    struct tb_run *out;
    struct snug_past pasts[SNUG_PASTS_MAX];
    struct tb_session *upside_down; /* [tb_n_pasts], or NULL */
    double start_ms;                /* CPU of this thread when the running trial's method began */
};

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* snug_bytes_fn; data is the run. What is stated is charged. */
static bool stated_bytes(const struct snug_config *config, uint64_t *out_bytes, void *data)
{
    struct run *r = data;
    const struct snug__table_cell *cell = snug__replay_estimate(&r->replay, config);
    if (cell)
        *out_bytes = snug__table_memory(r->table->table, cell);
    return cell != NULL;
}

/* snug_prior_fn; data is the run. */
static double predicted(const struct snug_config *config, void *data)
{
    const struct run *r = data;
    const struct tb_table *t = r->table;
    struct snug_config asked = *config;
    /* deliberately wrong: what holds for the other end of each ordered row */
    for (int i = 0; i < t->table->space.n && r->options->method->prior == TB_PRIOR_WRONG; i++) {
        const struct snug_knob *knob = &t->table->space.knobs[i];
        const int n = snug_knob_n_levels(knob);
        if (knob->is_tuned && (knob->kind == SNUG_KNOB_INT || knob->kind == SNUG_KNOB_LOG2))
            asked.value[i] = snug_knob_level(knob, n - 1 - snug_knob_index(knob, asked.value[i]));
    }
    const struct snug__table_cell *cell = snug__table_find(t->table, &asked);
    if (!cell)
        return (double)NAN;
    const struct snug_measurement m = {.prefill_tps = cell->predicted_prefill_tps,
                                       .decode_tps = cell->predicted_decode_tps};
    const double speed = snug_measurement_speed(&m, &t->table->workloads[0], t->objective);
    return speed > 0 ? log(speed) : (double)NAN;
}

static bool has_predictions(const struct snug__table *t)
{
    bool is_any = false;
    for (size_t i = 0; i < t->n_cells; i++)
        is_any |= t->cells[i].predicted_prefill_tps > 0 || t->cells[i].predicted_decode_tps > 0;
    return is_any;
}

static void add_trace(struct run *r, const struct snug_observation *o, double clock_s)
{
    char config[512], line[768];
    snug_config_text(&r->space, &o->config, false, config, sizeof config);
    const int n = snprintf(line, sizeof line, "%d\t%s\t%s\t%.17g\t%llu\t%.17g\n",
                           r->out->n_trials + 1, config, snug_outcome_name(o->outcome), o->speed,
                           (unsigned long long)o->bytes, clock_s);
    snug_sha256_update(&r->hash, line, (size_t)n);
    if (r->options->trace)
        snug_buffer_append(r->options->trace, line, (size_t)n);
}

/* At a rung of the effort ladder; 0: in full. */
static struct snug_observation measure_at(struct run *r, const struct snug_config *config, int rung)
{
    const struct tb_table *t = r->table;
    struct snug_measurement m;
    struct snug_effort full, low;
    struct snug__replay_effort effort = {.n_blocks = 0};
    snug_effort_default(&full);
    if (rung > 0) {
        snug__ladder_effort(&full, rung, &low);
        effort.n_blocks = low.blocks_max;
        effort.n_gen_max = low.n_gen_max;
        effort.is_cold = low.warmup_max == 0;
    }
    snug__replay_run(&r->replay, config, 0, &effort, &m);
    const struct snug__table_cell *cell = snug__table_find(t->table, config);
    struct snug_config snapped = *config;
    for (int i = 0; cell && i < t->table->space.n; i++)
        snapped.value[i] = cell->config.value[i];
    struct snug_observation o = {
        .config = snapped,
        .outcome = m.outcome,
        .speed = snug_measurement_speed(&m, &t->table->workloads[0], t->objective),
        .log_speed_sd = snug__strategy_speed_sd(&m, &t->table->workloads[0], t->objective),
        .bytes = cell ? snug__table_memory(t->table, cell) : 0,
        .setup_s = m.load_s,
        .work_s = m.wall_s - m.load_s,
        .rung = rung,
    };
    tb_goal_observe(t, &m, &o);
    return o;
}

/* Nobody measures how alike the machines of two tables are. */
#define SIMILARITY 0.75

/* A session in which the fastest was the slowest, for the cost model too, so that nothing in it
 * shows it to be wrong. */
static void turn_over(const struct tb_session *from, struct tb_session *out)
{
    *out = *from;
    for (int i = 0; i < out->n_trials; i++) {
        out->trials[i].speed = out->trials[i].speed > 0 ? 1 / out->trials[i].speed : 0;
        out->expected[i] = -out->expected[i];
    }
}

static snug_status set_past(struct run *r, struct snug_error *err)
{
    const struct tb_method *method = r->options->method;
    const struct tb_session *sessions =
        method->past != TB_PAST_NONE ? tb_sessions_of(r->options->seed) : NULL;
    const int n = sessions ? tb_n_pasts : 0;
    if (n > 0 && method->past == TB_PAST_WRONG) {
        r->upside_down = calloc((size_t)n, sizeof *r->upside_down);
        if (!r->upside_down)
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for a past");
    }
    for (int i = 0; i < n; i++) {
        const struct tb_session *session = &sessions[i];
        if (r->upside_down) {
            turn_over(&sessions[i], &r->upside_down[i]);
            session = &r->upside_down[i];
        }
        r->pasts[i] = (struct snug_past){.space = &session->table->table->space,
                                         .trials = session->trials,
                                         .expected = r->problem.prior ? session->expected : NULL,
                                         .n_trials = session->n_trials,
                                         .similarity = SIMILARITY};
    }
    r->problem.pasts = r->pasts;
    r->problem.n_pasts = n;
    return SNUG_OK;
}

static struct snug_observation measure(struct run *r, const struct snug_config *config)
{
    return measure_at(r, config, 0);
}

/* Score what the method would declare now. */
static snug_status score(struct run *r, struct snug_error *err)
{
    size_t index[SNUG_STRATEGY_TELLS_MAX];
    double speed[SNUG_STRATEGY_TELLS_MAX];
    struct snug_point found[SNUG_STRATEGY_TELLS_MAX];
    double gain[SNUG_STRATEGY_TELLS_MAX][SNUG_AXES_MAX];
    size_t n_front = 0, n_found = 0;
    struct tb_run *out = r->out;
    snug_status status = snug__strategy_front(r->strategy, index, speed, &n_front, err);
    if (status != SNUG_OK)
        return status;
    out->optimism = 0;
    for (size_t k = 0; k < n_front; k++) {
        const struct snug_config *config = &r->strategy->told[index[k]].config;
        const struct snug_point p = tb_table_point(r->table, config);
        out->n_violations += !(p.speed > 0);
        if (p.speed > 0) {
            out->optimism += speed[k] / p.speed - 1;
            if (r->table->gain)
                memcpy(gain[n_found], tb_table_gain(r->table, config), sizeof gain[n_found]);
            found[n_found++] = p;
        }
    }
    out->optimism = n_found ? out->optimism / (double)n_found : 0;
    out->share[out->n_trials] =
        r->table->gain
            ? tb_table_share_of_gains(r->table, (const double(*)[SNUG_AXES_MAX])gain, n_found)
            : tb_table_share(r->table, found, n_found);
    return SNUG_OK;
}

/* A trial that was told, as one of the run. clock_s: charged when o had been measured. */
static snug_status note(struct run *r, const struct snug_observation *o, double clock_s,
                        struct snug_error *err)
{
    struct tb_run *out = r->out;
    out->cpu_ms[out->n_trials] = cpu_ms() - r->start_ms;
    snug_status status = score(r, err);
    if (status != SNUG_OK)
        return status;
    add_trace(r, o, clock_s);
    struct tb_session *session = r->options->session;
    if (session && session->n_trials < TB_PAST_TRIALS) {
        session->expected[session->n_trials] =
            r->problem.prior ? predicted(&o->config, r) : (double)NAN;
        session->trials[session->n_trials++] = *o;
    }
    out->clock_s[out->n_trials++] = clock_s;
    out->n_failed += o->outcome != SNUG_TRIAL_OK;
    r->start_ms = cpu_ms();
    return SNUG_OK;
}

static snug_status tell(struct run *r, const struct snug_observation *o, double clock_s,
                        struct snug_error *err)
{
    const snug_status status = snug_strategy_tell(r->strategy, o, err);
    return status == SNUG_OK ? note(r, o, clock_s, err) : status;
}

/* The region the tuner is given, around the first of its trials that ran. */
static void set_region(struct run *r, const struct snug_observation *first, int n)
{
    const struct snug_observation *good = NULL;
    for (int i = n - 1; i >= 0; i--)
        good = first[i].outcome == SNUG_TRIAL_OK ? &first[i] : good;
    r->problem.bounds = snug__strategy_region(good ? good->speed : 0, good ? good->bytes : 0,
                                              r->table->table->limit_bytes);
    tb_goal_region(r->table, good, &r->problem);
}

static snug_status begin(struct run *r, struct snug_error *err)
{
    const struct tb_method *method = r->options->method;
    const struct snug__table *table = r->table->table;
    struct snug_observation first[2];
    double clock_s[2];
    int n = 0;
    struct snug_config fit = table->fit;
    snug_space_default(&r->space, &r->problem.base);
    for (int i = table->space.n; i < r->space.n; i++)
        fit.value[i] = r->problem.base.value[i];
    if (method->starts_default) {
        first[n] = measure(r, &r->problem.base);
        clock_s[n++] = r->replay.clock_s;
    }
    if (method->starts_fit && table->has_fit &&
        !(n && snug_config_equal(&r->space, &fit, &r->problem.base))) {
        first[n] = measure(r, &fit);
        clock_s[n++] = r->replay.clock_s;
    }
    set_region(r, first, n);
    r->start_ms = cpu_ms();
    snug_status status =
        method->kind
            ? snug__strategy_new_kind(method->name, method->kind, &r->problem, &r->strategy, err)
            : snug_strategy_new(method->name, &r->problem, &r->strategy, err);
    for (int i = 0; status == SNUG_OK && i < n && i < r->options->n_trials; i++)
        status = tell(r, &first[i], clock_s[i], err);
    return status;
}

/* Climb the ladder with a config while it is worth it; *out is what is not told yet: of the full
 * workload, or of the rung where it ended. The method's own CPU is counted. */
static snug_status climb(struct run *r, const struct snug_config *config,
                         struct snug_observation *out, bool *out_is_told, struct snug_error *err)
{
    const struct snug_workload *workload = &r->table->table->workloads[0];
    const int reached =
        snug__ladder_reached(&r->space, r->strategy->told, r->strategy->n_told, config);
    int rung = r->options->method->has_ladder ? snug__ladder_next(workload, reached) : 0;
    *out_is_told = false;
    while (rung > 0) {
        const int next = snug__ladder_next(workload, rung);
        *out = measure_at(r, config, rung);
        snug_status status = snug_strategy_tell(r->strategy, out, err);
        if (status == SNUG_OK)
            status = snug__strategy_climb(r->strategy, next, &rung, err);
        if (status != SNUG_OK || rung == SNUG__CLIMB_ENDS) {
            *out_is_told = true;
            return status;
        }
    }
    *out = measure(r, config);
    return SNUG_OK;
}

static snug_status go_on(struct run *r, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    while (status == SNUG_OK && r->out->n_trials < r->options->n_trials) {
        struct snug_config config;
        status = snug_strategy_ask(r->strategy, &config, NULL, err);
        if (status != SNUG_OK)
            break;
        const double asked_ms = cpu_ms() - r->start_ms;
        struct snug_observation o;
        bool is_told = false;
        status = climb(r, &config, &o, &is_told, err);
        r->start_ms = cpu_ms() - asked_ms; /* the replay itself is not the method's */
        if (status == SNUG_OK)
            status =
                is_told ? note(r, &o, r->replay.clock_s, err) : tell(r, &o, r->replay.clock_s, err);
    }
    return status == SNUG_NOT_FOUND ? SNUG_OK : status;
}

/* The table's rows, and inert ones of each kind in turn. */
static void make_space(const struct tb_table *t, struct snug_space *out)
{
    static const char *const names[TB_INERT_MAX] = {"inert_a", "inert_b", "inert_c", "inert_d",
                                                    "inert_e", "inert_f", "inert_g", "inert_h"};
    static const struct snug_knob kinds[] = {
        {.kind = SNUG_KNOB_BOOL, .max = 1, .step = 1},
        {.kind = SNUG_KNOB_INT, .max = 7, .step = 1},
        {.kind = SNUG_KNOB_ENUM,
         .max = 3,
         .step = 1,
         .values = {"a", "b", "c", "d"},
         .n_values = 4},
    };
    *out = t->table->space;
    for (int i = 0; i < t->n_inert && out->n < SNUG_KNOBS_MAX; i++) {
        struct snug_knob *knob = &out->knobs[out->n++];
        *knob = kinds[i % 3];
        knob->name = names[i];
        knob->when = SNUG_KNOB_CONTEXT;
        knob->is_tuned = true;
        knob->flag = knob->help = "";
    }
}

snug_status tb_run_once(const struct tb_run_options *options, struct tb_run *out,
                        struct snug_error *err)
{
    const struct snug__table *table = options->table->table;
    struct run r = {.options = options, .table = options->table, .out = out};
    const size_t held = options->wants_heap ? mallinfo2().uordblks + mallinfo2().hblkhd : 0;
    memset(out, 0, sizeof *out);
    snug_sha256_init(&r.hash);
    make_space(options->table, &r.space);
    r.problem = (struct snug_problem){.space = &r.space,
                                      .bytes_limit = table->limit_bytes,
                                      .bytes = stated_bytes,
                                      .bytes_data = &r,
                                      .seed = options->seed,
                                      .drops_inert = options->method->drops_inert,
                                      .n_trials = options->n_trials};
    if (options->method->prior != TB_PRIOR_NONE && has_predictions(table)) {
        r.problem.prior = predicted;
        r.problem.prior_data = &r;
    }
    snug_status status = snug__replay_open(&r.replay, table, options->seed, err);
    if (status == SNUG_OK)
        status = set_past(&r, err);
    if (status == SNUG_OK)
        status = begin(&r, err);
    if (status == SNUG_OK)
        status = go_on(&r, err);
    if (options->wants_heap)
        out->heap_bytes = mallinfo2().uordblks + mallinfo2().hblkhd - held;
    snug_sha256_final_hex(&r.hash, out->sha256);
    snug_strategy_free(r.strategy);
    free(r.upside_down);
    snug__replay_close(&r.replay);
    return status == SNUG_OK
               ? SNUG_OK
               : snug_fail_prefix(err, status, "%s on %s, seed %llu", options->method->name,
                                  table->name, (unsigned long long)options->seed);
}
