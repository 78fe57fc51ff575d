/* Text through the model, inside the worker: log-probabilities of choices that continue a context,
 * and greedy continuation of a prompt.
 *
 * Boundary of context and choice: context + choice is tokenised as one text, as the model would
 * meet it, since tokens may span the join. What all choices of an item share of their tokens,
 * within the context's own, is the context; the rest of each is scored: lp(choice) = sum over its
 * tokens t_i of log softmax(logits after t_1 .. t_{i-1})[t_i] The context is evaluated once. Behind
 * it each choice is evaluated and cut off again, so that every choice starts from the same state,
 * whatever was scored before it. */
#include "engine/worker.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

/* Tokens of choices in one decode. libllama reserves logits for so many tokens, 4 n_vocab bytes
 * each (64 MiB for 131072 tokens of vocabulary). */
#define OUTPUTS_MAX 128
#define CHOICES_MAX 64 /* of one item; the parent's own cap is lower */

struct tokens {
    llama_token *data;
    int32_t n;
};

struct scorer {
    struct snug__worker *w;
    const struct llama_vocab *vocab;
    llama_memory_t memory;
    int32_t n_vocab, n_ctx;
    struct llama_batch batch; /* room for n_batch */
    int32_t n_batch, n_outputs;
    float *row; /* logits behind the context */
    struct snug_error *err;
    enum snug_outcome outcome;
};

/* ---- tokens ---- */

/* add_special as the vocabulary wants it: BOS in front, where it has one. A vocabulary that also
 * wants EOS behind would put it between context and choice: none is added. */
static snug_status tokenise(struct scorer *s, const char *text, size_t n, bool parse_special,
                            struct tokens *out)
{
    /* Never more tokens than bytes, but for a space and a BOS in front and an EOS behind. */
    const int32_t cap = (int32_t)n + 8;
    llama_token *data = n > INT32_MAX / 8 ? NULL : malloc((size_t)cap * sizeof *data);
    if (!data)
        return snug_fail(s->err, SNUG_NO_MEMORY, "no memory for the tokens of %zu bytes", n);
    int32_t got = llama_tokenize(s->vocab, text, (int32_t)n, data, cap, true, parse_special);
    if (got > 0 && llama_vocab_get_add_eos(s->vocab) && data[got - 1] == llama_vocab_eos(s->vocab))
        got--;
    if (got < 1) {
        free(data);
        return snug_fail(s->err, SNUG_BAD_INPUT, "the model's vocabulary has no tokens for '%.40s'",
                         text);
    }
    *out = (struct tokens){data, got};
    return SNUG_OK;
}

static int32_t common_prefix(const struct tokens *a, const struct tokens *b, int32_t most)
{
    int32_t n = 0;
    while (n < most && n < a->n && n < b->n && a->data[n] == b->data[n])
        n++;
    return n;
}

/* ---- evaluation ---- */

static snug_status decode(struct scorer *s)
{
    const int rc = llama_decode(s->w->context, s->batch);
    if (rc == 0)
        return SNUG_OK;
    s->outcome = rc == -2 ? SNUG_TRIAL_OOM : SNUG_TRIAL_REFUSED;
    return snug_fail(s->err, SNUG_UNSUPPORTED, "llama_decode returned %d: %s", rc,
                     snug__llama_log.last_error[0] ? snug__llama_log.last_error
                     : rc == 1                     ? "the cache is full"
                                                   : "no reason given");
}

static void add(struct scorer *s, llama_token token, int32_t pos, bool is_output)
{
    struct llama_batch *b = &s->batch;
    const int32_t i = b->n_tokens++;
    b->token[i] = token;
    b->pos[i] = pos;
    b->n_seq_id[i] = 1;
    b->seq_id[i][0] = 0;
    b->logits[i] = is_output;
}

/* Evaluate data[from .. n - 1] in batches; logits of the last one. */
static snug_status feed(struct scorer *s, const llama_token *data, int32_t from, int32_t n)
{
    for (int32_t i = from; i < n;) {
        s->batch.n_tokens = 0;
        for (; i < n && s->batch.n_tokens < s->n_batch; i++)
            add(s, data[i], i, i + 1 == n);
        const snug_status status = decode(s);
        if (status != SNUG_OK)
            return status;
    }
    return SNUG_OK;
}

static snug_status feed_context(struct scorer *s, const llama_token *data, int32_t n)
{
    llama_memory_clear(s->memory, false);
    return feed(s, data, 0, n);
}

/* Back to the first n tokens. A memory that cannot be cut, or whose window has moved past what the
 * next token must see, is filled again. */
static snug_status rewind_to(struct scorer *s, const llama_token *data, int32_t n)
{
    const int32_t window = llama_model_n_swa(s->w->model);
    if (llama_memory_seq_rm(s->memory, 0, n, -1)) {
        const llama_pos least = window > 0 && n > window ? n - window : 0;
        if (llama_memory_seq_pos_min(s->memory, 0) <= least)
            return SNUG_OK;
    }
    return feed_context(s, data, n);
}

/* log softmax(row)[token], in double: sums over 10^5 floats. */
static double log_prob(const float *row, int32_t n_vocab, llama_token token)
{
    double sum = 0.0;
    float most = row[0];
    for (int32_t i = 1; i < n_vocab; i++)
        most = row[i] > most ? row[i] : most;
    for (int32_t i = 0; i < n_vocab; i++)
        sum += exp((double)row[i] - (double)most);
    return (double)row[token] - (double)most - log(sum);
}

/* Sum over t[from ..] behind a memory that holds t[0 .. from - 1]; s->row: the logits there. */
static snug_status score_tail(struct scorer *s, const struct tokens *t, int32_t from,
                              double *out_lp)
{
    double lp = log_prob(s->row, s->n_vocab, t->data[from]);
    int32_t at = from; /* evaluated next; the last token is only predicted */
    while (at + 1 < t->n) {
        s->batch.n_tokens = 0;
        const int32_t first = at;
        for (; at + 1 < t->n && s->batch.n_tokens < s->n_outputs; at++)
            add(s, t->data[at], at, true);
        const snug_status status = decode(s);
        if (status != SNUG_OK)
            return status;
        for (int32_t i = first; i < at; i++) {
            const float *row = llama_get_logits_ith(s->w->context, i - first);
            if (!row)
                return snug_fail(s->err, SNUG_UNSUPPORTED, "libllama gave no logits");
            lp += log_prob(row, s->n_vocab, t->data[i + 1]);
        }
    }
    if (!isfinite(lp))
        return snug_fail(s->err, SNUG_UNSUPPORTED, "the model's logits are not finite");
    *out_lp = lp;
    return SNUG_OK;
}

/* ---- one item ---- */

struct item {
    struct tokens context;
    struct tokens whole[CHOICES_MAX]; /* context + choice */
    int n_choices;
    int32_t n_shared; /* tokens that all of them begin with */
    int32_t n_cut;    /* of the context's front, to make the longest fit */
};

static void clear_item(struct item *item)
{
    free(item->context.data);
    for (int i = 0; i < item->n_choices; i++)
        free(item->whole[i].data);
    *item = (struct item){0};
}

static snug_status tokenise_item(struct scorer *s, const struct snug_json_node *node,
                                 struct item *out)
{
    const char *context = snug_json_get_string(node, "context", "");
    const struct snug_json_node *choices = snug_json_get(node, "choices");
    const size_t n_context = strlen(context), n = snug_json_count(choices);
    if (n < 1 || n > CHOICES_MAX)
        return snug_fail(s->err, SNUG_BAD_INPUT, "%zu choices, 1 to %d are taken", n, CHOICES_MAX);
    snug_status status = tokenise(s, context, n_context, false, &out->context);
    out->n_shared = out->context.n;
    for (size_t i = 0; i < n && status == SNUG_OK; i++) {
        struct snug_buffer text = {0};
        snug_buffer_append(&text, context, n_context);
        snug_buffer_puts(&text, snug_json_string(snug_json_at(choices, i), ""));
        struct tokens *whole = &out->whole[i];
        status = text.is_failed ? snug_fail(s->err, SNUG_NO_MEMORY, "no memory for a choice")
                                : tokenise(s, snug_buffer_text(&text), text.len, false, whole);
        snug_buffer_clear(&text);
        if (status != SNUG_OK)
            return status;
        out->n_choices++;
        /* At least one token of each is left to score. */
        const int32_t most = out->n_shared < whole->n - 1 ? out->n_shared : whole->n - 1;
        out->n_shared = common_prefix(&out->context, whole, most);
    }
    if (status == SNUG_OK && out->n_shared < 1)
        status = snug_fail(s->err, SNUG_BAD_INPUT,
                           "no token comes before the choice '%.40s': the context is empty and "
                           "the vocabulary has no BOS",
                           snug_json_string(snug_json_at(choices, 0), ""));
    return status;
}

/* Too long for the context: the oldest tokens go, the same number for every choice; a BOS stays. */
static snug_status cut_item(struct scorer *s, struct item *item)
{
    int32_t longest = 0;
    for (int i = 0; i < item->n_choices; i++)
        longest = item->whole[i].n > longest ? item->whole[i].n : longest;
    const int32_t keep = item->whole[0].data[0] == llama_vocab_bos(s->vocab);
    const int32_t n_cut = longest - s->n_ctx;
    if (n_cut <= 0)
        return SNUG_OK;
    if (n_cut > item->n_shared - keep - 1)
        return snug_fail(s->err, SNUG_BAD_INPUT,
                         "a choice of %d tokens leaves no room for its question in a context of %d "
                         "tokens: give a larger --context",
                         longest - item->n_shared, s->n_ctx);
    for (int i = 0; i < item->n_choices; i++) {
        struct tokens *t = &item->whole[i];
        memmove(t->data + keep, t->data + keep + n_cut,
                (size_t)(t->n - keep - n_cut) * sizeof *t->data);
        t->n -= n_cut;
    }
    item->n_shared -= n_cut;
    item->n_cut = n_cut;
    return SNUG_OK;
}

static snug_status score_choices(struct scorer *s, const struct item *item,
                                 struct snug_json_writer *out)
{
    const llama_token *shared = item->whole[0].data;
    snug_status status = feed_context(s, shared, item->n_shared);
    if (status != SNUG_OK)
        return status;
    const float *row = llama_get_logits_ith(s->w->context, -1);
    if (!row)
        return snug_fail(s->err, SNUG_UNSUPPORTED, "libllama gave no logits");
    memcpy(s->row, row, (size_t)s->n_vocab * sizeof *row);
    snug_json_begin_object(out, NULL);
    snug_json_put_int(out, "n_context", item->n_shared);
    snug_json_put_int(out, "n_cut", item->n_cut);
    snug_json_begin_array(out, "choices");
    for (int i = 0; i < item->n_choices && status == SNUG_OK; i++) {
        double lp = 0.0;
        if (i > 0)
            status = rewind_to(s, shared, item->n_shared);
        if (status == SNUG_OK)
            status = score_tail(s, &item->whole[i], item->n_shared, &lp);
        snug_json_begin_object(out, NULL);
        snug_json_put_number(out, "lp", lp);
        snug_json_put_int(out, "n", item->whole[i].n - item->n_shared);
        snug_json_end(out);
    }
    snug_json_end(out);
    snug_json_end(out);
    return status;
}

static snug_status score_item(struct scorer *s, const struct snug_json_node *node,
                              struct snug_json_writer *out)
{
    struct item item = {0};
    snug_status status = tokenise_item(s, node, &item);
    if (status == SNUG_OK)
        status = cut_item(s, &item);
    if (status == SNUG_OK)
        status = score_choices(s, &item, out);
    clear_item(&item);
    return status;
}

/* ---- requests ---- */

static snug_status prepare(struct scorer *s, const struct snug__settings *settings,
                           const struct snug_json_node *request)
{
    struct snug__settings own = *settings;
    own.n_outputs = own.n_batch < OUTPUTS_MAX ? own.n_batch : OUTPUTS_MAX;
    const struct snug_workload workload = {.n_parallel = 1,
                                           .n_ctx = snug_json_get_int(request, "n_ctx", 0)};
    if (workload.n_ctx < 2 || workload.n_ctx > INT32_MAX / 2)
        return snug_fail(s->err, SNUG_BAD_INPUT, "a context of %lld tokens",
                         (long long)workload.n_ctx);
    snug_status status = snug__worker_prepare(s->w, &own, &workload, &s->outcome, s->err);
    if (status != SNUG_OK)
        return status;
    if (llama_model_has_encoder(s->w->model) || !llama_model_has_decoder(s->w->model))
        return snug_fail(s->err, SNUG_UNSUPPORTED, "only decoder models continue a text");
    s->vocab = llama_model_get_vocab(s->w->model);
    s->memory = llama_get_memory(s->w->context);
    s->n_vocab = llama_vocab_n_tokens(s->vocab);
    s->n_ctx = (int32_t)workload.n_ctx;
    s->n_batch = own.n_batch;
    s->n_outputs = own.n_outputs;
    s->row = malloc((size_t)s->n_vocab * sizeof *s->row);
    s->batch = llama_batch_init(own.n_batch, 0, 1);
    if (!s->row || !s->batch.token)
        return snug_fail(s->err, SNUG_NO_MEMORY, "no memory for logits");
    return SNUG_OK;
}

static void finish(struct scorer *s)
{
    free(s->row);
    if (s->batch.token)
        llama_batch_free(s->batch);
}

snug_status snug__worker_score(struct snug__worker *w, const struct snug__settings *settings,
                               const struct snug_json_node *request, enum snug_outcome *out_outcome,
                               struct snug_error *err)
{
    struct scorer s = {.w = w, .err = err, .outcome = SNUG_TRIAL_REFUSED};
    struct snug_json_writer out = {0};
    const struct snug_json_node *items = snug_json_get(request, "items");
    snug_status status = prepare(&s, settings, request);
    s.outcome = status == SNUG_OK ? SNUG_TRIAL_REFUSED : s.outcome;
    snug_json_begin_object(&out, NULL);
    snug_json_put_string(&out, "event", "scored");
    snug_json_begin_array(&out, "items");
    for (size_t i = 0; i < snug_json_count(items) && status == SNUG_OK; i++) {
        status = score_item(&s, snug_json_at(items, i), &out);
        if (status != SNUG_OK) /* the parent knows what it calls this item */
            status = snug_fail_prefix(err, status, "item %zu", i);
    }
    snug_json_end(&out);
    snug_json_end(&out);
    if (status == SNUG_OK)
        snug__worker_send(w, &out);
    else
        snug_json_writer_clear(&out);
    finish(&s);
    *out_outcome = s.outcome;
    return status;
}

/* ---- generation ---- */

static llama_token most_likely(const float *row, int32_t n_vocab)
{
    llama_token best = 0;
    for (int32_t i = 1; i < n_vocab; i++) {
        if (row[i] > row[best])
            best = i;
    }
    return best;
}

static void put_piece(struct scorer *s, llama_token token, struct snug_buffer *text)
{
    char small[64];
    const int32_t n = llama_token_to_piece(s->vocab, token, small, sizeof small, 0, false);
    if (n >= 0) {
        snug_buffer_append(text, small, (size_t)n);
        return;
    }
    char *large = malloc((size_t)-n);
    const int32_t got = large ? llama_token_to_piece(s->vocab, token, large, -n, 0, false) : -1;
    if (got >= 0)
        snug_buffer_append(text, large, (size_t)got);
    text->is_failed = text->is_failed || got < 0;
    free(large);
}

/* Greedy until the model ends, n_max tokens, or a full context. */
static snug_status generate(struct scorer *s, struct tokens *prompt, int64_t n_max,
                            struct snug_buffer *text, const char **out_finish, int64_t *out_n)
{
    int64_t n = 0;
    int32_t pos = prompt->n;
    const char *finish_reason = "length";
    snug_status status = feed_context(s, prompt->data, prompt->n);
    while (status == SNUG_OK && n < n_max) {
        const float *row = llama_get_logits_ith(s->w->context, -1);
        if (!row)
            return snug_fail(s->err, SNUG_UNSUPPORTED, "libllama gave no logits");
        const llama_token token = most_likely(row, s->n_vocab);
        if (llama_vocab_is_eog(s->vocab, token)) {
            finish_reason = "stop";
            break;
        }
        put_piece(s, token, text);
        if (++n == n_max)
            break;
        if (pos >= s->n_ctx) {
            finish_reason = "context";
            break;
        }
        s->batch.n_tokens = 0;
        add(s, token, pos++, true);
        status = decode(s);
    }
    *out_finish = finish_reason;
    *out_n = n;
    return status;
}

static snug_status generate_text(struct scorer *s, const struct snug_json_node *request)
{
    const char *prompt = snug_json_get_string(request, "prompt", "");
    struct tokens tokens = {0};
    struct snug_buffer text = {0};
    const char *finish_reason = "";
    int64_t n = 0;
    snug_status status = tokenise(s, prompt, strlen(prompt), true, &tokens);
    if (status == SNUG_OK && tokens.n >= s->n_ctx)
        status = snug_fail(s->err, SNUG_BAD_INPUT,
                           "a prompt of %d tokens does not fit a context of %d with room for an "
                           "answer: give a larger --context",
                           tokens.n, s->n_ctx);
    if (status == SNUG_OK)
        status = generate(s, &tokens, snug_json_get_int(request, "n_max", 128), &text,
                          &finish_reason, &n);
    if (status == SNUG_OK && text.is_failed)
        status = snug_fail(s->err, SNUG_NO_MEMORY, "no memory for an answer");
    if (status == SNUG_OK) {
        struct snug_json_writer out = {0};
        snug_json_begin_object(&out, NULL);
        snug_json_put_string(&out, "event", "generated");
        snug_json_put_string(&out, "text", snug_buffer_text(&text));
        snug_json_put_string(&out, "finish", finish_reason);
        snug_json_put_int(&out, "n_prompt", tokens.n);
        snug_json_put_int(&out, "n", n);
        snug_json_end(&out);
        snug__worker_send(s->w, &out);
    }
    snug_buffer_clear(&text);
    free(tokens.data);
    return status;
}

snug_status snug__worker_generate(struct snug__worker *w, const struct snug__settings *settings,
                                  const struct snug_json_node *request,
                                  enum snug_outcome *out_outcome, struct snug_error *err)
{
    struct scorer s = {.w = w, .err = err, .outcome = SNUG_TRIAL_REFUSED};
    snug_status status = prepare(&s, settings, request);
    s.outcome = status == SNUG_OK ? SNUG_TRIAL_REFUSED : s.outcome;
    if (status == SNUG_OK)
        status = generate_text(&s, request);
    finish(&s);
    *out_outcome = s.outcome;
    return status;
}
