/* The solver by its properties, on small random problems, and against brute force. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snug/plan.h"
#include "snug/stats.h"

enum { LAYERS = 3, TENSORS = LAYERS * 2 + 3, TYPES = 4 };

/* q4_0, q5_0, q8_0, f16 by ggml's numbers. */
static const int types[TYPES] = {2, 6, 8, 1};

struct world {
    struct snug_model model;
    struct snug_tensor tensors[TENSORS];
    char names[TENSORS][64];
    struct snug_law law;
    struct snug_loss loss[TENSORS * TYPES];
    struct snug_sensitivity sensitivity;
    uint64_t repacked; /* types of a tied embedding that are stored twice */
    struct snug_plan_request request;
};

static void add_tensor(struct world *w, const char *name, int64_t n_in, int64_t n_out)
{
    const int i = w->model.n_tensors++;
    snprintf(w->names[i], sizeof w->names[i], "%s", name);
    w->tensors[i] = (struct snug_tensor){.name = w->names[i],
                                         .type = 1,
                                         .n_dims = n_out > 1 ? 2 : 1,
                                         .ne = {n_in, n_out, 1, 1},
                                         .n_elements = (uint64_t)(n_in * n_out),
                                         .bytes = (uint64_t)(2 * n_in * n_out)};
    w->model.bytes_tensors += w->tensors[i].bytes;
    w->model.n_params += w->tensors[i].n_elements;
}

static void make_model(struct world *w, struct snug_rng *rng, bool is_tied)
{
    const int64_t n_embd = 32 * (int64_t)(1 + snug_rng_below(rng, 8));
    const int64_t n_ff = 32 * (int64_t)(1 + snug_rng_below(rng, 24));
    char name[64];
    w->model = (struct snug_model){.n_layer = LAYERS,
                                   .n_embd = n_embd,
                                   .n_ff = n_ff,
                                   .n_head = 1,
                                   .n_head_kv = 1,
                                   .n_embd_head_k = 32,
                                   .n_embd_head_v = 32,
                                   .n_embd_k_all = 32 * LAYERS,
                                   .n_embd_v_all = 32 * LAYERS,
                                   .n_vocab = 512,
                                   .n_ctx_train = 4096,
                                   .tensors = w->tensors};
    snprintf(w->model.arch, sizeof w->model.arch, "llama");
    add_tensor(w, "token_embd.weight", n_embd, 512);
    for (int l = 0; l < LAYERS; l++) {
        snprintf(name, sizeof name, "blk.%d.attn_q.weight", l);
        add_tensor(w, name, n_embd, n_embd);
        snprintf(name, sizeof name, "blk.%d.ffn_up.weight", l);
        add_tensor(w, name, n_embd, n_ff);
    }
    add_tensor(w, "output_norm.weight", n_embd, 1);
    if (!is_tied)
        add_tensor(w, "output.weight", n_embd, 512);
    w->model.is_tied = is_tied;
    w->model.bytes_file = w->model.bytes_tensors + 4096;
}

static void make_law(struct world *w, struct snug_rng *rng)
{
    const bool has_device = snug_rng_below(rng, 2) == 1;
    w->law = (struct snug_law){.n_threads = 2,
                               .step_s = 1e-5,
                               .ubatch_s = 1e-5,
                               .decode_lo_frac = 0.9,
                               .decode_hi_frac = 1.1,
                               .prefill_lo_frac = 0.9,
                               .prefill_hi_frac = 1.1};
    for (int kind = has_device ? 0 : 1; kind < 3; kind++) {
        struct snug_law_tier *t = &w->law.tiers[w->law.n_tiers++];
        t->kind = (enum snug_tier_kind)kind;
        snprintf(t->name, sizeof t->name, "%s", kind == 0 ? "GPU0" : kind == 1 ? "CPU" : "disk");
        const double slow = kind == 0 ? 1e-9 : kind == 1 ? 1e-8 : 1e-6;
        for (int i = 0; i < SNUG_MODEL_TYPES_MAX; i++) {
            t->decode_s_per_byte[i] = slow * (0.8 + 0.4 * snug_rng_double(rng));
            t->prefill_s_per_flop[i] = slow / 100.0;
            t->cache_s_per_byte[i] = slow;
            t->attention_s_per_flop[i] = slow / 100.0;
        }
        t->layer_s = 1e-6;
        t->layer_token_s = 1e-8;
    }
}

enum { BASE_BYTES = 1 << 16, BESIDE_BYTES = 1 << 20 };

static snug_status bytes_of(const struct snug_plan_shape *shape, struct snug_plan_bytes *out,
                            void *data, struct snug_error *err)
{
    struct world *w = data;
    const snug_status status = snug_plan_bytes_formula(shape, out, &w->model, err);
    /* Small beside the weights, so that these are what has to fit. */
    out->base = BASE_BYTES;
    out->compute /= 16;
    out->tied_repacked = w->repacked;
    return status;
}

static void make(struct world *w, uint64_t seed)
{
    struct snug_rng rng;
    memset(w, 0, sizeof *w);
    snug_rng_init(&rng, seed);
    make_model(w, &rng, snug_rng_below(&rng, 3) == 0);
    for (int k = 0; k < TYPES; k++)
        w->repacked |= (uint64_t)snug_rng_below(&rng, 2) << types[k];
    make_law(w, &rng);
    for (int t = 0; t < TENSORS; t++) {
        double loss = 0.2 * snug_rng_double(&rng);
        for (int k = 0; k < TYPES; k++, loss *= 0.1 + 0.4 * snug_rng_double(&rng))
            w->loss[t * TYPES + k].value = k == TYPES - 1 ? 0.0f : (float)loss;
    }
    w->sensitivity = (struct snug_sensitivity){.method = SNUG_SENSITIVITY_WEIGHTS,
                                               .n_tensors = w->model.n_tensors,
                                               .n_types = TYPES,
                                               .loss = w->loss,
                                               .lo_frac = 0.5,
                                               .hi_frac = 2.0};
    memcpy(w->sensitivity.types, types, sizeof types);
    snug_plan_request_init(&w->request);
    w->request.model = &w->model;
    w->request.law = &w->law;
    w->request.bytes = bytes_of;
    w->request.bytes_data = w;
    w->request.sensitivity = &w->sensitivity;
    w->request.n_ctx = 256 * (int64_t)(1 + snug_rng_below(&rng, 8));
    /* Between too little and plenty for everything. */
    const double room = 1.5 * snug_rng_double(&rng) * (double)w->model.bytes_tensors;
    for (int i = 0; i < w->law.n_tiers; i++)
        w->law.tiers[i].bytes = (uint64_t)(room * (0.2 + snug_rng_double(&rng))) + BESIDE_BYTES;
    if (w->law.tiers[w->law.n_tiers - 1].kind == SNUG_TIER_DISK && snug_rng_below(&rng, 2) == 0)
        w->law.n_tiers--;
    if (snug_rng_below(&rng, 3) == 0)
        w->request.target_tps = 50.0 * (1.0 + 100.0 * snug_rng_double(&rng));
    if (snug_rng_below(&rng, 4) == 0)
        w->request.loss_max = 0.3 * snug_rng_double(&rng) + 1e-4;
    if (snug_rng_below(&rng, 4) == 0)
        w->request.type_floor = types[snug_rng_below(&rng, TYPES)];
}

static struct snug_plan solve(const struct world *w)
{
    struct snug_plan plan;
    struct snug_error err = {0};
    const snug_status status = snug_plan_solve(&w->request, &plan, &err);
    if (status != SNUG_OK)
        print_message("%s\n", err.text);
    assert_int_equal(status, SNUG_OK);
    return plan;
}

/* How far down the ladder a plan had to go: 0 meets what was asked, 3 nothing fits. */
static int rung(const struct world *w, const struct snug_plan *plan)
{
    if (plan->grade == SNUG_PLAN_INFEASIBLE)
        return 3;
    if (w->request.target_tps > 0.0)
        return 0;
    const double fair = w->request.loss_max > 0.0 ? w->request.loss_max : SNUG_PLAN_LOSS_FAIR;
    const bool is_fair = plan->loss.value <= fair;
    return is_fair && snug_plan_mid_tps(plan) >= SNUG_PLAN_USABLE_TPS * 0.999 ? 0
           : is_fair && snug_plan_mid_tps(plan) >= SNUG_PLAN_SLOW_TPS * 0.999 ? 1
                                                                              : 2;
}

/* The least that a better machine may not be above: the loss that is proved. */
static double proved(const struct snug_plan *plan)
{
    return fmax(plan->loss.value * (1.0 - plan->gap_frac), SNUG_PLAN_LOSS_NONE);
}

/* Of a tensor on the host as this type: a tied embedding may be stored twice. */
static uint64_t taken_bytes(const struct world *w, int t, int type)
{
    const uint64_t bytes = snug_model_tensor_bytes(&w->tensors[t], type);
    return w->model.is_tied && t == 0 && w->repacked >> type & 1 ? 2 * bytes : bytes;
}

/* What lies in memory and on disk is every tensor once, and the copy of a tied embedding: rows are
 * looked up on the host wherever the output lies. */
static void check_weights(const struct world *w, const struct snug_plan *plan)
{
    uint64_t placed = 0, sum = 0;
    for (int i = 0; i < plan->n_tiers; i++)
        placed += plan->tiers[i].weights;
    for (int t = 0; t < w->model.n_tensors; t++)
        sum += snug_model_tensor_bytes(&w->tensors[t], plan->types[t]);
    if (w->model.is_tied && plan->n_gpu_layers > 0)
        sum += snug_model_tensor_bytes(&w->tensors[0], plan->types[0]);
    else if (!plan->use_mmap) /* mapped weights stay as they are */
        sum += taken_bytes(w, 0, plan->types[0]) -
               snug_model_tensor_bytes(&w->tensors[0], plan->types[0]);
    assert_int_equal(placed, sum);
}

static void check_limits(const struct world *w, const struct snug_plan *plan)
{
    if (plan->grade == SNUG_PLAN_INFEASIBLE)
        return;
    check_weights(w, plan);
    /* A token of a prompt costs no more than one of an answer, wherever the weights lie. */
    assert_true(plan->prefill_tps.value >= 0.5 * plan->decode_tps[0].value);
    for (int i = 0; i < plan->n_tiers; i++) {
        const struct snug_plan_tier *t = &plan->tiers[i];
        if (w->law.tiers[i].kind != SNUG_TIER_DISK)
            assert_true(t->weights + t->cache + t->compute + t->reserve <= t->bytes_usable);
    }
    if (w->request.loss_max > 0.0)
        assert_true(plan->loss.value <= w->request.loss_max);
    if (w->request.target_tps > 0.0)
        assert_true(snug_plan_mid_tps(plan) >= w->request.target_tps * (1.0 - 1e-6));
    static const double bits[TYPES] = {4.5, 5.5, 8.5, 16.0};
    for (int t = 0; t < w->model.n_tensors; t++) {
        double has = 16.0, floor = 0.0;
        for (int k = 0; k < TYPES; k++) {
            has = plan->types[t] == types[k] ? bits[k] : has;
            floor = w->request.type_floor == types[k] ? bits[k] : floor;
        }
        assert_true(has >= floor);
    }
}

static void test_properties(void **state)
{
    (void)state;
    int n_feasible = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct world w;
        make(&w, seed);
        struct snug_plan plan = solve(&w), same = solve(&w);
        check_limits(&w, &plan);
        n_feasible += plan.grade != SNUG_PLAN_INFEASIBLE;
        assert_memory_equal(plan.types, same.types, (size_t)w.model.n_tensors * sizeof *plan.types);
        assert_true(plan.n_gpu_layers == same.n_gpu_layers && plan.type_k == same.type_k);
        snug_plan_clear(&same);
        struct world roomy = w, fast = w, deep = w;
        roomy.request.law = &roomy.law;
        fast.request.law = &fast.law;
        for (int i = 0; i < w.law.n_tiers; i++) {
            roomy.law.tiers[i].bytes += 1u << (seed % 20);
            for (int k = 0; k < SNUG_MODEL_TYPES_MAX; k++)
                fast.law.tiers[i].decode_s_per_byte[k] *= 0.7;
        }
        deep.request.n_ctx += 256;
        struct snug_plan more = solve(&roomy), faster = solve(&fast), deeper = solve(&deep);
        assert_true(rung(&w, &more) <= rung(&w, &plan));
        assert_true(rung(&w, &faster) <= rung(&w, &plan));
        assert_true(rung(&w, &deeper) >= rung(&w, &plan));
        if (rung(&w, &plan) < 3 && rung(&w, &more) == rung(&w, &plan))
            assert_true(proved(&more) <= fmax(plan.loss.value, SNUG_PLAN_LOSS_NONE) + 1e-9);
        if (rung(&w, &plan) < 3 && rung(&w, &faster) == rung(&w, &plan))
            assert_true(proved(&faster) <= fmax(plan.loss.value, SNUG_PLAN_LOSS_NONE) + 1e-9);
        if (rung(&w, &deeper) < 3 && rung(&w, &deeper) == rung(&w, &plan))
            assert_true(proved(&plan) <= fmax(deeper.loss.value, SNUG_PLAN_LOSS_NONE) + 1e-9);
        snug_plan_clear(&plan);
        snug_plan_clear(&more);
        snug_plan_clear(&faster);
        snug_plan_clear(&deeper);
    }
    assert_true(n_feasible > 1000);
}

static void test_menu(void **state)
{
    (void)state;
    int n_long = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct world w;
        struct snug_plan *plans = NULL;
        struct snug_error err = {0};
        int n = 0;
        make(&w, seed);
        w.request.target_tps = 0.0;
        assert_int_equal(snug_plan_menu(&w.request, 16, &plans, &n, &err), SNUG_OK);
        n_long += n > 4;
        for (int i = 0; i < n; i++) {
            check_limits(&w, &plans[i]);
            if (i > 0) {
                assert_true(snug_plan_mid_tps(&plans[i]) < snug_plan_mid_tps(&plans[i - 1]));
                assert_true(plans[i].loss.value < plans[i - 1].loss.value);
            }
        }
        for (int i = 0; i < n; i++)
            snug_plan_clear(&plans[i]);
        free(plans);
    }
    assert_true(n_long > 20);
}

static struct snug_plan_shape small_shape(const struct world *w)
{
    return (struct snug_plan_shape){.n_ctx = w->request.n_ctx,
                                    .n_parallel = 1,
                                    .n_batch = 2048,
                                    .n_ubatch = 128,
                                    .type_k = 1,
                                    .type_v = 1,
                                    .flash_attn = true};
}

/* A host that holds next to none of the weights: they stay on disk, and a prompt costs no more a
 * token than an answer does. */
static void test_weights_on_disk(void **state)
{
    (void)state;
    int n_mapped = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world w;
        struct snug_plan_bytes bytes;
        make(&w, seed);
        w.request.n_ctx = 256;
        const struct snug_plan_shape shape = small_shape(&w);
        assert_int_equal(bytes_of(&shape, &bytes, &w, NULL), SNUG_OK);
        w.law.n_tiers = 2;
        for (int i = 0; i < 2; i++)
            w.law.tiers[i].kind = i == 0 ? SNUG_TIER_HOST : SNUG_TIER_DISK;
        w.law.tiers[0].bytes =
            bytes.base + bytes.cache + bytes.compute + w.model.bytes_tensors / 100;
        w.request.target_tps = w.request.loss_max = 0.0;
        struct snug_plan plan = solve(&w);
        check_limits(&w, &plan);
        n_mapped += plan.use_mmap;
        assert_true(plan.host_bytes.hi >= (double)(plan.tiers[0].weights + plan.tiers[1].weights));
        snug_plan_clear(&plan);
    }
    assert_true(n_mapped > 40); /* in the others a smaller cache makes room */
}

/* All types of all tensors on a host alone, with room for part of them, by brute force. */
static double brute(const struct world *w, uint64_t budget, int t, uint64_t bytes, double loss)
{
    if (bytes > budget)
        return HUGE_VAL;
    if (t == w->model.n_tensors)
        return loss;
    const struct snug_tensor *x = &w->tensors[t];
    if (x->n_dims < 2)
        return brute(w, budget, t + 1, bytes + x->bytes, loss);
    double best = HUGE_VAL;
    for (int k = 0; k < TYPES; k++)
        best = fmin(best, brute(w, budget, t + 1, bytes + taken_bytes(w, t, types[k]),
                                loss + (double)w->loss[t * TYPES + k].value));
    return best;
}

static void test_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct world w;
        make(&w, seed);
        w.law.n_tiers = 1;
        w.law.tiers[0].kind = SNUG_TIER_HOST;
        w.request.target_tps = w.request.loss_max = 0.0;
        w.request.type_floor = -1;
        /* So fast that speed is no matter, and the default cache alone. */
        for (int k = 0; k < SNUG_MODEL_TYPES_MAX; k++)
            w.law.tiers[0].decode_s_per_byte[k] = 1e-15;
        struct snug_plan_bytes bytes;
        const struct snug_plan_shape shape = small_shape(&w);
        assert_int_equal(bytes_of(&shape, &bytes, &w, NULL), SNUG_OK);
        const uint64_t budget = w.model.bytes_tensors * (30 + 5 * seed) / 100;
        w.law.tiers[0].bytes = budget + bytes.cache + bytes.compute + bytes.base;
        const double best = brute(&w, budget, 0, 0, 0.0);
        struct snug_plan plan = solve(&w);
        if (best < HUGE_VAL && best > SNUG_PLAN_LOSS_NONE && plan.type_k == 1 &&
            plan.n_ubatch == 128)
            assert_double_equal(plan.loss.value, best, 1e-6);
        else
            assert_true(plan.loss.value <= fmax(best, SNUG_PLAN_LOSS_NONE) + 1e-6);
        snug_plan_clear(&plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_menu),
        cmocka_unit_test(test_weights_on_disk),
        cmocka_unit_test(test_brute_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
