/* Scoring of choices and greedy answers on small trained models: sums against an evaluation token
 * by token, order, boundaries, caps. The worker is the real one, this program started again. */
#include "engine.h"

#include <llama.h>
#include <math.h>

#include "lab/task_run.h"
#include "snug/score.h"

/* The same arithmetic at another batch shape: float32 sums in another order. Measured below 2e-5
 * per token on these F32 and F16 models; nats of the whole choice. */
static const double SUM_TOLERANCE = 1e-9;

static void assert_near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-12))
        fail_msg("%.15g is not %.15g", got, want);
}

struct rig {
    struct snug_machine machine;
    struct snug_model model;
    struct snug_engine *engine;
    struct snug_scorer *scorer;
    struct snug_config config;
    char path[600];
};

static const char *data_path(const char *name, char out[600])
{
    const char *data = getenv("SNUG_TEST_DATA");
    if (!data || !*data) {
        print_message("SNUG_TEST_DATA names no folder\n");
        return NULL;
    }
    snprintf(out, 600, "%s/%s", data, name);
    return access(out, R_OK) == 0 ? out : NULL;
}

static struct rig rig; /* of the running test */
static volatile int stop;

/* False: no test data. */
static bool open_rig(const char *name, int64_t n_ctx)
{
    struct snug_error err = {0};
    rig = (struct rig){0};
    stop = 0;
    if (!data_path(name, rig.path))
        return false;
    rig.machine.n_cores = rig.machine.n_threads = rig.machine.n_numa = 1;
    rig.machine.n_cores_usable = rig.machine.n_threads_usable = 1;
    assert_ok(snug_model_open(rig.path, &rig.model, &err));
    const struct snug_engine_options options = {
        .model_path = rig.path,
        .machine = &rig.machine,
        .model = &rig.model,
        .stop = &stop,
        .workload = {.n_prompt = 16, .n_gen = 4, .n_parallel = 1, .n_ctx = n_ctx}};
    assert_ok(snug_engine_open("llama", &options, &rig.engine, &err));
    assert_ok(snug_scorer_open(&options, &rig.scorer, &err));
    snug_space_default(snug_engine_space(rig.engine), &rig.config);
    return true;
}

/* Also the teardown of every test: one that failed leaves no worker to the next. */
static int close_rig(void **state)
{
    (void)state;
    snug_scorer_close(rig.scorer);
    snug_engine_close(rig.engine);
    snug_model_clear(&rig.model);
    rig = (struct rig){0};
    engine_test_no_children();
    return 0;
}

/* ---- by itself: one token per decode, in this process ---- */

struct plain {
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
};

static void drop_log(enum ggml_log_level level, const char *text, void *data)
{
    (void)level;
    (void)text;
    (void)data;
}

static struct plain plain_open(const char *path)
{
    struct snug_error err;
    struct plain p = {0};
    llama_log_set(drop_log, NULL);
    assert_ok(snug_machine_load_backends(&err));
    struct llama_model_params mp = llama_model_default_params();
    p.model = llama_model_load_from_file(path, mp);
    assert_non_null(p.model);
    struct llama_context_params cp = llama_context_default_params();
    cp.n_ctx = 256;
    cp.n_threads = cp.n_threads_batch = 1;
    p.context = llama_init_from_model(p.model, cp);
    assert_non_null(p.context);
    p.vocab = llama_model_get_vocab(p.model);
    return p;
}

static void plain_close(struct plain *p)
{
    llama_free(p->context);
    llama_model_free(p->model);
}

/* Sum over the last n_scored tokens of context + choice; *out_n: tokens in all. */
static double plain_sum(struct plain *p, const char *context, const char *choice, int n_scored,
                        int *out_n)
{
    char text[4096];
    llama_token tokens[1024];
    snprintf(text, sizeof text, "%s%s", context, choice);
    const int n =
        llama_tokenize(p->vocab, text, (int)strlen(text), tokens, COUNT(tokens), true, false);
    assert_true(n > n_scored);
    llama_memory_clear(llama_get_memory(p->context), true);
    const int n_vocab = llama_vocab_n_tokens(p->vocab);
    double sum = 0;
    for (int i = 0; i + 1 < n; i++) {
        assert_int_equal(llama_decode(p->context, llama_batch_get_one(&tokens[i], 1)), 0);
        if (i + 1 < n - n_scored)
            continue;
        const float *row = llama_get_logits_ith(p->context, 0);
        long double all = 0;
        for (int k = 0; k < n_vocab; k++)
            all += expl((long double)row[k]);
        sum += (double)((long double)row[tokens[i + 1]] - logl(all));
    }
    *out_n = n;
    return sum;
}

/* ---- tests ---- */

static const char CONTEXT[] = "Question: What did the little girl find?\nAnswer:";
static const char *const CHOICES[] = {" A big red ball.", " a", " The ocean in her shoe!",
                                      " A big red box."};

static struct snug_item_scores score_one(const char *context, const char *const *choices, int n)
{
    struct snug_error err;
    struct snug_item_scores out = {0};
    const struct snug_score_item item = {context, choices, n};
    assert_ok(snug_score_run(rig.scorer, snug_engine_space(rig.engine), &rig.config, &item, 1, &out,
                             &err));
    assert_int_equal(out.n_choices, n);
    return out;
}

static void sums_equal_an_evaluation_token_by_token(void **state)
{
    static const char *const models[] = {"gguf/stories260K-f32.gguf", "gguf/tales7m-f16.gguf",
                                         "gguf/babyllama361-f32.gguf"};
    (void)state;
    for (size_t m = 0; m < COUNT(models); m++) {
        if (!open_rig(models[m], 256))
            skip();
        const struct snug_item_scores got = score_one(CONTEXT, CHOICES, (int)COUNT(CHOICES));
        struct plain plain = plain_open(rig.path);
        for (int i = 0; i < (int)COUNT(CHOICES); i++) {
            int n = 0;
            const struct snug_score *s = &got.choices[i];
            const double want = plain_sum(&plain, CONTEXT, CHOICES[i], s->n_tokens, &n);
            if (!(fabs(s->log_prob - want) <= SUM_TOLERANCE) || s->log_prob >= 0)
                fail_msg("%s: '%s' is %.6f, not %.6f", models[m], CHOICES[i], s->log_prob, want);
            /* One boundary for all. */
            assert_int_equal(n - s->n_tokens, got.n_context_tokens);
            assert_int_equal(s->n_bytes, strlen(CHOICES[i]) - 1);
        }
        plain_close(&plain);
        close_rig(NULL);
    }
}

static void order_and_company_of_choices_do_not_matter(void **state)
{
    (void)state;
    struct snug_error err;
    if (!open_rig("gguf/tales7m-f16.gguf", 256))
        skip();
    const char *const reversed[] = {CHOICES[3], CHOICES[2], CHOICES[1], CHOICES[0]};
    const struct snug_item_scores a = score_one(CONTEXT, CHOICES, 4);
    const struct snug_item_scores b = score_one(CONTEXT, reversed, 4);
    for (int i = 0; i < 4; i++)
        assert_true(a.choices[i].log_prob == b.choices[3 - i].log_prob);
    const struct snug_score_item items[] = {
        {"Once upon a time", &CHOICES[1], 1}, {CONTEXT, CHOICES, 4}, {"Tom", CHOICES, 2}};
    struct snug_item_scores many[3];
    assert_ok(snug_score_run(rig.scorer, snug_engine_space(rig.engine), &rig.config, items, 3, many,
                             &err));
    for (int i = 0; i < 4; i++)
        assert_true(a.choices[i].log_prob == many[1].choices[i].log_prob);
}

/* A choice that merges with the end of the context moves the boundary for all of the item. */
static void boundary_inside_a_word_is_the_same_for_all(void **state)
{
    (void)state;
    if (!open_rig("gguf/tales7m-f16.gguf", 256))
        skip();
    static const char *const choices[] = {"gether", "day", " the park"};
    const char *context = "They went home to";
    const struct snug_item_scores got = score_one(context, choices, 3);
    struct plain plain = plain_open(rig.path);
    for (int i = 0; i < 3; i++) {
        int n = 0;
        const double want = plain_sum(&plain, context, choices[i], got.choices[i].n_tokens, &n);
        assert_int_equal(n - got.choices[i].n_tokens, got.n_context_tokens);
        assert_true(fabs(want - got.choices[i].log_prob) <= SUM_TOLERANCE);
    }
    plain_close(&plain);
}

static void long_context_is_cut_in_front_and_said(void **state)
{
    (void)state;
    struct snug_error err;
    if (!open_rig("gguf/tales7m-f16.gguf", 64))
        skip();
    char context[1024] = "", large[2048] = "";
    for (int i = 0; i < 60; i++)
        snprintf(context + strlen(context), sizeof context - strlen(context), "the cat ran ");
    for (int i = 0; i < 120; i++)
        snprintf(large + strlen(large), sizeof large - strlen(large), " dog");
    const struct snug_item_scores got = score_one(context, CHOICES, 3);
    assert_true(got.n_cut_tokens > 0);
    int longest = 0;
    for (int i = 0; i < 3; i++)
        longest = got.choices[i].n_tokens > longest ? got.choices[i].n_tokens : longest;
    assert_int_equal(got.n_context_tokens + longest, 64);
    const char *const too_long[] = {" a", large};
    const struct snug_score_item item = {context, too_long, 2};
    struct snug_item_scores out;
    assert_fails(SNUG_UNSUPPORTED, snug_score_run(rig.scorer, snug_engine_space(rig.engine),
                                                  &rig.config, &item, 1, &out, &err));
    assert_contains(err.text, "item 0: ");
    assert_contains(err.text, "--context");
    /* The worker lives on. */
    score_one(CONTEXT, CHOICES, 2);
}

static void caps_hold(void **state)
{
    (void)state;
    struct snug_error err;
    if (!open_rig("gguf/stories260K-f32.gguf", 128))
        skip();
    const char *choices[SNUG_SCORE_CHOICES_MAX + 1];
    static struct snug_item_scores out[SNUG_SCORE_ITEMS_MAX];
    struct snug_score_item items[SNUG_SCORE_ITEMS_MAX + 1];
    const struct snug_space *space = snug_engine_space(rig.engine);
    for (size_t i = 0; i < COUNT(choices); i++)
        choices[i] = " a";
    score_one("One", choices, SNUG_SCORE_CHOICES_MAX);
    items[0] = (struct snug_score_item){"One", choices, SNUG_SCORE_CHOICES_MAX + 1};
    assert_fails(SNUG_BAD_INPUT,
                 snug_score_run(rig.scorer, space, &rig.config, items, 1, out, &err));
    assert_contains(err.text, "65 choices");
    for (size_t i = 0; i < COUNT(items); i++)
        items[i] = (struct snug_score_item){"One", choices, 1};
    assert_ok(
        snug_score_run(rig.scorer, space, &rig.config, items, SNUG_SCORE_ITEMS_MAX, out, &err));
    assert_true(out[0].choices[0].log_prob == out[SNUG_SCORE_ITEMS_MAX - 1].choices[0].log_prob);
    assert_fails(SNUG_BAD_INPUT, snug_score_run(rig.scorer, space, &rig.config, items,
                                                SNUG_SCORE_ITEMS_MAX + 1, out, &err));
    char *large = malloc(SNUG_SCORE_TEXT_MAX + 2);
    memset(large, 'a', SNUG_SCORE_TEXT_MAX + 1);
    large[SNUG_SCORE_TEXT_MAX + 1] = '\0';
    items[0].context = large;
    assert_fails(SNUG_BAD_INPUT,
                 snug_score_run(rig.scorer, space, &rig.config, items, 1, out, &err));
    large[SNUG_SCORE_TEXT_MAX] = '\0'; /* at the cap: taken, and cut to the context */
    assert_ok(snug_score_run(rig.scorer, space, &rig.config, items, 1, out, &err));
    assert_true(out[0].n_cut_tokens > 1000);
    free(large);
}

static void answer_is_greedy_and_ends_as_said(void **state)
{
    (void)state;
    struct snug_error err;
    if (!open_rig("gguf/stories260K-f32.gguf", 512))
        skip();
    const struct snug_space *space = snug_engine_space(rig.engine);
    struct snug_generated a = {0}, b = {0};
    assert_ok(snug_generate_run(rig.scorer, space, &rig.config, "Once upon a time", 8, &a, &err));
    assert_int_equal(a.n_tokens, 8);
    assert_false(a.is_at_end || a.is_context_full);
    assert_ok(snug_generate_run(rig.scorer, space, &rig.config, "Once upon a time", 12, &b, &err));
    assert_memory_equal(a.text, b.text, strlen(a.text)); /* the same, and more of it */
    assert_true(strlen(b.text) > strlen(a.text));
    /* Its next token is the most likely of all single ones that could follow. */
    struct plain plain = plain_open(rig.path);
    char text[256], piece[64];
    int n = 0;
    snprintf(text, sizeof text, "Once upon a time%s", a.text);
    assert_true(plain_sum(&plain, text, "", 8, &n) > -8 * 1.5); /* and likely it is */
    assert_int_equal(n, a.n_prompt + a.n_tokens);
    llama_token best = 0, tokens[64];
    n = llama_tokenize(plain.vocab, "Once upon a time", 16, tokens, 64, true, false);
    llama_memory_clear(llama_get_memory(plain.context), true);
    assert_int_equal(llama_decode(plain.context, llama_batch_get_one(tokens, n)), 0);
    const float *row = llama_get_logits_ith(plain.context, -1);
    for (int i = 1; i < llama_vocab_n_tokens(plain.vocab); i++)
        best = row[i] > row[best] ? i : best;
    n = llama_token_to_piece(plain.vocab, best, piece, sizeof piece, 0, false);
    assert_memory_equal(a.text, piece, (size_t)n);
    plain_close(&plain);
    snug_generated_clear(&a);
    snug_generated_clear(&b);
    assert_fails(SNUG_BAD_INPUT,
                 snug_generate_run(rig.scorer, space, &rig.config, "a", 0, &a, &err));
    assert_fails(SNUG_BAD_INPUT, snug_generate_run(rig.scorer, space, &rig.config, "a",
                                                   SNUG_GENERATE_MAX + 1, &a, &err));
}

static void answer_in_a_short_context_says_that_it_is_full(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_generated a = {0};
    if (!open_rig("gguf/stories260K-f32.gguf", 32))
        skip();
    const struct snug_space *space = snug_engine_space(rig.engine);
    assert_ok(snug_generate_run(rig.scorer, space, &rig.config, "Once upon a time",
                                SNUG_GENERATE_MAX, &a, &err));
    /* libllama rounds a context up: what was asked for counts. */
    assert_true(a.is_context_full);
    assert_int_equal(a.n_prompt + a.n_tokens, 32 + 1);
    snug_generated_clear(&a);
    char prompt[400] = "";
    for (int i = 0; i < 32; i++)
        snprintf(prompt + strlen(prompt), sizeof prompt - strlen(prompt), "the big cat ");
    assert_fails(SNUG_UNSUPPORTED,
                 snug_generate_run(rig.scorer, space, &rig.config, prompt, 4, &a, &err));
    assert_contains(err.text, "--context");
}

/* ---- task files through the model ---- */

struct seen {
    int n_calls, last, n;
};

static void on_progress(int n_done, int n, double accuracy, void *data)
{
    struct seen *seen = data;
    assert_true(n_done > seen->last && n_done <= n && accuracy >= 0 && accuracy <= 1);
    *seen = (struct seen){seen->n_calls + 1, n_done, n};
}

/* Accuracy of the first n_max items again, from single calls and its definition. */
static void check_against_single_calls(const struct snug_task_file *file, int n_max,
                                       const struct snug_task_result *result)
{
    int n = 0, n_right = 0, n_right_norm = 0;
    for (int i = 0; i < n_max; i++) {
        const struct snug_task_item *item = &file->items[i];
        double best = -INFINITY, best_norm = -INFINITY;
        int chosen = -1, chosen_norm = -1;
        for (int k = 0; k < item->n_choices; k++) {
            char context[8192];
            snprintf(context, sizeof context, "%s%s", item->context,
                     item->is_partial ? item->choices[k] : "");
            const char *choice = item->is_partial ? item->continuation : item->choices[k];
            const struct snug_item_scores got = score_one(context, &choice, 1);
            const double lp = got.choices[0].log_prob;
            const double norm = lp / (double)(strlen(choice) - 1); /* one space in front */
            chosen = lp > best ? k : chosen;
            chosen_norm = norm > best_norm ? k : chosen_norm;
            best = lp > best ? lp : best;
            best_norm = norm > best_norm ? norm : best_norm;
        }
        n += item->i_answer >= 0;
        n_right += chosen == item->i_answer;
        n_right_norm += chosen_norm == item->i_answer;
    }
    assert_int_equal(result->n_scored, n);
    assert_near(result->accuracy.value, (double)n_right / n);
    assert_near(result->accuracy_norm.value, (double)n_right_norm / n);
    const double p = (double)n_right / n;
    assert_near(result->accuracy.se, sqrt(p * (1 - p) / (n - 1)));
}

static void real_tasks_score_as_their_items_do_alone(void **state)
{
    static const struct {
        const char *path;
        enum snug_task_shape shape;
        int n_items;
        double chance;
    } tasks[] = {
        {"tasks/piqa_valid.jsonl", SNUG_TASK_PIQA, 1838, 0.5},
        {"tasks/ARC-Easy_test.llmadapters.json", SNUG_TASK_LLM_ADAPTERS, 2376, 0.25},
        {"tasks/winogrande_test.llmadapters.json", SNUG_TASK_LLM_ADAPTERS, 1267, 0.5},
    };
    enum { N = 21 };
    (void)state;
    if (!open_rig("gguf/stories260K-f32.gguf", 512))
        skip();
    for (size_t i = 0; i < COUNT(tasks); i++) {
        struct snug_error err;
        struct snug_task_file file = {0};
        struct snug_task_result result = {0};
        struct seen seen = {0};
        const struct snug_task_options options = {N, on_progress, &seen};
        char path[600];
        if (!data_path(tasks[i].path, path))
            skip();
        assert_ok(snug_task_file_read(path, NULL, &file, &err));
        assert_int_equal(file.n_items, tasks[i].n_items);
        assert_int_equal(file.shape, tasks[i].shape);
        assert_int_equal(file.n_unanswerable, 0);
        assert_ok(snug_task_run(rig.scorer, snug_engine_space(rig.engine), &rig.config, &file,
                                &options, &result, &err));
        assert_int_equal(result.n_cut, 0);
        assert_int_equal(seen.last, N);
        assert_true(seen.n_calls >= 2);
        assert_near(result.chance_frac, tasks[i].chance);
        check_against_single_calls(&file, N, &result);
        snug_task_file_clear(&file);
    }
}

static void stop_at_once(int n_done, int n, double accuracy, void *data)
{
    (void)n;
    (void)accuracy;
    *(int *)data = n_done;
    stop = 1;
}

static void stopped_task_keeps_what_it_has_scored(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_task_file file = {0};
    struct snug_task_result result = {0};
    int n_seen = 0;
    const struct snug_task_options options = {100, stop_at_once, &n_seen};
    char path[600];
    if (!open_rig("gguf/stories260K-f32.gguf", 512) || !data_path("tasks/piqa_valid.jsonl", path))
        skip();
    assert_ok(snug_task_file_read(path, NULL, &file, &err));
    assert_ok(snug_task_run(rig.scorer, snug_engine_space(rig.engine), &rig.config, &file, &options,
                            &result, &err));
    assert_true(result.is_interrupted);
    assert_true(n_seen > 0 && n_seen < 100);
    assert_int_equal(result.n_scored, n_seen);
    assert_int_equal(result.n_asked, 100);
    stop = 0;
    check_against_single_calls(&file, n_seen, &result);
    /* Stopped before the first batch is done: nothing to show, and no figure. */
    stop = 1;
    assert_ok(snug_task_run(rig.scorer, snug_engine_space(rig.engine), &rig.config, &file, &options,
                            &result, &err));
    assert_true(result.is_interrupted);
    assert_int_equal(result.n_scored, 0);
    assert_true(isnan(result.accuracy.value));
    snug_task_file_clear(&file);
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
#define TEST(f) cmocka_unit_test_teardown(f, close_rig)
    const struct CMUnitTest tests[] = {
        TEST(sums_equal_an_evaluation_token_by_token),
        TEST(order_and_company_of_choices_do_not_matter),
        TEST(boundary_inside_a_word_is_the_same_for_all),
        TEST(long_context_is_cut_in_front_and_said),
        TEST(caps_hold),
        TEST(answer_is_greedy_and_ends_as_said),
        TEST(answer_in_a_short_context_says_that_it_is_full),
        TEST(real_tasks_score_as_their_items_do_alone),
        TEST(stopped_task_keeps_what_it_has_scored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
