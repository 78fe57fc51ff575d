/* The tokens of a worker's blocks. See worker_tokens.h. */
#include "engine/worker_tokens.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "trial/workload_file.h"

/* A vocabulary of control tokens alone is no vocabulary; do not look for ever. */
#define DRAWS_MAX 1000

snug_status snug__tokenise(const struct llama_vocab *vocab, const char *text, bool add_special,
                           struct snug__token_list *out, struct snug_error *err)
{
    const size_t n_text = strlen(text);
    if (n_text > INT32_MAX / 2)
        return snug_fail(err, SNUG_BAD_INPUT, "a text of %zu bytes: at most %d", n_text,
                         INT32_MAX / 2);
    /* A negative count says how much room is needed; a token is a byte or more, mostly. */
    int32_t room = (int32_t)n_text + 8;
    llama_token *tokens = malloc((size_t)room * sizeof *tokens);
    int32_t n =
        tokens ? llama_tokenize(vocab, text, (int32_t)n_text, tokens, room, add_special, false) : 0;
    if (n < 0 && n > INT32_MIN) {
        room = -n;
        llama_token *more = realloc(tokens, (size_t)room * sizeof *tokens);
        if (!more)
            free(tokens);
        tokens = more;
        n = tokens ? llama_tokenize(vocab, text, (int32_t)n_text, tokens, room, add_special, false)
                   : 0;
    }
    if (!tokens)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a text of %zu bytes in tokens",
                         n_text);
    if (n <= 0) {
        free(tokens);
        return snug_fail(err, SNUG_BAD_INPUT, "the model's vocabulary makes no tokens of '%.20s'",
                         text);
    }
    *out = (struct snug__token_list){tokens, n};
    return SNUG_OK;
}

/* Text-like: control tokens may switch a template or end a text. */
static llama_token draw_prefix_token(struct snug__tokens *t)
{
    const uint64_t n_vocab = (uint64_t)llama_vocab_n_tokens(t->vocab);
    llama_token token = 0;
    for (int i = 0; i < DRAWS_MAX; i++) {
        token = (llama_token)snug_rng_below(&t->rng, n_vocab);
        if (!llama_vocab_is_control(t->vocab, token) && !llama_vocab_is_eog(t->vocab, token))
            break;
    }
    return token;
}

static void draw_prefix(struct snug__tokens *t, struct snug__token_list *list)
{
    for (int i = 0; t->has_prefix && i < SNUG__PREFIX_TOKENS; i++)
        list->tokens[t->n_first + i] = draw_prefix_token(t);
}

/* Tokenise with the vocabulary's first token and leave room for the prefix after it. */
static snug_status tokenise_first(struct snug__tokens *t, const char *text,
                                  struct snug__token_list *out, struct snug_error *err)
{
    struct snug__token_list list = {0};
    const snug_status status = snug__tokenise(t->vocab, text, true, &list, err);
    if (status != SNUG_OK)
        return status;
    if (t->has_prefix) {
        const size_t n_first = (size_t)t->n_first, n_rest = (size_t)list.n - n_first;
        llama_token *tokens =
            realloc(list.tokens, ((size_t)list.n + SNUG__PREFIX_TOKENS) * sizeof *tokens);
        if (!tokens) {
            free(list.tokens);
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for a prompt in tokens");
        }
        memmove(tokens + n_first + SNUG__PREFIX_TOKENS, tokens + n_first, n_rest * sizeof *tokens);
        list = (struct snug__token_list){tokens, list.n + SNUG__PREFIX_TOKENS};
        draw_prefix(t, &list);
    }
    *out = list;
    return SNUG_OK;
}

static snug_status check_room(const struct snug_workload *workload, const char *what, int i,
                              int64_t n, struct snug_error *err)
{
    if (workload->n_depth + n <= workload->n_ctx)
        return SNUG_OK;
    return snug_fail(err, SNUG_BAD_INPUT,
                     "%s: %s %d has %lld tokens, which a context of %lld does not hold behind "
                     "depth %lld: give --context %lld",
                     workload->path, what, i + 1, (long long)n, (long long)workload->n_ctx,
                     (long long)workload->n_depth, (long long)(workload->n_depth + n));
}

static snug_status take_prompts(struct snug__tokens *t, const struct snug_workload_text *text,
                                const struct snug_workload *workload, struct snug_error *err)
{
    t->prompts = calloc((size_t)text->n_prompts, sizeof *t->prompts);
    if (!t->prompts)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %d prompts", text->n_prompts);
    snug_status status = SNUG_OK;
    for (; t->n_prompts < text->n_prompts && status == SNUG_OK; t->n_prompts++) {
        struct snug__token_list *list = &t->prompts[t->n_prompts];
        status = tokenise_first(t, text->prompts[t->n_prompts], list, err);
        if (status == SNUG_OK)
            status = check_room(workload, "prompt", t->n_prompts, list->n, err);
    }
    return status;
}

/* Later turns begin where the answer before them ended: nothing is put before their text. */
static snug_status take_session(struct snug__tokens *t, const struct snug_workload_session *text,
                                struct snug__token_session *out, struct snug_error *err)
{
    out->turns = calloc((size_t)text->n_turns, sizeof *out->turns);
    if (!out->turns)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %d turns", text->n_turns);
    snug_status status = SNUG_OK;
    for (; out->n_turns < text->n_turns && status == SNUG_OK; out->n_turns++) {
        struct snug__token_turn *turn = &out->turns[out->n_turns];
        const struct snug_workload_turn *words = &text->turns[out->n_turns];
        status = out->n_turns == 0 ? tokenise_first(t, words->user, &turn->user, err)
                                   : snug__tokenise(t->vocab, words->user, false, &turn->user, err);
        if (status == SNUG_OK)
            status = snug__tokenise(t->vocab, words->assistant, false, &turn->assistant, err);
        out->n_tokens += turn->user.n + turn->assistant.n;
    }
    return status;
}

static snug_status take_sessions(struct snug__tokens *t, const struct snug_workload_text *text,
                                 const struct snug_workload *workload, struct snug_error *err)
{
    t->sessions = calloc((size_t)text->n_sessions, sizeof *t->sessions);
    if (!t->sessions)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %d sessions", text->n_sessions);
    snug_status status = SNUG_OK;
    for (; t->n_sessions < text->n_sessions && status == SNUG_OK; t->n_sessions++) {
        struct snug__token_session *session = &t->sessions[t->n_sessions];
        status = take_session(t, &text->sessions[t->n_sessions], session, err);
        if (status == SNUG_OK)
            status = check_room(workload, "session", t->n_sessions, session->n_tokens, err);
    }
    return status;
}

static snug_status take_file(struct snug__tokens *t, const struct snug_workload *workload,
                             struct snug_error *err)
{
    struct snug_workload found = {0};
    struct snug_workload_text text = {.n_prompts = 0};
    snug_status status = snug_workload_file_read(workload->path, &found, &text, err);
    if (status == SNUG_OK && workload->hash[0] && strcmp(found.hash, workload->hash) != 0)
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%s: its texts were changed since they were read first: start again",
                           workload->path);
    t->has_prefix = text.use_unique_prefix;
    if (status == SNUG_OK)
        status = text.n_sessions ? take_sessions(t, &text, workload, err)
                                 : take_prompts(t, &text, workload, err);
    snug_workload_text_clear(&text);
    return status;
}

snug_status snug__tokens_init(struct snug__tokens *t, const struct llama_vocab *vocab,
                              const struct snug_workload *workload, uint64_t seed,
                              struct snug_error *err)
{
    *t = (struct snug__tokens){.vocab = vocab, .n_random = workload->n_prompt, .i_prompt = -1};
    t->n_first = llama_vocab_get_add_bos(vocab) ? 1 : 0;
    snug_rng_init(&t->rng, seed);
    const snug_status status = workload->path[0] ? take_file(t, workload, err) : SNUG_OK;
    if (status != SNUG_OK)
        snug__tokens_clear(t);
    return status;
}

void snug__tokens_clear(struct snug__tokens *t)
{
    for (int i = 0; i < t->n_prompts; i++)
        free(t->prompts[i].tokens);
    for (int i = 0; i < t->n_sessions; i++) {
        for (int k = 0; k < t->sessions[i].n_turns; k++) {
            free(t->sessions[i].turns[k].user.tokens);
            free(t->sessions[i].turns[k].assistant.tokens);
        }
        free(t->sessions[i].turns);
    }
    free(t->prompts);
    free(t->sessions);
    *t = (struct snug__tokens){.i_prompt = -1};
}

int64_t snug__tokens_next_block(struct snug__tokens *t)
{
    if (t->n_prompts == 0)
        return t->n_random;
    t->i_prompt = (t->i_prompt + 1) % t->n_prompts;
    return t->prompts[t->i_prompt].n;
}

llama_token snug__tokens_prompt(struct snug__tokens *t, int64_t i)
{
    if (t->n_prompts == 0)
        return (llama_token)snug_rng_below(&t->rng, (uint64_t)llama_vocab_n_tokens(t->vocab));
    if (i == 0)
        draw_prefix(t, &t->prompts[t->i_prompt]);
    return t->prompts[t->i_prompt].tokens[i];
}

/* The texts one after the other, round and round: what a mixture of experts does with a token
 * depends on the token, so steps of a text workload are fed its own. */
llama_token snug__tokens_step(struct snug__tokens *t)
{
    if (t->n_prompts == 0)
        return (llama_token)snug_rng_below(&t->rng, (uint64_t)llama_vocab_n_tokens(t->vocab));
    if (t->i_step_token == t->prompts[t->i_step].n) {
        t->i_step = (t->i_step + 1) % t->n_prompts;
        t->i_step_token = 0;
    }
    return t->prompts[t->i_step].tokens[t->i_step_token++];
}

static int64_t length_of(const struct snug__tokens *t, int i)
{
    return t->n_sessions ? t->sessions[i].n_tokens : t->prompts[i].n;
}

int64_t snug__tokens_longest(const struct snug__tokens *t)
{
    const int n = t->n_sessions ? t->n_sessions : t->n_prompts;
    int64_t longest = n ? 0 : t->n_random;
    for (int i = 0; i < n; i++)
        longest = length_of(t, i) > longest ? length_of(t, i) : longest;
    return longest;
}

/* The lower one of an even number: a length that occurs. At most some hundred: counting is fine. */
int64_t snug__tokens_median(const struct snug__tokens *t)
{
    const int n = t->n_sessions ? t->n_sessions : t->n_prompts;
    for (int i = 0; i < n; i++) {
        int n_below = 0, n_equal = 0;
        for (int k = 0; k < n; k++) {
            n_below += length_of(t, k) < length_of(t, i);
            n_equal += length_of(t, k) == length_of(t, i);
        }
        if (n_below <= (n - 1) / 2 && (n - 1) / 2 < n_below + n_equal)
            return length_of(t, i);
    }
    return t->n_random;
}

void snug__tokens_renew_session(struct snug__tokens *t, int i)
{
    draw_prefix(t, &t->sessions[i].turns[0].user);
}
