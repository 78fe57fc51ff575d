/* A plan made by hand for a model: types drawn from a list, and numbers that show in every text. */
#ifndef SNUG_TEST_PLAN_H
#define SNUG_TEST_PLAN_H

#include "test.h"

#include <ggml.h>

#include "snug/commands.h"
#include "snug/stats.h"

struct plan_test {
    struct snug_model model;
    struct snug_plan plan;
};

/* Vectors and norms keep the model's type. */
static inline bool plan_test_is_free(const struct snug_tensor *tensor)
{
    return tensor->n_dims >= 2 && !strstr(tensor->name, "norm");
}

/* Release with plan_test_close, whose free is all that snug_plan_clear does. */
static inline void plan_test_open(struct plan_test *t, const char *path)
{
    struct snug_error err;
    memset(t, 0, sizeof *t);
    assert_ok(snug_model_open(path, &t->model, &err));
    struct snug_plan *p = &t->plan;
    snprintf(p->model_name, sizeof p->model_name, "%s", "A Model");
    snprintf(p->arch, sizeof p->arch, "%s", t->model.arch);
    p->n_tensors = t->model.n_tensors;
    p->names = malloc((size_t)p->n_tensors * sizeof *p->names);
    p->types = malloc((size_t)p->n_tensors * sizeof *p->types);
    assert_true(p->names && p->types);
    for (int i = 0; i < p->n_tensors; i++) {
        p->names[i] = t->model.tensors[i].name;
        p->types[i] = t->model.tensors[i].type;
    }
    p->type_k = GGML_TYPE_Q8_0;
    p->type_v = GGML_TYPE_Q4_0;
    p->flash_attn = true;
    p->n_ctx = 512;
    p->n_parallel = 2;
    p->n_batch = 64;
    p->n_ubatch = 32;
    p->n_threads = 1;
    p->n_prompt = 16;
    p->depths[1] = 128;
    p->depths[2] = 256; /* the whole of a sequence: nothing more fits */
    p->n_depths = 3;
    p->tiers[0] = (struct snug_plan_tier){.name = "CPU",
                                          .bytes_usable = UINT64_C(6) << 30,
                                          .weights = UINT64_C(4) << 30,
                                          .cache = UINT64_C(512) << 20,
                                          .compute = UINT64_C(256) << 20,
                                          .reserve = UINT64_C(256) << 20};
    p->n_tiers = 1;
}

static inline void plan_test_close(struct plan_test *t)
{
    snug_model_clear(&t->model);
    free(t->plan.names);
    free(t->plan.types);
}

/* One type for all matrices. */
static inline void plan_test_fill(struct plan_test *t, int type)
{
    for (int i = 0; i < t->plan.n_tensors; i++) {
        if (plan_test_is_free(&t->model.tensors[i]))
            t->plan.types[i] = type;
    }
}

/* A type from the list for each matrix. */
static inline void plan_test_draw(struct plan_test *t, const int *types, int n, uint64_t seed)
{
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (int i = 0; i < t->plan.n_tensors; i++) {
        if (plan_test_is_free(&t->model.tensors[i]))
            t->plan.types[i] = types[snug_rng_below(&rng, (uint64_t)n)];
    }
}

static inline char *plan_test_text(const struct plan_test *t, const char *emitter,
                                   const struct snug_command_options *options)
{
    struct snug_error err;
    char *text = NULL;
    assert_ok(snug_plan_command(&t->plan, &t->model, emitter, options, &text, &err));
    assert_non_null(text);
    assert_true(text[0] && text[strlen(text) - 1] == '\n');
    return text;
}

/* Fixture: smollm2-135m with all matrices in q4_0. */
static inline int plan_test_setup(void **state)
{
    struct plan_test *t = calloc(1, sizeof *t);
    if (!t)
        return -1;
    plan_test_open(t, "smollm2-135m");
    plan_test_fill(t, GGML_TYPE_Q4_0);
    *state = t;
    return 0;
}

static inline int plan_test_teardown(void **state)
{
    plan_test_close(*state);
    free(*state);
    return 0;
}

static inline int plan_test_count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

#endif
