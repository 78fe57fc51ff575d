/* Measures of text against values of an independent program (plain Python: sets, difflib-free
 * dynamic programs, counters of n-grams), and against cases worked out by hand. */
#include "test.h"

#include <math.h>

#include "lab/text_measures.h"

static void assert_near(double got, double want)
{
    if (!(fabs(got - want) < 1e-9))
        fail_msg("%.12f, not %.12f", got, want);
}

static void measures_match_an_independent_program(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *reference;
        double jaccard, levenshtein, bleu, rouge_l;
    } cases[] = {
        {"The cat sat on the mat.", "The cat is on the mat!", 0.5, 0.8260869565217391,
         0.20556680845025987, 0.7142857142857143},
        {"the quick brown fox jumps over the lazy dog", "a quick brown fox jumped over the dog",
         0.6, 0.7674418604651163, 0.1561969968460128, 0.7058823529411765},
        {"na\xc3\xafve caf\xc3\xa9", "naive cafe", 0.0, 0.8, 0.08408964152537148, 0.0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct snug_text_measures m;
        snug_text_measure(cases[i].answer, cases[i].reference, &m);
        assert_near(m.jaccard, cases[i].jaccard);
        assert_near(m.levenshtein, cases[i].levenshtein);
        assert_near(m.bleu, cases[i].bleu);
        assert_near(m.rouge_l, cases[i].rouge_l);
        assert_near(m.exact, 0.0);
    }
}

static void measures_of_equal_texts_are_one(void **state)
{
    (void)state;
    struct snug_text_measures m;
    snug_text_measure("one two three four five", "one two three four five", &m);
    const double all[] = {m.exact, m.exact_words, m.jaccard, m.levenshtein, m.bleu, m.rouge_l};
    for (size_t i = 0; i < COUNT(all); i++)
        assert_near(all[i], 1.0);
    snug_text_measure("One  two\n", "one two", &m);
    assert_near(m.exact, 0.0);
    assert_near(m.exact_words, 1.0);
    snug_text_measure("", "", &m);
    assert_near(m.levenshtein, 1.0);
    assert_near(m.jaccard, 1.0);
    snug_text_measure("", "word", &m);
    assert_near(m.rouge_l, 0.0);
    assert_near(m.bleu, 0.0);
}

static void measures_of_hostile_text_end(void **state)
{
    (void)state;
    struct snug_text_measures m;
    char *text = malloc(3 * SNUG_MEASURE_BYTES_MAX + 1);
    assert_non_null(text);
    for (size_t i = 0; i < 20000; i++)
        text[i] = (char)(i % 7 == 6 ? ' ' : 0xc3); /* cut characters */
    text[20000] = '\0';
    snug_text_measure(text, "\xff\xfe", &m);
    assert_true(m.levenshtein >= 0.0 && m.levenshtein < 0.01);
    memset(text, '.', 2 * SNUG_MEASURE_WORDS_MAX);
    text[2 * SNUG_MEASURE_WORDS_MAX] = '\0'; /* words beyond the cap are left out */
    snug_text_measure(text, ".", &m);
    assert_near(m.jaccard, 1.0);
    free(text);
}

static void json_validity_and_required_fields(void **state)
{
    (void)state;
    static const char *const fields[] = {"name", "age", "city", NULL};
    static const char *const none[] = {NULL};
    assert_near(snug_json_validity(" {\"a\": [1, 2]} \n"), 1.0);
    assert_near(snug_json_validity("{\"a\": 1"), 0.0);
    assert_near(snug_json_validity(""), 0.0);
    assert_near(snug_json_validity("Sure! {\"a\": 1}"), 0.0);
    assert_near(snug_json_required("{\"name\":\"x\",\"age\":null}", fields), 1.5 / 3.0);
    assert_near(snug_json_required("{\"name\":\"\",\"age\":0,\"city\":false}", fields), 2.5 / 3.0);
    assert_near(snug_json_required("[1]", fields), 0.0);
    assert_near(snug_json_required("{}", none), 1.0);
}

static struct snug_tool_measures measure_tools(const char *answer, const char *reference)
{
    struct snug_tool_measures m;
    struct snug_json *doc = NULL;
    struct snug_error err;
    assert_ok(snug_json_parse("r", reference, strlen(reference), &doc, &err));
    snug_tool_measure(answer, snug_json_root(doc), &m);
    snug_json_free(doc);
    return m;
}

static void tool_calls_by_name_keys_and_values(void **state)
{
    (void)state;
    static const char reference[] =
        "[{\"name\":\"weather\",\"arguments\":{\"city\":\"Oslo\",\"days\":2}}]";
    struct snug_tool_measures m = measure_tools(reference, reference);
    assert_true(m.count == 1.0 && m.names == 1.0 && m.structure == 1.0 && m.values == 1.0);
    m = measure_tools("[{\"name\":\"weather\",\"arguments\":{\"city\":\"Bergen\",\"unit\":\"C\"}}]",
                      reference);
    assert_near(m.names, 1.0);
    assert_near(m.structure, 1.0 / 3.0); /* city of city, days, unit */
    assert_near(m.values, 0.0);
    m = measure_tools("{\"tool_calls\":[{\"function\":{\"name\":\"weather\",\"arguments\":"
                      "\"{\\\"city\\\":\\\"Oslo\\\",\\\"days\\\":2.0}\"}},{\"name\":\"b\"}]}",
                      reference);
    assert_near(m.count, 0.0);
    assert_near(m.names, 0.5); /* of the longer list */
    assert_near(m.values, 0.5);
    m = measure_tools("no json", reference);
    assert_true(m.count == 0.0 && m.names == 0.0 && m.structure == 0.0);
    m = measure_tools("[]", "[]");
    assert_near(m.names, 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_match_an_independent_program),
        cmocka_unit_test(measures_of_equal_texts_are_one),
        cmocka_unit_test(measures_of_hostile_text_end),
        cmocka_unit_test(json_validity_and_required_fields),
        cmocka_unit_test(tool_calls_by_name_keys_and_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
