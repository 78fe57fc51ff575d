/* Tokens of blocks and sessions, on a real vocabulary and, for sessions, a real small model in this
 * process (one thread): both from the test data. */
#include "test.h"

#include <ggml-backend.h>
#include <llama.h>

#include "base/file.h"
#include "engine/worker_session.h"
#include "engine/worker_tokens.h"
#include "snug_config.h"
#include "trial/workload_file.h"

static void drop_log(enum ggml_log_level level, const char *text, void *data)
{
    (void)level;
    (void)text;
    (void)data;
}

/* The trained model of 512 tokens, with weights or its vocabulary alone; skips without the data. */
static struct llama_model *load(bool has_weights)
{
    const char *data = getenv("SNUG_TEST_DATA");
    char path[1024];
    if (!data || !*data) {
        print_message("SNUG_TEST_DATA names no folder\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/gguf/stories260K-f32.gguf", data);
    llama_log_set(drop_log, NULL);
    if (ggml_backend_dev_count() == 0 && strlen(SNUG_BACKEND_FOLDER) > 0)
        ggml_backend_load_all_from_path(SNUG_BACKEND_FOLDER);
    else if (ggml_backend_dev_count() == 0)
        ggml_backend_load_all();
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = !has_weights;
    struct llama_model *model = llama_model_load_from_file(path, params);
    assert_non_null(model);
    return model;
}

/* A workload file in the test's folder, read as the parent would. */
static struct snug_workload make_workload(void **state, const char *name, const char *text)
{
    struct snug_error err;
    struct snug_workload w = {.n_parallel = 1, .n_ctx = 512};
    struct snug_workload_text read = {.n_prompts = 0};
    assert_ok(snug_file_write(test_path(state, name), text, strlen(text), &err));
    assert_ok(snug_workload_file_read(test_path(state, name), &w, &read, &err));
    snug_workload_text_clear(&read);
    return w;
}

#define TWO_PROMPTS                                                                                \
    "{\"name\": \"two\", \"class\": \"chat\", \"prompts\": [\"Once upon a time there was a cat.\"" \
    ", \"The sun was warm.\"]%s}"

/* Token i of each prompt without prefix; the caller frees. */
static struct snug__token_list plain(const struct llama_vocab *vocab, const char *text)
{
    struct snug_error err;
    struct snug__token_list list = {0};
    assert_ok(snug__tokenise(vocab, text, true, &list, &err));
    return list;
}

static void random_tokens_have_the_lengths_asked_and_follow_the_seed(void **state)
{
    (void)state;
    struct snug_error err;
    struct llama_model *model = load(false);
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    const struct snug_workload w = {.n_prompt = 20, .n_parallel = 1, .n_ctx = 64};
    struct snug__tokens a, b, other;
    assert_ok(snug__tokens_init(&a, vocab, &w, 5, &err));
    assert_ok(snug__tokens_init(&b, vocab, &w, 5, &err));
    assert_ok(snug__tokens_init(&other, vocab, &w, 6, &err));
    int n_differ = 0;
    for (int block = 0; block < 3; block++) {
        assert_int_equal(snug__tokens_next_block(&a), 20);
        assert_int_equal(snug__tokens_next_block(&b), 20);
        for (int64_t i = 0; i < 20; i++) {
            const llama_token token = snug__tokens_prompt(&a, i);
            assert_int_in_range(token, 0, llama_vocab_n_tokens(vocab) - 1);
            assert_int_equal(token, snug__tokens_prompt(&b, i));
            n_differ += token != snug__tokens_prompt(&other, i);
        }
    }
    assert_true(n_differ > 30);
    assert_int_equal(snug__tokens_step(&a), snug__tokens_step(&b));
    assert_int_equal(snug__tokens_longest(&a), 20);
    assert_int_equal(snug__tokens_median(&a), 20);
    snug__tokens_clear(&a);
    snug__tokens_clear(&b);
    snug__tokens_clear(&other);
    llama_model_free(model);
}

static void prompts_alternate_behind_prefixes_that_never_repeat(void **state)
{
    struct snug_error err;
    char text[300];
    snprintf(text, sizeof text, TWO_PROMPTS, "");
    struct llama_model *model = load(false);
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    const struct snug_workload w = make_workload(state, "w.json", text);
    struct snug__token_list want[2] = {plain(vocab, "Once upon a time there was a cat."),
                                       plain(vocab, "The sun was warm.")};
    struct snug__tokens t;
    llama_token seen[8][SNUG__PREFIX_TOKENS];
    int n_seen = 0;
    assert_ok(snug__tokens_init(&t, vocab, &w, 1, &err));
    for (int block = 0; block < 4; block++) {
        const struct snug__token_list *list = &want[block % 2];
        assert_int_equal(snug__tokens_next_block(&t), list->n + SNUG__PREFIX_TOKENS);
        for (int seq = 0; seq < 2; seq++) {
            assert_int_equal(snug__tokens_prompt(&t, 0), llama_vocab_bos(vocab));
            for (int i = 0; i < SNUG__PREFIX_TOKENS; i++) {
                seen[n_seen][i] = snug__tokens_prompt(&t, 1 + i);
                assert_false(llama_vocab_is_control(vocab, seen[n_seen][i]));
            }
            for (int i = 0; i < n_seen; i++)
                assert_true(memcmp(seen[i], seen[n_seen], sizeof seen[i]) != 0);
            n_seen++;
            for (int64_t i = 1; i < list->n; i++)
                assert_int_equal(snug__tokens_prompt(&t, i + SNUG__PREFIX_TOKENS), list->tokens[i]);
        }
    }
    const int64_t n_long = want[0].n > want[1].n ? want[0].n : want[1].n;
    const int64_t n_short = want[0].n > want[1].n ? want[1].n : want[0].n;
    assert_int_equal(snug__tokens_longest(&t), n_long + SNUG__PREFIX_TOKENS);
    assert_int_equal(snug__tokens_median(&t), n_short + SNUG__PREFIX_TOKENS);
    snug__tokens_clear(&t);
    free(want[0].tokens);
    free(want[1].tokens);
    llama_model_free(model);
}

static void prompts_without_prefix_are_the_text_and_steps_walk_through_them(void **state)
{
    struct snug_error err;
    char text[300];
    snprintf(text, sizeof text, TWO_PROMPTS, ", \"unique_prefix\": false");
    struct llama_model *model = load(false);
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    const struct snug_workload w = make_workload(state, "w.json", text);
    struct snug__token_list want[2] = {plain(vocab, "Once upon a time there was a cat."),
                                       plain(vocab, "The sun was warm.")};
    struct snug__tokens t;
    assert_ok(snug__tokens_init(&t, vocab, &w, 1, &err));
    assert_int_equal(snug__tokens_next_block(&t), want[0].n);
    for (int64_t i = 0; i < want[0].n; i++)
        assert_int_equal(snug__tokens_prompt(&t, i), want[0].tokens[i]);
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < 2; k++) {
            for (int64_t i = 0; i < want[k].n; i++)
                assert_int_equal(snug__tokens_step(&t), want[k].tokens[i]);
        }
    }
    snug__tokens_clear(&t);
    free(want[0].tokens);
    free(want[1].tokens);
    llama_model_free(model);
}

static void prompt_at_the_context_is_taken_and_one_beyond_refused(void **state)
{
    struct snug_error err;
    char text[300];
    snprintf(text, sizeof text, TWO_PROMPTS, "");
    struct llama_model *model = load(false);
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    struct snug_workload w = make_workload(state, "w.json", text);
    struct snug__tokens t;
    assert_ok(snug__tokens_init(&t, vocab, &w, 1, &err));
    w.n_depth = 3;
    w.n_ctx = snug__tokens_longest(&t) + w.n_depth;
    snug__tokens_clear(&t);
    assert_ok(snug__tokens_init(&t, vocab, &w, 1, &err));
    snug__tokens_clear(&t);
    w.n_ctx--;
    assert_fails(SNUG_BAD_INPUT, snug__tokens_init(&t, vocab, &w, 1, &err));
    assert_contains(err.text, "w.json: prompt 1 has");
    assert_contains(err.text, "give --context");
    llama_model_free(model);
}

static void file_that_changed_since_it_was_hashed_is_refused(void **state)
{
    struct snug_error err;
    char text[300];
    snprintf(text, sizeof text, TWO_PROMPTS, "");
    struct llama_model *model = load(false);
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    const struct snug_workload w = make_workload(state, "w.json", text);
    snprintf(text, sizeof text, TWO_PROMPTS, ", \"n_gen\": 7");
    assert_ok(snug_file_write(w.path, text, strlen(text), &err));
    struct snug__tokens t;
    assert_fails(SNUG_BAD_INPUT, snug__tokens_init(&t, vocab, &w, 1, &err));
    assert_contains(err.text, "changed");
    assert_int_equal(unlink(w.path), 0);
    assert_fails(SNUG_NOT_FOUND, snug__tokens_init(&t, vocab, &w, 1, &err));
    llama_model_free(model);
}

static void text_that_looks_like_a_control_token_stays_text(void **state)
{
    (void)state;
    struct llama_model *model = load(false);
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    struct snug__token_list list = plain(vocab, "a</s>b");
    for (int64_t i = 1; i < list.n; i++)
        assert_false(llama_vocab_is_control(vocab, list.tokens[i]));
    free(list.tokens);
    llama_model_free(model);
}

/* ---- sessions ---- */

static const char SESSION[] =
    "{\"name\": \"s\", \"class\": \"session\", \"turns\": ["
    "{\"user\": \"Once upon a time there was a cat.\", \"assistant\": \"The cat was happy.\"},"
    "{\"user\": \"Then it saw a dog.\", \"assistant\": \"They went to play.\"},"
    "{\"user\": \"What did they play?\", \"assistant\": \"Ball.\"}]}";

static struct snug__worker make_worker(const struct snug_workload *workload)
{
    struct snug__worker w = {.fd_events = -1, .model = load(true)};
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)workload->n_ctx;
    params.n_threads = params.n_threads_batch = 1;
    params.n_batch = params.n_ubatch = 8; /* a turn is more than one batch */
    w.settings.n_batch = w.settings.n_ubatch = 8;
    w.context = llama_init_from_model(w.model, params);
    assert_non_null(w.context);
    return w;
}

static void free_worker(struct snug__worker *w)
{
    llama_free(w->context);
    llama_model_free(w->model);
}

static void session_prefills_only_what_is_new_of_each_turn(void **state)
{
    struct snug_error err;
    const struct snug_workload workload = make_workload(state, "s.json", SESSION);
    struct snug__worker w = make_worker(&workload);
    struct snug__tokens t;
    struct snug__session_turn turns[3];
    assert_ok(snug__tokens_init(&t, llama_model_get_vocab(w.model), &workload, 1, &err));
    assert_int_equal(t.n_sessions, 1);
    assert_int_equal(t.sessions[0].n_turns, 3);
    const struct snug__token_session *s = &t.sessions[0];
    llama_token prefix[SNUG__PREFIX_TOKENS];
    for (int round = 0; round < 2; round++) {
        int64_t n_before = 0;
        assert_ok(snug__worker_session(&w, &t, 0, 0, turns, &err));
        for (int k = 0; k < 3; k++) {
            assert_int_equal(turns[k].n_reused, n_before);
            assert_int_equal(turns[k].n_new, s->turns[k].user.n);
            assert_int_equal(turns[k].n_gen, s->turns[k].assistant.n);
            assert_true(turns[k].prefill_s > 0 && turns[k].decode_s > 0);
            assert_true(turns[k].turn_s >= turns[k].prefill_s + turns[k].decode_s);
            n_before += turns[k].n_new + turns[k].n_gen;
        }
        assert_int_equal(n_before, s->n_tokens);
        assert_int_equal(llama_memory_seq_pos_max(llama_get_memory(w.context), 0), n_before - 1);
        /* The next replay has another prefix: nothing of this one could be found again. */
        assert_true(round == 0 || memcmp(prefix, s->turns[0].user.tokens + 1, sizeof prefix) != 0);
        memcpy(prefix, s->turns[0].user.tokens + 1, sizeof prefix);
    }
    snug__tokens_clear(&t);
    free_worker(&w);
}

/* What the replay leaves behind is what one prefill of the whole text gives: the same next token,
 * and logits as near as two batch shapes come. */
static void session_ends_where_a_single_prefill_of_it_ends(void **state)
{
    struct snug_error err;
    const struct snug_workload workload = make_workload(state, "s.json", SESSION);
    struct snug__worker w = make_worker(&workload);
    const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(w.model));
    struct snug__tokens t;
    struct snug__session_turn turns[3];
    assert_ok(snug__tokens_init(&t, llama_model_get_vocab(w.model), &workload, 1, &err));
    assert_ok(snug__worker_session(&w, &t, 0, 0, turns, &err));
    float *replayed = malloc((size_t)n_vocab * sizeof *replayed);
    assert_non_null(replayed);
    memcpy(replayed, llama_get_logits_ith(w.context, -1), (size_t)n_vocab * sizeof *replayed);
    llama_memory_clear(llama_get_memory(w.context), false);
    for (int k = 0; k < 3; k++) {
        const struct snug__token_list lists[] = {t.sessions[0].turns[k].user,
                                                 t.sessions[0].turns[k].assistant};
        for (int half = 0; half < 2; half++) {
            for (int64_t i = 0; i < lists[half].n; i++) {
                llama_token token = lists[half].tokens[i];
                assert_int_equal(llama_decode(w.context, llama_batch_get_one(&token, 1)), 0);
            }
        }
    }
    const float *direct = llama_get_logits_ith(w.context, -1);
    for (int i = 0; i < n_vocab; i++)
        assert_float_equal(direct[i], replayed[i], 1e-2);
    free(replayed);
    snug__tokens_clear(&t);
    free_worker(&w);
}

static void session_runs_behind_a_depth_and_forgets_an_older_tail(void **state)
{
    struct snug_error err;
    const struct snug_workload workload = make_workload(state, "s.json", SESSION);
    struct snug__worker w = make_worker(&workload);
    struct snug__tokens t;
    struct snug__session_turn turns[3];
    assert_ok(snug__tokens_init(&t, llama_model_get_vocab(w.model), &workload, 1, &err));
    llama_token tokens[7] = {1, 300, 301, 302, 303, 304, 305};
    assert_int_equal(llama_decode(w.context, llama_batch_get_one(tokens, 7)), 0);
    assert_ok(snug__worker_session(&w, &t, 0, 5, turns, &err));
    assert_int_equal(turns[0].n_reused, 5);
    assert_int_equal(turns[1].n_reused, 5 + turns[0].n_new + turns[0].n_gen);
    snug__tokens_clear(&t);
    free_worker(&w);
}

/* The check at init keeps sessions within the context; libllama's own refusal ends in words too. */
static void session_beyond_the_cache_fails_with_libllamas_reason(void **state)
{
    struct snug_error err;
    struct snug_workload workload = make_workload(state, "s.json", SESSION);
    workload.n_ctx = 20000;
    struct snug__tokens t;
    struct snug__session_turn turns[3];
    const struct snug_workload small = {.n_ctx = 16, .n_parallel = 1};
    struct snug__worker w = make_worker(&small);
    assert_ok(snug__tokens_init(&t, llama_model_get_vocab(w.model), &workload, 1, &err));
    while (t.sessions[0].n_tokens < (int64_t)llama_n_ctx(w.context)) {
        struct snug__token_list *user = &t.sessions[0].turns[2].user;
        llama_token *more = realloc(user->tokens, (size_t)(user->n * 2) * sizeof *more);
        assert_non_null(more);
        memcpy(more + user->n, more, (size_t)user->n * sizeof *more);
        t.sessions[0].n_tokens += user->n;
        *user = (struct snug__token_list){more, user->n * 2};
    }
    assert_fails(SNUG_UNSUPPORTED, snug__worker_session(&w, &t, 0, 0, turns, &err));
    assert_contains(err.text, "of a session");
    assert_int_equal(w.outcome, SNUG_TRIAL_REFUSED);
    snug__tokens_clear(&t);
    free_worker(&w);
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(random_tokens_have_the_lengths_asked_and_follow_the_seed),
        IN_FOLDER(prompts_alternate_behind_prefixes_that_never_repeat),
        IN_FOLDER(prompts_without_prefix_are_the_text_and_steps_walk_through_them),
        IN_FOLDER(prompt_at_the_context_is_taken_and_one_beyond_refused),
        IN_FOLDER(file_that_changed_since_it_was_hashed_is_refused),
        IN_FOLDER(text_that_looks_like_a_control_token_stays_text),
        IN_FOLDER(session_prefills_only_what_is_new_of_each_turn),
        IN_FOLDER(session_ends_where_a_single_prefill_of_it_ends),
        IN_FOLDER(session_runs_behind_a_depth_and_forgets_an_older_tail),
        IN_FOLDER(session_beyond_the_cache_fails_with_libllamas_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
