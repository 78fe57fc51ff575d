/* Sensitivities that need no run of the model: by the error of its weights, or by a guess. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <ggml.h>

#include "engine/sensitivity.h"
#include "plan/sensitivity.h"
#include "snug/stats.h"

static const double TENSOR_DEADLINE_S = 600.0; /* one tensor's sample takes about a second */

/* Fewest bits first; of equal ones the simpler first. */
static const int TYPES[] = {
    GGML_TYPE_IQ1_S,  GGML_TYPE_IQ1_M,   GGML_TYPE_IQ2_XXS, GGML_TYPE_IQ2_XS, GGML_TYPE_IQ2_S,
    GGML_TYPE_Q2_K,   GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ3_S,   GGML_TYPE_Q3_K,   GGML_TYPE_IQ4_XS,
    GGML_TYPE_IQ4_NL, GGML_TYPE_Q4_0,    GGML_TYPE_Q4_K,    GGML_TYPE_Q4_1,   GGML_TYPE_Q5_0,
    GGML_TYPE_Q5_K,   GGML_TYPE_Q5_1,    GGML_TYPE_Q6_K,    GGML_TYPE_Q8_0,   GGML_TYPE_BF16,
    GGML_TYPE_F16,
};
enum { N_TYPES = sizeof TYPES / sizeof *TYPES };

const int *snug__sensitivity_types(int *out_n)
{
    *out_n = N_TYPES;
    return TYPES;
}

const char *snug_sensitivity_method_name(enum snug_sensitivity_method method)
{
    static const char *const NAMES[] = {
#define X(id, name, text) name,
        SNUG_SENSITIVITY_METHODS(X)
#undef X
    };
    return method < SNUG_N_SENSITIVITY_METHODS ? NAMES[method] : "?";
}

void snug_sensitivity_clear(struct snug_sensitivity *s)
{
    if (!s)
        return;
    free(s->loss);
    memset(s, 0, sizeof *s);
}

/* ---- the table ---- */

static bool has_type(const struct snug_sensitivity *s, int type)
{
    for (int i = 0; i < s->n_types; i++) {
        if (s->types[i] == type)
            return true;
    }
    return false;
}

static bool is_possible(const struct snug_model *model, int type, bool has_imatrix)
{
    for (int i = 0; i < model->n_tensors; i++) {
        if (snug__tensor_can_have(&model->tensors[i], type, has_imatrix))
            return true;
    }
    return false;
}

/* In its place by bits, behind those of equal ones. */
static snug_status add_type(struct snug_sensitivity *s, int type, struct snug_error *err)
{
    if (has_type(s, type))
        return SNUG_OK;
    if (s->n_types == SNUG_PLAN_TYPES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "more than %d types of weights", SNUG_PLAN_TYPES_MAX);
    int at = s->n_types++;
    for (; at > 0 && snug_model_type_bits(s->types[at - 1]) > snug_model_type_bits(type); at--)
        s->types[at] = s->types[at - 1];
    s->types[at] = type;
    return SNUG_OK;
}

snug_status snug__sensitivity_init(const struct snug_model *model, const int *types, int n_types,
                                   bool has_imatrix, struct snug_sensitivity *out,
                                   struct snug_error *err)
{
    struct snug_sensitivity s = {.n_tensors = model->n_tensors};
    snug_status status = SNUG_OK;
    if (model->n_tensors < 1)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: has no tensors", model->path);
    for (int i = 0; status == SNUG_OK && i < (types ? n_types : N_TYPES); i++) {
        const int type = types ? types[i] : TYPES[i];
        if (is_possible(model, type, has_imatrix))
            status = add_type(&s, type, err);
    }
    /* What a tensor is now it may always stay. */
    for (int i = 0; status == SNUG_OK && i < model->n_tensors; i++)
        status = add_type(&s, model->tensors[i].type, err);
    if (status != SNUG_OK)
        return status;
    s.loss = calloc((size_t)s.n_tensors * (size_t)s.n_types, sizeof *s.loss);
    if (!s.loss)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %d tensors", s.n_tensors);
    for (int i = 0; i < s.n_tensors; i++) {
        for (int k = 0; k < s.n_types; k++) {
            const bool is_own = s.types[k] == model->tensors[i].type;
            s.loss[i * s.n_types + k].value = is_own ? 0.0f : NAN;
        }
    }
    snprintf(s.model_hash, sizeof s.model_hash, "%s", model->hash);
    snprintf(s.build, sizeof s.build, "ggml %s", ggml_version());
    *out = s;
    return SNUG_OK;
}

snug_status snug__sensitivity_check(const struct snug_model *model, struct snug_error *err)
{
    if (model->is_preset)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s has no weights to look at: give a GGUF file, or --method position for "
                         "a guess",
                         model->path);
    for (int i = 0; i < model->n_tensors; i++) {
        const struct snug_tensor *t = &model->tensors[i];
        if (snug__tensor_is_quantisable(t) && !snug__type_is_source(t->type))
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s: %s is %s already, and what a type costs is told from the weights "
                             "as they were trained: give the F16, BF16 or F32 file",
                             model->path, t->name, snug_model_type_name(t->type));
    }
    return SNUG_OK;
}

static void set_loss(struct snug_sensitivity *s, const struct snug_model *model, int i, int k,
                     struct snug_estimate error)
{
    const double factor = snug__tensor_factor(model, i, s->method);
    if (s->types[k] != model->tensors[i].type)
        s->loss[i * s->n_types + k] =
            (struct snug_loss){(float)(factor * error.value), (float)(factor * error.se)};
}

/* ---- by weights ---- */

snug_status snug_sensitivity_weights(const struct snug_sensitivity_options *o,
                                     struct snug_sensitivity *out, struct snug_error *err)
{
    struct snug_sensitivity s = {.n_types = 0};
    struct snug_estimate *errors = NULL;
    snug_status status = snug__sensitivity_check(o->model, err);
    if (status == SNUG_OK)
        status = snug__sensitivity_init(o->model, o->types, o->n_types, o->imatrix_path != NULL, &s,
                                        err);
    if (status != SNUG_OK)
        return status;
    errors = calloc((size_t)s.n_tensors * (size_t)s.n_types, sizeof *errors);
    if (!errors) {
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for %d tensors", s.n_tensors);
        goto done;
    }
    const struct snug__errors_request request = {.model = o->model,
                                                 .imatrix_path = o->imatrix_path,
                                                 .types = s.types,
                                                 .n_types = s.n_types,
                                                 .deadline_s = TENSOR_DEADLINE_S,
                                                 .stop = o->stop,
                                                 .progress = o->progress,
                                                 .progress_data = o->progress_data};
    status = snug__sensitivity_errors(&request, errors, err);
    if (status != SNUG_OK)
        goto done;
    s.method = o->imatrix_path ? SNUG_SENSITIVITY_IMATRIX : SNUG_SENSITIVITY_WEIGHTS;
    for (int i = 0; i < s.n_tensors; i++) {
        for (int k = 0; k < s.n_types; k++)
            set_loss(&s, o->model, i, k, errors[i * s.n_types + k]);
    }
    snug__loss_interval(s.method, &s.lo_frac, &s.hi_frac);
    *out = s;
    s.loss = NULL; /* the caller owns it now */
done:
    free(errors);
    snug_sensitivity_clear(&s);
    return status;
}

/* ---- by position ---- */

enum { GAUSS_ROWS = 32, GAUSS_COLUMNS = 1024 };

static double gauss_errors[N_TYPES]; /* NAN: memory was out */
static pthread_once_t gauss_once = PTHREAD_ONCE_INIT;

/* Trained weights are near to Gaussian in a row, and so the error of a type is much the same in all
 * models: within a fifth, by the test models. */
static void measure_gauss(void)
{
    float *row = malloc(GAUSS_COLUMNS * sizeof *row), *back = malloc(GAUSS_COLUMNS * sizeof *back);
    void *packed = malloc(GAUSS_COLUMNS * sizeof(float));
    for (int k = 0; k < N_TYPES; k++) {
        const enum ggml_type type = (enum ggml_type)TYPES[k];
        struct snug_rng rng;
        double e = 0.0, d = 0.0;
        gauss_errors[k] = NAN;
        if (!row || !back || !packed || snug__type_needs_imatrix(TYPES[k]))
            continue;
        snug_rng_init(&rng, 1); /* the same rows for each type */
        for (int i = 0; i < GAUSS_ROWS; i++) {
            for (int c = 0; c < GAUSS_COLUMNS; c++)
                row[c] = (float)snug_rng_normal(&rng);
            ggml_quantize_chunk(type, row, packed, 0, 1, GAUSS_COLUMNS, NULL);
            ggml_get_type_traits(type)->to_float(packed, back, GAUSS_COLUMNS);
            for (int c = 0; c < GAUSS_COLUMNS; c++) {
                const double miss = (double)row[c] - (double)back[c];
                e += miss * miss;
                d += (double)row[c] * (double)row[c];
            }
        }
        gauss_errors[k] = e / d;
    }
    ggml_quantize_free();
    free(row);
    free(back);
    free(packed);
}

static double gauss_error(int type)
{
    for (int k = 0; k < N_TYPES; k++) {
        if (TYPES[k] == type)
            return gauss_errors[k];
    }
    return NAN;
}

snug_status snug_sensitivity_position(const struct snug_model *model, struct snug_sensitivity *out,
                                      struct snug_error *err)
{
    struct snug_sensitivity s = {.n_types = 0};
    snug_status status = snug__sensitivity_init(model, NULL, 0, false, &s, err);
    if (status != SNUG_OK)
        return status;
    pthread_once(&gauss_once, measure_gauss);
    s.method = SNUG_SENSITIVITY_POSITION;
    for (int i = 0; i < s.n_tensors; i++) {
        for (int k = 0; k < s.n_types; k++) {
            const bool can = snug__tensor_can_have(&model->tensors[i], s.types[k], false);
            const double error = can ? gauss_error(s.types[k]) : NAN;
            set_loss(&s, model, i, k, (struct snug_estimate){error, 0.5 * error});
        }
    }
    snug__loss_interval(s.method, &s.lo_frac, &s.hi_frac);
    *out = s;
    return SNUG_OK;
}
