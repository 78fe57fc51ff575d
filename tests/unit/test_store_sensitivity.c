/* Measured sensitivities in the store: found by all that they depend on, and by nothing less. */
#include "store.h"

static const struct snug_store_sensitivity_place PLACE = {.model_hash = "m",
                                                          .text_hash = "t",
                                                          .imatrix_hash = "",
                                                          .build = "libllama 0.7.0",
                                                          .n_ctx = 256,
                                                          .n_chunks = 8,
                                                          .tensors = "attn_q 0-1",
                                                          .type = "q4_K"};

static void sensitivity_comes_back_and_the_last_one_counts(void **state)
{
    struct snug_error err = {0};
    struct snug_estimate found = {0.0, 0.0};
    struct snug_store *store = store_open(state, "h.db");
    assert_fails(SNUG_NOT_FOUND, snug_store_sensitivity_find(store, &PLACE, &found, &err));
    assert_contains(err.text, "attn_q 0-1");
    assert_ok(snug_store_sensitivity_add(store, &PLACE, (struct snug_estimate){0.5, 0.25}, &err));
    assert_ok(
        snug_store_sensitivity_add(store, &PLACE, (struct snug_estimate){0.125, 0.0625}, &err));
    snug_store_close(store);
    store = store_open(state, "h.db");
    assert_ok(snug_store_sensitivity_find(store, &PLACE, &found, &err));
    assert_true(found.value == 0.125 && found.se == 0.0625);
    snug_store_close(store);
    assert_int_equal(store_ask(test_path(state, "h.db"), "SELECT count(*) FROM sensitivity"), 1);
}

static void sensitivity_of_another_place_is_not_found(void **state)
{
    struct snug_error err = {0};
    struct snug_estimate found = {7.0, 7.0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_store_sensitivity_place others[8];
    assert_ok(snug_store_sensitivity_add(store, &PLACE, (struct snug_estimate){0.5, 0.25}, &err));
    for (size_t i = 0; i < COUNT(others); i++)
        others[i] = PLACE;
    others[0].model_hash = "x";
    others[1].text_hash = "x";
    others[2].imatrix_hash = "x";
    others[3].build = "x";
    others[4].n_ctx = 255;
    others[5].n_chunks = 9;
    others[6].tensors = "attn_q 2-3";
    others[7].type = "q4_0";
    for (size_t i = 0; i < COUNT(others); i++)
        assert_fails(SNUG_NOT_FOUND, snug_store_sensitivity_find(store, &others[i], &found, &err));
    assert_true(found.value == 7.0); /* outputs change only on success */
    snug_store_close(store);
}

static void sensitivity_name_is_taken_up_to_its_cap(void **state)
{
    static char name[SNUG_STORE_TEXT_MAX + 2];
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_store_sensitivity_place place = PLACE;
    memset(name, 'a', SNUG_STORE_TEXT_MAX + 1);
    place.tensors = name;
    assert_fails(SNUG_BAD_INPUT, snug_store_sensitivity_add(
                                     store, &place, (struct snug_estimate){0.5, 0.25}, &err));
    name[SNUG_STORE_TEXT_MAX] = '\0';
    assert_ok(snug_store_sensitivity_add(store, &place, (struct snug_estimate){0.5, 0.25}, &err));
    snug_store_close(store);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(sensitivity_comes_back_and_the_last_one_counts),
        STORE_TEST(sensitivity_of_another_place_is_not_found),
        STORE_TEST(sensitivity_name_is_taken_up_to_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
