/* Reading plan.json. Strict: a plan decides what is written to disk and what is started, so every
 * field must be there and in range, and nothing else may be; the error names the field's path. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/near.h"
#include "plan/plan_internal.h"

#define KEYS_MAX 24   /* of one object, fields and arrays */
#define WORD_SHOWN 40 /* characters of a word that is not known */
#define PATH_MAX_ 96

struct reader {
    const char *name; /* of the file */
    struct snug_plan *plan;
    struct snug_error *err;
};

static snug_status bad(const struct reader *r, const char *path, const char *format, ...)
    SNUG_PRINTF(3, 4);

static snug_status bad(const struct reader *r, const char *path, const char *format, ...)
{
    char text[SNUG_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return snug_fail(r->err, SNUG_BAD_INPUT, "%s: %s: %s", r->name, path, text);
}

/* "; did you mean 'q4_K'?", or nothing. */
static const char *suggestion(const char *word, const char *const *known, int n, char *out,
                              size_t cap)
{
    const char *near = snug__near_word(word, known, n);
    out[0] = '\0';
    if (near)
        snprintf(out, cap, "; did you mean '%s'?", near);
    return out;
}

/* Words of a closed list; returns the index or -1, with the error set. */
static int find_word(const struct reader *r, const char *path, const struct snug_json_node *node,
                     const char *const *known, int n)
{
    char more[80];
    const char *word = snug_json_string(node, NULL);
    if (!word) {
        (void)!bad(r, path, "a text is expected, such as \"%s\"", known[0]);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        if (strcmp(known[i], word) == 0)
            return i;
    }
    (void)!bad(r, path, "'%.*s' is not known%s", WORD_SHOWN, word,
               suggestion(word, known, n, more, sizeof more));
    return -1;
}

/* ---- one value of each kind ---- */

static snug_status read_type(const struct reader *r, const char *path,
                             const struct snug_json_node *node, int *out)
{
    const char *names[SNUG_MODEL_TYPES_MAX];
    int types[SNUG_MODEL_TYPES_MAX], n = 0;
    for (int t = 0; t < SNUG_MODEL_TYPES_MAX; t++) {
        const char *name = snug_model_type_name(t);
        if (strcmp(name, "?") == 0)
            continue;
        types[n] = t;
        names[n++] = name;
    }
    const int i = find_word(r, path, node, names, n);
    if (i < 0)
        return SNUG_BAD_INPUT;
    *out = types[i];
    return SNUG_OK;
}

static snug_status read_text(const struct reader *r, const char *path,
                             const struct snug_json_node *node, size_t cap, char *out)
{
    const char *text = snug_json_string(node, NULL);
    if (!text)
        return bad(r, path, "a text is expected");
    if (strlen(text) >= cap)
        return bad(r, path, "a text of %zu bytes; up to %zu are accepted", strlen(text), cap - 1);
    snprintf(out, cap, "%s", text);
    return SNUG_OK;
}

static snug_status read_int(const struct reader *r, const char *path,
                            const struct snug_json_node *node, int64_t min, int64_t max,
                            int64_t *out)
{
    /* Twice with different fallbacks: a number that is whole and fits gives itself both times. */
    const int64_t value = snug_json_int(node, 0);
    if (!snug_json_is_number(node) || value != snug_json_int(node, 1))
        return bad(r, path, "a whole number from %" PRId64 " to %" PRId64 " is expected", min, max);
    if (value < min || value > max)
        return bad(r, path, "%" PRId64 " is out of range; %" PRId64 " to %" PRId64 " is accepted",
                   value, min, max);
    *out = value;
    return SNUG_OK;
}

/* What is not there in memory (NAN) is null in the file. */
static snug_status read_number(const struct reader *r, const char *path,
                               const struct snug_json_node *node, double *out)
{
    const double value = snug_json_number(node, NAN);
    const bool is_null = node && !snug_json_is_number(node) && !snug_json_is_string(node) &&
                         !snug_json_is_array(node) && !snug_json_is_object(node) &&
                         snug_json_bool(node, true) != snug_json_bool(node, false);
    if (!is_null && !(value >= 0.0 && isfinite(value)))
        return bad(r, path, "a number of 0 or more, or null, is expected");
    *out = value;
    return SNUG_OK;
}

static snug_status check_keys(const struct reader *r, const char *path,
                              const struct snug_json_node *node, const char *const *keys, int n)
{
    char more[80];
    if (!snug_json_is_object(node))
        return bad(r, path, node ? "an object is expected" : "missing");
    const char *key = NULL;
    const struct snug_json_node *value = NULL;
    uint32_t seen = 0; /* a bit per key */
    for (size_t i = 0; snug_json_member(node, i, &key, &value); i++) {
        int k = 0;
        while (k < n && strcmp(keys[k], key) != 0)
            k++;
        if (k == n)
            return bad(r, path, "no field '%.*s'%s", WORD_SHOWN, key,
                       suggestion(key, keys, n, more, sizeof more));
        if (seen & 1u << k)
            return bad(r, path, "field '%s' is there twice", key);
        seen |= 1u << k;
    }
    return SNUG_OK;
}

static snug_status read_range(const struct reader *r, const char *path,
                              const struct snug_json_node *node, struct snug_prediction *out)
{
    static const char *const KEYS[] = {"value", "lo", "hi"};
    char at[PATH_MAX_];
    double x[3] = {0};
    snug_status status = check_keys(r, path, node, KEYS, 3);
    for (int i = 0; i < 3 && status == SNUG_OK; i++) {
        snprintf(at, sizeof at, "%s.%s", path, KEYS[i]);
        status = read_number(r, at, snug_json_get(node, KEYS[i]), &x[i]);
    }
    if (status == SNUG_OK && (x[0] < x[1] || x[0] > x[2]))
        status = bad(r, path, "%g is not between lo %g and hi %g", x[0], x[1], x[2]);
    if (status == SNUG_OK)
        *out = (struct snug_prediction){.value = x[0], .lo = x[1], .hi = x[2]};
    return status;
}

static snug_status read_grade(const struct reader *r, const char *path,
                              const struct snug_json_node *node, enum snug_plan_grade *out)
{
    const char *names[SNUG_PLAN_INFEASIBLE + 1];
    for (int i = 0; i <= SNUG_PLAN_INFEASIBLE; i++)
        names[i] = snug_plan_grade_name((enum snug_plan_grade)i);
    const int i = find_word(r, path, node, names, SNUG_PLAN_INFEASIBLE + 1);
    if (i < 0)
        return SNUG_BAD_INPUT;
    *out = (enum snug_plan_grade)i;
    return SNUG_OK;
}

static snug_status read_method(const struct reader *r, const char *path,
                               const struct snug_json_node *node, enum snug_sensitivity_method *out)
{
    const char *names[SNUG_N_SENSITIVITY_METHODS];
    for (int i = 0; i < SNUG_N_SENSITIVITY_METHODS; i++)
        names[i] = snug_sensitivity_method_name((enum snug_sensitivity_method)i);
    const int i = find_word(r, path, node, names, SNUG_N_SENSITIVITY_METHODS);
    if (i < 0)
        return SNUG_BAD_INPUT;
    *out = (enum snug_sensitivity_method)i;
    return SNUG_OK;
}

/* ---- tables ---- */

static snug_status read_field(const struct reader *r, const char *path,
                              const struct snug__plan_field *field,
                              const struct snug_json_node *node, void *base)
{
    void *at = (char *)base + field->at;
    int64_t number = 0;
    snug_status status = SNUG_OK;
    if (!node)
        return bad(r, path, "missing");
    switch (field->kind) {
    case SNUG__PLAN_TEXT:
        return read_text(r, path, node, (size_t)field->max, at);
    case SNUG__PLAN_INT:
        return read_int(r, path, node, field->min, field->max, at);
    case SNUG__PLAN_SMALL:
        status = read_int(r, path, node, field->min, field->max, &number);
        *(int *)at = (int)number;
        return status;
    case SNUG__PLAN_BYTES:
        status = read_int(r, path, node, field->min, field->max, &number);
        *(uint64_t *)at = (uint64_t)number;
        return status;
    case SNUG__PLAN_FLAG:
        if (snug_json_bool(node, true) != snug_json_bool(node, false))
            return bad(r, path, "true or false is expected");
        *(bool *)at = snug_json_bool(node, false);
        return SNUG_OK;
    case SNUG__PLAN_TYPE:
        return read_type(r, path, node, at);
    case SNUG__PLAN_GRADE:
        return read_grade(r, path, node, at);
    case SNUG__PLAN_METHOD:
        return read_method(r, path, node, at);
    case SNUG__PLAN_NUMBER:
        return read_number(r, path, node, at);
    case SNUG__PLAN_RANGE:
        return read_range(r, path, node, at);
    }
    return SNUG_OK;
}

static snug_status read_fields(const struct reader *r, const char *path,
                               const struct snug_json_node *node,
                               const struct snug__plan_section *section, void *base)
{
    const char *keys[KEYS_MAX];
    char at[PATH_MAX_];
    int n = 0;
    for (int i = 0; i < section->n_fields; i++)
        keys[n++] = section->fields[i].key;
    for (const char *const *more = section->arrays; *more; more++)
        keys[n++] = *more;
    snug_status status = check_keys(r, path, node, keys, n);
    for (int i = 0; i < section->n_fields && status == SNUG_OK; i++) {
        snprintf(at, sizeof at, "%s.%s", path, keys[i]);
        status = read_field(r, at, &section->fields[i], snug_json_get(node, keys[i]), base);
    }
    return status;
}

/* An array of at most cap elements; *out_n how many. */
static snug_status open_array(const struct reader *r, const char *path,
                              const struct snug_json_node *node, size_t cap, size_t *out_n)
{
    if (!snug_json_is_array(node))
        return bad(r, path, node ? "an array is expected" : "missing");
    if (snug_json_count(node) > cap)
        return bad(r, path, "%zu elements; up to %zu are accepted", snug_json_count(node), cap);
    *out_n = snug_json_count(node);
    return SNUG_OK;
}

static snug_status read_tiers(const struct reader *r, const struct snug_json_node *node)
{
    const struct snug__plan_section tier = {.fields = snug__plan_tier_fields,
                                            .n_fields = snug__plan_n_tier_fields};
    size_t n = 0;
    snug_status status = open_array(r, "predicted.tiers", node, SNUG_TIERS_MAX, &n);
    for (size_t i = 0; i < n && status == SNUG_OK; i++) {
        char path[PATH_MAX_];
        snprintf(path, sizeof path, "predicted.tiers[%zu]", i);
        status = read_fields(r, path, snug_json_at(node, i), &tier, &r->plan->tiers[i]);
    }
    r->plan->n_tiers = (int)n;
    return status;
}

static snug_status read_decode(const struct reader *r, const struct snug_json_node *node)
{
    static const char *const KEYS[] = {"depth", "tps"};
    struct snug_plan *plan = r->plan;
    size_t n = 0;
    snug_status status = open_array(r, "predicted.decode", node, SNUG_PLAN_DEPTHS_MAX, &n);
    for (size_t i = 0; i < n && status == SNUG_OK; i++) {
        const struct snug_json_node *one = snug_json_at(node, i);
        char path[PATH_MAX_], at[PATH_MAX_ + 8];
        snprintf(path, sizeof path, "predicted.decode[%zu]", i);
        status = check_keys(r, path, one, KEYS, 2);
        snprintf(at, sizeof at, "%s.depth", path);
        if (status == SNUG_OK)
            status =
                read_int(r, at, snug_json_get(one, "depth"), 0, (int64_t)1 << 31, &plan->depths[i]);
        snprintf(at, sizeof at, "%s.tps", path);
        if (status == SNUG_OK)
            status = read_range(r, at, snug_json_get(one, "tps"), &plan->decode_tps[i]);
    }
    plan->n_depths = (int)n;
    return status;
}

static snug_status read_notes(const struct reader *r, const struct snug_json_node *node)
{
    size_t n = 0;
    snug_status status = open_array(r, "notes", node, SNUG_PLAN_NOTES_MAX, &n);
    for (size_t i = 0; i < n && status == SNUG_OK; i++) {
        char path[PATH_MAX_];
        snprintf(path, sizeof path, "notes[%zu]", i);
        status = read_text(r, path, snug_json_at(node, i), SNUG_PLAN_NOTE_MAX, r->plan->notes[i]);
    }
    r->plan->n_notes = (int)n;
    return status;
}

/* ---- tensors ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static snug_status check_twice(const struct reader *r, const char **sorted)
{
    const size_t n = (size_t)r->plan->n_tensors;
    memcpy(sorted, r->plan->names, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_names);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            return bad(r, "tensors", "'%s' is there twice", sorted[i]);
    }
    return SNUG_OK;
}

/* Names go to the block behind the pointers: n * sizeof(pointer), then n names of a fixed room. */
static snug_status read_tensor(const struct reader *r, size_t i, const struct snug_json_node *node,
                               char *name)
{
    static const char *const KEYS[] = {"name", "type"};
    char path[PATH_MAX_], at[PATH_MAX_ + 8];
    snprintf(path, sizeof path, "tensors[%zu]", i);
    snug_status status = check_keys(r, path, node, KEYS, 2);
    snprintf(at, sizeof at, "%s.name", path);
    if (status == SNUG_OK)
        status = read_text(r, at, snug_json_get(node, "name"), SNUG_GGUF_TENSOR_NAME_MAX + 1, name);
    if (status == SNUG_OK && !name[0])
        status = bad(r, at, "a tensor's name is expected");
    snprintf(at, sizeof at, "%s.type", path);
    if (status == SNUG_OK)
        status = read_type(r, at, snug_json_get(node, "type"), &r->plan->types[i]);
    return status;
}

static snug_status read_tensors(const struct reader *r, const struct snug_json_node *node)
{
    struct snug_plan *plan = r->plan;
    const size_t room = SNUG_GGUF_TENSOR_NAME_MAX + 1;
    size_t n = 0;
    snug_status status = open_array(r, "tensors", node, SNUG_GGUF_TENSORS_MAX, &n);
    if (status != SNUG_OK)
        return status;
    if (n != (size_t)plan->n_tensors)
        return bad(r, "tensors", "%zu of them, model.n_tensors says %d", n, plan->n_tensors);
    const struct snug_json_node **all = malloc((n + 1) * sizeof *all);
    plan->names = malloc((n + 1) * sizeof *plan->names + n * room);
    plan->types = malloc((n + 1) * sizeof *plan->types);
    if (!all || !plan->names || !plan->types) {
        status = snug_fail(r->err, SNUG_NO_MEMORY, "%s: %zu tensors", r->name, n);
        goto done;
    }
    snug_json_elements(node, all, n);
    char *names = (char *)(void *)(plan->names + n + 1);
    for (size_t i = 0; i < n && status == SNUG_OK; i++) {
        plan->names[i] = names + i * room;
        status = read_tensor(r, i, all[i], names + i * room);
    }
    if (status == SNUG_OK)
        status = check_twice(r, (const char **)(void *)all);
done:
    free(all);
    return status;
}

static snug_status read_root(const struct reader *r, const struct snug_json_node *root)
{
    static const char *const KEYS[] = {"format", "version",   "model", "machine", "verdict",
                                       "run",    "predicted", "notes", "tensors"};
    if (strcmp(snug_json_get_string(root, "format", ""), SNUG__PLAN_FORMAT) != 0)
        return bad(r, "format", "\"%s\" is expected: is this a plan of snug plan -o?",
                   SNUG__PLAN_FORMAT);
    const int64_t version = snug_json_get_int(root, "version", -1);
    if (version != SNUG__PLAN_VERSION) {
        (void)!bad(r, "version", "%" PRId64 "; this snug reads version %d: plan again", version,
                   SNUG__PLAN_VERSION);
        return SNUG_BAD_INPUT;
    }
    snug_status status = check_keys(r, "plan", root, KEYS, (int)(sizeof KEYS / sizeof *KEYS));
    for (const struct snug__plan_section *s = snug__plan_sections; s->key && status == SNUG_OK; s++)
        status = read_fields(r, s->key, snug_json_get(root, s->key), s, r->plan);
    const struct snug_json_node *predicted = snug_json_get(root, "predicted");
    if (status == SNUG_OK)
        status = read_tiers(r, snug_json_get(predicted, "tiers"));
    if (status == SNUG_OK)
        status = read_decode(r, snug_json_get(predicted, "decode"));
    if (status == SNUG_OK)
        status = read_notes(r, snug_json_get(root, "notes"));
    if (status == SNUG_OK)
        status = read_tensors(r, snug_json_get(root, "tensors"));
    return status;
}

snug_status snug__plan_parse(const char *name, const char *text, size_t n, struct snug_plan *out,
                             struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug_plan *plan = calloc(1, sizeof *plan); /* some kB, and out stays as it is */
    if (!plan)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: plan", name);
    const struct reader r = {.name = name, .plan = plan, .err = err};
    snug_status status = snug_json_parse(name, text, n, &doc, err);
    if (status == SNUG_OK)
        status = read_root(&r, snug_json_root(doc));
    snug_json_free(doc);
    if (status == SNUG_OK)
        *out = *plan;
    else
        snug_plan_clear(plan);
    free(plan);
    return status;
}

snug_status snug_plan_read(const char *path, struct snug_plan *out, struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read(path, SNUG__PLAN_FILE_MAX, &text, &n, err);
    if (status != SNUG_OK)
        return status;
    status = snug__plan_parse(path, text, n, out, err);
    free(text);
    return status;
}
