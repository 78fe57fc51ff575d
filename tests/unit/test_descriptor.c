/* Descriptors: finite and ordered from tiny to huge, whatever is missing, and the same from structs
 * as from what the store keeps of them. */
#include "test.h"

#include <math.h>

#include "base/json.h"
#include "machine/machine_json.h"
#include "model/model_json.h"
#include "tune/descriptor.h"

static const struct snug_workload CHAT = {512, 128, 0, 1, 4096, "", "", ""};

/* A dense model of so many parameters at 4.5 bits, with a shape to match. */
static struct snug_model model_of(double n_params)
{
    const double width = cbrt(n_params / 3);
    return (struct snug_model){.n_layer = (int64_t)(width / 40) + 2,
                               .n_embd = (int64_t)width,
                               .n_ff = (int64_t)(4 * width),
                               .n_head = (int64_t)(width / 64) + 1,
                               .n_params = (uint64_t)n_params,
                               .bytes_tensors = (uint64_t)(n_params * 4.5 / 8)};
}

static struct snug_machine machine_of(int n_cores, double ram_gib)
{
    return (struct snug_machine){.n_cores_usable = n_cores,
                                 .n_threads_usable = 2 * n_cores,
                                 .ram_bytes = (uint64_t)(ram_gib * 1073741824),
                                 .caches = {{3, 1u << 20, n_cores}},
                                 .n_caches = 1};
}

static struct snug__descriptor describe(const struct snug_machine *machine,
                                        const struct snug_model *model,
                                        const struct snug_workload *workload)
{
    struct snug__descriptor d;
    const struct snug__descriptor_parts parts = {
        .machine = machine, .model = model, .workload = workload};
    snug__descriptor_init(&d, &parts);
    return d;
}

/* 7 M to 1 T parameters: each further one is farther from the first, and no distance is odd. */
static void descriptor_distances_are_finite_and_ordered_from_tiny_to_huge(void **state)
{
    (void)state;
    static const double sizes[] = {7e6, 7e7, 5e8, 7e9, 7e10, 1e12};
    const struct snug_machine machine = machine_of(8, 32);
    struct snug__descriptor d[COUNT(sizes)];
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const struct snug_model model = model_of(sizes[i]);
        d[i] = describe(&machine, &model, &CHAT);
    }
    for (size_t a = 0; a < COUNT(sizes); a++) {
        assert_true(snug__descriptor_distance(&d[a], &d[a]) < 1e-12);
        assert_true(snug__descriptor_similarity(&d[a], &d[a]) > 1 - 1e-12);
        for (size_t b = a + 1; b < COUNT(sizes); b++) {
            const double far = snug__descriptor_distance(&d[a], &d[b]);
            assert_true(isfinite(far) && far > 0.2 && far < 20);
            assert_true(far > snug__descriptor_distance(&d[a], &d[b - 1]));
            assert_true(fabs(far - snug__descriptor_distance(&d[b], &d[a])) < 1e-12);
        }
    }
}

/* One field out of many does not decide: a longer context alone is still the same kind of task. */
static void descriptor_of_one_other_field_is_near(void **state)
{
    (void)state;
    const struct snug_machine machine = machine_of(8, 32), small = machine_of(2, 4);
    const struct snug_model model = model_of(5e8);
    struct snug_workload longer = CHAT;
    longer.n_ctx = 131072;
    const struct snug__descriptor a = describe(&machine, &model, &CHAT);
    const struct snug__descriptor b = describe(&machine, &model, &longer);
    const struct snug__descriptor c = describe(&small, &model, &CHAT);
    assert_true(snug__descriptor_similarity(&a, &b) > 0.5);
    assert_true(snug__descriptor_similarity(&a, &c) < snug__descriptor_similarity(&a, &b));
}

static void descriptor_of_nothing_is_far_and_finite(void **state)
{
    (void)state;
    const struct snug_machine machine = machine_of(8, 32), blank = {.n_cores = 0};
    const struct snug_model model = model_of(7e9), empty = {.n_layer = 0};
    const struct snug__descriptor known = describe(&machine, &model, &CHAT);
    const struct snug__descriptor some = describe(NULL, &model, &CHAT);
    const struct snug__descriptor none = describe(NULL, NULL, NULL);
    const struct snug__descriptor zeros = describe(&blank, &empty, &CHAT);
    const double far = snug__descriptor_distance(&known, &none);
    assert_true(isfinite(far) && far > snug__descriptor_distance(&known, &some));
    assert_true(isfinite(snug__descriptor_distance(&none, &none)));
    assert_true(isfinite(snug__descriptor_distance(&known, &zeros)));
    assert_true(snug__descriptor_similarity(&known, &zeros) < 0.5);
}

static char *machine_json(const struct snug_machine *machine)
{
    struct snug_json_writer w = {0};
    snug_machine_to_json(&w, NULL, machine);
    return snug_json_finish(&w, false);
}

static char *model_json(const struct snug_model *model)
{
    struct snug_json_writer w = {0};
    snug_model_to_json(&w, NULL, model, false);
    return snug_json_finish(&w, false);
}

static void descriptor_of_a_stored_task_is_that_of_its_structs(void **state)
{
    (void)state;
    const struct snug_machine machine = machine_of(6, 16);
    const struct snug_model model = model_of(3e9);
    char *machine_text = machine_json(&machine), *model_text = model_json(&model);
    assert_true(machine_text && model_text);
    const struct snug_task_view view = {.machine_json = machine_text,
                                        .model_json = model_text,
                                        .load_level = "idle",
                                        .workload = CHAT};
    const struct snug__descriptor want = describe(&machine, &model, &CHAT);
    struct snug__descriptor got;
    int64_t n_layer = 0;
    int n_threads = 0;
    snug__descriptor_of_task(&got, &view, &n_layer, &n_threads);
    assert_true(snug__descriptor_distance(&got, &want) < 1e-12);
    assert_int_equal(n_layer, model.n_layer);
    assert_int_equal(n_threads, machine.n_threads_usable);
    free(machine_text);
    free(model_text);
}

/* Half-written, of another make, or hostile: unknown, never a number that is none. */
static void descriptor_of_a_task_that_cannot_be_read_is_unknown(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "null",
        "[1]",
        "\"text\"",
        "{\"n_layer\":-3,\"n_params\":1e300,\"bytes_tensors\":\"many\"}",
        "{\"n_cores\":1e99}",
    };
    const struct snug_machine machine = machine_of(8, 32);
    const struct snug_model model = model_of(7e9);
    const struct snug__descriptor known = describe(&machine, &model, &CHAT);
    for (size_t i = 0; i < COUNT(texts); i++) {
        const struct snug_task_view view = {.machine_json = texts[i],
                                            .model_json = texts[i],
                                            .load_level = "busy",
                                            .workload = {-1, INT64_MAX, -5, 0, 0, "", "", ""}};
        struct snug__descriptor d;
        snug__descriptor_of_task(&d, &view, NULL, NULL);
        const double far = snug__descriptor_distance(&known, &d);
        assert_true(isfinite(far) && far > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptor_distances_are_finite_and_ordered_from_tiny_to_huge),
        cmocka_unit_test(descriptor_of_one_other_field_is_near),
        cmocka_unit_test(descriptor_of_nothing_is_far_and_finite),
        cmocka_unit_test(descriptor_of_a_stored_task_is_that_of_its_structs),
        cmocka_unit_test(descriptor_of_a_task_that_cannot_be_read_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
