/* The top few plans, made and measured, and the best taken.
 *
 * Losses are not quite additive and are known with error, so plans that the sum puts close together
 * may stand in another order. Candidates: the plan; what the same search gives when the losses are
 * bent (their logarithms stretched or squeezed), when they are a guess by position, and when they
 * are the mean of both; and recipes of libllama that fit. Each is made as a file and its divergence
 * from the source is taken over the text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/config.h"
#include "plan/divergence.h"

enum { CANDIDATES_MAX = SNUG_PLAN_RERANK_MAX };
static const double BENDS[] = {0.8, 0.9, 1.15};
#define N_BENDS (sizeof BENDS / sizeof BENDS[0])

struct reranking {
    const struct snug_plan_rerank_options *o;
    const struct snug_plan *plan;
    int *types[CANDIDATES_MAX]; /* [n_tensors] each, malloc'ed */
    struct snug_plan_rerank_row rows[CANDIDATES_MAX];
    int n;
    struct snug_config config, config_source; /* alike but for the cache's types */
    struct snug__divergence divergence;
};

/* ---- candidates ---- */

static bool is_known(const struct reranking *r, const int *types)
{
    const size_t bytes = (size_t)r->plan->n_tensors * sizeof *types;
    for (int i = 0; i < r->n; i++) {
        if (memcmp(r->types[i], types, bytes) == 0)
            return true;
    }
    return false;
}

static snug_status add(struct reranking *r, const char *name, const int *types,
                       struct snug_error *err)
{
    const size_t bytes = (size_t)r->plan->n_tensors * sizeof *types;
    if (r->n == CANDIDATES_MAX || is_known(r, types))
        return SNUG_OK;
    int *copy = malloc(bytes);
    if (!copy)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a plan");
    memcpy(copy, types, bytes);
    r->types[r->n] = copy;
    r->rows[r->n] = (struct snug_plan_rerank_row){.kld = {NAN, NAN}};
    snprintf(r->rows[r->n].name, sizeof r->rows[r->n].name, "%s", name);
    r->n++;
    return SNUG_OK;
}

/* The search again with other losses; only when it keeps placement and cache is it comparable. */
static snug_status add_solved(struct reranking *r, const char *name,
                              const struct snug_sensitivity *s, struct snug_error *err)
{
    struct snug_plan_request request = *r->o->request;
    struct snug_plan plan;
    request.sensitivity = s;
    request.loss_max = 0.0; /* of another scale */
    snug_status status = snug_plan_solve(&request, &plan, err);
    if (status != SNUG_OK)
        return status;
    const bool is_comparable = plan.grade != SNUG_PLAN_INFEASIBLE &&
                               plan.n_gpu_layers == r->plan->n_gpu_layers &&
                               plan.file_bytes <= r->o->bytes_max;
    if (is_comparable)
        status = add(r, name, plan.types, err);
    snug_plan_clear(&plan);
    return status;
}

/* loss := loss^power * other^(1 - power), elementwise; other NULL: 1. */
static void bend(const struct snug_sensitivity *from, const struct snug_sensitivity *other,
                 double power, struct snug_sensitivity *out)
{
    const int n = from->n_tensors * from->n_types;
    for (int i = 0; i < n; i++) {
        const double a = (double)from->loss[i].value;
        const double b = other ? (double)other->loss[i].value : 1.0;
        out->loss[i].value =
            a > 0.0 && b > 0.0 ? (float)(pow(a, power) * pow(b, 1.0 - power)) : from->loss[i].value;
    }
}

static bool is_same_table(const struct snug_sensitivity *a, const struct snug_sensitivity *b)
{
    return a->n_tensors == b->n_tensors && a->n_types == b->n_types &&
           memcmp(a->types, b->types, (size_t)a->n_types * sizeof *a->types) == 0;
}

static snug_status add_bent(struct reranking *r, struct snug_error *err)
{
    const struct snug_sensitivity *given = r->o->request->sensitivity;
    const size_t n = (size_t)given->n_tensors * (size_t)given->n_types;
    struct snug_sensitivity bent = *given, position = {.n_tensors = 0};
    bent.loss = malloc((n + 1) * sizeof *bent.loss);
    if (!bent.loss)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for losses");
    memcpy(bent.loss, given->loss, n * sizeof *bent.loss);
    snug_status status = SNUG_OK;
    for (size_t i = 0; i < N_BENDS && status == SNUG_OK; i++) {
        char name[48];
        bend(given, NULL, BENDS[i], &bent);
        snprintf(name, sizeof name, "losses to the power %.2f", BENDS[i]);
        status = add_solved(r, name, &bent, err);
    }
    if (status == SNUG_OK)
        status = snug_sensitivity_position(r->o->request->model, &position, err);
    if (status == SNUG_OK)
        status = add_solved(r, "by position", &position, err);
    if (status == SNUG_OK && is_same_table(given, &position)) {
        bend(given, &position, 0.5, &bent);
        status = add_solved(r, "between the two", &bent, err);
    }
    snug_sensitivity_clear(&position);
    free(bent.loss);
    return status;
}

static snug_status add_recipes(struct reranking *r, struct snug_error *err)
{
    static const char *const names[] = {"q6_k",   "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s",
                                        "iq4_xs", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k"};
    enum { N_NAMES = sizeof names / sizeof names[0], BEST = 2 };
    const size_t n = (size_t)r->plan->n_tensors;
    uint64_t bytes[N_NAMES] = {0};
    int *types = malloc(N_NAMES * n * sizeof *types);
    snug_status status = types ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "no memory for recipes");
    if (status == SNUG_OK)
        status =
            snug_engine_recipes(r->o->request->model, names, N_NAMES, false, types, bytes, err);
    /* The largest that fit: smaller ones of the list lose more. */
    for (int i = 0, n_taken = 0; i < N_NAMES && n_taken < BEST && status == SNUG_OK; i++) {
        if (bytes[i] == 0 || bytes[i] > r->o->bytes_max)
            continue;
        status = add(r, names[i], types + (size_t)i * n, err);
        n_taken++;
    }
    free(types);
    return status;
}

/* ---- measuring ---- */

/* Losses are counted from the defaults, an f16 cache among them. Where the plan runs, and with how
 * many threads, is of the machine that it is for and not of this one. */
static snug_status set_configs(struct reranking *r, struct snug_error *err)
{
    const struct snug_space *space = r->o->space;
    snug_space_default(space, &r->config_source);
    r->config = r->config_source;
    snug_status status =
        snug__config_word(space, &r->config, "type_k", snug_model_type_name(r->plan->type_k), err);
    if (status == SNUG_OK)
        status = snug__config_word(space, &r->config, "type_v",
                                   snug_model_type_name(r->plan->type_v), err);
    return status;
}

static void tell(const struct reranking *r, const char *text)
{
    if (r->o->progress)
        r->o->progress(text, r->o->progress_data);
}

static snug_status measure_all(struct reranking *r, int *out_best, struct snug_error *err)
{
    struct snug__divergence *d = &r->divergence;
    *d = (struct snug__divergence){.model = r->o->request->model,
                                   .imatrix_path = r->o->imatrix_path,
                                   .space = r->o->space,
                                   .config = &r->config,
                                   .config_reference = &r->config_source,
                                   .text_path = r->o->text_path,
                                   .n_ctx = r->o->n_ctx,
                                   .n_chunks_max = r->o->n_chunks,
                                   .folder = r->o->folder,
                                   .stop = r->o->stop};
    snug_status status = set_configs(r, err);
    tell(r, "the model as it is");
    if (status == SNUG_OK)
        status = snug__divergence_reference(d, err);
    *out_best = 0;
    for (int i = 0; i < r->n && status == SNUG_OK; i++) {
        char text[96];
        snprintf(text, sizeof text, "measuring plan %d of %d: %s", i + 1, r->n, r->rows[i].name);
        tell(r, text);
        status = snug__divergence_of(d, r->types[i], &r->rows[i].kld, &r->rows[i].file_bytes, err);
        if (status != SNUG_OK)
            status = snug_fail_prefix(err, status, "plan %d of %d", i + 1, r->n);
        else if (r->rows[i].kld.value < r->rows[*out_best].kld.value)
            *out_best = i;
    }
    snug__divergence_close(d);
    return status;
}

/* ---- the answer ---- */

/* The winner in the plan's shape, its loss as measured, with two standard errors. */
static snug_status take(struct reranking *r, int best, struct snug_plan *plan,
                        struct snug_error *err)
{
    struct snug_plan_shape shape = snug_plan_shape_of(plan);
    struct snug_plan winner;
    shape.use_mmap = false; /* other types may fit where the plan's did not */
    const snug_status status =
        snug_plan_evaluate(r->o->request, r->types[best], &shape, &winner, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_estimate kld = r->rows[best].kld;
    winner.loss = (struct snug_prediction){kld.value, fmax(kld.value - 2.0 * kld.se, 0.0),
                                           kld.value + 2.0 * kld.se};
    winner.method = SNUG_SENSITIVITY_KLD;
    for (int i = 0; i < plan->n_notes; i++)
        snug_plan_note(&winner, "%s", plan->notes[i]);
    snug_plan_note(&winner, "measured over the text as the best of %d: %s", r->n,
                   r->rows[best].name);
    snug_plan_clear(plan);
    *plan = winner;
    return SNUG_OK;
}

snug_status snug_plan_rerank(const struct snug_plan_rerank_options *options, struct snug_plan *plan,
                             struct snug_plan_rerank_row *out_rows, int *out_n,
                             struct snug_error *err)
{
    int best = 0;
    struct reranking *r = calloc(1, sizeof *r);
    if (!r)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory to measure plans");
    r->o = options;
    r->plan = plan;
    snug_status status = add(r, "the plan", plan->types, err);
    if (status == SNUG_OK)
        status = add_bent(r, err);
    if (status == SNUG_OK)
        status = add_recipes(r, err);
    if (status == SNUG_OK)
        status = measure_all(r, &best, err);
    if (status == SNUG_OK)
        status = take(r, best, plan, err);
    if (status == SNUG_OK) {
        memcpy(out_rows, r->rows, (size_t)r->n * sizeof *out_rows);
        *out_n = r->n;
    }
    for (int i = 0; i < r->n; i++)
        free(r->types[i]);
    free(r);
    return status;
}
