/* The table of losses without any run: roles, groups, the guess by position, and its file. */
#include "sensitivity.h"

#include "base/buffer.h"
#include "engine/sensitivity.h"

enum { F16 = 1 };

/* ---- roles, groups, the table ---- */

static void role_is_what_stands_between_layer_and_weight(void **state)
{
    (void)state;
    char role[SNUG__ROLE_MAX];
    int64_t layer = 0;
    assert_string_equal(snug__tensor_role("blk.12.attn_q.weight", role, &layer), "attn_q");
    assert_int_equal(layer, 12);
    assert_string_equal(snug__tensor_role("output.weight", role, &layer), "output");
    assert_int_equal(layer, -1);
    assert_string_equal(snug__tensor_role("blk.x.weight", role, &layer), "blk.x");
    assert_int_equal(layer, -1);
    assert_string_equal(snug__tensor_role("weight", role, &layer), "weight");
}

static void groups_hold_every_tensor_once(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model;
    struct snug__tensor_groups groups;
    assert_ok(snug_model_open("llama3-8b", &model, &err));
    for (int is_per_tensor = 0; is_per_tensor < 2; is_per_tensor++) {
        assert_ok(snug__tensor_groups(&model, is_per_tensor != 0, &groups, &err));
        int *seen = calloc((size_t)model.n_tensors, sizeof *seen);
        assert_non_null(seen);
        for (int g = 0; g < groups.n; g++) {
            for (int i = 0; i < groups.groups[g].n; i++)
                seen[groups.groups[g].tensors[i]]++;
        }
        for (int i = 0; i < model.n_tensors; i++)
            assert_int_equal(seen[i], snug__tensor_is_quantisable(&model.tensors[i]));
        free(seen);
        /* 7 roles in 3 bands, embedding and output; or 32 layers of 7, and those two */
        assert_int_equal(groups.n, is_per_tensor ? 32 * 7 + 2 : 7 * 3 + 2);
        snug__tensor_groups_clear(&groups);
    }
    snug_model_clear(&model);
}

static void position_costs_less_with_more_bits(void **state)
{
    (void)state;
    static const char *const FALLING[] = {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q8_0", "f16"};
    struct snug_error err;
    struct snug_model model;
    struct snug_sensitivity s;
    assert_ok(snug_model_open("llama3-8b", &model, &err));
    assert_ok(snug_sensitivity_position(&model, &s, &err));
    assert_int_equal(s.method, SNUG_SENSITIVITY_POSITION);
    assert_true(s.lo_frac > 0.0 && s.lo_frac < 1.0 && s.hi_frac > 1.0);
    for (int i = 0; i < s.n_tensors; i++) {
        const struct snug_loss *loss = s.loss + i * s.n_types;
        if (!snug__tensor_is_quantisable(&model.tensors[i])) {
            for (int k = 0; k < s.n_types; k++)
                assert_true(isnan(loss[k].value) != (s.types[k] == model.tensors[i].type));
            continue;
        }
        for (size_t t = 1; t < COUNT(FALLING); t++)
            assert_true(loss[sensitivity_column(&s, FALLING[t])].value <
                        loss[sensitivity_column(&s, FALLING[t - 1])].value);
        assert_true(loss[sensitivity_column(&s, "f16")].value == 0.0f);
    }
    for (int k = 1; k < s.n_types; k++)
        assert_true(snug_model_type_bits(s.types[k]) >= snug_model_type_bits(s.types[k - 1]));
    /* A layer at the end costs more than one in the middle. */
    int end = -1, middle = -1;
    for (int i = 0; i < s.n_tensors; i++) {
        end = strcmp(model.tensors[i].name, "blk.31.ffn_up.weight") == 0 ? i : end;
        middle = strcmp(model.tensors[i].name, "blk.15.ffn_up.weight") == 0 ? i : middle;
    }
    const int k = sensitivity_column(&s, "q4_k");
    assert_true(s.loss[end * s.n_types + k].value > s.loss[middle * s.n_types + k].value);
    snug_sensitivity_clear(&s);
    snug_model_clear(&model);
}

static void types_are_taken_up_to_their_cap(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model;
    struct snug_sensitivity s;
    int types[64], n = 0;
    assert_ok(snug_model_open("llama3-8b", &model, &err));
    model.n_tensors = 1; /* the f16 embedding alone */
    assert_int_equal(model.tensors[0].type, F16);
    for (int type = 0; type < 64 && n < 64; type++) {
        if (snug_model_type_from_name(snug_model_type_name(type)) == type &&
            snug__tensor_can_have(&model.tensors[0], type, true))
            types[n++] = type;
    }
    const int n_most = n < SNUG_PLAN_TYPES_MAX ? n : SNUG_PLAN_TYPES_MAX;
    assert_ok(snug__sensitivity_init(&model, types, n_most, true, &s, &err));
    assert_true(s.n_types <= SNUG_PLAN_TYPES_MAX && s.n_types >= n_most);
    snug_sensitivity_clear(&s);
    if (n > SNUG_PLAN_TYPES_MAX)
        assert_fails(SNUG_BAD_INPUT, snug__sensitivity_init(&model, types, n, true, &s, &err));
    snug_model_clear(&model);
}

static void models_without_trained_weights_are_refused(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct snug_model preset;
    struct snug_sensitivity s;
    const struct snug_sensitivity_options quantised = {.model = &t->model};
    const struct snug_sensitivity_options shape = {.model = &preset};
    assert_fails(SNUG_BAD_INPUT, snug_sensitivity_weights(&quantised, &s, &err));
    assert_contains(err.text, "give the F16, BF16 or F32 file");
    assert_ok(snug_model_open("llama3-8b", &preset, &err));
    assert_fails(SNUG_BAD_INPUT, snug_sensitivity_weights(&shape, &s, &err));
    assert_contains(err.text, "--method position");
    snug_model_clear(&preset);
    /* A guess can be made of both; what is quantised stays as it is. */
    assert_ok(snug_sensitivity_position(&t->model, &s, &err));
    for (int i = 0; i < s.n_tensors; i++) {
        for (int k = 0; k < s.n_types; k++)
            assert_true(isnan(s.loss[i * s.n_types + k].value) !=
                        (s.types[k] == t->model.tensors[i].type));
    }
    snug_sensitivity_clear(&s);
}

/* ---- its file ---- */

static void file_comes_back_as_it_was(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct snug_model model;
    struct snug_sensitivity s, back;
    char path[600];
    snprintf(path, sizeof path, "%s/sens.json", t->folder);
    assert_ok(snug_model_open("llama3-8b", &model, &err));
    assert_ok(snug_sensitivity_position(&model, &s, &err));
    snprintf(s.text_hash, sizeof s.text_hash, "abc");
    assert_ok(snug_sensitivity_write(&s, &model, path, &err));
    assert_ok(snug_sensitivity_read(path, &model, &back, &err));
    assert_same_sensitivity(&s, &back);
    snug_sensitivity_clear(&back);
    /* of another model, by its hash */
    assert_fails(SNUG_BAD_INPUT, snug_sensitivity_read(path, &t->model, &back, &err));
    assert_contains(err.text, "of another model");
    snug_sensitivity_clear(&s);
    snug_model_clear(&model);
}

struct change {
    const char *from, *to, *says;
};
static const struct change CHANGES[] = {
    {"\"snug_sensitivity\": 1", "\"snug_sensitivity\": 2", "1 is expected"},
    {"\"position\"", "\"guess\"", "none of position"},
    {"\"q4_K\"", "\"q4_9\"", "is no tensor type"},
    {"\"q4_K\"", "\"q4_0\"", "there twice"},
    {"\"lo_frac\": ", "\"lo_frac\": -", "lo_frac"},
    {"\"token_embd.weight\"", "\"x.weight\"", "token_embd.weight is expected"},
    {"\"loss\": [", "\"loss\": [1,", "numbers each"},
    {"\"loss\": [", "\"lost\": [", "numbers each"},
    {"\"tensors\": [", "\"tensors\": [{},", "a list of"},
    {"\"tensors\": [", "\"tensors\": [{", "sens.json"}, /* no JSON any more */
};

static void file_with_a_fault_names_it(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct snug_model model;
    struct snug_sensitivity s, back;
    char path[600];
    snprintf(path, sizeof path, "%s/sens.json", t->folder);
    assert_ok(snug_model_open("llama3-8b", &model, &err));
    assert_ok(snug_sensitivity_position(&model, &s, &err));
    char *json = snug_sensitivity_to_json(&s, &model);
    assert_non_null(json);
    for (size_t i = 0; i < COUNT(CHANGES); i++) {
        struct snug_buffer b = {0};
        const char *at = strstr(json, CHANGES[i].from);
        assert_non_null(at);
        snug_buffer_append(&b, json, (size_t)(at - json));
        snug_buffer_puts(&b, CHANGES[i].to);
        snug_buffer_puts(&b, at + strlen(CHANGES[i].from));
        assert_ok(snug_file_write(path, b.data, b.len, &err));
        snug_buffer_clear(&b);
        assert_fails(SNUG_BAD_INPUT, snug_sensitivity_read(path, &model, &back, &err));
        assert_contains(err.text, CHANGES[i].says);
    }
    free(json);
    snug_sensitivity_clear(&s);
    snug_model_clear(&model);
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(role_is_what_stands_between_layer_and_weight),
        cmocka_unit_test(groups_hold_every_tensor_once),
        cmocka_unit_test(position_costs_less_with_more_bits),
        cmocka_unit_test(types_are_taken_up_to_their_cap),
        cmocka_unit_test(models_without_trained_weights_are_refused),
        cmocka_unit_test(file_comes_back_as_it_was),
        cmocka_unit_test(file_with_a_fault_names_it),
    };
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
