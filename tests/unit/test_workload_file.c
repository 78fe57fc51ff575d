/* Workload files: what is read, what hashes alike, every cap at its edge, every refusal by its
 * place; and no allocation whose failure is not told. */
#include "test.h"

#include "fault.h"

#include "base/buffer.h"
#include "base/file.h"
#include "trial/workload_file.h"

static struct snug_workload workload;
static struct snug_workload_text text_read;

static snug_status parse(const char *text, bool is_lines, struct snug_error *err)
{
    const struct snug_workload_source source = {
        .name = "w.json", .is_lines = is_lines, .text = text, .n = strlen(text)};
    return snug_workload_file_parse(&source, &workload, &text_read, err);
}

static int open_empty(void **state)
{
    memset(&workload, 0, sizeof workload);
    memset(&text_read, 0, sizeof text_read);
    return test_folder_open(state);
}

static int close_empty(void **state)
{
    snug_workload_text_clear(&text_read);
    return test_folder_close(state);
}

static const char *write_file(void **state, const char *name, const void *data, size_t n)
{
    struct snug_error err;
    const char *path = test_path(state, name);
    assert_ok(snug_file_write(path, data, n, &err));
    return path;
}

static void hash_of(const char *text, char out[65])
{
    struct snug_error err;
    assert_ok(parse(text, false, &err));
    memcpy(out, workload.hash, 65);
    snug_workload_text_clear(&text_read);
}

/* test_path of w.json for longer than the next four paths. */
static const char *keep_path(const char *path)
{
    static char kept[512];
    snprintf(kept, sizeof kept, "%s", path);
    return kept;
}

/* ---- what is read ---- */

static void prompts_are_read_with_defaults(void **state)
{
    (void)state;
    struct snug_error err;
    workload.n_ctx = 77;
    assert_ok(parse("{\"name\": \"n\", \"class\": \"code\", \"prompts\": [\"a\", \"b\\u00e9\"]}",
                    false, &err));
    assert_string_equal(workload.name, "n");
    assert_string_equal(workload.path, "");
    assert_int_equal(strlen(workload.hash), 64);
    assert_int_equal(workload.n_gen, SNUG_WORKLOAD_GEN_DEFAULT);
    assert_int_equal(workload.n_ctx, 77); /* not its business */
    assert_int_equal(text_read.workload_class, SNUG_WORKLOAD_CODE);
    assert_int_equal(text_read.n_prompts, 2);
    assert_string_equal(text_read.prompts[1], "b\xc3\xa9");
    assert_int_equal(text_read.n_sessions, 0);
    assert_true(text_read.use_unique_prefix);
}

static void options_of_prompts_are_taken(void **state)
{
    (void)state;
    struct snug_error err;
    assert_ok(parse("{\"name\": \"n\", \"class\": \"json\", \"prompts\": [\"a\"], \"n_gen\": 0, "
                    "\"unique_prefix\": false}",
                    false, &err));
    assert_int_equal(workload.n_gen, 0);
    assert_false(text_read.use_unique_prefix);
}

static void file_of_prompts_is_split_at_lines_of_dashes(void **state)
{
    struct snug_error err;
    static const char prompts[] =
        "---\nfirst\r\nline\r\n---\r\n \t\n---\nsecond\n--- not one\n----\n---";
    static const char json[] = "{\"name\": \"d\", \"class\": \"document\", \"file\": \"p.txt\"}";
    write_file(state, "p.txt", prompts, sizeof prompts - 1);
    const char *path = keep_path(write_file(state, "w.json", json, sizeof json - 1));
    assert_ok(snug_workload_file_read(path, &workload, &text_read, &err));
    assert_int_equal(text_read.n_prompts, 2);
    assert_string_equal(text_read.prompts[0], "first\nline\n");
    assert_string_equal(text_read.prompts[1], "second\n--- not one\n----\n");
    assert_int_equal(workload.path[0], '/');
    assert_contains(workload.path, "/w.json");
}

static void file_without_dashes_is_one_prompt(void **state)
{
    struct snug_error err;
    static const char json[] = "{\"name\": \"d\", \"class\": \"document\", \"file\": \"p.txt\"}";
    write_file(state, "p.txt", "all of it\n", 10);
    const char *path = keep_path(write_file(state, "w.json", json, sizeof json - 1));
    assert_ok(snug_workload_file_read(path, &workload, &text_read, &err));
    assert_int_equal(text_read.n_prompts, 1);
    assert_string_equal(text_read.prompts[0], "all of it\n");
}

static void session_is_read_turn_by_turn(void **state)
{
    (void)state;
    struct snug_error err;
    assert_ok(parse("{\"name\": \"s\", \"class\": \"session\", \"turns\": [{\"user\": \"a\", "
                    "\"assistant\": \"b\"}, {\"user\": \"c\", \"assistant\": \"d\"}]}",
                    false, &err));
    assert_int_equal(workload.n_gen, 0);
    assert_int_equal(text_read.n_prompts, 0);
    assert_int_equal(text_read.n_sessions, 1);
    assert_int_equal(text_read.sessions[0].n_turns, 2);
    assert_string_equal(text_read.sessions[0].turns[1].user, "c");
    assert_string_equal(text_read.sessions[0].turns[1].assistant, "d");
}

#define LINE(rest) "{" rest "\"turns\": [{\"user\": \"a\", \"assistant\": \"b\"}]}"

static void lines_are_sessions_and_empty_lines_are_skipped(void **state)
{
    struct snug_error err;
    static const char lines[] =
        "\n" LINE("\"name\": \"s\", \"class\": \"session\", "
                  "\"unique_prefix\": false, ") "\r\n \n" LINE("") "\n" LINE("\"name\": \"s\", ");
    const char *path = write_file(state, "s.jsonl", lines, sizeof lines - 1);
    assert_ok(snug_workload_file_read(path, &workload, &text_read, &err));
    assert_int_equal(text_read.n_sessions, 3);
    assert_false(text_read.use_unique_prefix);
    assert_string_equal(workload.name, "s");
}

static void shipped_examples_are_read(void **state)
{
    (void)state;
    const char *root = getenv("SNUG_SOURCE_ROOT");
    assert_non_null(root);
    static const struct {
        const char *name;
        int n_prompts, n_turns;
    } want[] = {
        {"chat", 8, 0}, {"code", 5, 0}, {"document", 2, 0}, {"json", 5, 0}, {"session", 0, 5}};
    for (size_t i = 0; i < COUNT(want); i++) {
        struct snug_error err;
        char path[1024];
        snprintf(path, sizeof path, "%s/examples/workloads/%s.json", root, want[i].name);
        assert_ok(snug_workload_file_read(path, &workload, &text_read, &err));
        assert_string_equal(workload.name, want[i].name);
        assert_string_equal(snug_workload_class_name(text_read.workload_class), want[i].name);
        assert_int_equal(text_read.n_prompts, want[i].n_prompts);
        assert_int_equal(text_read.n_sessions ? text_read.sessions[0].n_turns : 0, want[i].n_turns);
        snug_workload_text_clear(&text_read);
    }
}

/* ---- hash ---- */

static void hash_depends_on_what_is_said_and_not_on_how(void **state)
{
    (void)state;
    char first[65], other[65];
    hash_of("{\"name\": \"n\", \"class\": \"chat\", \"prompts\": [\"a\", \"b\"]}", first);
    hash_of("{ \"n_gen\" : 128, \"prompts\":[\"\\u0061\",\"b\"],\n\"class\":\"chat\","
            "\"unique_prefix\":true,\"name\":\"n\"}",
            other);
    assert_string_equal(first, other);
    static const char *const others[] = {
        "{\"name\": \"m\", \"class\": \"chat\", \"prompts\": [\"a\", \"b\"]}",
        "{\"name\": \"n\", \"class\": \"code\", \"prompts\": [\"a\", \"b\"]}",
        "{\"name\": \"n\", \"class\": \"chat\", \"prompts\": [\"ab\"]}",
        "{\"name\": \"n\", \"class\": \"chat\", \"prompts\": [\"b\", \"a\"]}",
        "{\"name\": \"n\", \"class\": \"chat\", \"prompts\": [\"a1:b\"]}",
        "{\"name\": \"n\", \"class\": \"chat\", \"prompts\": [\"a\", \"b\"], \"n_gen\": 127}",
        "{\"name\": \"n\", \"class\": \"chat\", \"prompts\": [\"a\", \"b\"], "
        "\"unique_prefix\": false}",
        "{\"name\": \"n\", \"class\": \"session\", \"turns\": [{\"user\": \"a\", "
        "\"assistant\": \"b\"}]}",
    };
    for (size_t i = 0; i < COUNT(others); i++) {
        hash_of(others[i], other);
        if (strcmp(first, other) == 0)
            fail_msg("%s has the same hash", others[i]);
    }
}

static void hash_of_a_named_file_is_that_of_its_text(void **state)
{
    struct snug_error err;
    char first[65];
    static const char *const names[] = {"a.txt", "b.txt", "c.txt"};
    static const char *const texts[] = {"one\ntwo\n", "one\r\ntwo\r\n", "one\ntwo\n\n"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char json[128];
        snprintf(json, sizeof json, "{\"name\":\"d\",\"class\":\"document\",\"file\":\"%s\"}",
                 names[i]);
        write_file(state, names[i], texts[i], strlen(texts[i]));
        const char *path = write_file(state, "w.json", json, strlen(json));
        assert_ok(snug_workload_file_read(path, &workload, &text_read, &err));
        if (i == 0)
            memcpy(first, workload.hash, sizeof first);
        assert_int_equal(strcmp(first, workload.hash) == 0, i < 2);
        snug_workload_text_clear(&text_read);
    }
}

/* ---- caps ---- */

static void repeat(struct snug_buffer *out, const char *text, int n)
{
    for (int i = 0; i < n; i++)
        snug_buffer_printf(out, "%s%s", i ? "," : "", text);
}

static snug_status parse_repeated(const char *before, const char *text, int n, const char *after,
                                  struct snug_error *err)
{
    struct snug_buffer out = {0};
    snug_buffer_puts(&out, before);
    repeat(&out, text, n);
    snug_buffer_puts(&out, after);
    const snug_status status = parse(snug_buffer_text(&out), false, err);
    snug_buffer_clear(&out);
    return status;
}

static void lists_are_taken_at_their_caps_and_refused_beyond(void **state)
{
    (void)state;
    struct snug_error err;
    const char *prompts = "{\"name\":\"n\",\"class\":\"chat\",\"prompts\":[";
    const char *turns = "{\"name\":\"n\",\"class\":\"session\",\"turns\":[";
    const char *turn = "{\"user\":\"a\",\"assistant\":\"b\"}";
    assert_ok(parse_repeated(prompts, "\"a\"", SNUG_WORKLOAD_PROMPTS_MAX, "]}", &err));
    assert_int_equal(text_read.n_prompts, SNUG_WORKLOAD_PROMPTS_MAX);
    snug_workload_text_clear(&text_read);
    assert_fails(SNUG_BAD_INPUT,
                 parse_repeated(prompts, "\"a\"", SNUG_WORKLOAD_PROMPTS_MAX + 1, "]}", &err));
    assert_contains(err.text, "1024");
    assert_ok(parse_repeated(turns, turn, SNUG_WORKLOAD_TURNS_MAX, "]}", &err));
    snug_workload_text_clear(&text_read);
    assert_fails(SNUG_BAD_INPUT,
                 parse_repeated(turns, turn, SNUG_WORKLOAD_TURNS_MAX + 1, "]}", &err));
    assert_contains(err.text, "256");
}

static void sessions_of_a_jsonl_have_a_cap(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer out = {0};
    snug_buffer_puts(&out, LINE("\"name\": \"s\", \"class\": \"session\", ") "\n");
    for (int i = 1; i < SNUG_WORKLOAD_SESSIONS_MAX; i++)
        snug_buffer_puts(&out, LINE("") "\n");
    assert_ok(parse(snug_buffer_text(&out), true, &err));
    assert_int_equal(text_read.n_sessions, SNUG_WORKLOAD_SESSIONS_MAX);
    snug_workload_text_clear(&text_read);
    snug_buffer_puts(&out, LINE("") "\n");
    assert_fails(SNUG_BAD_INPUT, parse(snug_buffer_text(&out), true, &err));
    assert_contains(err.text, "w.json:257: more than 256 sessions");
    snug_buffer_clear(&out);
}

static void names_and_lengths_have_caps(void **state)
{
    (void)state;
    struct snug_error err;
    char name[SNUG_WORKLOAD_NAME_MAX + 1], json[256];
    memset(name, 'x', sizeof name);
    name[SNUG_WORKLOAD_NAME_MAX - 1] = '\0';
    snprintf(json, sizeof json, "{\"name\":\"%s\",\"class\":\"chat\",\"prompts\":[\"a\"]}", name);
    assert_ok(parse(json, false, &err));
    assert_string_equal(workload.name, name);
    snug_workload_text_clear(&text_read);
    snprintf(json, sizeof json, "{\"name\":\"%sx\",\"class\":\"chat\",\"prompts\":[\"a\"]}", name);
    assert_fails(SNUG_BAD_INPUT, parse(json, false, &err));
    assert_contains(err.text, "63");
    for (int i = 0; i < 2; i++) {
        snprintf(json, sizeof json,
                 "{\"name\":\"n\",\"class\":\"chat\",\"prompts\":[\"a\"],\"n_gen\":%d}",
                 SNUG_WORKLOAD_GEN_MAX + i);
        assert_int_equal(parse(json, false, &err), i ? SNUG_BAD_INPUT : SNUG_OK);
        snug_workload_text_clear(&text_read);
    }
}

static void files_have_a_cap_in_bytes(void **state)
{
    struct snug_error err;
    static const char json[] = "{\"name\": \"d\", \"class\": \"document\", \"file\": \"p.txt\"}";
    char *big = malloc(SNUG_WORKLOAD_BYTES_MAX + 1);
    assert_non_null(big);
    memset(big, 'a', SNUG_WORKLOAD_BYTES_MAX + 1);
    const char *path = keep_path(write_file(state, "w.json", json, sizeof json - 1));
    write_file(state, "p.txt", big, SNUG_WORKLOAD_BYTES_MAX);
    assert_ok(snug_workload_file_read(path, &workload, &text_read, &err));
    assert_int_equal(strlen(text_read.prompts[0]), SNUG_WORKLOAD_BYTES_MAX);
    snug_workload_text_clear(&text_read);
    write_file(state, "p.txt", big, SNUG_WORKLOAD_BYTES_MAX + 1);
    assert_fails(SNUG_BAD_INPUT, snug_workload_file_read(path, &workload, &text_read, &err));
    assert_contains(err.text, "p.txt: longer than");
    memset(big, ' ', SNUG_WORKLOAD_BYTES_MAX + 1);
    static const char small[] = "{\"name\":\"n\",\"class\":\"chat\",\"prompts\":[\"a\"]}";
    memcpy(big, small, sizeof small - 1);
    write_file(state, "w.json", big, SNUG_WORKLOAD_BYTES_MAX);
    assert_ok(snug_workload_file_read(path, &workload, &text_read, &err));
    snug_workload_text_clear(&text_read);
    write_file(state, "w.json", big, SNUG_WORKLOAD_BYTES_MAX + 1);
    assert_fails(SNUG_BAD_INPUT, snug_workload_file_read(path, &workload, &text_read, &err));
    free(big);
}

/* ---- refusals ---- */

static void what_is_wrong_is_named_by_its_place(void **state)
{
    (void)state;
#define HEAD "{\"name\":\"n\",\"class\":\"chat\","
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"", "w.json"},
        {"[]", "must be an object"},
        {"{\"name\":", "w.json:1:"},
        {"{\"class\":\"chat\",\"prompts\":[\"a\"]}", "name must be a text"},
        {"{\"name\":\"\",\"class\":\"chat\",\"prompts\":[\"a\"]}", "name is empty"},
        {"{\"name\":\"a\\nb\",\"class\":\"chat\",\"prompts\":[\"a\"]}", "one line"},
        {"{\"name\":\"n\",\"class\":\"poem\",\"prompts\":[\"a\"]}", "not 'poem'"},
        {"{\"name\":\"n\",\"prompts\":[\"a\"]}", "class must be"},
        {HEAD "\"prompt\":[\"a\"]}", "no field 'prompt' in a workload, did you mean prompts"},
        {HEAD "\"prompts\":[]}", "1 to 1024"},
        {HEAD "\"prompts\":\"a\"}", "1 to 1024"},
        {HEAD "\"prompts\":[\"a\",7]}", "prompts[1] must be a text"},
        {HEAD "\"prompts\":[\"a\",\"\"]}", "prompts[1] is empty"},
        {HEAD "\"prompts\":[\"a\"],\"n_gen\":-1}", "n_gen must be 0 to"},
        {HEAD "\"prompts\":[\"a\"],\"n_gen\":\"5\"}", "n_gen must be 0 to"},
        {HEAD "\"prompts\":[\"a\"],\"unique_prefix\":1}", "true or false"},
        {HEAD "\"prompts\":[\"a\"],\"file\":\"p\"}", "either prompts or file"},
        {HEAD "\"n_gen\":1}", "either prompts or file"},
        {HEAD "\"file\":\"p\"}", "no other file"},
        {HEAD "\"file\":7}", "path of a text"},
        {HEAD "\"prompts\":[\"a\"],\"turns\":[]}", "class session"},
        {"{\"name\":\"n\",\"class\":\"session\"}", "turns must be"},
        {"{\"name\":\"n\",\"class\":\"session\",\"prompts\":[\"a\"]}", "no prompts"},
        {"{\"name\":\"n\",\"class\":\"session\",\"n_gen\":1,\"turns\":[]}", "n_gen"},
        {"{\"name\":\"n\",\"class\":\"session\",\"turns\":[{\"user\":\"a\"}]}",
         "turns[0].assistant must be a text"},
        {"{\"name\":\"n\",\"class\":\"session\",\"turns\":[7]}", "turns[0].user"},
        {"{\"name\":\"n\",\"class\":\"session\",\"turns\":[{\"usr\":\"a\",\"assistant\":\"b\"}]}",
         "no field 'usr'"},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct snug_error err;
        assert_fails(SNUG_BAD_INPUT, parse(wrong[i].text, false, &err));
        assert_contains(err.text, wrong[i].words);
        assert_int_equal(strncmp(err.text, "w.json", 6), 0);
        assert_string_equal(workload.hash, "");
        assert_null(text_read.arena.head);
    }
}

static void lines_that_are_wrong_are_named_by_their_number(void **state)
{
    (void)state;
    struct snug_error err;
    const char *first = LINE("\"name\": \"s\", \"class\": \"session\", ") "\n";
    char text[512];
    snprintf(text, sizeof text, "%s%s", first, LINE("\"name\": \"t\", "));
    assert_fails(SNUG_BAD_INPUT, parse(text, true, &err));
    assert_contains(err.text, "w.json:2: name 't' is not the first line's 's'");
    snprintf(text, sizeof text, "%s{\"turns\": ", first);
    assert_fails(SNUG_BAD_INPUT, parse(text, true, &err));
    assert_contains(err.text, "w.json:2:");
    assert_fails(SNUG_BAD_INPUT,
                 parse("{\"name\":\"n\",\"class\":\"chat\",\"prompts\":[\"a\"]}", true, &err));
    assert_contains(err.text, "one session a line");
    assert_fails(SNUG_BAD_INPUT, parse(" \n\n", true, &err));
    assert_contains(err.text, "no session");
}

static void files_that_are_named_are_checked(void **state)
{
    struct snug_error err;
    static const char json[] = "{\"name\": \"d\", \"class\": \"document\", \"file\": \"p.txt\"}";
    const char *path = keep_path(write_file(state, "w.json", json, sizeof json - 1));
    assert_fails(SNUG_NOT_FOUND, snug_workload_file_read(path, &workload, &text_read, &err));
    assert_contains(err.text, "w.json: file");
    assert_contains(err.text, "p.txt");
    static const struct {
        const char *text;
        size_t n;
        const char *words;
    } wrong[] = {{"", 0, "only white space"},
                 {" \n---\n\t\n", 8, "only white space"},
                 {"fine\ncaf\xe9 noir", 14, "p.txt:2: byte 8 is no UTF-8"},
                 {"a\0b", 3, "p.txt:1: byte 1 is no UTF-8"}};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        write_file(state, "p.txt", wrong[i].text, wrong[i].n);
        assert_fails(SNUG_BAD_INPUT, snug_workload_file_read(path, &workload, &text_read, &err));
        assert_contains(err.text, wrong[i].words);
    }
    struct snug_buffer many = {0};
    for (int i = 0; i < SNUG_WORKLOAD_PROMPTS_MAX; i++)
        snug_buffer_printf(&many, "%sa\n", i ? "---\n" : "");
    write_file(state, "p.txt", many.data, many.len);
    assert_ok(snug_workload_file_read(path, &workload, &text_read, &err));
    assert_int_equal(text_read.n_prompts, SNUG_WORKLOAD_PROMPTS_MAX);
    snug_workload_text_clear(&text_read);
    snug_buffer_puts(&many, "---\na\n");
    write_file(state, "p.txt", many.data, many.len);
    assert_fails(SNUG_BAD_INPUT, snug_workload_file_read(path, &workload, &text_read, &err));
    assert_contains(err.text, "more than 1024 prompts");
    snug_buffer_clear(&many);
    assert_fails(SNUG_NOT_FOUND, snug_workload_file_read(test_path(state, "none.json"), &workload,
                                                         &text_read, &err));
}

static void allocation_that_fails_is_told_and_nothing_is_left(void **state)
{
    static const char json[] =
        "{\"name\": \"d\", \"class\": \"document\", \"file\": \"p.txt\", \"n_gen\": 5}";
    write_file(state, "p.txt", "one\n---\ntwo\n", 12);
    const char *path = keep_path(write_file(state, "w.json", json, sizeof json - 1));
    long n = 0;
    for (;; n++) {
        struct snug_error err = {0};
        fault_begin(n);
        const snug_status status = snug_workload_file_read(path, &workload, &text_read, &err);
        if (!fault_end()) {
            assert_int_equal(status, SNUG_OK);
            break;
        }
        if (status == SNUG_OK) { /* realpath or libc did without */
            snug_workload_text_clear(&text_read);
            memset(&workload, 0, sizeof workload);
            continue;
        }
        assert_true(err.text[0] != '\0');
        assert_string_equal(workload.hash, "");
        assert_null(text_read.arena.head);
    }
    assert_true(n > 4);
    assert_int_equal(text_read.n_prompts, 2);
}

int main(void)
{
#define FRESH(f) cmocka_unit_test_setup_teardown(f, open_empty, close_empty)
    const struct CMUnitTest tests[] = {
        FRESH(prompts_are_read_with_defaults),
        FRESH(options_of_prompts_are_taken),
        FRESH(file_of_prompts_is_split_at_lines_of_dashes),
        FRESH(file_without_dashes_is_one_prompt),
        FRESH(session_is_read_turn_by_turn),
        FRESH(lines_are_sessions_and_empty_lines_are_skipped),
        FRESH(shipped_examples_are_read),
        FRESH(hash_depends_on_what_is_said_and_not_on_how),
        FRESH(hash_of_a_named_file_is_that_of_its_text),
        FRESH(lists_are_taken_at_their_caps_and_refused_beyond),
        FRESH(sessions_of_a_jsonl_have_a_cap),
        FRESH(names_and_lengths_have_caps),
        FRESH(files_have_a_cap_in_bytes),
        FRESH(what_is_wrong_is_named_by_its_place),
        FRESH(lines_that_are_wrong_are_named_by_their_number),
        FRESH(files_that_are_named_are_checked),
        FRESH(allocation_that_fails_is_told_and_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
