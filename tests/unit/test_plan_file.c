/* plan.json: everything comes back, and nothing is believed. */
#include "test.h"

#include <ggml.h>
#include <math.h>

#include "base/buffer.h"
#include "base/file.h"
#include "plan/plan_internal.h"

/* A plan in which every field differs from zero and from its neighbours. */
static void fill(struct snug_plan *p, int n_tensors)
{
    *p = (struct snug_plan){.model_name = "A model",
                            .model_hash = "0123abcd",
                            .arch = "llama",
                            .machine = "this machine",
                            .law_source = "calibrated in 24 s",
                            .grade = SNUG_PLAN_SLOW,
                            .reason = "3.2 tokens/s",
                            .n_tensors = n_tensors,
                            .type_k = GGML_TYPE_Q8_0,
                            .type_v = GGML_TYPE_Q4_0,
                            .flash_attn = true,
                            .n_ctx = 8192,
                            .n_parallel = 2,
                            .n_gpu_layers = -1,
                            .n_batch = 2048,
                            .n_ubatch = 512,
                            .n_threads = 7,
                            .use_mmap = true,
                            .file_bytes = 4920734272,
                            .n_params = 8030261248,
                            .n_tiers = 2,
                            .total_bytes = 5000000001,
                            .host_bytes = {4e9, 3.5e9, 4.25e9},
                            .n_depths = 2,
                            .depths = {0, 4096},
                            .decode_tps = {{10.5, 9.25, 11.125}, {8.1, 7.3, 9.7}},
                            .n_prompt = 600,
                            .prefill_tps = {120.1, 100.3, 140.7},
                            .ttft_s = {5.01, 4.2, 6.3},
                            .loss = {0.0123, 0.01, 0.02},
                            .method = SNUG_SENSITIVITY_KLD,
                            .gap_frac = 0.001};
    p->tiers[0] = (struct snug_plan_tier){.name = "CUDA0",
                                          .bytes_usable = 24000000000,
                                          .weights = 1,
                                          .cache = 2,
                                          .compute = 3,
                                          .reserve = 4,
                                          .n_layer = 30};
    p->tiers[1] = (struct snug_plan_tier){.name = "CPU", .weights = 11, .n_layer = 2};
    snug_plan_note(p, "context was cut to %d", 8192);
    snug_plan_note(p, "%s", "\"quoted\", \xc3\xa9t\xc3\xa9");
    p->types = malloc(((size_t)n_tensors + 1) * sizeof *p->types);
    p->names = malloc(((size_t)n_tensors + 1) * (sizeof *p->names + 64));
    assert_true(p->types && p->names);
    for (int i = 0; i < n_tensors; i++) {
        char *name = (char *)(void *)(p->names + n_tensors + 1) + (size_t)i * 64;
        snprintf(name, 64, "blk.%d.ffn_down.weight", i);
        p->names[i] = name;
        p->types[i] = i % 3 == 0 ? GGML_TYPE_Q6_K : i % 3 == 1 ? GGML_TYPE_IQ4_XS : GGML_TYPE_F32;
    }
}

static void plan_comes_back_as_it_was_written(void **state)
{
    struct snug_error err;
    struct snug_plan a, b;
    const char *path = test_path(state, "plan.json");
    fill(&a, 5);
    assert_ok(snug_plan_write(&a, path, &err));
    assert_ok(snug_plan_read(path, &b, &err));
    for (int i = 0; i < 5; i++) {
        assert_string_equal(a.names[i], b.names[i]);
        assert_int_equal(a.types[i], b.types[i]);
    }
    char *json_a = snug_plan_to_json(&a), *json_b = snug_plan_to_json(&b);
    assert_string_equal(json_a, json_b);
    assert_string_equal(b.reason, "3.2 tokens/s");
    assert_int_equal(b.n_gpu_layers, -1);
    assert_true(b.ttft_s.hi == a.ttft_s.hi && b.loss.value == a.loss.value);
    assert_int_equal(b.tiers[0].reserve, 4);
    assert_int_equal(b.tiers[1].n_layer, 2);
    assert_string_equal(b.notes[1], a.notes[1]);
    assert_true(b.flash_attn && b.use_mmap && b.type_v == GGML_TYPE_Q4_0);
    assert_int_equal(b.method, SNUG_SENSITIVITY_KLD);
    free(json_a);
    free(json_b);
    snug_plan_clear(&a);
    snug_plan_clear(&b);
}

static void number_that_is_not_known_is_null_and_comes_back_unknown(void **state)
{
    struct snug_error err;
    struct snug_plan a, b;
    const char *path = test_path(state, "plan.json");
    fill(&a, 0);
    a.loss = (struct snug_prediction){NAN, NAN, NAN};
    a.gap_frac = NAN;
    a.ttft_s.hi = INFINITY;
    assert_ok(snug_plan_write(&a, path, &err));
    assert_ok(snug_plan_read(path, &b, &err));
    assert_true(isnan(b.loss.value) && isnan(b.loss.lo) && isnan(b.gap_frac) && isnan(b.ttft_s.hi));
    assert_true(b.ttft_s.value == a.ttft_s.value);
    assert_int_equal(b.n_tensors, 0);
    snug_plan_clear(&a);
    snug_plan_clear(&b);
}

/* The sample's text with the first `from` replaced. */
static char *changed(const char *from, const char *to)
{
    struct snug_plan plan;
    struct snug_buffer out = {0};
    fill(&plan, 2);
    char *text = snug_plan_to_json(&plan);
    snug_plan_clear(&plan);
    assert_non_null(text);
    const char *at = strstr(text, from);
    if (!at)
        fail_msg("no '%s' in the sample", from);
    snug_buffer_append(&out, text, (size_t)(at - text));
    snug_buffer_puts(&out, to);
    snug_buffer_puts(&out, at + strlen(from));
    free(text);
    return snug_buffer_take(&out);
}

static void every_slip_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *want;
    } SLIPS[] = {
        {"\"snug plan\"", "\"other\"", "format: \"snug plan\" is expected"},
        {"\"version\": 1", "\"version\": 2", "version: 2; this snug reads version 1"},
        {"\"version\": 1", "\"version\": \"1\"", "version: -1"},
        {"\"arch\": \"llama\",", "", "model.arch: missing"},
        {"\"arch\": \"llama\"", "\"arch\": 7", "model.arch: a text is expected"},
        {"\"n_batch\"", "\"n_bacth\"", "run: no field 'n_bacth'; did you mean 'n_batch'?"},
        {"\"q8_0\"", "\"q8_O\"", "run.type_k: 'q8_O' is not known; did you mean 'q8_0'?"},
        {"\"q6_K\"", "\"q6_k\"", "tensors[0].type: 'q6_k' is not known; did you mean 'q6_K'?"},
        {"\"slow\"", "\"slwo\"", "verdict.grade: 'slwo' is not known; did you mean 'slow'?"},
        {"\"kld\"", "\"kldd\"", "predicted.loss_method: 'kldd' is not known; did you mean 'kld'?"},
        {"\"flash_attn\": true", "\"flash_attn\": 1", "run.flash_attn: true or false"},
        {"\"n_ctx\": 8192", "\"n_ctx\": 2147483649", "run.n_ctx: 2147483649 is out of range"},
        {"\"n_ctx\": 8192", "\"n_ctx\": 8192.5", "run.n_ctx: a whole number"},
        {"\"n_ctx\": 8192", "\"n_ctx\": -1", "run.n_ctx: -1 is out of range"},
        {"\"n_ctx\": 8192", "\"n_ctx\": 99999999999999999999", "run.n_ctx: a whole number"},
        {"\"file_bytes\": 4920734272", "\"file_bytes\": 9000000000000000000",
         "predicted.file_bytes: 9000000000000000000 is out of range"},
        {"\"n_tensors\": 2", "\"n_tensors\": 3", "tensors: 2 of them, model.n_tensors says 3"},
        {"\"n_tensors\": 2", "\"n_tensors\": 65537", "model.n_tensors: 65537 is out of range"},
        {"blk.1.ffn_down.weight", "blk.0.ffn_down.weight",
         "tensors: 'blk.0.ffn_down.weight' is there twice"},
        {"blk.1.ffn_down.weight", "", "tensors[1].name: a tensor's name is expected"},
        {"\"value\": 5.01", "\"value\": -5.01", "predicted.ttft_s.value: a number of 0 or more"},
        {"\"value\": 5.01", "\"value\": 7.0", "predicted.ttft_s: 7 is not between lo 4.2"},
        {"\"value\": 5.01", "\"value\": true", "predicted.ttft_s.value: a number"},
        {"\"depth\": 4096", "\"depth\": -1", "predicted.decode[1].depth: -1 is out of range"},
        {"\"name\": \"CPU\"", "\"name\": null", "predicted.tiers[1].name: a text is expected"},
        {"\"notes\": [", "\"notes\": [3,", "notes[0]: a text is expected"},
        {"\"machine\": {", "\"machine\": {\"law\": \"x\", \"law\": \"y\",",
         "machine: field 'law' is there twice"},
        {"\"version\": 1", "\"version\": 1, \"vesrion\": 1", "plan: no field 'vesrion'"},
    };
    for (size_t i = 0; i < COUNT(SLIPS); i++) {
        struct snug_error err = {0};
        struct snug_plan plan = {.n_tensors = -7};
        char *text = changed(SLIPS[i].from, SLIPS[i].to);
        assert_fails(SNUG_BAD_INPUT, snug__plan_parse("p.json", text, strlen(text), &plan, &err));
        assert_contains(err.text, SLIPS[i].want);
        assert_contains(err.text, "p.json: ");
        assert_int_equal(plan.n_tensors, -7); /* untouched */
        free(text);
    }
}

static void lists_hold_as_many_as_their_caps_and_no_more(void **state)
{
    (void)state;
    struct snug_plan plan, back;
    struct snug_error err = {0};
    fill(&plan, 1);
    plan.n_tiers = SNUG_TIERS_MAX;
    snprintf(plan.tiers[2].name, sizeof plan.tiers[2].name, "disk");
    plan.n_depths = SNUG_PLAN_DEPTHS_MAX;
    while (plan.n_notes < SNUG_PLAN_NOTES_MAX)
        snug_plan_note(&plan, "note %d", plan.n_notes);
    snug_plan_note(&plan, "one too many");
    assert_int_equal(plan.n_notes, SNUG_PLAN_NOTES_MAX);
    char *text = snug_plan_to_json(&plan);
    assert_ok(snug__plan_parse("p", text, strlen(text), &back, &err));
    assert_int_equal(back.n_notes, SNUG_PLAN_NOTES_MAX);
    assert_int_equal(back.n_depths, SNUG_PLAN_DEPTHS_MAX);
    assert_int_equal(back.n_tiers, SNUG_TIERS_MAX);
    snug_plan_clear(&back);
    static const char *const HEADS[][2] = {
        {"\"notes\": [", "\"notes\": [\"one more\","},
        {"\"tiers\": [", "\"tiers\": [{},"},
        {"\"decode\": [", "\"decode\": [{},"},
    };
    for (size_t i = 0; i < COUNT(HEADS); i++) {
        struct snug_buffer more = {0};
        const char *at = strstr(text, HEADS[i][0]);
        snug_buffer_append(&more, text, (size_t)(at - text));
        snug_buffer_puts(&more, HEADS[i][1]);
        snug_buffer_puts(&more, at + strlen(HEADS[i][0]));
        assert_fails(SNUG_BAD_INPUT, snug__plan_parse("p", more.data, more.len, &back, &err));
        assert_contains(err.text, "elements; up to");
        snug_buffer_clear(&more);
    }
    free(text);
    snug_plan_clear(&plan);
}

static void texts_and_names_are_as_long_as_their_caps_and_no_longer(void **state)
{
    (void)state;
    struct snug_error err = {0};
    for (int over = 0; over < 2; over++) {
        char name[SNUG_GGUF_TENSOR_NAME_MAX + 2], hash[66];
        struct snug_plan plan;
        memset(name, 'n', sizeof name);
        name[SNUG_GGUF_TENSOR_NAME_MAX + over] = '\0';
        memset(hash, 'a', sizeof hash);
        hash[64 + over] = '\0';
        char *with_name = changed("blk.1.ffn_down.weight", name);
        char *with_hash = changed("0123abcd", hash);
        if (over) {
            assert_fails(SNUG_BAD_INPUT,
                         snug__plan_parse("p", with_name, strlen(with_name), &plan, &err));
            assert_contains(err.text, "tensors[1].name: a text of 64 bytes; up to 63");
            assert_fails(SNUG_BAD_INPUT,
                         snug__plan_parse("p", with_hash, strlen(with_hash), &plan, &err));
            assert_contains(err.text, "model.hash: a text of 65 bytes; up to 64");
        } else {
            assert_ok(snug__plan_parse("p", with_name, strlen(with_name), &plan, &err));
            assert_string_equal(plan.names[1], name);
            snug_plan_clear(&plan);
            assert_ok(snug__plan_parse("p", with_hash, strlen(with_hash), &plan, &err));
            snug_plan_clear(&plan);
        }
        free(with_name);
        free(with_hash);
    }
}

static void as_many_tensors_as_a_model_may_have_come_back(void **state)
{
    struct snug_error err;
    struct snug_plan a, b;
    const char *path = test_path(state, "plan.json");
    fill(&a, SNUG_GGUF_TENSORS_MAX);
    assert_ok(snug_plan_write(&a, path, &err));
    assert_ok(snug_plan_read(path, &b, &err));
    assert_int_equal(b.n_tensors, SNUG_GGUF_TENSORS_MAX);
    assert_string_equal(b.names[65535], "blk.65535.ffn_down.weight");
    snug_plan_clear(&a);
    snug_plan_clear(&b);
}

static void file_that_is_no_plan_is_refused(void **state)
{
    struct snug_error err;
    struct snug_plan plan;
    const char *path = test_path(state, "x.json");
    assert_fails(SNUG_NOT_FOUND, snug_plan_read(path, &plan, &err));
    assert_ok(snug_file_write(path, "[1, 2", 5, &err));
    assert_fails(SNUG_BAD_INPUT, snug_plan_read(path, &plan, &err));
    assert_ok(snug_file_write(path, "[1, 2]", 6, &err));
    assert_fails(SNUG_BAD_INPUT, snug_plan_read(path, &plan, &err));
    assert_contains(err.text, "format");
    assert_int_equal(truncate(path, (off_t)SNUG__PLAN_FILE_MAX + 1), 0);
    assert_fails(SNUG_BAD_INPUT, snug_plan_read(path, &plan, &err));
    assert_contains(err.text, "longer than");
}

static void names_of_grades_are_words(void **state)
{
    (void)state;
    assert_string_equal(snug_plan_grade_name(SNUG_PLAN_USABLE), "usable");
    assert_string_equal(snug_plan_grade_name(SNUG_PLAN_INFEASIBLE), "infeasible");
    assert_string_equal(snug_plan_grade_name((enum snug_plan_grade)99), "?");
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(plan_comes_back_as_it_was_written),
        IN_FOLDER(number_that_is_not_known_is_null_and_comes_back_unknown),
        cmocka_unit_test(every_slip_is_named_with_its_place),
        cmocka_unit_test(lists_hold_as_many_as_their_caps_and_no_more),
        cmocka_unit_test(texts_and_names_are_as_long_as_their_caps_and_no_longer),
        IN_FOLDER(as_many_tensors_as_a_model_may_have_come_back),
        IN_FOLDER(file_that_is_no_plan_is_refused),
        cmocka_unit_test(names_of_grades_are_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
