/* plan.json: the fields of struct snug_plan by their place in the file; private to the room.
 *
 *   {"format": "snug plan", "version": 1, "model": {..}, "machine": {..}, "verdict": {..},
 *    "run": {..}, "predicted": {.., "tiers": [..], "decode": [..]}, "notes": [..],
 *    "tensors": [{"name": .., "type": ..}, ..]}
 *
 * One row of a table writes a field, reads it, and says what it may hold. A number that is not
 * known is null in the file and NAN in memory. */
#ifndef SNUG_PLAN_INTERNAL_H
#define SNUG_PLAN_INTERNAL_H

#include "base/json.h"
#include "snug/plan.h"

#define SNUG__PLAN_FORMAT "snug plan"
#define SNUG__PLAN_VERSION 1
#define SNUG__PLAN_FILE_MAX (32u << 20) /* bytes: more than 65536 tensors of the longest names */

enum snug__plan_kind {
    SNUG__PLAN_TEXT,  /* char[max] */
    SNUG__PLAN_INT,   /* int64_t, min..max */
    SNUG__PLAN_SMALL, /* int, min..max */
    SNUG__PLAN_BYTES, /* uint64_t, 0..max */
    SNUG__PLAN_FLAG,  /* bool */
    SNUG__PLAN_TYPE,  /* int, a ggml_type by its name */
    SNUG__PLAN_GRADE, /* enum snug_plan_grade by its name */
    SNUG__PLAN_METHOD,
    SNUG__PLAN_NUMBER, /* double >= 0, or null */
    SNUG__PLAN_RANGE,  /* struct snug_prediction */
};

struct snug__plan_field {
    const char *key;
    enum snug__plan_kind kind;
    size_t at; /* in its struct */
    int64_t min, max;
};

/* An object of the file and its fields of struct snug_plan; ended by key NULL. */
struct snug__plan_section {
    const char *key;
    const struct snug__plan_field *fields;
    int n_fields;
    const char *arrays[3]; /* keys besides the fields, read by hand */
};
extern const struct snug__plan_section snug__plan_sections[];
extern const struct snug__plan_field snug__plan_tier_fields[];
extern const int snug__plan_n_tier_fields;

/* From text, as snug_plan_read does; `name` begins error texts. *out is set on success only. */
snug_status snug__plan_parse(const char *name, const char *text, size_t n, struct snug_plan *out,
                             struct snug_error *err) SNUG_CHECKED;

#endif
