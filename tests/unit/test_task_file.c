/* Task files: every shape, answers that are missing, caps, and what is refused by which line. */
#include "test.h"

#include "base/buffer.h"
#include "base/file.h"
#include "lab/task_file.h"

static snug_status parse(const char *text, const char *labels, struct snug_task_file *out,
                         struct snug_error *err)
{
    return snug_task_file_parse("t.jsonl", text, strlen(text), labels, out, err);
}

/* One row per shape: what a file of it says. */
static void parse_each_shape_gives_its_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum snug_task_shape shape;
        const char *context, *choice, *continuation;
        int i_answer, n_choices;
    } rows[] = {
        {"{\"goal\":\"G\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}", SNUG_TASK_PIQA,
         "Question: G\nAnswer:", " a", NULL, 1, 2},
        {"{\"question\":\"Q?\",\"choices\":{\"text\":[\"a\",\"b\",\"c\"],\"label\":[\"A\",\"B\","
         "\"C\"]},\"answerKey\":\"C\"}",
         SNUG_TASK_ARC, "Question: Q?\nAnswer:", " a", NULL, 2, 3},
        {"{\"question\":{\"stem\":\"Q?\",\"choices\":[{\"text\":\"a\",\"label\":\"1\"},{\"text\":"
         "\"b\",\"label\":\"2\"}]},\"answerKey\":\"2\"}",
         SNUG_TASK_ARC, "Question: Q?\nAnswer:", " a", NULL, 1, 2},
        {"{\"question_stem\":\"Bees make\",\"choices\":{\"text\":[\"honey\",\"milk\"],\"label\":["
         "\"A\",\"B\"]},\"answerKey\":\"A\"}",
         SNUG_TASK_OPENBOOKQA, "Bees make", " honey", NULL, 0, 2},
        {"{\"id\":\"7-980\",\"question\":{\"stem\":\"Bees make\",\"choices\":[{\"text\":\"honey\","
         "\"label\":\"A\"},{\"text\":\"milk\",\"label\":\"B\"}]},\"fact1\":\"bees make honey\","
         "\"answerKey\":\"A\"}",
         SNUG_TASK_OPENBOOKQA, "Bees make", " honey", NULL, 0, 2},
        {"{\"question\":\"Q?\",\"choices\":[{\"text\":\"a\",\"label\":1},{\"text\":\"b\",\"label\":"
         "2}"
         "],\"answerKey\":2}",
         SNUG_TASK_ARC, "Question: Q?\nAnswer:", " a", NULL, 1, 2},
        {"{\"sentence\":\"Ann saw Bea as _ sang.\",\"option1\":\"Ann\",\"option2\":\"Bea\","
         "\"answer\":\"2\"}",
         SNUG_TASK_WINOGRANDE, "Ann saw Bea as ", "Ann", " sang.", 1, 2},
        {"{\"ctx\":\"Rain falls\",\"endings\":[\"up.\",\"down.\"],\"label\":\"1\"}",
         SNUG_TASK_HELLASWAG, "Rain falls", " up.", NULL, 1, 2},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snug_error err;
        struct snug_task_file file;
        assert_ok(parse(rows[i].text, NULL, &file, &err));
        const struct snug_task_item *item = &file.items[0];
        assert_int_equal(file.shape, rows[i].shape);
        assert_int_equal(item->i_answer, rows[i].i_answer);
        assert_int_equal(item->n_choices, rows[i].n_choices);
        if (!rows[i].continuation)
            assert_string_equal(item->choices[0], rows[i].choice);
        if (rows[i].continuation)
            assert_contains(item->context, "Ann saw Bea as");
        else
            assert_string_equal(item->context, rows[i].context);
        assert_int_equal(item->is_partial, rows[i].continuation != NULL);
        if (rows[i].continuation)
            assert_contains(item->continuation, "sang.");
        snug_task_file_clear(&file);
    }
}

static void parse_lines_and_array_are_the_same(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"ctx\":\"A\",\"endings\":[\"x\",\"y\"],\"label\":0}\n\n"
                                        "{\"ctx\":\"B\",\"endings\":[\"x\",\"y\"],\"label\":1}\n",
                                        "[{\"ctx\":\"A\",\"endings\":[\"x\",\"y\"],\"label\":0},"
                                        "{\"ctx\":\"B\",\"endings\":[\"x\",\"y\"],\"label\":1}]"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct snug_error err;
        struct snug_task_file file;
        assert_ok(parse(texts[i], NULL, &file, &err));
        assert_int_equal(file.n_items, 2);
        assert_string_equal(file.items[1].context, "B");
        assert_int_equal(file.items[1].i_answer, 1);
        snug_task_file_clear(&file);
    }
}

static void missing_answers_are_counted_with_their_lines(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_task_file file;
    assert_ok(parse("{\"ctx\":\"A\",\"endings\":[\"x\",\"y\"]}\n"
                    "{\"ctx\":\"B\",\"endings\":[\"x\",\"y\"],\"label\":1}\n"
                    "{\"ctx\":\"C\",\"endings\":[\"x\",\"y\"],\"label\":\"\"}\n"
                    "{\"ctx\":\"D\",\"endings\":[\"x\",\"y\"],\"label\":null}\n"
                    "{\"ctx\":\"E\",\"endings\":[\"x\",\"y\"],\"label\":-1}\n",
                    NULL, &file, &err));
    assert_int_equal(file.n_items, 5);
    assert_int_equal(file.n_unanswerable, 4);
    assert_int_equal(file.unanswerable_lines[0], 1);
    assert_int_equal(file.unanswerable_lines[1], 3);
    assert_int_equal(file.items[2].i_answer, -1);
    snug_task_file_clear(&file);
}

/* A label that is there and names no choice: never counted as if there were none. */
static void labels_that_name_no_choice_are_refused_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *labels, *part;
    } rows[] = {
        {"{\"ctx\":\"A\",\"endings\":[\"x\",\"y\"],\"label\":0}\n"
         "{\"ctx\":\"C\",\"endings\":[\"x\",\"y\"],\"label\":2}",
         NULL, "t.jsonl:2: the answer '2' names none of the 2 choices"},
        {"{\"ctx\":\"C\",\"endings\":[\"x\",\"y\"],\"label\":\"b\"}", NULL,
         "t.jsonl:1: the answer 'b'"},
        {"{\"ctx\":\"C\",\"endings\":[\"x\",\"y\"],\"label\":0.5}", NULL, "'0.5'"},
        {"{\"ctx\":\"C\",\"endings\":[\"x\",\"y\"],\"label\":[1]}", NULL, "t.jsonl:1: the answer"},
        {"{\"goal\":\"G\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":-2}", NULL, "'-2'"},
        {"{\"sentence\":\"A _ b\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"3\"}", NULL,
         "'3'"},
        {"{\"sentence\":\"A _ b\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"0\"}", NULL,
         "'0'"},
        {"{\"question\":\"Q?\",\"choices\":{\"text\":[\"a\",\"b\"],\"label\":[\"A\",\"B\"]},"
         "\"answerKey\":\"E\"}",
         NULL, "t.jsonl:1: the answer 'E' names none of the 2 choices"},
        {"{\"question\":\"Q?\",\"choices\":{\"text\":[\"a\",\"b\"]},\"answerKey\":\"E\"}", NULL,
         "'E'"},
        {"{\"question\":\"Q?\",\"choices\":{\"text\":[\"a\",\"b\"]},\"answerKey\":\"yes\"}", NULL,
         "'yes'"},
        {"{\"instruction\":\"Q: x? Answer1: a Answer2: b\",\"answer\":\"answer3\"}", NULL,
         "'answer3'"},
        {"{\"instruction\":\"Q: x? Answer1: a Answer2: b\",\"answer\":\"true\"}", NULL, "'true'"},
        {"{\"goal\":\"G\",\"sol1\":\"a\",\"sol2\":\"b\"}", "2\n",
         "line 1 of the labels: 2 names none"},
        {"{\"goal\":\"G\",\"sol1\":\"a\",\"sol2\":\"b\"}", "-2\n",
         "line 1 of the labels: -2 names"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snug_error err;
        struct snug_task_file file;
        assert_fails(SNUG_BAD_INPUT, parse(rows[i].text, rows[i].labels, &file, &err));
        assert_contains(err.text, rows[i].part);
    }
}

static void bad_files_are_one_line_with_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"", "t.jsonl"},
        {"{\"a\":1}", "t.jsonl:1"},
        {"{\"ctx\":\"A\",\"endings\":[\"x\",\"y\"],\"label\":0}\n{", "t.jsonl:2"},
        {"{\"ctx\":\"A\",\"endings\":[\"x\"],\"label\":0}", "t.jsonl:1"},
        {"{\"ctx\":\"A\",\"endings\":[\"x\",\"y\"]}", "answer"},
        {"{\"sentence\":\"no gap\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\"}",
         "t.jsonl:1"},
        {"{\"ctx\":\"\xff\xfe\",\"endings\":[\"x\",\"y\"],\"label\":0}", "t.jsonl"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snug_error err;
        struct snug_task_file file;
        assert_fails(SNUG_BAD_INPUT, parse(rows[i].text, NULL, &file, &err));
        assert_contains(err.text, rows[i].part);
    }
}

static snug_status parse_choices(int n, struct snug_task_file *out, struct snug_error *err)
{
    struct snug_buffer text = {0};
    snug_buffer_puts(&text, "{\"ctx\":\"A\",\"label\":0,\"endings\":[");
    for (int i = 0; i < n; i++)
        snug_buffer_printf(&text, "%s\"e%d\"", i ? "," : "", i);
    snug_buffer_puts(&text, "]}");
    const snug_status status = parse(snug_buffer_text(&text), NULL, out, err);
    snug_buffer_clear(&text);
    return status;
}

static snug_status parse_long(size_t n, struct snug_task_file *out, struct snug_error *err)
{
    char *word = malloc(n + 1);
    struct snug_buffer text = {0};
    assert_non_null(word);
    memset(word, 'a', n);
    word[n] = '\0';
    snug_buffer_printf(&text, "{\"ctx\":\"%s\",\"label\":0,\"endings\":[\"x\",\"y\"]}", word);
    const snug_status status = parse(snug_buffer_text(&text), NULL, out, err);
    snug_buffer_clear(&text);
    free(word);
    return status;
}

static void caps_hold_at_the_cap_and_not_beyond(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_task_file file;
    assert_ok(parse_choices(SNUG_TASK_CHOICES_MAX, &file, &err));
    snug_task_file_clear(&file);
    assert_fails(SNUG_BAD_INPUT, parse_choices(SNUG_TASK_CHOICES_MAX + 1, &file, &err));
    assert_fails(SNUG_BAD_INPUT, parse_choices(1000, &file, &err));
    assert_ok(parse_long(SNUG_TASK_TEXT_MAX, &file, &err));
    snug_task_file_clear(&file);
    assert_fails(SNUG_BAD_INPUT, parse_long(SNUG_TASK_TEXT_MAX + 1, &file, &err));
}

static void labels_come_from_the_file_beside(void **state)
{
    static const char piqa[] = "{\"goal\":\"G\",\"sol1\":\"a\",\"sol2\":\"b\"}\n"
                               "{\"goal\":\"H\",\"sol1\":\"a\",\"sol2\":\"b\"}\n";
    const char *path = test_path(state, "p.jsonl"), *labels = test_path(state, "p-labels.lst");
    struct snug_error err;
    struct snug_task_file file;
    assert_ok(snug_file_write(path, piqa, sizeof piqa - 1, &err));
    assert_fails(SNUG_BAD_INPUT, snug_task_file_read(path, NULL, &file, &err));
    assert_ok(snug_file_write(labels, "1\n0\n", 4, &err));
    assert_ok(snug_task_file_read(path, NULL, &file, &err));
    assert_int_equal(file.items[0].i_answer, 1);
    assert_int_equal(file.items[1].i_answer, 0);
    snug_task_file_clear(&file);
    assert_fails(SNUG_NOT_FOUND,
                 snug_task_file_read(test_path(state, "none.jsonl"), NULL, &file, &err));
}

static void files_of_others_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum snug_task_shape shape;
    } files[] = {{"tasks/piqa_valid.jsonl", SNUG_TASK_PIQA},
                 {"tasks/ARC-Easy_test.llmadapters.json", SNUG_TASK_LLM_ADAPTERS},
                 {"tasks/winogrande_test.llmadapters.json", SNUG_TASK_LLM_ADAPTERS}};
    const char *folder = getenv("SNUG_TEST_DATA");
    for (size_t i = 0; i < COUNT(files); i++) {
        char path[1024];
        struct snug_error err;
        struct snug_task_file file;
        snprintf(path, sizeof path, "%s/%s", folder ? folder : "", files[i].name);
        if (!folder || access(path, R_OK) != 0) {
            print_message("# SNUG_TEST_DATA has no %s: skipped\n", files[i].name);
            skip();
        }
        assert_ok(snug_task_file_read(path, NULL, &file, &err));
        assert_int_equal(file.shape, files[i].shape);
        assert_true(file.n_items > 1000 && file.n_unanswerable == 0);
        snug_task_file_clear(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_each_shape_gives_its_texts),
        cmocka_unit_test(parse_lines_and_array_are_the_same),
        cmocka_unit_test(missing_answers_are_counted_with_their_lines),
        cmocka_unit_test(labels_that_name_no_choice_are_refused_with_their_line),
        cmocka_unit_test(bad_files_are_one_line_with_the_place),
        cmocka_unit_test(caps_hold_at_the_cap_and_not_beyond),
        cmocka_unit_test_setup_teardown(labels_come_from_the_file_beside, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test(files_of_others_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
