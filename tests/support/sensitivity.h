/* What the tests of sensitivity share: a column by its type's name, and equality. */
#ifndef SNUG_TEST_SENSITIVITY_H
#define SNUG_TEST_SENSITIVITY_H

#include "engine.h"

#include <math.h>

#include "plan/sensitivity.h"

static inline int sensitivity_column(const struct snug_sensitivity *s, const char *type)
{
    for (int k = 0; k < s->n_types; k++) {
        if (s->types[k] == snug__type_from_name(type))
            return k;
    }
    fail_msg("no %s", type);
    return -1;
}

static inline void assert_same_sensitivity(const struct snug_sensitivity *a,
                                           const struct snug_sensitivity *b)
{
    assert_int_equal(a->n_tensors, b->n_tensors);
    assert_int_equal(a->n_types, b->n_types);
    assert_int_equal(a->method, b->method);
    assert_string_equal(a->model_hash, b->model_hash);
    assert_string_equal(a->text_hash, b->text_hash);
    assert_string_equal(a->build, b->build);
    assert_true(a->lo_frac == b->lo_frac && a->hi_frac == b->hi_frac);
    assert_memory_equal(a->types, b->types, (size_t)a->n_types * sizeof *a->types);
    for (int i = 0; i < a->n_tensors * a->n_types; i++) {
        if (isnan(a->loss[i].value))
            assert_true(isnan(b->loss[i].value));
        else
            assert_true(a->loss[i].value == b->loss[i].value && a->loss[i].se == b->loss[i].se);
    }
}

#endif
