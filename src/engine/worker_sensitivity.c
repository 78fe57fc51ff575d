/* Reconstruction errors in the worker: rows of each tensor are sampled evenly, quantised by ggml,
 * read back and compared.
 *
 * Tensors are shared out to as many threads as there are CPUs, since ggml's quantisers use one. At
 * most ROWS_MAX rows and ELEMENTS_MAX weights of a tensor are looked at, and a part of those by the
 * i-quants, which search a lattice and take up to some microseconds per weight. The standard error
 * is that of a ratio of sums over sampled rows, with the correction for a finite number of them
 * (Cochran, Sampling Techniques (1977), 6.4). */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "engine/sensitivity.h"
#include "engine/worker.h"
#include "model/gguf_read.h"
#include "snug/imatrix.h"
#include "snug/stats.h"

enum {
    ROWS_MAX = 256,
    ROWS_MIN = 16,             /* of however long rows */
    ELEMENTS_MAX = 256 * 1024, /* 16 rows of 16384 */
    SLOW_ROWS_MIN = 4,         /* of the i-quants that search a lattice */
    SLOW_ELEMENTS_MAX = 16 * 1024,
    THREADS_MAX = 64,
    SEED = 1
};

struct part {
    struct snug__source source;
    uint64_t data_offset;
    bool is_open;
};

/* What all threads share; read-only but for the last three. */
struct job {
    struct snug__worker *w;
    struct snug_model model;
    struct snug_imatrix imatrix;
    bool has_imatrix;
    int types[SNUG_MODEL_TYPES_MAX];
    int n_types;
    struct part *parts;
    atomic_int next; /* tensor to take */
    pthread_mutex_t lock;
    struct snug_error err; /* the first failure; under the lock */
};

/* One tensor's sampled rows, and room for one row quantised and read back. */
struct sample {
    const struct snug_tensor *tensor;
    const struct snug_imatrix_row *weights;
    int64_t n_all, n; /* rows: all, sampled */
    int64_t *rows;
    float *values, *back; /* values[n][ne0], back[ne0] */
    void *packed;
};

static void sample_clear(struct sample *s)
{
    free(s->rows);
    free(s->values);
    free(s->back);
    free(s->packed);
}

/* Row i of n lies at random in the i-th of n equal pieces. */
static void choose_rows(struct sample *s, int i_tensor)
{
    struct snug_rng rng;
    snug_rng_init(&rng, SEED + (uint64_t)i_tensor);
    for (int64_t i = 0; i < s->n; i++) {
        const int64_t begin = (int64_t)((double)i * (double)s->n_all / (double)s->n);
        const int64_t end = (int64_t)((double)(i + 1) * (double)s->n_all / (double)s->n);
        s->rows[i] =
            begin + (int64_t)snug_rng_below(&rng, (uint64_t)(end > begin ? end - begin : 1));
    }
}

static snug_status sample_alloc(struct sample *s, struct snug_error *err)
{
    const int64_t n_columns = s->tensor->ne[0];
    s->n_all = (int64_t)(s->tensor->n_elements / (uint64_t)n_columns);
    s->n = ELEMENTS_MAX / n_columns;
    s->n = s->n < ROWS_MIN ? ROWS_MIN : s->n > ROWS_MAX ? ROWS_MAX : s->n;
    s->n = s->n < s->n_all ? s->n : s->n_all;
    s->rows = calloc((size_t)s->n, sizeof *s->rows);
    s->values = calloc((size_t)s->n, (size_t)n_columns * sizeof *s->values);
    s->back = calloc((size_t)n_columns, sizeof *s->back);
    s->packed = calloc((size_t)n_columns, sizeof(float)); /* no type takes more */
    if (!s->rows || !s->values || !s->back || !s->packed)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for rows of %s", s->tensor->name);
    return SNUG_OK;
}

static void to_floats(int type, const void *from, float *out, int64_t n)
{
    if (type == GGML_TYPE_F32)
        memcpy(out, from, (size_t)n * sizeof *out);
    else
        ggml_get_type_traits((enum ggml_type)type)->to_float(from, out, n);
}

static snug_status read_rows(struct job *job, struct sample *s, struct snug_error *err)
{
    const struct snug_tensor *t = s->tensor;
    const struct part *part = &job->parts[t->split];
    const size_t n_bytes = ggml_row_size((enum ggml_type)t->type, t->ne[0]);
    for (int64_t i = 0; i < s->n; i++) {
        float *row = s->values + i * t->ne[0];
        const uint64_t at = part->data_offset + t->offset + (uint64_t)s->rows[i] * n_bytes;
        const snug_status status = snug__source_read(&part->source, at, s->packed, n_bytes, err);
        if (status != SNUG_OK)
            return status;
        to_floats(t->type, s->packed, row, t->ne[0]);
        for (int64_t c = 0; c < t->ne[0]; c++) {
            if (!isfinite(row[c]))
                return snug_fail(err, SNUG_BAD_INPUT,
                                 "%s: %s, row %lld, column %lld is not finite: a damaged file, or "
                                 "weights that overflowed when they were converted",
                                 job->model.path, t->name, (long long)s->rows[i], (long long)c);
        }
    }
    return SNUG_OK;
}

/* The weights of a row's columns, or NULL. Each matrix of a stack of experts has its own. */
static const float *weights_of(const struct sample *s, int64_t row)
{
    if (!s->weights)
        return NULL;
    const int64_t n_matrices = s->weights->n / s->tensor->ne[0];
    const int64_t matrix = row / s->tensor->ne[1];
    return s->weights->values + (matrix < n_matrices ? matrix : n_matrices - 1) * s->tensor->ne[0];
}

static struct snug_estimate ratio(const double *e, const double *d, int64_t n, int64_t n_all)
{
    double sum_e = 0.0, sum_d = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum_e += e[i];
        sum_d += d[i];
    }
    if (sum_d <= 0.0)
        return (struct snug_estimate){0.0, 0.0}; /* nothing but zeros, and those are exact */
    const double r = sum_e / sum_d;
    for (int64_t i = 0; i < n; i++)
        squares += (e[i] - r * d[i]) * (e[i] - r * d[i]);
    const double unseen = 1.0 - (double)n / (double)n_all;
    const double se = n > 1 ? sqrt(squares * (double)n / (double)(n - 1) * unseen) / sum_d : r;
    return (struct snug_estimate){r, se};
}

/* Which rows a type takes: each stride-th. */
static int64_t stride_of(const struct sample *s, int type)
{
    if (!snug__type_needs_imatrix(type) && type != GGML_TYPE_IQ3_S)
        return 1;
    const int64_t n_fit = SLOW_ELEMENTS_MAX / s->tensor->ne[0];
    const int64_t stride = s->n / (n_fit > SLOW_ROWS_MIN ? n_fit : SLOW_ROWS_MIN);
    return stride > 1 ? stride : 1;
}

static struct snug_estimate measure(struct sample *s, int type)
{
    const enum ggml_type t = (enum ggml_type)type;
    const int64_t stride = stride_of(s, type), n_columns = s->tensor->ne[0];
    double e[ROWS_MAX], d[ROWS_MAX];
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i += stride, n++) {
        const float *row = s->values + i * n_columns, *a = weights_of(s, s->rows[i]);
        e[n] = d[n] = 0.0;
        ggml_quantize_chunk(t, row, s->packed, 0, 1, n_columns, a);
        to_floats(type, s->packed, s->back, n_columns);
        for (int64_t c = 0; c < n_columns; c++) {
            const double w = (double)row[c], miss = w - (double)s->back[c];
            const double weight = a ? (double)a[c] : 1.0;
            e[n] += weight * miss * miss;
            d[n] += weight * w * w;
        }
    }
    return ratio(e, d, n, s->n_all);
}

static void send_errors(struct job *job, int i_tensor, const struct snug_estimate *errors)
{
    struct snug_json_writer writer = {0};
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", "errors");
    snug_json_put_int(&writer, "tensor", i_tensor);
    snug_json_begin_array(&writer, "values");
    for (int i = 0; i < job->n_types; i++) {
        snug_json_put_number(&writer, NULL, errors[i].value);
        snug_json_put_number(&writer, NULL, errors[i].se);
    }
    snug_json_end(&writer);
    snug_json_end(&writer);
    pthread_mutex_lock(&job->lock);
    snug__worker_send(job->w, &writer);
    pthread_mutex_unlock(&job->lock);
}

static snug_status do_tensor(struct job *job, int i_tensor, struct snug_error *err)
{
    struct sample s = {.tensor = &job->model.tensors[i_tensor]};
    struct snug_estimate errors[SNUG_MODEL_TYPES_MAX];
    bool is_any = false;
    if (job->has_imatrix)
        s.weights = snug_imatrix_find(&job->imatrix, s.tensor->name);
    for (int i = 0; i < job->n_types; i++) {
        const bool is_same = job->types[i] == s.tensor->type;
        const bool can = snug__tensor_can_have(s.tensor, job->types[i], s.weights != NULL);
        errors[i] = is_same ? (struct snug_estimate){0.0, 0.0} : (struct snug_estimate){NAN, NAN};
        errors[i].se = can && !is_same ? 1.0 : errors[i].se; /* marks what is to be measured */
        is_any = is_any || (can && !is_same);
    }
    if (is_any) {
        snug_status status = sample_alloc(&s, err);
        if (status == SNUG_OK) {
            choose_rows(&s, i_tensor);
            status = read_rows(job, &s, err);
        }
        for (int i = 0; status == SNUG_OK && i < job->n_types; i++) {
            if (isnan(errors[i].value) && isfinite(errors[i].se))
                errors[i] = measure(&s, job->types[i]);
        }
        sample_clear(&s);
        if (status != SNUG_OK)
            return status;
    }
    send_errors(job, i_tensor, errors);
    return SNUG_OK;
}

static void *work(void *data)
{
    struct job *job = data;
    for (int i; (i = atomic_fetch_add(&job->next, 1)) < job->model.n_tensors;) {
        struct snug_error err = {0};
        if (do_tensor(job, i, &err) == SNUG_OK)
            continue;
        atomic_store(&job->next, job->model.n_tensors); /* the others need not begin another */
        pthread_mutex_lock(&job->lock);
        if (job->err.status == SNUG_OK)
            job->err = err;
        pthread_mutex_unlock(&job->lock);
    }
    return NULL;
}

static snug_status run(struct job *job, struct snug_error *err)
{
    pthread_t threads[THREADS_MAX];
    cpu_set_t cpus;
    int n = 0;
    const int n_cpus = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    /* The lattices of the i-quants are made once, before threads would do it at the same time. */
    for (int i = 0; i < job->n_types; i++)
        ggml_quantize_init((enum ggml_type)job->types[i]);
    while (n < n_cpus - 1 && n < THREADS_MAX && n < job->model.n_tensors - 1 &&
           pthread_create(&threads[n], NULL, work, job) == 0)
        n++;
    work(job);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    ggml_quantize_free();
    if (job->err.status != SNUG_OK && err)
        *err = job->err;
    return job->err.status;
}

/* ---- opening ---- */

static snug_status open_parts(struct job *job, struct snug_error *err)
{
    const int n = job->model.n_splits;
    char path[sizeof job->model.path], suffix[48];
    job->parts = calloc((size_t)n, sizeof *job->parts);
    if (!job->parts)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its parts", job->model.path);
    snprintf(suffix, sizeof suffix, "-%05d-of-%05d.gguf", 1, n); /* of the path, which is part 1 */
    const int n_prefix = (int)(strlen(job->model.path) - (n > 1 ? strlen(suffix) : 0));
    for (int i = 0; i < n; i++) {
        struct snug_arena arena = {0};
        struct snug__gguf gguf;
        if (n > 1)
            snprintf(suffix, sizeof suffix, "-%05d-of-%05d.gguf", i + 1, n);
        if (snprintf(path, sizeof path, "%.*s%s", n_prefix, job->model.path, n > 1 ? suffix : "") >=
            (int)sizeof path)
            return snug_fail(err, SNUG_BAD_INPUT, "the path of part %d is too long", i + 1);
        snug_status status = snug__source_open(path, &job->parts[i].source, err);
        if (status != SNUG_OK)
            return status;
        job->parts[i].is_open = true;
        status = snug__gguf_read(&job->parts[i].source, &arena, &gguf, err);
        if (status == SNUG_OK)
            job->parts[i].data_offset = gguf.data_offset;
        snug_arena_clear(&arena);
        if (status != SNUG_OK)
            return status;
    }
    return SNUG_OK;
}

static snug_status check_imatrix(const struct snug_imatrix *imatrix, const char *path,
                                 const struct snug_model *model, struct snug_error *err)
{
    int n_found = 0;
    for (int i = 0; i < model->n_tensors; i++) {
        const struct snug_tensor *t = &model->tensors[i];
        const struct snug_imatrix_row *row = snug_imatrix_find(imatrix, t->name);
        if (!row)
            continue;
        n_found++;
        if (row->n != t->ne[0] * t->ne[2])
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s: %lld columns of %s, this model has %lld: made of another model; "
                             "make one of %s",
                             path, (long long)row->n, row->name, (long long)(t->ne[0] * t->ne[2]),
                             model->path);
    }
    return n_found > 0 ? SNUG_OK
                       : snug_fail(err, SNUG_BAD_INPUT,
                                   "%s: knows none of the tensors of %s: made of another model",
                                   path, model->path);
}

static snug_status job_open(struct job *job, const struct snug_json_node *request,
                            struct snug_error *err)
{
    const char *imatrix = snug_json_get_string(request, "imatrix", "");
    const struct snug_json_node *types = snug_json_get(request, "types");
    snug_status status =
        snug_model_open(snug_json_get_string(request, "model", ""), &job->model, err);
    for (size_t i = 0; i < snug_json_count(types) && job->n_types < SNUG_MODEL_TYPES_MAX; i++)
        job->types[job->n_types++] = (int)snug_json_int(snug_json_at(types, i), 0);
    if (status == SNUG_OK && imatrix[0]) {
        status = snug_imatrix_read(imatrix, &job->imatrix, err);
        job->has_imatrix = status == SNUG_OK;
        if (status == SNUG_OK)
            status = check_imatrix(&job->imatrix, imatrix, &job->model, err);
    }
    if (status == SNUG_OK)
        status = open_parts(job, err);
    return status;
}

static void job_close(struct job *job)
{
    for (int i = 0; job->parts && i < job->model.n_splits; i++) {
        if (job->parts[i].is_open)
            snug__source_close(&job->parts[i].source);
    }
    free(job->parts);
    snug_imatrix_clear(&job->imatrix);
    snug_model_clear(&job->model);
}

static void send_end(struct snug__worker *w, snug_status status, const char *reason)
{
    struct snug_json_writer writer = {0};
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", status == SNUG_OK ? "done" : "refused");
    if (status != SNUG_OK) {
        snug_json_put_string(&writer, "status", snug_status_name(status));
        snug_json_put_string(&writer, "reason", reason);
    }
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
}

void snug__worker_errors(struct snug__worker *w, const struct snug_json_node *request)
{
    struct snug_error err = {0};
    struct job *job = calloc(1, sizeof *job);
    snug_status status = SNUG_NO_MEMORY;
    if (job) {
        job->w = w;
        pthread_mutex_init(&job->lock, NULL);
        status = job_open(job, request, &err);
        if (status == SNUG_OK)
            status = run(job, &err);
        job_close(job);
        pthread_mutex_destroy(&job->lock);
    }
    free(job);
    send_end(w, status, err.text[0] ? err.text : "no memory");
}
