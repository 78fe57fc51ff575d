/* History files that must be refused: each by one line that names place and remedy, with nothing
 * changed. Every cap at its edge. */
#include "history.h"

static const char FORMAT[] = "snug-history";

/* Refused with these words, and the store is what it was. */
static void assert_refused(struct snug_store *store, const void *data, size_t n, snug_status want,
                           const char *part)
{
    struct snug_error err = {0};
    struct snug_history_imported done = {.id = -7};
    char *before = store_text(snug_store_path(store));
    assert_fails(want, snug_history_import(store, "d/f.snug", data, n, NULL, &done, &err));
    assert_contains(err.text, "d/f.snug:");
    assert_contains(err.text, part);
    assert_null(strchr(err.text, '\n'));
    assert_int_equal(done.id, -7);
    char *after = store_text(snug_store_path(store));
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void assert_body_refused(struct snug_store *store, const char *body,
                                const struct history_counts *counts, const char *part)
{
    size_t n = 0;
    void *data = history_pack(body, strlen(body), FORMAT, 1, counts, &n);
    assert_refused(store, data, n, SNUG_BAD_INPUT, part);
    free(data);
}

/* GOOD_BODY with the first `from` replaced; malloc'ed. */
static char *edited(const char *from, const char *to)
{
    char *body = NULL;
    const char *at = strstr(GOOD_BODY, from);
    assert_non_null(at);
    assert_true(
        asprintf(&body, "%.*s%s%s", (int)(at - GOOD_BODY), GOOD_BODY, to, at + strlen(from)) > 0);
    return body;
}

static void good_body_is_taken(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_history_imported done = {.id = 0};
    size_t n = 0;
    void *data = history_pack(GOOD_BODY, strlen(GOOD_BODY), FORMAT, 1, &GOOD_COUNTS, &n);
    assert_ok(snug_history_import(store, "f.snug", data, n, NULL, &done, &err));
    assert_int_equal(done.id, 1);
    assert_int_equal(done.added.n[SNUG_HISTORY_TRIAL], 1);
    snug_store_close(store);
    free(data);
}

static void members_that_do_not_fit_are_named(void **state)
{
    static const struct {
        const char *from, *to, *part;
    } edits[] = {
        {"\"kind\":\"model\"", "\"kind\":\"person\"", "f.snug:3: no \"kind\""},
        {"\"outcome\":\"ok\"", "\"outcome\":\"fine\"", "f.snug:5: no outcome 'fine'"},
        {"12.5", "1e19", "\"measurement\": \"decode_tps\": expected a number, from 0"},
        {"12.5", "\"fast\"", "\"measurement\": \"decode_tps\": expected a number"},
        {"12.5", "-1", "\"decode_tps\""},
        {"12.5", "NaN", "f.snug:5:"},
        {"12.5", "1e999", "f.snug:5:"},
        {"[12,13]", "[12,null]", "\"decode_block_tps\""},
        {"[12,13]", "12", "\"decode_block_tps\": expected a list"},
        {"\"task\":1", "\"task\":2", "\"task\" is 2, but only 1 stood before"},
        {"\"task\":1", "\"task\":0", "\"task\""},
        {"\"task\":1", "\"task\":1.5", "\"task\""},
        {"\"machine\":1", "\"machine\":7", "\"machine\" is 7"},
        {"\"model\":1", "\"model\":7", "\"model\" is 7"},
        {"\"build\":\"libllama 0.7.0\",", "", "f.snug:4: \"build\" is missing"},
        {"libllama 0.7.0", "/opt/libllama", "\"build\": expected plain words"},
        {"\"type_k\":\"f16\"", "\"type_k\":\"/etc/passwd\"", "\"config\": expected an object"},
        {"\"type_k\":\"f16\"", "\"type_k\":[]", "\"config\""},
        {"1767225600.25", "0", "\"started_unix_s\""},
        {"\"n_prompt\":512", "\"n_prompt\":-1", "\"n_prompt\": expected a whole number"},
        {"\"fingerprint\":\"aa\"", "\"fingerprint\":\"\"", "f.snug:2: \"fingerprint\""},
        {"\"facts\":{\"arch\"", "\"facts\":[\"arch\"", "f.snug:3:"},
        {"A CPU\"}}", "A CPU\"}", "f.snug:2: JSON:1:"},
        {"A CPU\"}}", "A CPU\"}}x", "f.snug:2: JSON:1:"},
        {"{\"cpu_name\"", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{\"cpu_name\"", "nested too deep"},
    };
    struct snug_store *store = store_open(state, "h.db");
    for (size_t i = 0; i < COUNT(edits); i++) {
        char *body = edited(edits[i].from, edits[i].to);
        assert_body_refused(store, body, &GOOD_COUNTS, edits[i].part);
        free(body);
    }
    snug_store_close(store);
}

/* Unknown members of a later snug are no reason to refuse, and are not kept. */
static void members_that_are_not_known_are_dropped(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_history_imported done = {.id = 0};
    size_t n = 0;
    char *body = edited("\"role\":", "\"mood\":\"/home/x\",\"role\":");
    void *data = history_pack(body, strlen(body), FORMAT, 1, &GOOD_COUNTS, &n);
    assert_ok(snug_history_import(store, "f.snug", data, n, NULL, &done, &err));
    snug_store_close(store);
    char *text = store_text(test_path(state, "h.db"));
    assert_null(strstr(text, "home"));
    free(text);
    free(body);
    free(data);
}

static void other_files_and_versions_are_refused(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    static const char text[] = "just a text\n";
    void *data = NULL;
    size_t n = 0;
    assert_refused(store, text, strlen(text), SNUG_BAD_INPUT, "no history file");
    assert_refused(store, "", 0, SNUG_BAD_INPUT, "no history file");
    assert_ok(snug_gzip_pack(text, strlen(text), &data, &n, &err));
    assert_refused(store, data, n, SNUG_BAD_INPUT, "no history file");
    free(data);
    data = history_pack(GOOD_BODY, strlen(GOOD_BODY), "snug-table", 1, &GOOD_COUNTS, &n);
    assert_refused(store, data, n, SNUG_BAD_INPUT, "no history file");
    free(data);
    data = history_pack(GOOD_BODY, strlen(GOOD_BODY), FORMAT, 2, &GOOD_COUNTS, &n);
    assert_refused(store, data, n, SNUG_NEWER, "version 2, this snug knows up to 1; use a newer");
    free(data);
    data = history_pack(GOOD_BODY, strlen(GOOD_BODY), FORMAT, 0, &GOOD_COUNTS, &n);
    assert_refused(store, data, n, SNUG_BAD_INPUT, "damaged header");
    free(data);
    snug_store_close(store);
}

/* Cut at any byte, or with any byte changed: refused, never half taken. */
static void cut_and_damaged_files_are_refused(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_history_imported done;
    size_t n = 0;
    void *data = history_pack(GOOD_BODY, strlen(GOOD_BODY), FORMAT, 1, &GOOD_COUNTS, &n);
    assert_refused(store, data, n - 1, SNUG_BAD_INPUT, "cut short; get the file again");
    assert_refused(store, data, n / 2, SNUG_BAD_INPUT, "get the file again");
    for (size_t cut = 0; cut < n; cut++)
        assert_fails(SNUG_BAD_INPUT,
                     snug_history_import(store, "f.snug", data, cut, NULL, &done, &err));
    for (size_t at = 10; at < n; at++) { /* behind gzip's own header, which has no sum */
        ((uint8_t *)data)[at] ^= 0xff;
        assert_fails(SNUG_BAD_INPUT,
                     snug_history_import(store, "f.snug", data, n, NULL, &done, &err));
        ((uint8_t *)data)[at] ^= 0xff;
    }
    assert_int_equal(store_ask(test_path(state, "h.db"), "SELECT count(*) FROM trials"), 0);
    free(data);
    snug_store_close(store);
}

/* Lines that are missing where the file was unpacked, cut and packed again. */
static void sums_and_counts_must_agree(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    static const struct history_counts more = {{1, 1, 1, 2, 0, 0, 0}},
                                       fewer = {{1, 1, 1, 0, 0, 0, 0}};
    size_t n = 0, n_text = 0;
    char *text = NULL;
    void *data = history_pack(GOOD_BODY, strlen(GOOD_BODY), FORMAT, 1, &GOOD_COUNTS, &n), *again;
    assert_body_refused(store, GOOD_BODY, &more, "promises 2 lines of kind trial, it has 1");
    assert_body_refused(store, GOOD_BODY, &fewer, "promises 0 lines of kind trial, it has 1");
    assert_ok(snug_gzip_unpack("f", data, n, 1 << 20, &text, &n_text, &err));
    strstr(text, "12.5")[0] = '2';
    free(data);
    assert_ok(snug_gzip_pack(text, n_text, &again, &n, &err));
    assert_refused(store, again, n, SNUG_BAD_INPUT, "damaged: its lines do not add up");
    free(again);
    free(text);
    snug_store_close(store);
}

static void stop_imports_nothing(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_history_imported done;
    const volatile int stop = 1;
    size_t n = 0;
    void *data = history_pack(GOOD_BODY, strlen(GOOD_BODY), FORMAT, 1, &GOOD_COUNTS, &n);
    assert_fails(SNUG_INTERRUPTED,
                 snug_history_import(store, "f.snug", data, n, &stop, &done, &err));
    assert_contains(err.text, "nothing was imported");
    assert_int_equal(store_ask(test_path(state, "h.db"), "SELECT count(*) FROM machines"), 0);
    free(data);
    snug_store_close(store);
}

/* ---- caps ---- */

static void counts_are_held_to_their_caps(void **state)
{
    static const long long caps[] = {1024, 1024, 8192, 65536, 4096, 4096, 65536};
    static const char *const names[] = {"n_machines", "n_models",    "n_tasks",        "n_trials",
                                        "n_noise",    "n_qualities", "n_sensitivities"};
    struct snug_store *store = store_open(state, "h.db");
    for (size_t i = 0; i < COUNT(caps); i++) {
        struct history_counts counts = {{0}};
        counts.n[i] = caps[i];
        assert_body_refused(store, "", &counts, "promises");
        counts.n[i] = caps[i] + 1;
        assert_body_refused(store, "", &counts, names[i]);
        counts.n[i] = -1;
        assert_body_refused(store, "", &counts, names[i]);
    }
    snug_store_close(store);
}

/* A good file whose first line is filled with blanks to so many bytes. */
static void *padded_line(size_t n_line, size_t *out_n)
{
    const size_t n_first = (size_t)(strchr(GOOD_BODY, '\n') - GOOD_BODY);
    struct snug_buffer body = {0};
    snug_buffer_append(&body, GOOD_BODY, n_first);
    for (size_t i = n_first; i < n_line; i++)
        snug_buffer_puts(&body, " ");
    snug_buffer_puts(&body, GOOD_BODY + n_first);
    assert_false(body.is_failed);
    void *data = history_pack(body.data, body.len, FORMAT, 1, &GOOD_COUNTS, out_n);
    snug_buffer_clear(&body);
    return data;
}

static void lines_are_held_to_their_cap(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_history_imported done;
    size_t n = 0;
    void *data = padded_line(SNUG_HISTORY_LINE_MAX + 1, &n);
    assert_refused(store, data, n, SNUG_BAD_INPUT, "f.snug:2: longer than the 65536 bytes");
    free(data);
    data = padded_line(SNUG_HISTORY_LINE_MAX, &n);
    assert_ok(snug_history_import(store, "f.snug", data, n, NULL, &done, &err));
    free(data);
    snug_store_close(store);
}

/* Blanks that pack to little: what matters is what they unpack to. */
static void unpacked_text_is_held_to_its_cap(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    char *text = malloc(SNUG_HISTORY_TEXT_MAX + 1u);
    void *data = NULL;
    size_t n = 0;
    assert_non_null(text);
    memset(text, ' ', SNUG_HISTORY_TEXT_MAX + 1u);
    assert_ok(snug_gzip_pack(text, SNUG_HISTORY_TEXT_MAX, &data, &n, &err));
    assert_refused(store, data, n, SNUG_BAD_INPUT, "no history file");
    free(data);
    assert_ok(snug_gzip_pack(text, SNUG_HISTORY_TEXT_MAX + 1u, &data, &n, &err));
    assert_refused(store, data, n, SNUG_BAD_INPUT, "unpacks to more than 67108864 bytes");
    free(data);
    free(text);
    snug_store_close(store);
}

static void packed_bytes_are_held_to_their_cap(void **state)
{
    struct snug_store *store = store_open(state, "h.db");
    const size_t cap = SNUG_HISTORY_PACKED_MAX;
    uint8_t *data = calloc(cap + 1, 1);
    assert_non_null(data);
    data[0] = 0x1f;
    data[1] = 0x8b;
    assert_refused(store, data, cap, SNUG_BAD_INPUT, "damaged gzip data");
    assert_refused(store, data, cap + 1, SNUG_BAD_INPUT, "longer than the 16777216 bytes");
    free(data);
    snug_store_close(store);
}

/* Lists and configs at their caps and one above. */
static void lists_are_held_to_their_caps(void **state)
{
    static const struct {
        const char *from, *open, *element, *close, *part;
        int cap;
    } lists[] = {
        {"[12,13]", "[", "1", "]", "\"decode_block_tps\"", 64},
        {"\"decode_tps\"", "\"warnings\":[", "\"x\"", "],\"decode_tps\"", "\"warnings\"", 32},
        {"\"cpu_name\"", "\"devices\":[", "{}", "],\"cpu_name\"", "\"devices\"", 16},
        {"\"arch\"", "\"types\":[", "{}", "],\"arch\"", "\"types\"", 48},
        {"{\"n_threads\":2,\"type_k\":\"f16\"}", "{", "\"k\":1", "}", "\"config\"", 24},
    };
    struct snug_store *store = store_open(state, "h.db");
    for (size_t i = 0; i < COUNT(lists); i++) {
        for (int extra = 0; extra < 2; extra++) {
            struct snug_buffer to = {0};
            struct snug_error err = {0};
            struct snug_history_imported done;
            size_t n = 0;
            snug_buffer_puts(&to, lists[i].open);
            for (int k = 0; k < lists[i].cap + extra; k++)
                snug_buffer_printf(&to, "%s%s", k ? "," : "", lists[i].element);
            snug_buffer_puts(&to, lists[i].close);
            char *body = edited(lists[i].from, snug_buffer_text(&to));
            void *data = history_pack(body, strlen(body), FORMAT, 1, &GOOD_COUNTS, &n);
            if (extra)
                assert_refused(store, data, n, SNUG_BAD_INPUT, lists[i].part);
            else
                assert_ok(snug_history_import(store, "f.snug", data, n, NULL, &done, &err));
            free(data);
            free(body);
            snug_buffer_clear(&to);
        }
    }
    snug_store_close(store);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(good_body_is_taken),
        IN_FOLDER(members_that_do_not_fit_are_named),
        IN_FOLDER(members_that_are_not_known_are_dropped),
        IN_FOLDER(other_files_and_versions_are_refused),
        IN_FOLDER(cut_and_damaged_files_are_refused),
        IN_FOLDER(sums_and_counts_must_agree),
        IN_FOLDER(stop_imports_nothing),
        IN_FOLDER(counts_are_held_to_their_caps),
        IN_FOLDER(lines_are_held_to_their_cap),
        IN_FOLDER(unpacked_text_is_held_to_its_cap),
        IN_FOLDER(packed_bytes_are_held_to_their_cap),
        IN_FOLDER(lists_are_held_to_their_caps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
