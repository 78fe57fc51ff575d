/* A space read back from the JSON that snug_space_to_json writes. */
#include "trial/trial_json.h"

#include <string.h>

/* Bounds and steps lie below this, so that sums of two cannot overflow. */
#define BOUND_MAX (INT64_C(1) << 40)

static int kind_of(const struct snug_json_node *node)
{
    static const char *const kinds[] = {"int", "log2", "enum", "bool"};
    const char *text = snug_json_get_string(node, "kind", "");
    for (int k = 0; k < 4; k++)
        if (strcmp(kinds[k], text) == 0)
            return k;
    return -1;
}

static bool read_names(const struct snug_json_node *values, struct snug_arena *arena,
                       struct snug_knob *knob)
{
    const struct snug_json_node *names[SNUG_KNOB_VALUES_MAX];
    knob->n_values = (int)snug_json_elements(values, names, SNUG_KNOB_VALUES_MAX);
    for (int i = 0; i < knob->n_values; i++) {
        const char *name = snug_json_string(names[i], "");
        knob->values[i] = name[0] ? snug_arena_strdup(arena, name) : NULL;
        if (!knob->values[i])
            return false;
    }
    return true;
}

static bool has_good_bounds(const struct snug_knob *knob)
{
    const int64_t lo = knob->min, hi = knob->max;
    if (knob->kind == SNUG_KNOB_ENUM)
        return knob->n_values >= 1;
    if (lo < -BOUND_MAX || hi > BOUND_MAX || hi < lo)
        return false;
    if (knob->kind == SNUG_KNOB_LOG2)
        return lo >= 1;
    return knob->step >= 1 && knob->step <= BOUND_MAX &&
           (hi - lo) / knob->step < SNUG_SPACE_LEVELS_MAX;
}

static snug_status read_default(const struct snug_json_node *node, struct snug_knob *knob,
                                struct snug_error *err)
{
    const struct snug_json_node *def = snug_json_get(node, "default");
    if (snug_json_is_string(def))
        return snug_knob_parse(knob, snug_json_string(def, ""), &knob->def, err);
    knob->def = snug_json_int(def, INT64_MIN);
    if (!snug_json_is_number(def) || knob->def < knob->min || knob->def > knob->max)
        return snug_fail(err, SNUG_BAD_INPUT, "its default must lie in %lld to %lld",
                         (long long)knob->min, (long long)knob->max);
    return SNUG_OK;
}

static snug_status read_row(const struct snug_json_node *node, struct snug_arena *arena,
                            struct snug_knob *knob, struct snug_error *err)
{
    const char *name = snug_json_get_string(node, "name", "");
    const int kind = kind_of(node);
    if (!name[0] || kind < 0)
        return snug_fail(err, SNUG_BAD_INPUT, "a name and a kind of int, log2, enum, bool");
    *knob = (struct snug_knob){
        .name = snug_arena_strdup(arena, name),
        .kind = (enum snug_knob_kind)kind,
        .when = strcmp(snug_json_get_string(node, "when", "context"), "load") == 0
                    ? SNUG_KNOB_LOAD
                    : SNUG_KNOB_CONTEXT,
        .min = snug_json_get_int(node, "min", 0),
        .max = snug_json_get_int(node, "max", 1),
        .step = snug_json_get_int(node, "step", 1),
        .is_tuned = snug_json_get_bool(node, "is_tuned", true),
        .is_quality = snug_json_get_bool(node, "is_quality", false),
        .flag = "",
        .flag_off = "",
        .help = "",
    };
    const struct snug_json_node *values = snug_json_get(node, "values");
    if (kind == SNUG_KNOB_BOOL)
        knob->min = 0, knob->max = 1;
    if (!knob->name || snug_json_count(values) > SNUG_KNOB_VALUES_MAX ||
        !read_names(values, arena, knob))
        return snug_fail(err, SNUG_BAD_INPUT, "%.64s: up to %d values, each with a name", name,
                         SNUG_KNOB_VALUES_MAX);
    if (kind == SNUG_KNOB_ENUM)
        knob->min = 0, knob->max = knob->n_values - 1;
    if (!has_good_bounds(knob))
        return snug_fail(err, SNUG_BAD_INPUT, "%.64s: bounds that make 1 to %d levels", name,
                         SNUG_SPACE_LEVELS_MAX);
    const snug_status status = read_default(node, knob, err);
    return status == SNUG_OK ? SNUG_OK : snug_fail_prefix(err, status, "%.64s", name);
}

snug_status snug_space_from_json(const struct snug_json_node *rows, struct snug_arena *arena,
                                 struct snug_space *out, struct snug_error *err)
{
    struct snug_space space = {0};
    const size_t n = snug_json_count(rows);
    if (!snug_json_is_array(rows) || n == 0 || n > SNUG_KNOBS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "space: an array of 1 to %d rows is needed",
                         SNUG_KNOBS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct snug_knob *knob = &space.knobs[i];
        snug_status status = read_row(snug_json_at(rows, i), arena, knob, err);
        if (status == SNUG_OK && snug_space_find(&space, knob->name) >= 0)
            status = snug_fail(err, SNUG_BAD_INPUT, "%.64s stands twice", knob->name);
        if (status != SNUG_OK)
            return snug_fail_prefix(err, status, "space, row %zu", i + 1);
        space.n++;
    }
    *out = space;
    return SNUG_OK;
}
