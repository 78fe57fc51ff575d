/* What an answer says of its own speed, as llama-server writes it. */
#include "test.h"

#include "serve/timings.h"

static bool find(const char *answer, size_t step, struct snug__timings *out)
{
    struct snug__timings_tail tail = {.n = 0};
    const size_t n = strlen(answer);
    for (size_t i = 0; i < n; i += step)
        snug__timings_pass(&tail, answer + i, step < n - i ? step : n - i);
    return snug__timings_find(&tail, out);
}

static void figures_are_tokens_and_seconds(void **state)
{
    (void)state;
    struct snug__timings t;
    assert_true(
        find("{\"choices\":[],\"timings\":{\"cache_n\":7,\"prompt_n\":40,\"prompt_ms\":20.5,"
             "\"predicted_n\":8,\"predicted_ms\":35}}",
             1000, &t));
    assert_float_equal(t.n_prompt, 40, 0);
    assert_float_equal(t.prompt_s, 0.0205, 1e-12);
    assert_float_equal(t.n_gen, 7, 0); /* the first came of the prompt */
    assert_float_equal(t.gen_s, 0.035, 1e-12);
}

static void last_event_of_a_stream_counts_in_any_pieces(void **state)
{
    (void)state;
    const char *stream = "data: {\"timings\":{\"predicted_n\":3,\"predicted_ms\":10}}\n\n"
                         "data: {\"timings\":{\"predicted_n\":5,\"predicted_ms\":20}}\n\n"
                         "data: [DONE]\n\n";
    for (size_t step = 1; step <= strlen(stream); step++) {
        struct snug__timings t;
        assert_true(find(stream, step, &t));
        assert_float_equal(t.n_gen, 4, 0);
        assert_float_equal(t.n_prompt, 0, 0);
    }
}

/* The same object at the end of what is kept, and one byte further back. */
static void only_the_end_is_kept(void **state)
{
    (void)state;
    const char *object = "\"timings\":{\"predicted_n\":5,\"predicted_ms\":20}";
    char answer[4 * SNUG__TIMINGS_TAIL_MAX];
    for (size_t more = 0; more < 2; more++) {
        struct snug__timings t;
        const size_t n_after = SNUG__TIMINGS_TAIL_MAX - strlen(object) + more;
        memset(answer, ' ', sizeof answer);
        memcpy(answer + 1500, object, strlen(object));
        answer[1500 + strlen(object) + n_after] = '\0';
        for (size_t step = 1; step < sizeof answer; step += 333)
            assert_int_equal(find(answer, step, &t), more == 0);
    }
}

static void what_a_model_writes_is_not_taken_for_it(void **state)
{
    (void)state;
    struct snug__timings t;
    assert_false(
        find("{\"text\":\"\\\"timings\\\":{\\\"predicted_n\\\":5,\\\"predicted_ms\\\":20}\"}", 1000,
             &t));
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",
        "{}",
        "\"timings\":{",
        "\"timings\":{}",
        "\"timings\":{\"predicted_n\":5,\"predicted_ms\":}",
        "\"timings\":{\"predicted_n\":5,\"predicted_ms\":0}",
        "\"timings\":{\"predicted_n\":1,\"predicted_ms\":5}",
        "\"timings\":{\"predicted_n\":-5,\"predicted_ms\":5}",
        "\"timings\":{\"predicted_n\":1000000001,\"predicted_ms\":5}",
        "\"timings\":{\"predicted_n\":5,\"predicted_ms\":1000000001}",
        "\"timings\":{\"predicted_n\":\"5\",\"predicted_ms\":\"5\"}",
    };
    struct snug__timings t = {.gen_s = -7};
    for (size_t i = 0; i < COUNT(BAD); i++) {
        if (find(BAD[i], 1000, &t))
            fail_msg("taken: %s", BAD[i]);
    }
    assert_float_equal(t.gen_s, -7, 0);
    assert_true(
        find("\"timings\":{\"predicted_n\":1000000000,\"predicted_ms\":1000000000}", 9, &t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_tokens_and_seconds),
        cmocka_unit_test(last_event_of_a_stream_counts_in_any_pieces),
        cmocka_unit_test(only_the_end_is_kept),
        cmocka_unit_test(what_a_model_writes_is_not_taken_for_it),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
