/* Calibrations on disk: "law-FINGERPRINT.json" in the cache folder, one per machine. A file of
 * another build or version, or a damaged one, counts as not there: calibrating again is the cure.
 * The text is outside data all the same: every figure is checked before it is used. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "plan/law_fit.h"

#define LAW_FILE_MAX (1u << 20)
#define LAW_FILE_VERSION 2
#define FINGERPRINT_DIGITS 64

/* ---- tables: a row writes and reads a figure ---- */

struct figure {
    const char *key;
    size_t offset;
};
#define LAW_FIGURE(member)                                                                         \
    {                                                                                              \
#member, offsetof(struct snug_law, member)                                                 \
    }
#define TIER_FIGURE(member)                                                                        \
    {                                                                                              \
#member, offsetof(struct snug_law_tier, member)                                            \
    }
static const struct figure LAW_FIGURES[] = {
    LAW_FIGURE(step_s),         LAW_FIGURE(ubatch_s),        LAW_FIGURE(decode_lo_frac),
    LAW_FIGURE(decode_hi_frac), LAW_FIGURE(prefill_lo_frac), LAW_FIGURE(prefill_hi_frac)};
static const struct figure TIER_FIGURES[] = {TIER_FIGURE(layer_s), TIER_FIGURE(layer_token_s),
                                             TIER_FIGURE(token_element_s), TIER_FIGURE(hop_s)};
/* By type. */
static const struct figure TYPE_FIGURES[] = {
    TIER_FIGURE(decode_s_per_byte), TIER_FIGURE(prefill_s_per_flop), TIER_FIGURE(cache_s_per_byte),
    TIER_FIGURE(attention_s_per_flop), TIER_FIGURE(attention_step_s_per_flop)};
/* The first ones depend on the number of threads. */
#define N_LAW_TIMES 2
#define N_TIER_TIMES 3
static const char *const KINDS[] = {"device", "host", "disk"};
#define COUNT(table) (sizeof(table) / sizeof(table)[0])

static double *figure_at(void *object, const struct figure *figure)
{
    return (double *)(void *)((char *)object + figure->offset);
}

static void put_figures(struct snug_json_writer *w, const struct figure *figures, size_t n,
                        const void *object)
{
    for (size_t i = 0; i < n; i++)
        snug_json_put_number(w, figures[i].key, *figure_at((void *)(uintptr_t)object, &figures[i]));
}

static bool take_figures(const struct snug_json_node *node, const struct figure *figures, size_t n,
                         void *object, size_t index, const char **out_key)
{
    for (size_t i = 0; i < n; i++) {
        const double value = snug_json_get_number(node, figures[i].key, -1.0);
        *out_key = figures[i].key;
        if (!(value >= 0.0 && value <= DBL_MAX))
            return false;
        figure_at(object, &figures[i])[index] = value;
    }
    return true;
}

/* ---- writing ---- */

static void put_tier(struct snug_json_writer *w, const struct snug_law_tier *tier)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "kind", KINDS[tier->kind]);
    snug_json_put_string(w, "name", tier->name);
    put_figures(w, TIER_FIGURES, COUNT(TIER_FIGURES), tier);
    snug_json_begin_array(w, "types");
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++) {
        if (!snug__law_is_type(y))
            continue;
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "type", snug_model_type_name(y));
        snug_json_put_bool(w, "is_measured", tier->is_measured[y]);
        for (size_t i = 0; i < COUNT(TYPE_FIGURES); i++)
            snug_json_put_number(
                w, TYPE_FIGURES[i].key,
                figure_at((void *)(uintptr_t)(const void *)tier, &TYPE_FIGURES[i])[y]);
        snug_json_end(w);
    }
    snug_json_end(w);
    snug_json_end(w);
}

static void put_law(struct snug_json_writer *w, const struct snug_law *law)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_int(w, "n_threads", law->n_threads);
    snug_json_put_string(w, "source", law->source);
    put_figures(w, LAW_FIGURES, COUNT(LAW_FIGURES), law);
    snug_json_begin_array(w, "tiers");
    for (int t = 0; t < law->n_tiers; t++)
        put_tier(w, &law->tiers[t]);
    snug_json_end(w);
    snug_json_end(w);
}

static char *calibration_text(const struct snug__calibration *c)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "version", LAW_FILE_VERSION);
    snug_json_put_string(&w, "fingerprint", c->fingerprint);
    snug_json_put_string(&w, "build", c->build);
    snug_json_begin_array(&w, "laws");
    for (int i = 0; i < c->n_laws; i++)
        put_law(&w, &c->laws[i]);
    snug_json_end(&w);
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

/* ---- reading ---- */

static snug_status take_tier(const struct snug_json_node *node, struct snug_law_tier *out,
                             struct snug_error *err)
{
    const char *kind = snug_json_get_string(node, "kind", "");
    const struct snug_json_node *types = snug_json_get(node, "types");
    const char *key = NULL;
    int n = 0;
    while (n < (int)COUNT(KINDS) && strcmp(KINDS[n], kind) != 0)
        n++;
    if (n == (int)COUNT(KINDS))
        return snug_fail(err, SNUG_BAD_INPUT, "\"kind\": \"%.20s\"; expected device, host or disk",
                         kind);
    out->kind = (enum snug_tier_kind)n;
    snprintf(out->name, sizeof out->name, "%.60s", snug_json_get_string(node, "name", ""));
    if (!take_figures(node, TIER_FIGURES, COUNT(TIER_FIGURES), out, 0, &key))
        return snug_fail(err, SNUG_BAD_INPUT, "\"%s\": expected a number of at least 0", key);
    if (snug_json_count(types) > SNUG_MODEL_TYPES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "\"types\": more than %d", SNUG_MODEL_TYPES_MAX);
    for (size_t i = 0; i < snug_json_count(types); i++) {
        const struct snug_json_node *item = snug_json_at(types, i);
        const int y = snug__law_type_from_name(snug_json_get_string(item, "type", NULL));
        if (y < 0)
            return snug_fail(err, SNUG_BAD_INPUT, "\"types\"[%zu]: no type of weights", i);
        if (!take_figures(item, TYPE_FIGURES, COUNT(TYPE_FIGURES), out, (size_t)y, &key))
            return snug_fail(err, SNUG_BAD_INPUT,
                             "\"types\"[%zu]: \"%s\": expected a number of at least 0", i, key);
        out->is_measured[y] = snug_json_get_bool(item, "is_measured", false);
    }
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++)
        if (snug__law_is_type(y) &&
            (out->decode_s_per_byte[y] <= 0.0 || out->prefill_s_per_flop[y] <= 0.0))
            return snug_fail(err, SNUG_BAD_INPUT, "\"types\": no figures for %s",
                             snug_model_type_name(y));
    return SNUG_OK;
}

static snug_status take_law(const struct snug_json_node *node, struct snug_law *out,
                            struct snug_error *err)
{
    const struct snug_json_node *tiers = snug_json_get(node, "tiers");
    const size_t n = snug_json_count(tiers);
    const int64_t n_threads = snug_json_get_int(node, "n_threads", 0);
    const char *key = NULL;
    if (n_threads < 1 || n_threads > 4096)
        return snug_fail(err, SNUG_BAD_INPUT, "\"n_threads\": expected 1 to 4096");
    if (n < 1 || n > SNUG_TIERS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "\"tiers\": %zu; expected 1 to %d", n,
                         SNUG_TIERS_MAX);
    if (!take_figures(node, LAW_FIGURES, COUNT(LAW_FIGURES), out, 0, &key))
        return snug_fail(err, SNUG_BAD_INPUT, "\"%s\": expected a number of at least 0", key);
    out->n_threads = (int)n_threads;
    out->n_tiers = (int)n;
    snprintf(out->source, sizeof out->source, "%.90s", snug_json_get_string(node, "source", ""));
    for (size_t t = 0; t < n; t++) {
        const snug_status status = take_tier(snug_json_at(tiers, t), &out->tiers[t], err);
        if (status != SNUG_OK)
            return snug_fail_prefix(err, status, "\"tiers\"[%zu]", t);
    }
    return SNUG_OK;
}

static snug_status take_calibration(const struct snug_json_node *root,
                                    struct snug__calibration *out, struct snug_error *err)
{
    const struct snug_json_node *laws = snug_json_get(root, "laws");
    const int64_t version = snug_json_get_int(root, "version", 0);
    const size_t n = snug_json_count(laws);
    if (version != LAW_FILE_VERSION)
        return snug_fail(err, SNUG_BAD_INPUT, "\"version\": %lld; this snug reads %d",
                         (long long)version, LAW_FILE_VERSION);
    if (n < 1 || n > SNUG__LAW_COUNTS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "\"laws\": %zu; expected 1 to %d", n,
                         SNUG__LAW_COUNTS_MAX);
    out->n_laws = (int)n;
    snprintf(out->fingerprint, sizeof out->fingerprint, "%.64s",
             snug_json_get_string(root, "fingerprint", ""));
    snprintf(out->build, sizeof out->build, "%.60s", snug_json_get_string(root, "build", ""));
    for (size_t i = 0; i < n; i++) {
        struct snug_law *law = &out->laws[i];
        const snug_status status = take_law(snug_json_at(laws, i), law, err);
        if (status != SNUG_OK)
            return snug_fail_prefix(err, status, "\"laws\"[%zu]", i);
        snprintf(law->machine, sizeof law->machine, "this machine");
        memcpy(law->build, out->build, sizeof law->build);
        if (law->n_tiers != out->laws[0].n_tiers ||
            (i > 0 && law->n_threads >= out->laws[i - 1].n_threads))
            return snug_fail(err, SNUG_BAD_INPUT,
                             "\"laws\"[%zu]: expected the same tiers and fewer threads than before",
                             i);
    }
    return SNUG_OK;
}

snug_status snug__calibration_parse(const char *name, const char *text, size_t n,
                                    struct snug__calibration *out, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug__calibration *made = calloc(1, sizeof *made);
    if (!made)
        return snug_fail(err, SNUG_NO_MEMORY, "calibration");
    snug_status status = snug_json_parse(name, text, n, &doc, err);
    if (status == SNUG_OK) {
        status = take_calibration(snug_json_root(doc), made, err);
        if (status != SNUG_OK)
            snug_fail_prefix(err, status, "%s", name);
    }
    if (status == SNUG_OK)
        *out = *made;
    snug_json_free(doc);
    free(made);
    return status;
}

/* ---- files ---- */

/* The fingerprint becomes part of a file name, so nothing but digits may be in it. */
static snug_status name_file(const char *folder, const char *fingerprint, char *out, size_t cap,
                             struct snug_error *err)
{
    if (strlen(fingerprint) != FINGERPRINT_DIGITS ||
        strspn(fingerprint, "0123456789abcdef") != FINGERPRINT_DIGITS)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "fingerprint \"%.80s\": expected 64 lower-case hexadecimal digits",
                         fingerprint);
    const int n = snprintf(out, cap, "%s/law-%s.json", folder, fingerprint);
    if (n < 0 || (size_t)n >= cap)
        return snug_fail(err, SNUG_BAD_INPUT, "cache folder: path longer than %zu bytes", cap);
    return SNUG_OK;
}

snug_status snug__calibration_load(const char *folder, const char *fingerprint, const char *build,
                                   struct snug__calibration *out, struct snug_error *err)
{
    char path[4096];
    char *text = NULL;
    size_t n = 0;
    struct snug_error why = {0};
    snug_status status = name_file(folder, fingerprint, path, sizeof path, err);
    if (status != SNUG_OK)
        return status;
    status = snug_file_read(path, LAW_FILE_MAX, &text, &n, &why);
    struct snug__calibration *made = calloc(1, sizeof *made);
    if (!made)
        status = snug_fail(&why, SNUG_NO_MEMORY, "calibration");
    if (status == SNUG_OK)
        status = snug__calibration_parse(path, text, n, made, &why);
    if (status == SNUG_OK &&
        (strcmp(made->fingerprint, fingerprint) != 0 || strcmp(made->build, build) != 0))
        status = snug_fail(&why, SNUG_NOT_FOUND, "%s is of build \"%s\"; this is \"%s\"", path,
                           made->build, build);
    if (status == SNUG_OK)
        *out = *made;
    free(text);
    free(made);
    if (status == SNUG_OK || status == SNUG_NO_MEMORY)
        return status == SNUG_OK ? status : snug_fail(err, status, "%s", why.text);
    return snug_fail(err, SNUG_NOT_FOUND, "no usable calibration: %s", why.text);
}

snug_status snug__calibration_save(const char *folder, const struct snug__calibration *calibration,
                                   struct snug_error *err)
{
    char path[4096];
    snug_status status = name_file(folder, calibration->fingerprint, path, sizeof path, err);
    if (status == SNUG_OK)
        status = snug_file_make_folder(folder, err);
    if (status != SNUG_OK)
        return status;
    char *text = calibration_text(calibration);
    if (!text)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: JSON text", path);
    status = snug_file_write(path, text, strlen(text), err);
    free(text);
    return status;
}

/* ---- other numbers of threads ---- */

/* Two measured counts of threads and the one that is asked for. */
struct blend {
    int n_most, n_least, n;
};

/* a + b / n through the two: the part that threads share and the part that they do not (Amdahl). */
static double amdahl(const struct blend *blend, double y_most, double y_least)
{
    const double u = 1.0 / blend->n, u_most = 1.0 / blend->n_most, u_least = 1.0 / blend->n_least;
    return fmax(0.0, y_most + (y_least - y_most) / (u_least - u_most) * (u - u_most));
}

/* Element `index` of n figures of out, which holds those of most threads, with those of least. */
static void mix(const struct blend *blend, const struct figure *figures, size_t n, size_t index,
                const void *least, void *out)
{
    for (size_t i = 0; i < n; i++) {
        double *y = &figure_at(out, &figures[i])[index];
        *y = amdahl(blend, *y, figure_at((void *)(uintptr_t)least, &figures[i])[index]);
    }
}

void snug__calibration_at(const struct snug__calibration *c, int n_threads, struct snug_law *out)
{
    const struct snug_law *most = &c->laws[0], *least = &c->laws[c->n_laws - 1];
    *out = *most;
    if (n_threads <= 0 || n_threads >= most->n_threads || c->n_laws < 2)
        return;
    out->n_threads = n_threads < least->n_threads ? least->n_threads : n_threads;
    const struct blend blend = {most->n_threads, least->n_threads, out->n_threads};
    mix(&blend, LAW_FIGURES, N_LAW_TIMES, 0, least, out);
    for (int t = 0; t < out->n_tiers; t++) {
        const struct snug_law_tier *other = &least->tiers[t];
        mix(&blend, TIER_FIGURES, N_TIER_TIMES, 0, other, &out->tiers[t]);
        for (size_t y = 0; y < SNUG_MODEL_TYPES_MAX; y++)
            mix(&blend, TYPE_FIGURES, COUNT(TYPE_FIGURES), y, other, &out->tiers[t]);
    }
}
