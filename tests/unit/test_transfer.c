/* Transfer: values of a past space in the present one, what past tasks expect, and weights by how
 * they rank; in the strategy: a related past helps, a misleading one costs little, a useless one
 * changes nothing. */
#include "test.h"

#include <math.h>

#include "cpu_task.h"
#include "tune/strategy.h"
#include "tune/transfer.h"

/* ---- translation ---- */

enum { T_LAYERS, T_THREADS, T_UBATCH, T_FLASH, T_DEVICE, T_N };

static struct snug_space offload_space(int64_t n_layer, int64_t n_cores)
{
    return (struct snug_space){
        .n = T_N,
        .knobs = {
            {"n_gpu_layers", SNUG_KNOB_INT, SNUG_KNOB_LOAD, 0, n_layer, 1, n_layer,
             .is_tuned = true},
            {"n_threads", SNUG_KNOB_INT, SNUG_KNOB_CONTEXT, 1, 2 * n_cores, 1, n_cores,
             .is_tuned = true},
            {"n_ubatch", SNUG_KNOB_LOG2, SNUG_KNOB_CONTEXT, 32, 1024, 0, 512, .is_tuned = true},
            {"flash_attn", SNUG_KNOB_BOOL, SNUG_KNOB_CONTEXT, 0, 1, 1, 1, .is_tuned = true},
            {"device", SNUG_KNOB_ENUM, SNUG_KNOB_LOAD, 0, 1, 1, 0, .values = {"auto", "CUDA0"},
             .n_values = 2, .is_tuned = true},
        }};
}

static bool translate(const struct snug_space *past, const int64_t values[T_N],
                      const struct snug_space *here, struct snug_config *out)
{
    struct snug__lattice lattice;
    struct snug_config config = {{0}}, base;
    memcpy(config.value, values, T_N * sizeof *values);
    snug_space_default(here, &base);
    snug__lattice_init(&lattice, here, &base);
    return snug__transfer_config(past, &config, &lattice, out);
}

static void transfer_of_the_same_space_changes_nothing(void **state)
{
    (void)state;
    const struct snug_space space = offload_space(33, 8);
    const int64_t values[T_N] = {17, 5, 64, 0, 1};
    struct snug_config out;
    assert_true(translate(&space, values, &space, &out));
    assert_memory_equal(out.value, values, sizeof values);
}

static void transfer_keeps_the_place_where_the_default_differs(void **state)
{
    (void)state;
    const struct snug_space past = offload_space(20, 4), here = offload_space(40, 16);
    struct snug_config out;
    /* half of the layers, as many threads as cores; the batch is what it is */
    assert_true(translate(&past, (const int64_t[T_N]){10, 4, 128, 1, 0}, &here, &out));
    assert_int_equal(out.value[T_LAYERS], 20);
    assert_int_equal(out.value[T_THREADS], 16);
    assert_int_equal(out.value[T_UBATCH], 128);
    /* all layers, all threads; least of each */
    assert_true(translate(&past, (const int64_t[T_N]){20, 8, 128, 1, 0}, &here, &out));
    assert_int_equal(out.value[T_LAYERS], 40);
    assert_int_equal(out.value[T_THREADS], 32);
    assert_true(translate(&past, (const int64_t[T_N]){0, 1, 128, 1, 0}, &here, &out));
    assert_int_equal(out.value[T_LAYERS], 0);
    assert_int_equal(out.value[T_THREADS], 1);
}

static void transfer_clips_to_the_bounds_here(void **state)
{
    (void)state;
    const struct snug_space past = offload_space(33, 8);
    struct snug_space here = past;
    struct snug_config out;
    here.knobs[T_UBATCH].max = 512;
    here.knobs[T_UBATCH].min = 64;
    assert_true(translate(&past, (const int64_t[T_N]){1, 1, 1024, 1, 0}, &here, &out));
    assert_int_equal(out.value[T_UBATCH], 512);
    assert_true(translate(&past, (const int64_t[T_N]){1, 1, 32, 1, 0}, &here, &out));
    assert_int_equal(out.value[T_UBATCH], 64);
}

static void transfer_drops_what_means_nothing_here(void **state)
{
    (void)state;
    const struct snug_space past = offload_space(33, 8);
    struct snug_space here = past;
    struct snug_config out;
    here.knobs[T_DEVICE].n_values = 1; /* no such device any more */
    here.knobs[T_DEVICE].is_tuned = false;
    assert_false(translate(&past, (const int64_t[T_N]){1, 1, 64, 1, 1}, &here, &out));
    assert_true(translate(&past, (const int64_t[T_N]){1, 1, 64, 1, 0}, &here, &out));
    here.knobs[T_FLASH].is_tuned = false; /* held at its default here: others do not count */
    assert_false(translate(&past, (const int64_t[T_N]){1, 1, 64, 0, 0}, &here, &out));
    here.knobs[T_FLASH].name = "flash"; /* a row that is gone, at its default and not */
    assert_true(translate(&past, (const int64_t[T_N]){1, 1, 64, 1, 0}, &here, &out));
    assert_false(translate(&past, (const int64_t[T_N]){1, 1, 64, 0, 0}, &here, &out));
    here.knobs[T_UBATCH].kind = SNUG_KNOB_BOOL; /* a name of another kind */
    assert_false(translate(&past, (const int64_t[T_N]){1, 1, 64, 1, 0}, &here, &out));
}

static void transfer_of_a_row_that_was_missing_is_at_its_default(void **state)
{
    (void)state;
    const struct snug_space here = offload_space(33, 8);
    struct snug_space past = here;
    struct snug_config out;
    past.knobs[T_UBATCH].name = "unheard_of";
    past.knobs[T_UBATCH].def = 64;
    assert_true(translate(&past, (const int64_t[T_N]){1, 1, 64, 1, 0}, &here, &out));
    assert_int_equal(out.value[T_UBATCH], 512);
}

/* ---- pasts ---- */

/* A config of the lattice at random. */
static struct snug_config draw(const struct snug__lattice *lattice, struct snug_rng *rng)
{
    double u[SNUG_KNOBS_MAX];
    struct snug_config config;
    for (int d = 0; d < lattice->n_dims; d++)
        u[d] = snug_rng_double(rng);
    snug__lattice_from_unit(lattice, u, &config);
    return config;
}

/* A past session on a made-up machine: so many random configs of it. */
struct session {
    struct cpu_task task;
    struct snug_observation trials[SNUG_PAST_TRIALS_MAX + 40];
    struct snug_past past;
};

static void session_run(struct session *s, uint64_t seed, int n, double similarity)
{
    struct snug_rng rng;
    struct snug__lattice lattice;
    struct snug_problem p = cpu_task_problem(&s->task, seed, n);
    snug__lattice_init(&lattice, &s->task.space, &p.base);
    snug_rng_init(&rng, seed + 77);
    for (int i = 0; i < n; i++) {
        const struct snug_config config = draw(&lattice, &rng);
        s->trials[i] = cpu_task_run(&s->task, &config, &rng);
    }
    s->past = (struct snug_past){
        .space = &s->task.space, .trials = s->trials, .n_trials = n, .similarity = similarity};
}

static void session_init(struct session *s, uint64_t seed, int n, double similarity)
{
    cpu_task_init(&s->task, seed);
    session_run(s, seed, n, similarity);
}

static struct snug__transfer *transfer_of(struct session *sessions, int n,
                                          struct snug__lattice *lattice)
{
    static struct snug_past pasts[SNUG_PASTS_MAX + 1];
    struct snug_error err;
    struct snug__transfer *t = NULL;
    struct snug_problem p = cpu_task_problem(&sessions[0].task, 1, 16);
    for (int i = 0; i < n; i++)
        pasts[i] = sessions[i].past;
    p.pasts = pasts;
    p.n_pasts = n;
    snug__lattice_init(lattice, &sessions[0].task.space, &p.base);
    assert_ok(snug__transfer_new(&p, lattice, &t, &err));
    return t;
}

/* Correlation of expectation and truth over random configs of a task. */
static double agreement(struct snug__transfer *t, const struct snug__lattice *lattice,
                        const struct cpu_task *task)
{
    enum { N = 200 };
    static double x[N * SNUG_KNOBS_MAX], e[N], y[N];
    struct snug_error err;
    struct snug_rng rng;
    double ey = 0, ee = 0, yy = 0;
    snug_rng_init(&rng, 5);
    for (int i = 0; i < N; i++) {
        const struct snug_config config = draw(lattice, &rng);
        snug__lattice_features(lattice, &config, x + i * lattice->n_dims);
        y[i] = log(cpu_task_speed(task, &config));
    }
    assert_ok(snug__transfer_expect(t, x, N, e, &err));
    const double e0 = snug_stats_mean(e, N), y0 = snug_stats_mean(y, N);
    for (int i = 0; i < N; i++) {
        ey += (e[i] - e0) * (y[i] - y0);
        ee += (e[i] - e0) * (e[i] - e0);
        yy += (y[i] - y0) * (y[i] - y0);
    }
    return ey / sqrt(ee * yy);
}

static void transfer_expects_what_the_past_showed(void **state)
{
    (void)state;
    static struct session s;
    struct snug__lattice lattice;
    session_init(&s, 3, 60, 1);
    struct snug__transfer *t = transfer_of(&s, 1, &lattice);
    assert_non_null(t);
    assert_true(agreement(t, &lattice, &s.task) > 0.8);
    const double trust = snug__transfer_trust(t);
    assert_true(trust > 0.3 && trust < 1); /* of whole speeds: less than of a rest */
    struct snug_gp_params params;
    assert_false(snug__transfer_params(t, &params));
    snug__transfer_free(t);
}

static double cost_model(const struct snug_config *config, void *data)
{
    struct cpu_task task = *(struct cpu_task *)data;
    task.repack_gain = task.flash_gain = 0;
    return log(cpu_task_speed(&task, config));
}

/* Beside a cost model it expects what that one left over, here what repacking and fused attention
 * do, and says how smooth that was. */
static void transfer_beside_a_cost_model_expects_the_rest(void **state)
{
    (void)state;
    static struct session s;
    static double expected[60];
    struct snug__lattice lattice;
    struct snug_error err;
    struct snug__transfer *t = NULL;
    struct snug_gp_params params;
    session_init(&s, 3, 60, 1);
    for (int i = 0; i < 60; i++)
        expected[i] = cost_model(&s.trials[i].config, &s.task);
    s.past.expected = expected;
    struct snug_problem p = cpu_task_problem(&s.task, 1, 16);
    p.prior = cost_model;
    p.prior_data = &s.task;
    p.pasts = &s.past;
    p.n_pasts = 1;
    snug__lattice_init(&lattice, &s.task.space, &p.base);
    assert_ok(snug__transfer_new(&p, &lattice, &t, &err));
    assert_true(fabs(snug__transfer_trust(t) - 1) < 1e-12);
    assert_true(snug__transfer_params(t, &params));
    for (int d = 0; d < lattice.n_dims; d++)
        assert_true(params.length[d] > 0.01 && params.length[d] < 100);
    double x[2 * SNUG_KNOBS_MAX], e[2];
    struct snug_config config[2] = {p.base, p.base};
    config[1].value[CPU_REPACK] = 1;
    for (int i = 0; i < 2; i++)
        snug__lattice_features(&lattice, &config[i], x + i * lattice.n_dims);
    assert_ok(snug__transfer_expect(t, x, 2, e, &err));
    assert_true(fabs(e[1] - e[0] - s.task.repack_gain) < 0.15);
    /* threads are the cost model's business */
    config[1] = p.base;
    config[1].value[CPU_THREADS] = 1;
    snug__lattice_features(&lattice, &config[1], x + lattice.n_dims);
    assert_ok(snug__transfer_expect(t, x, 2, e, &err));
    assert_true(fabs(e[1] - e[0]) < 0.15);
    snug__transfer_free(t);
}

/* The configs it hands on are its front, at levels of the lattice. */
static void transfer_hands_on_the_best_of_a_past_front(void **state)
{
    (void)state;
    static struct session s;
    struct snug__lattice lattice;
    struct snug_config config;
    double best = 0;
    int n = 0;
    session_init(&s, 4, 40, 1);
    struct snug__transfer *t = transfer_of(&s, 1, &lattice);
    for (int i = 0; i < s.past.n_trials; i++)
        best = fmax(best, s.trials[i].speed);
    for (; snug__transfer_best(t, n, &config); n++) {
        assert_true(snug__lattice_has(&lattice, &config));
        if (n == 0)
            assert_true(cpu_task_speed(&s.task, &config) > 0.85 * best);
    }
    assert_int_in_range(n, 1, SNUG__TRANSFER_BEST_MAX);
    snug__transfer_free(t);
}

/* Of two pasts the one that ranks the told trials wins; where both have it wrong, both lose. */
static void transfer_weighs_pasts_by_how_they_rank(void **state)
{
    (void)state;
    static struct session s[2];
    struct snug__lattice lattice;
    struct snug_error err;
    enum { N = 14 };
    double y[N], own[N] = {0}, base[N] = {0}, x[SNUG_KNOBS_MAX];
    struct snug_rng rng;
    session_init(&s[0], 6, 60, 0.5);
    session_init(&s[1], 6, 60, 0.5);
    for (int i = 0; i < s[1].past.n_trials; i++)
        s[1].trials[i].speed = 1 / s[1].trials[i].speed;
    struct snug__transfer *t = transfer_of(s, 2, &lattice);
    snug_rng_init(&rng, 9);
    const double before = snug__transfer_trust(t);
    for (int i = 0; i < N; i++) {
        const struct snug_config config = draw(&lattice, &rng);
        snug__lattice_features(&lattice, &config, x);
        y[i] = log(cpu_task_speed(&s[0].task, &config));
        own[i] = i % 2; /* a target that knows nothing */
        assert_ok(snug__transfer_tell(t, x, &err));
    }
    snug__transfer_weigh(t, y, own, base);
    assert_true(snug__transfer_trust(t) > before);
    assert_true(agreement(t, &lattice, &s[0].task) > 0.7);
    for (int i = 0; i < N; i++) { /* now the other is right, and the target knows it too */
        y[i] = -y[i];
        own[i] = y[i];
    }
    snug__transfer_weigh(t, y, own, base);
    assert_true(snug__transfer_trust(t) < before);
    snug__transfer_free(t);
}

static void transfer_of_pasts_that_cannot_teach_is_none(void **state)
{
    (void)state;
    static struct session s;
    struct snug__lattice lattice;
    session_init(&s, 1, 20, 1);
    s.past.n_trials = 1; /* no shape in one trial */
    assert_null(transfer_of(&s, 1, &lattice));
    s.past.n_trials = 0;
    assert_null(transfer_of(&s, 1, &lattice));
    s.past.n_trials = 20;
    for (int i = 0; i < 20; i++)
        s.trials[i].outcome = SNUG_TRIAL_CRASH;
    assert_null(transfer_of(&s, 1, &lattice));
    for (int i = 0; i < 20; i++) {
        s.trials[i].outcome = SNUG_TRIAL_OK;
        s.trials[i].rung = 1;
    }
    assert_null(transfer_of(&s, 1, &lattice));
    for (int i = 0; i < 20; i++) {
        s.trials[i].rung = 0;
        s.trials[i].speed = i % 2 ? (double)NAN : (double)INFINITY;
    }
    assert_null(transfer_of(&s, 1, &lattice));
}

static void transfer_takes_trials_and_pasts_up_to_their_caps(void **state)
{
    (void)state;
    static struct session s[SNUG_PASTS_MAX + 1];
    struct snug__lattice lattice;
    for (int i = 0; i <= SNUG_PASTS_MAX; i++)
        session_init(&s[i], (uint64_t)i + 1, i ? 8 : SNUG_PAST_TRIALS_MAX + 1, 1);
    struct snug__transfer *t = transfer_of(s, SNUG_PASTS_MAX + 1, &lattice);
    assert_non_null(t);
    snug__transfer_free(t);
    /* the first trial is past the cap: what it says changes nothing */
    t = transfer_of(s, 1, &lattice);
    const double with = agreement(t, &lattice, &s[0].task);
    snug__transfer_free(t);
    s[0].trials[0].speed *= 100;
    t = transfer_of(s, 1, &lattice);
    assert_true(fabs(agreement(t, &lattice, &s[0].task) - with) < 1e-12);
    snug__transfer_free(t);
    s[0].trials[1].speed *= 100; /* the second counts */
    t = transfer_of(s, 1, &lattice);
    assert_true(fabs(agreement(t, &lattice, &s[0].task) - with) > 1e-9);
    snug__transfer_free(t);
}

/* ---- in the strategy ---- */

static struct session kept;

static void pose_kept(struct snug_problem *problem)
{
    problem->pasts = &kept.past;
    problem->n_pasts = 1;
}

/* The same machine with another model: half of what repacking brought, other threads, batches. */
static void related(struct snug_problem *problem, struct cpu_task *task, uint64_t seed)
{
    kept.task = *task;
    kept.task.serial_frac *= 1.25;
    kept.task.repack_gain *= 0.5;
    kept.task.flash_gain += 0.05;
    kept.task.ubatch_best -= 1;
    kept.task.prefill_share *= 0.8;
    session_run(&kept, seed, 40, 0.75);
    pose_kept(problem);
}

static void misleading(struct snug_problem *problem, struct cpu_task *task, uint64_t seed)
{
    kept.task = *task;
    session_run(&kept, seed, 40, 0.75);
    for (int i = 0; i < kept.past.n_trials; i++)
        kept.trials[i].speed = 1 / kept.trials[i].speed;
    pose_kept(problem);
}

static void useless(struct snug_problem *problem, struct cpu_task *task, uint64_t seed)
{
    kept.task = *task;
    session_run(&kept, seed, 2, 1);
    pose_kept(problem);
}

static void snug_gains_by_a_related_past_and_loses_little_by_a_misleading_one(void **state)
{
    (void)state;
    const double cold = cpu_task_mean_area(NULL), good = cpu_task_mean_area(related);
    const double wrong = cpu_task_mean_area(misleading), none = cpu_task_mean_area(useless);
    print_message("# mean hypervolume: cold %.3f, related past %.3f, misleading %.3f\n", cold, good,
                  wrong);
    assert_true(good > 1.02 * cold);
    assert_true(wrong > 0.95 * cold);
    assert_true(fabs(none - cold) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transfer_of_the_same_space_changes_nothing),
        cmocka_unit_test(transfer_keeps_the_place_where_the_default_differs),
        cmocka_unit_test(transfer_clips_to_the_bounds_here),
        cmocka_unit_test(transfer_drops_what_means_nothing_here),
        cmocka_unit_test(transfer_of_a_row_that_was_missing_is_at_its_default),
        cmocka_unit_test(transfer_expects_what_the_past_showed),
        cmocka_unit_test(transfer_beside_a_cost_model_expects_the_rest),
        cmocka_unit_test(transfer_hands_on_the_best_of_a_past_front),
        cmocka_unit_test(transfer_weighs_pasts_by_how_they_rank),
        cmocka_unit_test(transfer_of_pasts_that_cannot_teach_is_none),
        cmocka_unit_test(transfer_takes_trials_and_pasts_up_to_their_caps),
        cmocka_unit_test(snug_gains_by_a_related_past_and_loses_little_by_a_misleading_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
