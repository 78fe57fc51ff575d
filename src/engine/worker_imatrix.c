/* Collecting activation statistics: the text goes through the model in chunks, and after every
 * matrix product with a weight of a block the squares of its inputs are added up by column.
 *
 * Chunks, first tokens and counts follow llama.cpp's tools/imatrix, so that the numbers agree: all
 * tokens ask for logits (else libllama drops rows of the last block), products of fewer than 16
 * rows are left out. Workload: one prefill of the text; the adding is some percent of it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/imatrix.h"
#include "engine/worker.h"
#include "engine/worker_tokens.h"

static const int64_t ROWS_MIN = 16;                  /* as llama-imatrix */
static const int64_t LOGITS_BYTES_MAX = 512ll << 20; /* of one decode, if it may be so small ... */
static const int32_t BATCH_MIN = 512, BATCH_MAX = 2048; /* ... tokens of it */

struct collecting {
    struct snug__worker *w;
    struct snug__imatrix_sums *rows;
    int n_rows, cap_rows, next; /* next: where the graph's order suggests to look */
    char *copy;                 /* of inputs on a device */
    size_t n_copy;
    struct snug_error err; /* the first that went wrong; nothing is collected after it */
};

/* ---- sums ---- */

static snug_status fail(struct collecting *c, snug_status status, const char *what,
                        const char *name)
{
    return c->err.status == SNUG_OK ? snug_fail(&c->err, status, "tensor %s: %s", name, what)
                                    : c->err.status;
}

/* "CUDA0#blk.0.attn_k.weight#0" is a copy of that weight. */
static bool weight_name(const struct ggml_tensor *t, char out[SNUG_GGUF_TENSOR_NAME_MAX + 1])
{
    const char *name = t->name, *mark = strchr(t->name, '#');
    if (mark)
        name = mark + 1;
    snprintf(out, SNUG_GGUF_TENSOR_NAME_MAX + 1, "%.*s", (int)strcspn(name, "#"), name);
    return strncmp(out, "blk.", 4) == 0;
}

static struct snug__imatrix_sums *find_row(struct collecting *c, const char *name)
{
    for (int k = 0; k < c->n_rows; k++) {
        const int i = (c->next + k) % c->n_rows;
        if (strcmp(c->rows[i].name, name) == 0) {
            c->next = i + 1;
            return &c->rows[i];
        }
    }
    return NULL;
}

static struct snug__imatrix_sums *add_row(struct collecting *c, const char *name, int64_t n_cols,
                                          int64_t n_mats, int64_t n_counts)
{
    if (c->n_rows == c->cap_rows) {
        const int cap = c->cap_rows ? 2 * c->cap_rows : 256;
        struct snug__imatrix_sums *more = realloc(c->rows, (size_t)cap * sizeof *more);
        if (!more)
            return NULL;
        c->rows = more;
        c->cap_rows = cap;
    }
    struct snug__imatrix_sums *row = &c->rows[c->n_rows];
    *row = (struct snug__imatrix_sums){.n_cols = n_cols, .n_mats = n_mats, .n_counts = n_counts};
    snprintf(row->name, sizeof row->name, "%s", name);
    row->sums = calloc((size_t)(n_cols * n_mats), sizeof *row->sums);
    row->counts = calloc((size_t)n_counts, sizeof *row->counts);
    c->n_rows++; /* also when it is half made, so that it is freed */
    return row->sums && row->counts ? row : NULL;
}

static struct snug__imatrix_sums *get_row(struct collecting *c, const char *name, int64_t n_cols,
                                          int64_t n_mats, int64_t n_counts)
{
    struct snug__imatrix_sums *row = find_row(c, name);
    if (!row)
        row = add_row(c, name, n_cols, n_mats, n_counts);
    if (!row)
        fail(c, SNUG_NO_MEMORY, "no memory for its sums", name);
    else if (row->n_cols != n_cols || row->n_mats != n_mats || row->n_counts != n_counts)
        fail(c, SNUG_UNSUPPORTED, "is used in two shapes", name);
    return c->err.status == SNUG_OK ? row : NULL;
}

/* Add the squares of one row of inputs; false when one is not finite. */
static bool add_squares(double *sums, const char *at, int64_t n)
{
    const float *x = (const float *)(const void *)at;
    double all = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double square = (double)x[i] * (double)x[i];
        sums[i] += square;
        all += square;
    }
    return isfinite(all);
}

/* Inputs in host memory; NULL without memory. */
static const char *host_data(struct collecting *c, const struct ggml_tensor *t)
{
    const ggml_backend_buffer_t buffer = t->view_src ? t->view_src->buffer : t->buffer;
    if (buffer && ggml_backend_buffer_is_host(buffer))
        return t->data;
    const size_t n = ggml_nbytes(t);
    if (n > c->n_copy) {
        char *more = realloc(c->copy, n);
        if (!more)
            return NULL;
        c->copy = more;
        c->n_copy = n;
    }
    ggml_backend_tensor_get(t, c->copy, 0, n);
    return c->copy;
}

/* W [n_cols, n_out, s2, s3] times x [n_cols, rows, n2, n3]. */
static void collect_plain(struct collecting *c, const char *name, const struct ggml_tensor *w,
                          const struct ggml_tensor *x, const char *data)
{
    const int64_t n_mats = w->ne[2] * w->ne[3];
    struct snug__imatrix_sums *row = get_row(c, name, x->ne[0], n_mats, 1);
    bool is_finite = true;
    if (!row)
        return;
    for (int64_t i3 = 0; i3 < x->ne[3]; i3++) {
        for (int64_t i2 = 0; i2 < x->ne[2]; i2++) {
            const int64_t i_mat = (i3 % w->ne[3]) * w->ne[2] + i2 % w->ne[2];
            const char *at = data + i2 * (int64_t)x->nb[2] + i3 * (int64_t)x->nb[3];
            for (int64_t i1 = 0; i1 < x->ne[1]; i1++)
                is_finite &= add_squares(row->sums + i_mat * x->ne[0], at + i1 * (int64_t)x->nb[1],
                                         x->ne[0]);
        }
    }
    row->counts[0] += (double)(x->ne[1] * x->ne[2] * x->ne[3] / n_mats);
    if (!is_finite)
        fail(c, SNUG_UNSUPPORTED, "its inputs are not finite: this model computes no numbers",
             name);
}

/* Experts: ids [n_used, n_tokens] say which matrix meets x [n_cols, n_used or 1, n_tokens]. */
static void collect_experts(struct collecting *c, const char *name, const struct ggml_tensor *t,
                            const char *data)
{
    const struct ggml_tensor *x = t->src[1], *ids = t->src[2];
    const int64_t n_mats = t->src[0]->ne[2];
    struct snug__imatrix_sums *row = get_row(c, name, x->ne[0], n_mats, n_mats);
    char *chosen = row ? malloc(ggml_nbytes(ids)) : NULL;
    bool is_finite = true;
    if (!row)
        return;
    if (!chosen || x->ne[3] != 1 || ids->ne[1] != x->ne[2]) {
        free(chosen);
        fail(c, SNUG_UNSUPPORTED, "its experts are not laid out as expected", name);
        return;
    }
    ggml_backend_tensor_get(ids, chosen, 0, ggml_nbytes(ids));
    for (int64_t token = 0; token < x->ne[2]; token++) {
        for (int64_t k = 0; k < ids->ne[0]; k++) {
            int32_t expert = -1;
            memcpy(&expert, chosen + token * (int64_t)ids->nb[1] + k * (int64_t)ids->nb[0],
                   sizeof expert);
            if (expert < 0 || expert >= n_mats)
                continue;
            const char *at = data + (k % x->ne[1]) * (int64_t)x->nb[1] + token * (int64_t)x->nb[2];
            is_finite &= add_squares(row->sums + expert * x->ne[0], at, x->ne[0]);
            row->counts[expert] += 1.0;
        }
    }
    free(chosen);
    if (!is_finite)
        fail(c, SNUG_UNSUPPORTED, "its inputs are not finite: this model computes no numbers",
             name);
}

/* Asked of every node before (ask) and after it was computed. */
static bool on_node(struct ggml_tensor *t, bool ask, void *data)
{
    struct collecting *c = data;
    char name[SNUG_GGUF_TENSOR_NAME_MAX + 1];
    const bool is_experts = t->op == GGML_OP_MUL_MAT_ID;
    if ((t->op != GGML_OP_MUL_MAT && !is_experts) || !weight_name(t->src[0], name))
        return !ask;
    const struct ggml_tensor *x = t->src[1];
    if (x->type != GGML_TYPE_F32 || x->nb[0] != sizeof(float) ||
        (!is_experts && x->ne[1] < ROWS_MIN))
        return !ask;
    if (ask)
        return true;
    const char *inputs = c->err.status == SNUG_OK ? host_data(c, x) : NULL;
    if (!inputs)
        fail(c, SNUG_NO_MEMORY, "no memory for its inputs", name);
    else if (is_experts)
        collect_experts(c, name, t, inputs);
    else
        collect_plain(c, name, t->src[0], x, inputs);
    return true;
}

/* ---- the text ---- */

struct running {
    struct collecting c;
    const struct llama_vocab *vocab;
    struct snug__token_list tokens;
    struct llama_context *context;
    int32_t n_ctx, n_chunks, n_seq, n_batch;
};

static snug_status read_tokens(struct running *r, const char *path, int64_t n_chunks,
                               struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    if (llama_vocab_type(r->vocab) == LLAMA_VOCAB_TYPE_NONE)
        return snug_fail(err, SNUG_UNSUPPORTED, "the model has no vocabulary to read a text with");
    snug_status status = snug_file_read(path, SNUG_EVAL_TEXT_MAX, &text, &n, err);
    if (status != SNUG_OK)
        return status;
    for (char *p = text; (p = memchr(p, '\0', n - (size_t)(p - text))) != NULL;)
        *p = ' '; /* libllama takes text with an end */
    snug__worker_phase(r->c.w, "tokenise", 0);
    status = n > 0 ? snug__tokenise(r->vocab, text, true, &r->tokens, err)
                   : snug_fail(err, SNUG_BAD_INPUT, "%s: empty", path);
    free(text);
    if (status != SNUG_OK)
        return status;
    const int64_t n_most = r->tokens.n / r->n_ctx;
    if (n_most < 1)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %" PRId64 " tokens, fewer than one chunk of %d: give a longer text, "
                         "or -c %" PRId64 " at most",
                         path, r->tokens.n, r->n_ctx, r->tokens.n);
    r->n_chunks = (int32_t)(n_chunks > 0 && n_chunks < n_most ? n_chunks : n_most);
    return SNUG_OK;
}

static snug_status make_context(struct running *r, const struct snug__settings *settings,
                                struct snug_error *err)
{
    const int64_t row_bytes = (int64_t)llama_vocab_n_tokens(r->vocab) * (int64_t)sizeof(float);
    const int64_t n_fit = LOGITS_BYTES_MAX / row_bytes;
    struct snug__settings s = *settings;
    r->n_batch = n_fit < BATCH_MIN ? BATCH_MIN : n_fit > BATCH_MAX ? BATCH_MAX : (int32_t)n_fit;
    r->n_seq = r->n_batch / r->n_ctx;
    r->n_seq = r->n_seq < 1 ? 1 : r->n_seq > r->n_chunks ? r->n_chunks : r->n_seq;
    s.n_batch = r->n_batch;
    s.n_ubatch = s.n_ubatch > s.n_batch ? s.n_batch : s.n_ubatch;
    const struct snug_workload whole = {.n_ctx = r->n_ctx, .n_parallel = r->n_seq};
    struct llama_context_params p = snug__context_params(&s, &whole);
    p.n_outputs_max = (uint32_t)r->n_batch;
    p.cb_eval = on_node;
    p.cb_eval_user_data = &r->c;
    snug__llama_log_reset_context();
    r->context = llama_init_from_model(r->c.w->model, p);
    if (!r->context)
        return snug_fail(err, SNUG_UNSUPPORTED, "libllama made no context: %s",
                         snug__llama_log.last_error[0] ? snug__llama_log.last_error
                                                       : "no reason given");
    return SNUG_OK;
}

static void fill_batch(const struct running *r, int32_t chunk, int32_t n_seq, int32_t begin,
                       int32_t end, struct llama_batch *batch)
{
    const bool use_bos = llama_vocab_get_add_bos(r->vocab);
    batch->n_tokens = 0;
    for (int32_t seq = 0; seq < n_seq; seq++) {
        const llama_token *from = r->tokens.tokens + (size_t)(chunk + seq) * (size_t)r->n_ctx;
        for (int32_t pos = begin; pos < end; pos++) {
            const int32_t i = batch->n_tokens++;
            batch->token[i] = pos == 0 && use_bos ? llama_vocab_bos(r->vocab) : from[pos];
            batch->pos[i] = pos;
            batch->n_seq_id[i] = 1;
            batch->seq_id[i][0] = seq;
            batch->logits[i] = true;
        }
    }
}

static snug_status run_chunks(struct running *r, struct snug_error *err)
{
    struct llama_batch batch = llama_batch_init(r->n_batch, 0, 1);
    snug_status status = SNUG_OK;
    for (int32_t chunk = 0; chunk < r->n_chunks && status == SNUG_OK; chunk += r->n_seq) {
        const int32_t left = r->n_chunks - chunk, n_seq = left < r->n_seq ? left : r->n_seq;
        char phase[64];
        snprintf(phase, sizeof phase, "chunk %d of %d", chunk + 1, r->n_chunks);
        snug__worker_phase(r->c.w, phase, 0);
        llama_memory_clear(llama_get_memory(r->context), true);
        /* A chunk longer than a batch is one sequence in pieces. */
        for (int32_t at = 0; at < r->n_ctx && status == SNUG_OK; at += r->n_batch) {
            const int32_t end = at + r->n_batch < r->n_ctx ? at + r->n_batch : r->n_ctx;
            fill_batch(r, chunk, n_seq, at, end, &batch);
            const int rc = llama_decode(r->context, batch);
            llama_synchronize(r->context);
            if (r->c.err.status != SNUG_OK)
                status = snug_fail(err, r->c.err.status, "%s", r->c.err.text);
            else if (rc != 0)
                status = snug_fail(err, SNUG_UNSUPPORTED, "llama_decode returned %d: %s", rc,
                                   snug__llama_log.last_error[0] ? snug__llama_log.last_error
                                                                 : "no reason given");
        }
    }
    llama_batch_free(batch);
    return status;
}

static snug_status collect(struct running *r, const struct snug__settings *settings,
                           const struct snug_json_node *request, struct snug_error *err)
{
    const char *text = snug_json_get_string(request, "text", "");
    r->vocab = llama_model_get_vocab(r->c.w->model);
    r->n_ctx = (int32_t)snug_json_get_int(request, "n_ctx", 512);
    snug_status status = read_tokens(r, text, snug_json_get_int(request, "n_chunks", 0), err);
    if (status == SNUG_OK)
        status = make_context(r, settings, err);
    if (status == SNUG_OK)
        status = run_chunks(r, err);
    if (status == SNUG_OK && r->c.n_rows == 0)
        status = snug_fail(err, SNUG_UNSUPPORTED, "no product with a weight of a block was seen");
    if (status == SNUG_OK)
        status = snug__imatrix_write(snug_json_get_string(request, "to", ""), r->c.rows,
                                     r->c.n_rows, text, r->n_chunks, r->n_ctx, err);
    return status;
}

void snug__worker_imatrix(struct snug__worker *w, const struct snug__settings *settings,
                          const struct snug_json_node *request)
{
    struct snug_error err = {0};
    struct snug_json_writer writer = {0};
    struct running r = {.c.w = w};
    enum snug_outcome outcome = SNUG_TRIAL_REFUSED;
    snug_status status = snug__worker_load(w, settings, &outcome, &err);
    if (status == SNUG_OK)
        status = collect(&r, settings, request, &err);
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", status == SNUG_OK ? "imatrix" : "refused");
    if (status == SNUG_OK) {
        snug_json_put_int(&writer, "n_chunks", r.n_chunks);
        snug_json_put_int(&writer, "n_rows", r.c.n_rows);
    } else {
        snug_json_put_string(&writer, "status", snug_status_name(status));
        snug_json_put_string(&writer, "reason", err.text);
    }
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
    if (r.context)
        llama_free(r.context);
    for (int i = 0; i < r.c.n_rows; i++) {
        free(r.c.rows[i].sums);
        free(r.c.rows[i].counts);
    }
    free(r.c.rows);
    free(r.c.copy);
    free(r.tokens.tokens);
}
