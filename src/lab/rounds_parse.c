/* Reading a rounds file. docs/ROUNDS.md tells its users what may stand in it; the tables below are
 * the same, and what they refuse is refused with its place. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/near.h"
#include "lab/rounds_internal.h"
#include "snug/model.h"
#include "snug/units.h"

#define NAME_MAX_BYTES 63 /* also the longest that a stored workload may have */
#define TITLE_MAX_BYTES 120
#define PATH_MAX_BYTES 1000
#define REPETITIONS_MAX 100
#define REPETITIONS_DEFAULT 6 /* as many pairs as an interval needs: lab/compare.h */

/* ---- what the schema fills ---- */

struct model_in {
    char *name, *path, *synth, *type;
    int64_t layers;
};

struct workload_in {
    char *name, *file;
    int64_t prompt, gen, depth, parallel, context;
};

struct round_in {
    char *name, *group;
    int grid;
};

struct quality_in {
    char **texts, **tasks, *reference;
    unsigned n_texts, n_tasks;
};

struct improved_in {
    char **metrics, *tolerance;
    unsigned n_metrics;
};

struct file_in {
    char *title, *deadline;
    int64_t seed, repetitions;
    struct model_in *models;
    unsigned n_models;
    struct workload_in *workloads;
    unsigned n_workloads;
    struct round_in *rounds;
    unsigned n_rounds;
    struct quality_in *quality;
    char **require;
    unsigned n_require;
    struct improved_in *improved;
};

#define TEXT(row, word, cap)                                                                       \
    .key = #word, .type = SNUG_YAML_TEXT, .at = offsetof(row, word), .max = cap
#define INT(row, word, lo, hi)                                                                     \
    .key = #word, .type = SNUG_YAML_INT, .at = offsetof(row, word), .min = lo, .max = hi
#define LIST(row, word, cap)                                                                       \
    .key = #word, .at = offsetof(row, word), .at_count = offsetof(row, n_##word), .max = cap
#define TEXTS(row, word, cap) LIST(row, word, cap), .type = SNUG_YAML_TEXTS
#define MAPS(row, word, cap, entry, table)                                                         \
    LIST(row, word, cap), .type = SNUG_YAML_MAPS, .fields = table, .size = sizeof(entry)
#define MAP(row, word, entry, table)                                                               \
    .key = #word, .type = SNUG_YAML_MAP, .at = offsetof(row, word), .fields = table,               \
    .size = sizeof(entry)

static const struct snug_yaml_field MODEL[] = {
    {TEXT(struct model_in, name, NAME_MAX_BYTES), .is_required = true},
    {TEXT(struct model_in, path, PATH_MAX_BYTES)},
    {TEXT(struct model_in, synth, NAME_MAX_BYTES)},
    {TEXT(struct model_in, type, NAME_MAX_BYTES)},
    {INT(struct model_in, layers, 1, 1024)},
    {.key = NULL},
};

static const struct snug_yaml_field WORKLOAD[] = {
    {TEXT(struct workload_in, name, NAME_MAX_BYTES), .is_required = true},
    {INT(struct workload_in, prompt, 0, 1 << 20)},
    {INT(struct workload_in, gen, 0, 1 << 20)},
    {INT(struct workload_in, depth, 0, 1 << 24)},
    {INT(struct workload_in, parallel, 1, 256)},
    {INT(struct workload_in, context, 1, 1 << 28)},
    {TEXT(struct workload_in, file, PATH_MAX_BYTES)},
    {.key = NULL},
};

static const struct snug_yaml_field ROUND[] = {
    {TEXT(struct round_in, name, NAME_MAX_BYTES), .is_required = true},
    {TEXT(struct round_in, group, NAME_MAX_BYTES)},
    {.key = "knobs", .type = SNUG_YAML_ANY},
    {.key = "weights", .type = SNUG_YAML_ANY},
    {.key = "grid", .type = SNUG_YAML_BOOL, .at = offsetof(struct round_in, grid)},
    {.key = NULL},
};

static const struct snug_yaml_field QUALITY[] = {
    {TEXTS(struct quality_in, texts, SNUG_LAB_LIST_MAX)},
    {TEXTS(struct quality_in, tasks, SNUG_LAB_LIST_MAX)},
    {TEXT(struct quality_in, reference, NAME_MAX_BYTES)},
    {.key = NULL},
};

static const struct snug_yaml_field IMPROVED[] = {
    {TEXTS(struct improved_in, metrics, 8)},
    {TEXT(struct improved_in, tolerance, 32)},
    {.key = NULL},
};

static const struct snug_yaml_field ROUNDS_FILE[] = {
    {TEXT(struct file_in, title, TITLE_MAX_BYTES), .is_required = true},
    {INT(struct file_in, seed, 0, INT64_MAX)},
    {INT(struct file_in, repetitions, 1, REPETITIONS_MAX)},
    {TEXT(struct file_in, deadline, 32)},
    {MAPS(struct file_in, models, SNUG_LAB_MODELS_MAX, struct model_in, MODEL),
     .is_required = true},
    {MAPS(struct file_in, workloads, SNUG_LAB_WORKLOADS_MAX, struct workload_in, WORKLOAD),
     .is_required = true},
    {.key = "baseline", .type = SNUG_YAML_ANY},
    {MAPS(struct file_in, rounds, SNUG_LAB_ROUNDS_MAX, struct round_in, ROUND),
     .is_required = true},
    {MAP(struct file_in, quality, struct quality_in, QUALITY)},
    {TEXTS(struct file_in, require, SNUG_LAB_LIST_MAX)},
    {MAP(struct file_in, improved, struct improved_in, IMPROVED)},
    {.key = NULL},
};

/* What "improved" may speak of. */
static const char *const METRICS[] = {"prefill_tps", "decode_tps", "request_s",
                                      "ttft_s",      "bytes",      "kld"};
enum { N_METRICS = sizeof METRICS / sizeof *METRICS };

/* Types that snug_model_synth writes. */
static const char *const SYNTH_TYPES[] = {"f32",  "f16",  "bf16", "q4_0",   "q4_1",
                                          "q5_0", "q5_1", "q8_0", "q2_k",   "q3_k",
                                          "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"};
enum { N_SYNTH_TYPES = sizeof SYNTH_TYPES / sizeof *SYNTH_TYPES };

/* ---- reading ---- */

struct reader {
    const char *name;
    const struct snug_yaml *doc;
    const struct snug_yaml_node *root;
    const struct file_in *in;
    struct snug_lab_plan *plan;
    struct snug_error *err;
};

/* A copy in the plan; NULL for NULL. is_failed is set when memory is out. */
static const char *copy(struct reader *r, const char *text, bool *is_failed)
{
    const char *out = text ? snug_arena_strdup(&r->plan->arena, text) : NULL;
    *is_failed = *is_failed || (text && !out);
    return out;
}

static snug_status fail_memory(struct reader *r)
{
    return snug_fail(r->err, SNUG_NO_MEMORY, "%s: no memory for a plan", r->name);
}

/* Lines of text outside would break tables and the canonical text that is hashed. */
static snug_status check_line(struct reader *r, const struct snug_yaml_node *node)
{
    for (const char *p = snug_yaml_text(node); p && *p; p++) {
        if ((unsigned char)*p < ' ')
            return snug_yaml_fail(r->doc, node, r->err,
                                  "a line break or control character in one line of text");
    }
    return SNUG_OK;
}

static snug_status check_lines(struct reader *r, const struct snug_yaml_node *node)
{
    snug_status status = check_line(r, node);
    for (int i = 0; status == SNUG_OK && i < snug_yaml_count(node); i++)
        status = check_lines(r, snug_yaml_at(node, i));
    return status;
}

static snug_status fail_word(struct reader *r, const struct snug_yaml_node *node,
                             const char *const *words, int n)
{
    char listed[300] = "";
    size_t n_text = 0;
    for (int i = 0; i < n && n_text < sizeof listed; i++)
        n_text += (size_t)snprintf(listed + n_text, sizeof listed - n_text, "%s%s", i ? ", " : "",
                                   words[i]);
    const char *near = snug__near_word(snug_yaml_text(node), words, n);
    return snug_yaml_fail(r->doc, node, r->err, "'%.40s' is not known%s%s; one of %s",
                          snug_yaml_text(node), near ? "; did you mean " : "", near ? near : "",
                          listed);
}

static snug_status check_word(struct reader *r, const struct snug_yaml_node *node,
                              const char *const *words, int n)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], snug_yaml_text(node)) == 0)
            return SNUG_OK;
    }
    return fail_word(r, node, words, n);
}

static bool is_equal(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static snug_status check_model(struct reader *r, const struct snug_yaml_node *node, int i)
{
    const struct model_in *in = &r->in->models[i];
    int n_presets = 0;
    const char *const *presets = snug_model_presets();
    while (presets[n_presets])
        n_presets++;
    snug_status status = SNUG_OK;
    if (!in->path == !in->synth)
        return snug_yaml_fail(r->doc, node, r->err,
                              "give either path (a GGUF file) or synth (a preset to make)");
    if (in->path && (in->type || in->layers))
        return snug_yaml_fail(r->doc, node, r->err, "type and layers go with synth, not with path");
    if (in->synth)
        status = check_word(r, snug_yaml_get(node, "synth"), presets, n_presets);
    if (status == SNUG_OK && in->type)
        status = check_word(r, snug_yaml_get(node, "type"), SYNTH_TYPES, N_SYNTH_TYPES);
    for (int k = 0; status == SNUG_OK && k < i; k++) {
        const struct model_in *other = &r->in->models[k];
        if (is_equal(other->name, in->name))
            return snug_yaml_fail(r->doc, node, r->err, "a second model called '%s'", in->name);
        if (is_equal(other->path, in->path) && is_equal(other->synth, in->synth) &&
            is_equal(other->type ? other->type : "f16", in->type ? in->type : "f16") &&
            other->layers == in->layers)
            return snug_yaml_fail(r->doc, node, r->err, "the same model as '%s'", other->name);
    }
    return status;
}

static snug_status read_models(struct reader *r)
{
    const struct snug_yaml_node *list = snug_yaml_get(r->root, "models");
    struct snug_lab_plan *plan = r->plan;
    bool is_failed = false;
    plan->n_models = (int)r->in->n_models;
    plan->models = snug_arena_alloc(&plan->arena, r->in->n_models, sizeof *plan->models);
    if (!plan->models)
        return fail_memory(r);
    for (int i = 0; i < plan->n_models; i++) {
        const struct model_in *in = &r->in->models[i];
        struct snug_lab_model *out = &plan->models[i];
        const snug_status status = check_model(r, snug_yaml_at(list, i), i);
        if (status != SNUG_OK)
            return status;
        out->name = copy(r, in->name, &is_failed);
        out->path = copy(r, in->path, &is_failed);
        out->synth = copy(r, in->synth, &is_failed);
        out->synth_type = in->synth ? copy(r, in->type ? in->type : "f16", &is_failed) : NULL;
        out->synth_layers = in->layers;
    }
    return is_failed ? fail_memory(r) : SNUG_OK;
}

static snug_status check_workload(struct reader *r, const struct snug_yaml_node *node, int i)
{
    const struct snug_lab_workload *w = &r->plan->workloads[i];
    const int64_t need = w->n_depth + (w->n_prompt > w->n_gen ? w->n_prompt : w->n_gen);
    if (w->n_prompt == 0 && w->n_gen == 0 && !w->file)
        return snug_yaml_fail(r->doc, node, r->err, "prompt 0 and gen 0 leave nothing to time");
    if (w->n_ctx && w->n_ctx < need)
        return snug_yaml_fail(r->doc, snug_yaml_get(node, "context"), r->err,
                              "%lld tokens do not hold depth, prompt and gen: %lld are needed",
                              (long long)w->n_ctx, (long long)need);
    for (int k = 0; k < i; k++) {
        const struct snug_lab_workload *other = &r->plan->workloads[k];
        if (is_equal(other->name, w->name))
            return snug_yaml_fail(r->doc, node, r->err, "a second workload called '%s'", w->name);
        if (other->n_prompt == w->n_prompt && other->n_gen == w->n_gen &&
            other->n_depth == w->n_depth && other->n_parallel == w->n_parallel &&
            other->n_ctx == w->n_ctx && is_equal(other->file, w->file))
            return snug_yaml_fail(r->doc, node, r->err, "the same workload as '%s'", other->name);
    }
    return SNUG_OK;
}

static snug_status read_workloads(struct reader *r)
{
    const struct snug_yaml_node *list = snug_yaml_get(r->root, "workloads");
    struct snug_lab_plan *plan = r->plan;
    plan->n_workloads = (int)r->in->n_workloads;
    plan->workloads = snug_arena_alloc(&plan->arena, r->in->n_workloads, sizeof *plan->workloads);
    if (!plan->workloads)
        return fail_memory(r);
    for (int i = 0; i < plan->n_workloads; i++) {
        const struct workload_in *in = &r->in->workloads[i];
        const struct snug_yaml_node *node = snug_yaml_at(list, i);
        bool is_failed = false;
        plan->workloads[i] = (struct snug_lab_workload){
            .name = copy(r, in->name, &is_failed),
            .file = copy(r, in->file, &is_failed),
            /* The lengths of snug bench, unless a file has its own. */
            .n_prompt = snug_yaml_get(node, "prompt") ? in->prompt
                        : in->file                    ? 0
                                                      : 512,
            .n_gen = snug_yaml_get(node, "gen") ? in->gen
                     : in->file                 ? 0
                                                : 128,
            .n_depth = in->depth,
            .n_parallel = in->parallel ? in->parallel : 1,
            .n_ctx = in->context,
        };
        if (is_failed)
            return fail_memory(r);
        const snug_status status = check_workload(r, node, i);
        if (status != SNUG_OK)
            return status;
    }
    return SNUG_OK;
}

/* Round 0. */
static snug_status read_baseline(struct reader *r, struct snug__lab_axes *axes)
{
    const struct snug_yaml_node *knobs = snug_yaml_get(r->root, "baseline");
    const struct snug__lab_group group = {
        .name = "baseline", .group = "", .node = knobs ? knobs : r->root};
    const snug_status status =
        snug__lab_axes_read(r->doc, knobs, NULL, &r->plan->arena, axes, r->err);
    if (status != SNUG_OK)
        return status;
    for (int i = 0; i < axes->n; i++) {
        if (axes->list[i].is_list)
            return snug_yaml_fail(r->doc, axes->list[i].node, r->err,
                                  "the baseline has one value per knob, not a list");
    }
    return snug__lab_expand(r->doc, &group, axes, r->plan, r->err);
}

static snug_status read_rounds(struct reader *r, struct snug__lab_axes *axes)
{
    const struct snug_yaml_node *list = snug_yaml_get(r->root, "rounds");
    struct snug_lab_plan *plan = r->plan;
    plan->rounds = snug_arena_alloc(&plan->arena, SNUG_LAB_ROUNDS_MAX + 1, sizeof *plan->rounds);
    if (!plan->rounds)
        return fail_memory(r);
    snug_status status = read_baseline(r, axes);
    for (int i = 0; status == SNUG_OK && i < (int)r->in->n_rounds; i++) {
        const struct round_in *in = &r->in->rounds[i];
        const struct snug_yaml_node *node = snug_yaml_at(list, i);
        bool is_failed = false;
        const struct snug__lab_group group = {
            .name = copy(r, in->name, &is_failed),
            .group = copy(r, in->group ? in->group : "", &is_failed),
            .is_grid = in->grid,
            .node = node,
        };
        if (is_failed)
            return fail_memory(r);
        status = snug__lab_axes_read(r->doc, snug_yaml_get(node, "knobs"),
                                     snug_yaml_get(node, "weights"), &plan->arena, axes, r->err);
        if (status == SNUG_OK && axes->n == 0)
            status = snug_yaml_fail(r->doc, node, r->err,
                                    "sets nothing: give it knobs or weights, or leave it out");
        if (status == SNUG_OK)
            status = snug__lab_expand(r->doc, &group, axes, plan, r->err);
    }
    return status;
}

static const char **copy_list(struct reader *r, char *const *list, unsigned n, bool *is_failed)
{
    const char **out = snug_arena_alloc(&r->plan->arena, n + 1u, sizeof *out);
    *is_failed = *is_failed || !out;
    for (unsigned i = 0; out && i < n; i++)
        out[i] = copy(r, list[i], is_failed);
    return out;
}

static snug_status read_quality(struct reader *r)
{
    const struct quality_in *in = r->in->quality;
    const struct snug_yaml_node *node = snug_yaml_get(r->root, "quality");
    struct snug_lab_plan *plan = r->plan;
    bool is_failed = false;
    if (!in)
        return SNUG_OK;
    plan->texts = copy_list(r, in->texts, in->n_texts, &is_failed);
    plan->tasks = copy_list(r, in->tasks, in->n_tasks, &is_failed);
    plan->n_texts = (int)in->n_texts;
    plan->n_tasks = (int)in->n_tasks;
    plan->reference = copy(r, in->reference, &is_failed);
    if (is_failed)
        return fail_memory(r);
    if (in->reference) {
        const char *names[SNUG_LAB_MODELS_MAX];
        for (int i = 0; i < plan->n_models; i++)
            names[i] = plan->models[i].name;
        return check_word(r, snug_yaml_get(node, "reference"), names, plan->n_models);
    }
    return SNUG_OK;
}

/* "5 %", "5%" or "0.05". */
static snug_status read_tolerance(struct reader *r, const char *text, double *out)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    end += strspn(end, " ");
    const bool is_percent = *end == '%';
    const double frac = is_percent ? value / 100.0 : value;
    if (end == text || end[is_percent] || !isfinite(frac) || frac < 0.0 || frac > 1.0)
        return snug_yaml_fail(r->doc,
                              snug_yaml_get(snug_yaml_get(r->root, "improved"), "tolerance"),
                              r->err, "'%.30s' is no share: write 5 %% or 0.05", text);
    *out = frac;
    return SNUG_OK;
}

static snug_status read_improved(struct reader *r)
{
    const struct improved_in *in = r->in->improved;
    const struct snug_yaml_node *list =
        snug_yaml_get(snug_yaml_get(r->root, "improved"), "metrics");
    struct snug_lab_improved *out = &r->plan->improved;
    *out = (struct snug_lab_improved){
        .metrics = {"prefill_tps", "decode_tps", "bytes"}, .n_metrics = 3, .tolerance_frac = 0.05};
    snug_status status = SNUG_OK;
    if (in && in->n_metrics > 0)
        out->n_metrics = 0;
    for (unsigned i = 0; in && status == SNUG_OK && i < in->n_metrics; i++) {
        const struct snug_yaml_node *node = snug_yaml_at(list, (int)i);
        bool is_failed = false;
        status = check_word(r, node, METRICS, N_METRICS);
        for (int k = 0; status == SNUG_OK && k < out->n_metrics; k++) {
            if (strcmp(out->metrics[k], in->metrics[i]) == 0)
                status = snug_yaml_fail(r->doc, node, r->err, "named twice");
        }
        out->metrics[out->n_metrics++] = copy(r, in->metrics[i], &is_failed);
        if (is_failed)
            return fail_memory(r);
    }
    if (status == SNUG_OK && in && in->tolerance)
        status = read_tolerance(r, in->tolerance, &out->tolerance_frac);
    return status;
}

static snug_status read_head(struct reader *r)
{
    struct snug_lab_plan *plan = r->plan;
    bool is_failed = false;
    struct snug_error why = {0};
    plan->title = copy(r, r->in->title, &is_failed);
    plan->seed = snug_yaml_get(r->root, "seed") ? (uint64_t)r->in->seed : 1;
    plan->n_repetitions = r->in->repetitions ? (int)r->in->repetitions : REPETITIONS_DEFAULT;
    plan->deadline_s = 600.0;
    plan->require = copy_list(r, r->in->require, r->in->n_require, &is_failed);
    plan->n_require = (int)r->in->n_require;
    if (is_failed)
        return fail_memory(r);
    if (r->in->deadline && snug_seconds_parse(r->in->deadline, &plan->deadline_s, &why) != SNUG_OK)
        return snug_yaml_fail(r->doc, snug_yaml_get(r->root, "deadline"), r->err, "%s", why.text);
    return SNUG_OK;
}

static snug_status read_all(struct reader *r)
{
    struct snug__lab_axes *axes = calloc(1, sizeof *axes);
    if (!axes)
        return fail_memory(r);
    snug_status status = check_lines(r, r->root);
    if (status == SNUG_OK)
        status = read_head(r);
    if (status == SNUG_OK)
        status = read_models(r);
    if (status == SNUG_OK)
        status = read_workloads(r);
    if (status == SNUG_OK)
        status = read_rounds(r, axes);
    if (status == SNUG_OK)
        status = read_quality(r);
    if (status == SNUG_OK)
        status = read_improved(r);
    if (status == SNUG_OK)
        status = snug__lab_order(r->name, r->plan, r->err);
    if (status == SNUG_OK)
        status = snug__lab_hash(r->plan, r->err);
    free(axes);
    return status;
}

snug_status snug_lab_plan_parse(const char *name, const char *text, size_t n,
                                struct snug_lab_plan *out, struct snug_error *err)
{
    struct snug_yaml *doc = NULL;
    struct snug_lab_plan plan = {0};
    const void *in = NULL;
    if (n > SNUG_LAB_FILE_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: %zu bytes, a rounds file has at most %u", name,
                         n, SNUG_LAB_FILE_MAX);
    snug_status status = snug_yaml_parse(name, text, n, &doc, err);
    if (status == SNUG_OK)
        status = snug_yaml_load(doc, ROUNDS_FILE, sizeof(struct file_in), &in, err);
    if (status == SNUG_OK) {
        struct reader r = {name, doc, snug_yaml_root(doc), in, &plan, err};
        status = read_all(&r);
    }
    snug_yaml_free(doc);
    if (status != SNUG_OK) {
        snug_lab_plan_clear(&plan);
        return status;
    }
    *out = plan;
    return SNUG_OK;
}

snug_status snug_lab_plan_read(const char *path, struct snug_lab_plan *out, struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read(path, SNUG_LAB_FILE_MAX, &text, &n, err);
    if (status == SNUG_OK)
        status = snug_lab_plan_parse(path, text, n, out, err);
    free(text);
    return status;
}

void snug_lab_plan_clear(struct snug_lab_plan *plan)
{
    snug_arena_clear(&plan->arena);
    memset(plan, 0, sizeof *plan);
}
