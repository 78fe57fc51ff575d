/* Reading a plan and an importance matrix with a heap that fails at every allocation in turn. */
#include "test.h"

#include <ggml.h>

#include "base/file.h"
#include "engine/imatrix.h"
#include "fault.h"
#include "plan/plan_internal.h"

static char *corpus(const char *name, size_t *out_n)
{
    char path[4096];
    struct snug_error err;
    char *text = NULL;
    const char *root = getenv("SNUG_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/fuzz/corpus/%s", root ? root : ".", name);
    assert_ok(snug_file_read(path, 1u << 20, &text, out_n, &err));
    return text;
}

static void plan_without_memory_is_no_plan(void **state)
{
    (void)state;
    size_t n = 0;
    char *text = corpus("plan/whole.json", &n);
    long i = 0;
    for (bool is_hit = true; is_hit; i++) {
        struct snug_plan plan = {.n_tensors = -7};
        struct snug_error err = {0};
        fault_begin(i);
        const snug_status status = snug__plan_parse("p", text, n, &plan, &err);
        char *json = status == SNUG_OK ? snug_plan_to_json(&plan) : NULL;
        is_hit = fault_end();
        if (status != SNUG_OK) {
            assert_int_equal(status, SNUG_NO_MEMORY);
            assert_true(err.text[0] && plan.n_tensors == -7);
        } else {
            assert_true(json || is_hit);
            snug_plan_clear(&plan);
        }
        free(json);
    }
    assert_true(i > 5);
    free(text);
}

static void imatrix_without_memory_is_no_imatrix(void **state)
{
    (void)state;
    size_t n = 0;
    char *text = corpus("imatrix/whole.gguf", &n);
    long i = 0;
    for (bool is_hit = true; is_hit; i++) {
        struct snug_imatrix m = {.n_rows = -7};
        struct snug_error err = {0};
        struct snug__source source;
        snug__source_memory("i", text, n, n, &source);
        fault_begin(i);
        const snug_status status = snug__imatrix_read_source(&source, &m, &err);
        is_hit = fault_end();
        if (status != SNUG_OK) {
            assert_int_equal(status, SNUG_NO_MEMORY);
            assert_true(err.text[0] && m.n_rows == -7);
        } else {
            assert_false(is_hit);
            snug_imatrix_clear(&m);
        }
    }
    assert_true(i > 2);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_without_memory_is_no_plan),
        cmocka_unit_test(imatrix_without_memory_is_no_imatrix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
