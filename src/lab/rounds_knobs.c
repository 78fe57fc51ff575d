/* The knobs of a round: names as the option parser takes them, values in the row's own notation,
 * both checked here so that a slip is found before anything runs. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/near.h"
#include "lab/rounds_internal.h"
#include "snug/engine.h"

/* Bounds that a machine or a model sets later. A count beyond them ends as a refused row there. */
static const int64_t THREADS_MAX = 512, LAYERS_MAX = 1024;

/* "n_threads", "n-threads", "threads" and "--threads" are one knob, as on the command line. */
static const struct snug_knob *find_knob(const char *text)
{
    const struct snug_space *rows = snug_engine_rows();
    char dashed[64], wanted[64];
    snprintf(wanted, sizeof wanted, "%s", strncmp(text, "--", 2) == 0 ? text + 2 : text);
    for (char *p = wanted; *p; p++)
        *p = *p == '_' ? '-' : *p;
    for (int i = 0; i < rows->n; i++) {
        const struct snug_knob *knob = &rows->knobs[i];
        snprintf(dashed, sizeof dashed, "%s", knob->name);
        for (char *p = dashed; *p; p++)
            *p = *p == '_' ? '-' : *p;
        const char *flag = knob->flag + 2;
        const size_t n = strcspn(flag, " ");
        if (strcmp(dashed, wanted) == 0 || (strlen(wanted) == n && strncmp(flag, wanted, n) == 0))
            return knob;
    }
    return NULL;
}

static snug_status fail_name(const struct snug_yaml *doc, const struct snug_yaml_node *node,
                             struct snug_error *err)
{
    const struct snug_space *rows = snug_engine_rows();
    const char *names[SNUG_KNOBS_MAX];
    char listed[320] = "";
    size_t n = 0;
    for (int i = 0; i < rows->n; i++) {
        names[i] = rows->knobs[i].name;
        if (n < sizeof listed)
            n += (size_t)snprintf(listed + n, sizeof listed - n, "%s%s", i ? ", " : "", names[i]);
    }
    if (strcmp(snug_yaml_key(node), "weights") == 0)
        return snug_yaml_fail(doc, node, err,
                              "no knob: write weights beside knobs, not among them");
    const char *near = snug__near_word(snug_yaml_key(node), names, rows->n);
    if (near)
        return snug_yaml_fail(doc, node, err, "the engine has no such knob; did you mean '%s'?",
                              near);
    return snug_yaml_fail(doc, node, err, "the engine has no such knob; it has %s", listed);
}

/* "all", or hex digits as llama.cpp's --cpu-mask takes them. */
static bool is_mask(const char *text)
{
    const char *digits = strncmp(text, "0x", 2) == 0 ? text + 2 : text;
    const size_t n = strspn(digits, "0123456789abcdefABCDEF");
    return strcmp(text, "all") == 0 || (n > 0 && n <= 128 && digits[n] == '\0');
}

/* A device is called as ggml calls it there: any word. */
static bool is_device(const char *text)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)text[i]) && !strchr("-_:.", text[i]))
            return false;
    }
    return n > 0 && n < 64;
}

/* One value in the row's own notation into *out; NULL text with a reason in why when it is none. */
static snug_status read_value(const struct snug_knob *knob, const char *text,
                              struct snug_arena *arena, const char **out, struct snug_error *why)
{
    struct snug_knob wide = *knob;
    char written[32];
    int64_t value = 0;
    if (strcmp(knob->name, "cpu_mask") == 0 || strcmp(knob->name, "device") == 0) {
        const bool is_fine = knob->name[0] == 'c' ? is_mask(text) : is_device(text);
        if (!is_fine)
            return snug_fail(why, SNUG_BAD_INPUT, "'%.40s' is %s", text,
                             knob->name[0] == 'c' ? "neither all nor a hex mask such as 0x3"
                                                  : "no name of a device");
        *out = snug_arena_strdup(arena, text);
    } else {
        if (strncmp(knob->name, "n_threads", 9) == 0)
            wide.max = THREADS_MAX;
        else if (strcmp(knob->name, "n_gpu_layers") == 0)
            wide.max = LAYERS_MAX;
        const snug_status status = snug_knob_parse(&wide, text, &value, why);
        if (status != SNUG_OK)
            return status;
        *out = snug_arena_strdup(arena, snug_knob_text(&wide, value, written));
    }
    return *out ? SNUG_OK : snug_fail(why, SNUG_NO_MEMORY, "no memory for a value");
}

static snug_status read_weights(const char *text, const char **out, struct snug_error *why)
{
    const char *const *types = snug_engine_weight_types();
    char listed[320] = "";
    int n = 0;
    size_t n_text = 0;
    for (; types[n]; n++) {
        if (strcasecmp(types[n], text) == 0) {
            *out = types[n];
            return SNUG_OK;
        }
        if (n_text < sizeof listed)
            n_text += (size_t)snprintf(listed + n_text, sizeof listed - n_text, "%s%s",
                                       n ? ", " : "", types[n]);
    }
    const char *near = snug__near_word(text, types, n);
    return snug_fail(why, SNUG_BAD_INPUT, "'%.40s' is no type to quantise to%s%s; one of %s", text,
                     near ? "; did you mean " : "", near ? near : "", listed);
}

static snug_status add_value(const struct snug_yaml *doc, const struct snug_yaml_node *node,
                             struct snug_arena *arena, struct snug__lab_axis *axis,
                             struct snug_error *err)
{
    struct snug_error why = {0};
    const char *text = snug_yaml_text(node);
    if (!text || !text[0])
        return snug_yaml_fail(doc, node, err, "a value is expected here, or a list of values");
    if (axis->n == SNUG_LAB_LIST_MAX)
        return snug_yaml_fail(doc, node, err, "more than %d values of one knob", SNUG_LAB_LIST_MAX);
    const snug_status status =
        axis->knob ? read_value(axis->knob, text, arena, &axis->values[axis->n], &why)
                   : read_weights(text, &axis->values[axis->n], &why);
    if (status == SNUG_NO_MEMORY)
        return snug_fail(err, status, "%s", why.text);
    if (status != SNUG_OK)
        return snug_yaml_fail(doc, node, err, "%s", why.text);
    axis->n++;
    return SNUG_OK;
}

static snug_status read_axis(const struct snug_yaml *doc, const struct snug_yaml_node *node,
                             struct snug_arena *arena, struct snug__lab_axis *axis,
                             struct snug_error *err)
{
    axis->node = node;
    axis->is_list = snug_yaml_is_list(node);
    if (!axis->is_list)
        return add_value(doc, node, arena, axis, err);
    if (snug_yaml_count(node) == 0)
        return snug_yaml_fail(doc, node, err, "an empty list: give one value or more");
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < snug_yaml_count(node); i++)
        status = add_value(doc, snug_yaml_at(node, i), arena, axis, err);
    return status;
}

snug_status snug__lab_axes_read(const struct snug_yaml *doc, const struct snug_yaml_node *knobs,
                                const struct snug_yaml_node *weights, struct snug_arena *arena,
                                struct snug__lab_axes *out, struct snug_error *err)
{
    const struct snug_space *rows = snug_engine_rows();
    const struct snug_yaml_node *found[SNUG_KNOBS_MAX] = {0};
    snug_status status = SNUG_OK;
    out->n = 0;
    if (knobs && !snug_yaml_is_map(knobs))
        return snug_yaml_fail(doc, knobs, err, "a mapping of knobs is expected: {n_threads: 2}");
    for (int i = 0; i < snug_yaml_count(knobs); i++) {
        const struct snug_yaml_node *node = snug_yaml_at(knobs, i);
        const struct snug_knob *knob = find_knob(snug_yaml_key(node));
        if (!knob)
            return fail_name(doc, node, err);
        if (found[knob - rows->knobs])
            return snug_yaml_fail(doc, node, err, "%s is set twice", knob->name);
        found[knob - rows->knobs] = node;
    }
    if (weights) {
        out->list[out->n] = (struct snug__lab_axis){0};
        status = read_axis(doc, weights, arena, &out->list[out->n++], err);
    }
    /* In the table's order: that of the keys in the file says nothing. */
    for (int i = 0; status == SNUG_OK && i < rows->n; i++) {
        if (!found[i])
            continue;
        out->list[out->n] = (struct snug__lab_axis){.knob = &rows->knobs[i]};
        status = read_axis(doc, found[i], arena, &out->list[out->n++], err);
    }
    return status;
}
