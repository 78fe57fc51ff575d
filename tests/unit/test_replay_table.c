/* Recorded tables: what is read, every refusal by its place, every cap at its edge, gzip, and no
 * allocation whose failure is not told. */
#include "table.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/gzip.h"
#include "fault.h"

static const struct snug__table_cell *cell_at(const struct snug__table *t, int64_t threads,
                                              int64_t repack)
{
    const struct snug_config config = {{threads, repack}};
    return snug__table_find(t, &config);
}

static void table_groups_lines_into_cells(void **state)
{
    (void)state;
    struct snug__table *t = table_small();
    assert_string_equal(t->name, "small");
    assert_int_equal(t->n_cells, 3);
    assert_int_equal(t->n_fidelities, 2);
    assert_true(t->has_fit && t->fit.value[0] == 2 && t->fit.value[1] == 0);
    const struct snug__table_cell *cell = cell_at(t, 1, 0);
    const struct snug__table_rep *first = NULL;
    assert_int_equal(snug__table_reps_of(cell, 0, &first), 3);
    for (int i = 0; i < 3; i++) {
        struct snug_measurement m;
        assert_int_equal(first[i].rep, i);
        snug__table_measurement(cell, &first[i], &m);
        assert_true(m.decode_tps == 10 + i && m.prefill_tps == 110);
        assert_int_equal(m.n_prefill_blocks, 3);
    }
    assert_int_equal(snug__table_reps_of(cell, 1, &first), 0);
    assert_null(first);
    assert_int_equal(snug__table_memory(t, cell), 1230);
    snug__table_free(t);
    snug__table_free(NULL);
}

static void table_find_snaps_to_the_lattice_and_knows_its_gaps(void **state)
{
    (void)state;
    struct snug__table *t = table_small();
    assert_ptr_equal(cell_at(t, -5, 0), cell_at(t, 1, 0));
    assert_non_null(cell_at(t, 2, 0));
    assert_null(cell_at(t, 3, 0)); /* not recorded */
    assert_null(cell_at(t, 2, 1));
    snug__table_free(t);
}

static void table_memory_axis_is_device_bytes_where_it_says_so(void **state)
{
    (void)state;
    struct snug__table *t = NULL;
    struct snug_error err;
    assert_ok(table_parse(TABLE_HEAD ",\"memory\":\"device\",\"limit_bytes\":9", TABLE_BODY,
                          TABLE_N_LINES, &t, &err));
    assert_int_equal(snug__table_memory(t, cell_at(t, 1, 0)), 7);
    assert_int_equal(snug__table_memory(t, cell_at(t, 1, 1)), 1); /* none on the device */
    assert_int_equal(t->limit_bytes, 9);
    snug__table_free(t);
}

#define SPACE(rows) "\"snug_table\":1,\"name\":\"x\",\"space\":" rows
#define WORK ",\"workloads\":[{\"n_prompt\":1,\"n_gen\":1}]"
#define ROW "[{\"name\":\"a\",\"kind\":\"int\",\"min\":1,\"max\":2,\"step\":1,\"default\":1}]"
#define LINE(tail)                                                                                 \
    "{\"config\":{\"a\":1},\"rep\":0,\"outcome\":\"ok\",\"prefill_block_tps\":[1],"                \
    "\"decode_block_tps\":[1],\"bytes\":{\"weights\":1},\"wall_s\":1" tail "}\n"

static void table_refuses_each_slip_by_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *head, *body, *says;
    } slips[] = {
        {"\"a\":1", "", "line 1: no table"},
        {"\"snug_table\":1,\"name\":\"x\"", LINE(""), "line 1: space: an array"},
        {SPACE("[]") WORK, LINE(""), "array of 1 to"},
        {SPACE("[{\"name\":\"a\",\"kind\":\"real\"}]") WORK, LINE(""), "space, row 1: a name"},
        {SPACE("[{\"name\":\"a\",\"kind\":\"log2\",\"min\":0,\"max\":4,\"default\":1}]") WORK,
         LINE(""), "row 1: a: bounds"},
        {SPACE("[{\"name\":\"a\",\"kind\":\"int\",\"min\":1,\"max\":4,\"default\":9}]") WORK,
         LINE(""), "its default must lie in 1 to 4"},
        {SPACE("[{\"name\":\"a\",\"kind\":\"bool\",\"default\":\"on\"},"
               "{\"name\":\"a\",\"kind\":\"bool\",\"default\":\"on\"}]") WORK,
         LINE(""), "row 2: a stands twice"},
        {SPACE(ROW), LINE(""), "\"workloads\" of 1 to 4"},
        {SPACE(ROW) ",\"workloads\":[{\"n_prompt\":-1,\"n_gen\":1}]", LINE(""), "workload 0"},
        {SPACE(ROW) WORK ",\"memory\":\"swap\"", LINE(""), "not \"swap\""},
        {SPACE(ROW) WORK ",\"limit_bytes\":-1", LINE(""), "limit_bytes"},
        {SPACE(ROW) WORK ",\"estimate_s\":-1", LINE(""), "estimate_s"},
        {SPACE(ROW) WORK ",\"fit\":{\"b\":1}", LINE(""), "line 1: "},
        {SPACE(ROW) WORK, "{}\n", "line 2: a config must be an object"},
        {SPACE(ROW) WORK, "[\n", "line 2: json"},
        {SPACE(ROW) WORK, LINE(",\"rep\":0"), NULL}, /* the first of two keys counts: read */
        {SPACE(ROW) WORK, "{\"config\":{\"a\":3},\"rep\":0,\"outcome\":\"ok\"}\n", "line 2: "},
        {SPACE(ROW) WORK, "{\"config\":{\"a\":1},\"outcome\":\"ok\",\"wall_s\":1}\n", "rep -1"},
        {SPACE(ROW) WORK, LINE(",\"fidelity\":1"), "fidelity 1: there are 1 workloads"},
        {SPACE(ROW) WORK, "{\"config\":{\"a\":1},\"rep\":0,\"outcome\":\"oom\"}\n", "wall_s"},
        {SPACE(ROW) WORK, "{\"config\":{\"a\":1},\"rep\":0,\"outcome\":\"oom\",\"wall_s\":1}\n",
         "no bytes"},
        {SPACE(ROW) WORK,
         "{\"config\":{\"a\":1},\"rep\":0,\"outcome\":\"ok\",\"wall_s\":1,\"bytes\":{\"cache\":1},"
         "\"prefill_block_tps\":[1],\"decode_block_tps\":[0]}\n",
         "block speeds above 0"},
        {SPACE(ROW) WORK, LINE("") LINE(""), "more lines than"},
    };
    for (size_t i = 0; i < COUNT(slips); i++) {
        struct snug__table *t = NULL;
        struct snug_error err = {0};
        const snug_status status = table_parse(slips[i].head, slips[i].body, 1, &t, &err);
        if (!slips[i].says) {
            assert_int_equal(status, SNUG_OK);
            snug__table_free(t);
            continue;
        }
        assert_int_equal(status, SNUG_BAD_INPUT);
        assert_contains(err.text, "t.jsonl: ");
        assert_contains(err.text, slips[i].says);
        assert_null(t);
    }
}

static void table_with_lines_missing_or_twice_is_refused(void **state)
{
    (void)state;
    struct snug__table *t = NULL;
    struct snug_error err;
    assert_fails(SNUG_BAD_INPUT, table_parse(SPACE(ROW) WORK, LINE(""), 2, &t, &err));
    assert_contains(err.text, "1 lines where \"n_lines\" says 2");
    assert_fails(SNUG_BAD_INPUT, table_parse(SPACE(ROW) WORK, LINE("") LINE(""), 2, &t, &err));
    assert_contains(err.text, "lines 2 and 3 are the same repetition");
}

static void table_cut_or_changed_is_refused_by_its_checksum(void **state)
{
    (void)state;
    char *text = table_text(TABLE_HEAD, TABLE_BODY, TABLE_N_LINES);
    const size_t n = strlen(text);
    struct snug__table *t = NULL;
    struct snug_error err;
    assert_fails(SNUG_BAD_INPUT, snug__table_parse("t", text, n - 1, &t, &err));
    assert_contains(err.text, "sha256");
    text[n - 5] = '3'; /* a digit of the last line's seconds */
    assert_fails(SNUG_BAD_INPUT, snug__table_parse("t", text, n, &t, &err));
    assert_contains(err.text, "record it again");
    free(text);
}

static void table_of_a_later_version_is_newer(void **state)
{
    (void)state;
    struct snug__table *t = NULL;
    struct snug_error err;
    assert_fails(SNUG_NEWER, table_parse("\"snug_table\":2", "x\n", 1, &t, &err));
    assert_contains(err.text, "version 2");
}

/* One line for each rep from 0 to n - 1. */
static snug_status parse_reps(int n, struct snug__table **out, struct snug_error *err)
{
    struct snug_buffer body = {0};
    for (int i = 0; i < n; i++)
        snug_buffer_printf(&body,
                           "{\"config\":{\"a\":1},\"rep\":%d,\"outcome\":\"refused\","
                           "\"wall_s\":0}\n",
                           i);
    const snug_status status = table_parse(SPACE(ROW) WORK, snug_buffer_text(&body), n, out, err);
    snug_buffer_clear(&body);
    return status;
}

static void table_caps_hold_at_their_edges(void **state)
{
    (void)state;
    struct snug__table *t = NULL;
    struct snug_error err;
    assert_ok(parse_reps(SNUG__TABLE_REPS_MAX, &t, &err));
    snug__table_free(t);
    assert_fails(SNUG_BAD_INPUT, parse_reps(SNUG__TABLE_REPS_MAX + 1, &t, &err));
    assert_contains(err.text, "rep 64");
    assert_fails(SNUG_BAD_INPUT,
                 table_parse(SPACE(ROW) WORK, LINE(""), SNUG__TABLE_LINES_MAX, &t, &err));
    assert_contains(err.text, "1 lines where"); /* the number itself is accepted */
    assert_fails(SNUG_BAD_INPUT,
                 table_parse(SPACE(ROW) WORK, LINE(""), SNUG__TABLE_LINES_MAX + 1, &t, &err));
    assert_contains(err.text, "\"n_lines\" must lie");
#define W "{\"n_prompt\":1,\"n_gen\":1}"
    assert_ok(
        table_parse(SPACE(ROW) ",\"workloads\":[" W "," W "," W "," W "]", LINE(""), 1, &t, &err));
    snug__table_free(t);
    assert_fails(SNUG_BAD_INPUT,
                 table_parse(SPACE(ROW) ",\"workloads\":[" W "," W "," W "," W "," W "]", LINE(""),
                             1, &t, &err));
#undef W
    static const char *const lengths[] = {"n_prompt", "n_gen", "n_depth", "n_ctx"};
    for (size_t i = 0; i < COUNT(lengths); i++)
        for (int past = 0; past < 2; past++) {
            char head[512];
            snprintf(head, sizeof head,
                     SPACE(ROW) ",\"workloads\":[{\"%s\":%lld,\"n_gen\":1,\"n_prompt\":1}]",
                     lengths[i], (long long)SNUG__TABLE_TOKENS_MAX + past);
            const snug_status status = table_parse(head, LINE(""), 1, &t, &err);
            assert_int_equal(status, past ? SNUG_BAD_INPUT : SNUG_OK);
            if (past)
                assert_contains(err.text, "workload 0: lengths must lie in 0 to 1073741824");
            else
                snug__table_free(t);
        }
    assert_ok(table_parse(SPACE("[{\"name\":\"a\",\"kind\":\"int\",\"min\":1,\"max\":65536,"
                                "\"step\":1,\"default\":1}]") WORK,
                          LINE(""), 1, &t, &err));
    snug__table_free(t);
    assert_fails(SNUG_BAD_INPUT,
                 table_parse(SPACE("[{\"name\":\"a\",\"kind\":\"int\",\"min\":1,\"max\":65537,"
                                   "\"step\":1,\"default\":1}]") WORK,
                             LINE(""), 1, &t, &err));
}

/* ---- files ---- */

static void table_file_reads_alike_plain_and_packed(void **state)
{
    struct snug_error err;
    char *text = table_text(TABLE_HEAD, TABLE_BODY, TABLE_N_LINES);
    void *packed = NULL;
    size_t n_packed = 0;
    struct snug__table *a = NULL, *b = NULL;
    assert_ok(snug_gzip_pack(text, strlen(text), &packed, &n_packed, &err));
    assert_true(snug_gzip_is(packed, n_packed) && n_packed < strlen(text));
    assert_ok(snug_file_write(test_path(state, "a"), text, strlen(text), &err));
    assert_ok(snug_file_write(test_path(state, "b"), packed, n_packed, &err));
    assert_ok(snug__table_read(test_path(state, "a"), &a, &err));
    assert_ok(snug__table_read(test_path(state, "b"), &b, &err));
    assert_int_equal(a->n_reps, b->n_reps);
    for (size_t i = 0; i < a->n_cells; i++)
        assert_memory_equal(&a->cells[i].config, &b->cells[i].config, sizeof a->cells[i].config);
    snug__table_free(a);
    snug__table_free(b);
    assert_fails(SNUG_NOT_FOUND, snug__table_read(test_path(state, "none"), &a, &err));
    free(text);
    free(packed);
}

static void gzip_cut_damaged_or_longer_is_refused(void **state)
{
    (void)state;
    static char data[200000];
    struct snug_error err;
    void *packed = NULL;
    char *text = NULL;
    size_t n = 0, n_text = 0;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * i >> 3);
    assert_ok(snug_gzip_pack(data, sizeof data, &packed, &n, &err));
    assert_ok(snug_gzip_unpack("x", packed, n, sizeof data, &text, &n_text, &err));
    assert_int_equal(n_text, sizeof data);
    assert_memory_equal(text, data, sizeof data);
    free(text);
    assert_fails(SNUG_BAD_INPUT,
                 snug_gzip_unpack("x", packed, n, sizeof data - 1, &text, &n_text, &err));
    assert_contains(err.text, "more than 199999 bytes");
    assert_fails(SNUG_BAD_INPUT,
                 snug_gzip_unpack("x", packed, n - 1, sizeof data, &text, &n_text, &err));
    assert_contains(err.text, "cut short");
    char *longer = malloc(n + 1);
    assert_non_null(longer);
    memcpy(longer, packed, n);
    longer[n] = 'x';
    assert_fails(SNUG_BAD_INPUT,
                 snug_gzip_unpack("x", longer, n + 1, sizeof data, &text, &n_text, &err));
    assert_contains(err.text, "after the end");
    longer[n - 6] ^= 1; /* of the CRC */
    assert_fails(SNUG_BAD_INPUT,
                 snug_gzip_unpack("x", longer, n, sizeof data, &text, &n_text, &err));
    assert_contains(err.text, "damaged");
    free(longer);
    free(packed);
}

static void table_parse_survives_each_failed_allocation(void **state)
{
    (void)state;
    char *text = table_text(TABLE_HEAD, TABLE_BODY, TABLE_N_LINES);
    long n_failed = 0;
    for (long n = 0;; n++) {
        struct snug__table *t = NULL;
        struct snug_error why = {0};
        fault_begin(n);
        const snug_status status = snug__table_parse("t", text, strlen(text), &t, &why);
        if (!fault_end()) {
            assert_int_equal(status, SNUG_OK);
            snug__table_free(t);
            break;
        }
        n_failed += status != SNUG_OK;
        assert_true(status != SNUG_OK ? why.text[0] && !t : t != NULL);
        snug__table_free(t);
    }
    assert_true(n_failed > 10);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_groups_lines_into_cells),
        cmocka_unit_test(table_find_snaps_to_the_lattice_and_knows_its_gaps),
        cmocka_unit_test(table_memory_axis_is_device_bytes_where_it_says_so),
        cmocka_unit_test(table_refuses_each_slip_by_its_place),
        cmocka_unit_test(table_with_lines_missing_or_twice_is_refused),
        cmocka_unit_test(table_cut_or_changed_is_refused_by_its_checksum),
        cmocka_unit_test(table_of_a_later_version_is_newer),
        cmocka_unit_test(table_caps_hold_at_their_edges),
        cmocka_unit_test_setup_teardown(table_file_reads_alike_plain_and_packed, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test(gzip_cut_damaged_or_longer_is_refused),
        cmocka_unit_test(table_parse_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests_name("replay_table", tests, NULL, NULL);
}
