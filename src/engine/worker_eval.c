/* Perplexity and KL divergence as llama-perplexity computes them, so that numbers agree.
 *
 * The text is tokenised once, with the model's own first token where it has one, and cut into
 * chunks of n_ctx tokens; each chunk begins with that first token in place of its own. Chunks are
 * decoded n_batch / n_ctx at a time as sequences of their own; the second half of each is scored:
 * positions n_ctx / 2 .. n_ctx - 2 predict the token behind them. Rows of logits are scored by as
 * many threads as compute. Memory: the logits of one batch, and one float per scored token. */
#include "engine/worker_eval.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/process.h"
#include "engine/eval_stats.h"
#include "engine/reference.h"
#include "engine/worker_tokens.h"
#include "trial/quality_json.h"

#define THREADS_MAX 64
static const int32_t FLOOR_CHUNKS = 4;     /* enough for thousands of positions */
static const int32_t TOKEN_BYTES_MAX = 32; /* of text per token, generously: for reading less */

struct eval {
    struct snug__worker *w;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    struct snug__settings settings;
    struct snug__token_list tokens;
    int32_t n_ctx, n_chunks, n_vocab, first, n_scored; /* n_scored: positions of a chunk */
    int32_t n_seq;                                     /* chunks decoded at once */
    struct snug__reference reference;
    bool is_writing, is_reading;
    unsigned char *rows; /* of one chunk, packed */
    float *klds;         /* of every scored position */
    struct snug__sums sums;
    const char *phase;
};

/* ---- scoring the rows of one chunk on several threads ---- */

struct share {
    pthread_t thread;
    struct eval *e;
    const float *logits; /* [n_scored, n_vocab] */
    const llama_token *next;
    struct snug__position *out;
    int32_t begin, end;
    bool is_failed;
};

static void *score_share(void *data)
{
    struct share *s = data;
    const struct eval *e = s->e;
    const size_t n = (size_t)e->n_vocab, row_bytes = snug__reference_row_bytes(e->n_vocab);
    float *log_p = malloc(2 * n * sizeof *log_p);
    if (!log_p) {
        s->is_failed = true;
        return NULL;
    }
    for (int32_t i = s->begin; i < s->end; i++) {
        unsigned char *row = e->rows ? e->rows + (size_t)i * row_bytes : NULL;
        const int32_t top = snug__log_softmax(s->logits + (size_t)i * n, e->n_vocab, log_p);
        if (e->is_reading)
            snug__reference_unpack(row, e->n_vocab, log_p + n);
        snug__position_score(log_p, top, e->is_reading ? log_p + n : NULL, e->n_vocab, s->next[i],
                             &s->out[i]);
        if (e->is_writing)
            snug__reference_pack(log_p, e->n_vocab, row);
    }
    free(log_p);
    return NULL;
}

static snug_status score_rows(struct eval *e, const float *logits, const llama_token *next,
                              struct snug__position *out, struct snug_error *err)
{
    struct share shares[THREADS_MAX];
    int n = e->settings.n_threads_batch < THREADS_MAX ? e->settings.n_threads_batch : THREADS_MAX;
    n = n < 1 ? 1 : n > e->n_scored ? e->n_scored : n;
    bool is_failed = false, is_started[THREADS_MAX] = {false};
    for (int t = 0; t < n; t++) {
        shares[t] = (struct share){.e = e,
                                   .logits = logits,
                                   .next = next,
                                   .out = out,
                                   .begin = (int32_t)((int64_t)e->n_scored * t / n),
                                   .end = (int32_t)((int64_t)e->n_scored * (t + 1) / n)};
        if (t > 0)
            is_started[t] = pthread_create(&shares[t].thread, NULL, score_share, &shares[t]) == 0;
    }
    for (int t = 0; t < n; t++) {
        if (is_started[t])
            pthread_join(shares[t].thread, NULL);
        else
            score_share(&shares[t]); /* the first share is this thread's own */
        is_failed = is_failed || shares[t].is_failed;
    }
    return is_failed ? snug_fail(err, SNUG_NO_MEMORY, "no memory for scoring") : SNUG_OK;
}

/* ---- chunks ---- */

static double token_bytes(const struct eval *e, llama_token token)
{
    char piece[256];
    const int32_t n = llama_token_to_piece(e->vocab, token, piece, sizeof piece, 0, false);
    return n < 0 ? -(double)n : (double)n;
}

static snug_status take_chunk(struct eval *e, int32_t chunk, const float *logits,
                              struct snug_error *err)
{
    const size_t n = (size_t)e->n_scored;
    const size_t n_row_bytes = n * snug__reference_row_bytes(e->n_vocab);
    const llama_token *next = e->tokens.tokens + (size_t)chunk * (size_t)e->n_ctx + e->first + 1;
    struct snug__position *positions = malloc(n * sizeof *positions);
    snug_status status = SNUG_OK;
    if (!positions)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for scoring");
    if (e->is_reading)
        status = snug__reference_read(&e->reference, e->rows, n_row_bytes, err);
    if (status == SNUG_OK)
        status = score_rows(e, logits, next, positions, err);
    if (status == SNUG_OK && e->is_writing)
        status = snug__reference_write(&e->reference, e->rows, n_row_bytes, err);
    for (size_t i = 0; i < n && status == SNUG_OK; i++) {
        if (e->is_reading)
            e->klds[(size_t)e->sums.n] = (float)positions[i].kld;
        snug__sums_add(&e->sums, &positions[i]);
        e->sums.n_bytes += token_bytes(e, next[i]);
    }
    free(positions);
    return status;
}

static void fill_batch(const struct eval *e, int32_t chunk, int32_t n_seq, int32_t begin,
                       int32_t end, struct llama_batch *batch)
{
    const bool use_bos = llama_vocab_get_add_bos(e->vocab);
    batch->n_tokens = 0;
    for (int32_t seq = 0; seq < n_seq; seq++) {
        const llama_token *from = e->tokens.tokens + (size_t)(chunk + seq) * (size_t)e->n_ctx;
        for (int32_t pos = begin; pos < end; pos++) {
            const int32_t i = batch->n_tokens++;
            batch->token[i] = pos == 0 && use_bos ? llama_vocab_bos(e->vocab) : from[pos];
            batch->pos[i] = pos;
            batch->n_seq_id[i] = 1;
            batch->seq_id[i][0] = seq;
            batch->logits[i] = pos >= e->first && pos < e->n_ctx - 1;
        }
    }
}

static snug_status decode(struct eval *e, const struct llama_batch *batch, struct snug_error *err)
{
    const int rc = llama_decode(e->context, *batch);
    if (rc != 0)
        return snug_fail(err, SNUG_UNSUPPORTED, "llama_decode returned %d: %s", rc,
                         snug__llama_log.last_error[0] ? snug__llama_log.last_error
                                                       : "no reason given");
    llama_synchronize(e->context);
    return SNUG_OK;
}

/* A chunk longer than a batch: one sequence in pieces, whose rows are kept in `kept`, because the
 * next call overwrites libllama's. */
static snug_status decode_pieces(struct eval *e, int32_t chunk, struct llama_batch *batch,
                                 float *kept, struct snug_error *err)
{
    const int32_t n_batch = e->settings.n_batch;
    const size_t n_row = (size_t)e->n_vocab;
    size_t n_kept = 0;
    for (int32_t begin = 0; begin < e->n_ctx; begin += n_batch) {
        const int32_t end = begin + n_batch < e->n_ctx ? begin + n_batch : e->n_ctx;
        fill_batch(e, chunk, 1, begin, end, batch);
        const snug_status status = decode(e, batch, err);
        if (status != SNUG_OK)
            return status;
        for (int32_t i = 0; i < batch->n_tokens; i++) {
            const float *row = batch->logits[i] ? llama_get_logits_ith(e->context, i) : NULL;
            if (row)
                memcpy(kept + n_kept++ * n_row, row, n_row * sizeof *row);
        }
    }
    return n_kept == (size_t)e->n_scored
               ? SNUG_OK
               : snug_fail(err, SNUG_UNSUPPORTED, "libllama gave logits of %zu rows", n_kept);
}

/* n_seq chunks from `chunk` on, decoded and scored. Outputs of one call lie in order, so the rows
 * of a sequence are one piece of memory. */
static snug_status take_chunks(struct eval *e, int32_t chunk, int32_t n_seq,
                               struct llama_batch *batch, float *kept, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    llama_memory_clear(llama_get_memory(e->context), true);
    if (kept) {
        status = decode_pieces(e, chunk, batch, kept, err);
        return status == SNUG_OK ? take_chunk(e, chunk, kept, err) : status;
    }
    fill_batch(e, chunk, n_seq, 0, e->n_ctx, batch);
    status = decode(e, batch, err);
    for (int32_t seq = 0; seq < n_seq && status == SNUG_OK; seq++) {
        const int32_t at = seq * e->n_ctx + e->first;
        const float *rows = llama_get_logits_ith(e->context, at);
        const float *last = llama_get_logits_ith(e->context, at + e->n_scored - 1);
        if (!rows || last != rows + (size_t)(e->n_scored - 1) * (size_t)e->n_vocab)
            return snug_fail(err, SNUG_UNSUPPORTED, "libllama gave logits out of order");
        status = take_chunk(e, chunk + seq, rows, err);
    }
    return status;
}

static snug_status run_chunks(struct eval *e, struct snug_error *err)
{
    const bool is_cut = e->n_ctx > e->settings.n_batch;
    float *kept = is_cut ? malloc((size_t)e->n_scored * (size_t)e->n_vocab * sizeof *kept) : NULL;
    struct llama_batch batch = llama_batch_init(e->n_seq * e->n_ctx, 0, 1);
    snug_status status =
        is_cut && !kept ? snug_fail(err, SNUG_NO_MEMORY, "no memory for logits") : SNUG_OK;
    for (int32_t chunk = 0; chunk < e->n_chunks && status == SNUG_OK; chunk += e->n_seq) {
        const int32_t left = e->n_chunks - chunk, n_seq = left < e->n_seq ? left : e->n_seq;
        char phase[64];
        snprintf(phase, sizeof phase, "%schunk %d of %d", e->phase, chunk + 1, e->n_chunks);
        snug__worker_phase(e->w, phase, 0);
        status = take_chunks(e, chunk, n_seq, &batch, kept, err);
    }
    llama_batch_free(batch);
    free(kept);
    return status;
}

/* ---- set-up ---- */

static snug_status make_context(struct eval *e, struct snug_error *err)
{
    const struct snug_workload whole = {.n_ctx = e->n_ctx, .n_parallel = e->n_seq};
    struct llama_context_params p = snug__context_params(&e->settings, &whole);
    p.n_outputs_max = (uint32_t)(e->n_seq * e->n_scored);
    snug__llama_log_reset_context();
    e->context = llama_init_from_model(e->w->model, p);
    if (!e->context)
        return snug_fail(err, SNUG_UNSUPPORTED, "libllama made no context: %s",
                         snug__llama_log.last_error[0] ? snug__llama_log.last_error
                                                       : "no reason given");
    return SNUG_OK;
}

/* One pass over the first n_chunks; the reference, if any, stands at its first row. */
static snug_status pass(struct eval *e, struct snug_error *err)
{
    const size_t n = (size_t)e->n_chunks * (size_t)e->n_scored;
    const size_t n_row_bytes = (size_t)e->n_scored * snug__reference_row_bytes(e->n_vocab);
    e->sums = (struct snug__sums){.has_reference = e->is_reading};
    snug_status status = make_context(e, err);
    if (status != SNUG_OK)
        return status;
    e->klds = e->is_reading ? malloc(n * sizeof *e->klds) : NULL;
    e->rows = e->is_reading || e->is_writing ? malloc(n_row_bytes) : NULL;
    if ((e->is_reading && !e->klds) || ((e->is_reading || e->is_writing) && !e->rows))
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for the scores of %zu tokens", n);
    if (status == SNUG_OK)
        status = run_chunks(e, err);
    free(e->rows);
    e->rows = NULL;
    llama_free(e->context);
    e->context = NULL;
    return status;
}

static void drop_klds(struct eval *e)
{
    free(e->klds);
    e->klds = NULL;
}

/* Text as far as the chunks need it. The hash is of what was read. */
static snug_status read_text(struct eval *e, const char *path, int32_t n_chunks,
                             char hash[SNUG_SHA256_HEX_MAX], struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read(path, SNUG_EVAL_TEXT_MAX, &text, &n, err);
    if (status != SNUG_OK)
        return status;
    const uint64_t need = (uint64_t)n_chunks * (uint64_t)e->n_ctx * (uint64_t)TOKEN_BYTES_MAX;
    if (n_chunks > 0 && need < n) {
        n = (size_t)need;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--; /* not through a character */
        text[n] = '\0';
    }
    snug_sha256_hex(text, n, hash);
    for (char *p = text; (p = memchr(p, '\0', n - (size_t)(p - text))) != NULL;)
        *p = ' '; /* libllama takes text with an end */
    snug__worker_phase(e->w, "tokenise", 0);
    status = n > 0 ? snug__tokenise(e->vocab, text, true, &e->tokens, err)
                   : snug_fail(err, SNUG_BAD_INPUT, "%s: empty", path);
    free(text);
    return status;
}

static snug_status cut_chunks(struct eval *e, const char *path, int32_t n_chunks,
                              int64_t n_chunks_max, struct snug_error *err)
{
    const int64_t n_most = e->tokens.n / e->n_ctx;
    if (n_most < 1)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %lld tokens, fewer than one chunk of %d: give a longer text, or -c "
                         "%lld at most",
                         path, (long long)e->tokens.n, e->n_ctx, (long long)e->tokens.n);
    if (n_chunks > n_most)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: has %lld chunks of %d tokens, not %d", path,
                         (long long)n_most, e->n_ctx, n_chunks);
    const int64_t n_all = n_chunks_max > 0 && n_chunks_max < n_most ? n_chunks_max : n_most;
    e->n_chunks = n_chunks > 0 ? n_chunks : (int32_t)n_all;
    e->n_seq = e->settings.n_batch / e->n_ctx;
    e->n_seq = e->n_seq < 1 ? 1 : e->n_seq > e->n_chunks ? e->n_chunks : e->n_seq;
    return SNUG_OK;
}

static snug_status check_reference(const struct eval *e, const int32_t *tokens,
                                   const char *text_hash, struct snug_error *err)
{
    const struct snug__reference_head *h = &e->reference.head;
    const char *path = e->reference.path;
    if (h->n_vocab != e->n_vocab)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: made with a vocabulary of %d words, this model has %d: a reference "
                         "must be of the same model family",
                         path, h->n_vocab, e->n_vocab);
    if (h->n_ctx != e->n_ctx || h->n_scored != e->n_scored)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: made with chunks of %d tokens: give -c %d", path,
                         h->n_ctx, h->n_ctx);
    if (h->n_chunks < e->n_chunks)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: has %d chunks, not %d: give --chunks %d", path,
                         h->n_chunks, e->n_chunks, h->n_chunks);
    const size_t n = (size_t)e->n_chunks * (size_t)e->n_ctx;
    if (memcmp(tokens, e->tokens.tokens, n * sizeof *tokens) != 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: made of %s: make it again", path,
                         strcmp(h->text_hash, text_hash) == 0 ? "the same text by another tokeniser"
                                                              : "another text");
    return SNUG_OK;
}

static snug_status open_reference(struct eval *e, const struct snug_json_node *request,
                                  const char *text_hash, struct snug_error *err)
{
    const char *read = snug_json_get_string(request, "read", "");
    const char *write = snug_json_get_string(request, "write", "");
    struct snug__reference_head head = {
        .n_vocab = e->n_vocab, .n_ctx = e->n_ctx, .n_chunks = e->n_chunks, .n_scored = e->n_scored};
    if (read[0]) {
        int32_t *tokens = NULL;
        snug_status status = snug__reference_open(read, &e->reference, &tokens, err);
        if (status == SNUG_OK)
            status = check_reference(e, tokens, text_hash, err);
        free(tokens);
        e->is_reading = true;
        return status;
    }
    if (!write[0])
        return SNUG_OK;
    snprintf(head.text_hash, sizeof head.text_hash, "%s", text_hash);
    snprintf(head.model_hash, sizeof head.model_hash, "%s",
             snug_json_get_string(request, "model_hash", ""));
    snprintf(head.model_name, sizeof head.model_name, "%s",
             snug_json_get_string(request, "model_name", ""));
    snprintf(head.build, sizeof head.build, "libllama %s", llama_version());
    e->is_writing = true;
    return snug__reference_create(write, &head, e->tokens.tokens, &e->reference, err);
}

/* ---- the determinism floor ---- */

/* The config against itself, and against itself in another batch shape, over the first chunks, by
 * way of a reference file, so that the floor holds what the format rounds off too. */
static snug_status measure_floor(const struct eval *main, const char *folder,
                                 struct snug_quality *out, struct snug_error *err)
{
    struct eval e = *main;
    char path[4096];
    int32_t *tokens = NULL;
    e.n_chunks = e.n_chunks < FLOOR_CHUNKS ? e.n_chunks : FLOOR_CHUNKS;
    e.n_seq = e.n_seq < e.n_chunks ? e.n_seq : e.n_chunks;
    e.is_reading = false;
    e.is_writing = true;
    e.phase = "floor: ";
    e.reference = (struct snug__reference){.file = NULL};
    snprintf(path, sizeof path, "%s/floor-%ld.snugref", folder, (long)getpid());
    const struct snug__reference_head head = {
        .n_vocab = e.n_vocab, .n_ctx = e.n_ctx, .n_chunks = e.n_chunks, .n_scored = e.n_scored};
    snug_status status = snug__reference_create(path, &head, e.tokens.tokens, &e.reference, err);
    if (status == SNUG_OK)
        status = pass(&e, err);
    if (status == SNUG_OK)
        status = snug__reference_finish(&e.reference, err);
    snug__reference_close(&e.reference);
    e.is_writing = false;
    e.is_reading = true;
    out->floor_kld = out->floor_flip_frac = 0.0;
    for (int other = 0; other < 2 && status == SNUG_OK; other++) {
        struct snug_quality q;
        snug_quality_init(&q);
        if (other) {
            e.n_seq = 1;
            e.settings.n_ubatch = e.settings.n_ubatch > 64 ? e.settings.n_ubatch / 2 : 64;
            e.settings.n_ubatch =
                e.settings.n_ubatch < e.n_ctx ? e.settings.n_ubatch : (e.n_ctx + 1) / 2;
        }
        status = snug__reference_open(path, &e.reference, &tokens, err);
        free(tokens);
        tokens = NULL;
        if (status == SNUG_OK)
            status = pass(&e, err);
        if (status == SNUG_OK) {
            snug__sums_finish(&e.sums, e.klds, &q);
            out->floor_kld = fmax(out->floor_kld, q.kld_mean.value);
            out->floor_flip_frac = fmax(out->floor_flip_frac, 1.0 - q.same_top_frac.value);
        }
        drop_klds(&e);
        snug__reference_close(&e.reference);
    }
    remove(path);
    return status;
}

/* ---- the request ---- */

static snug_status evaluate(struct eval *e, const struct snug_json_node *request,
                            struct snug_quality *out, struct snug_error *err)
{
    char hash[SNUG_SHA256_HEX_MAX];
    const char *path = snug_json_get_string(request, "text", "");
    const int32_t n_chunks = (int32_t)snug_json_get_int(request, "n_chunks", 0);
    e->vocab = llama_model_get_vocab(e->w->model);
    e->n_vocab = llama_vocab_n_tokens(e->vocab);
    e->n_ctx = (int32_t)snug_json_get_int(request, "n_ctx", 512);
    e->first = e->n_ctx / 2;
    e->n_scored = e->n_ctx - 1 - e->first;
    e->phase = "";
    snug_status status = read_text(e, path, n_chunks, hash, err);
    if (status == SNUG_OK)
        status = cut_chunks(e, path, n_chunks, snug_json_get_int(request, "n_chunks_max", 0), err);
    if (status == SNUG_OK)
        status = open_reference(e, request, hash, err);
    if (status != SNUG_OK)
        return status;
    const double start = snug_clock_s();
    status = pass(e, err);
    if (status == SNUG_OK && e->is_writing)
        status = snug__reference_finish(&e->reference, err);
    if (status != SNUG_OK)
        return status;
    out->wall_s = snug_clock_s() - start;
    out->tokens_per_s = (double)e->n_chunks * (double)e->n_ctx / out->wall_s;
    snug__sums_finish(&e->sums, e->klds, out);
    out->n_ctx = e->n_ctx;
    out->n_chunks = e->n_chunks;
    snprintf(out->text_hash, sizeof out->text_hash, "%s", hash);
    snprintf(out->type_k, sizeof out->type_k, "%s", ggml_type_name(e->settings.type_k));
    snprintf(out->type_v, sizeof out->type_v, "%s", ggml_type_name(e->settings.type_v));
    if (e->is_reading) {
        snprintf(out->reference_hash, sizeof out->reference_hash, "%s",
                 e->reference.head.model_hash);
        snprintf(out->reference_name, sizeof out->reference_name, "%s",
                 e->reference.head.model_name);
    }
    if (snug_json_get_bool(request, "want_floor", false))
        status = measure_floor(e, snug_json_get_string(request, "folder", "/tmp"), out, err);
    return status;
}

void snug__worker_eval(struct snug__worker *w, const struct snug__settings *settings,
                       const struct snug_json_node *request)
{
    struct snug_error err = {0};
    struct snug_quality quality;
    enum snug_outcome outcome = SNUG_TRIAL_REFUSED;
    struct eval e = {.w = w, .settings = *settings};
    snug_quality_init(&quality);
    snug_status status = snug__worker_load(w, settings, &outcome, &err);
    if (status == SNUG_OK)
        status = evaluate(&e, request, &quality, &err);
    drop_klds(&e);
    free(e.tokens.tokens);
    snug__reference_close(&e.reference);
    struct snug_json_writer writer = {0};
    snug_json_begin_object(&writer, NULL);
    if (status == SNUG_OK) {
        snug_json_put_string(&writer, "event", "eval");
        snug_quality_to_json(&writer, "quality", &quality);
    } else {
        snug_json_put_string(&writer, "event", "refused");
        snug_json_put_string(&writer, "outcome", snug_outcome_name(outcome));
        snug_json_put_string(&writer, "status", snug_status_name(status));
        snug_json_put_string(&writer, "reason", err.text);
    }
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
}
