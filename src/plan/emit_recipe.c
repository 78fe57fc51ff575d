/* The recipe of llama-quantize: a --tensor-type per group of matrices that share their types.
 *
 * llama-quantize takes `PATTERN=TYPE`, lower-cases the pattern, searches it in each tensor's name,
 * and the first that matches decides. Some versions take a match whose type is that of the whole
 * file for no match, and apply their own mixture then; so every matrix is named, and the file's
 * type is one that no tensor has. Tensors of one name over all layers ("attn_q.weight") are a run;
 * runs with the same types in the same layers share their patterns; layers that differ from most
 * come first. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "engine/quantize.h"
#include "engine/sensitivity.h"
#include "engine/shell.h"
#include "plan/emit.h"

/* A matrix; layer -1 outside the blocks. */
struct entry {
    const char *rest; /* of the name, behind "blk.N." */
    int64_t layer;
    int type;
};

struct recipe {
    struct entry *entries; /* sorted by rest, then layer */
    int n;
    bool *is_done; /* of each entry that begins a run */
    struct snug_buffer out;
};

/* Types for a whole file, and the tensor type that each means. Those that need no statistics. */
static const struct {
    const char *name;
    enum ggml_type type;
} BASES[] = {
    {"Q8_0", GGML_TYPE_Q8_0},     {"Q6_K", GGML_TYPE_Q6_K},     {"Q5_1", GGML_TYPE_Q5_1},
    {"Q5_K_S", GGML_TYPE_Q5_K},   {"Q5_0", GGML_TYPE_Q5_0},     {"Q4_1", GGML_TYPE_Q4_1},
    {"Q4_K_S", GGML_TYPE_Q4_K},   {"IQ4_NL", GGML_TYPE_IQ4_NL}, {"Q4_0", GGML_TYPE_Q4_0},
    {"IQ4_XS", GGML_TYPE_IQ4_XS}, {"IQ3_S", GGML_TYPE_IQ3_S},   {"Q3_K_S", GGML_TYPE_Q3_K},
    {"Q2_K", GGML_TYPE_Q2_K},
};

/* ---- what the plan asks ---- */

static snug_status check(const struct snug_command *c, bool *out_is_again, struct snug_error *err)
{
    bool is_again = false;
    for (int i = 0; i < c->plan->n_tensors; i++) {
        const struct snug_tensor *tensor = &c->model->tensors[i];
        const int type = c->plan->types[i];
        if (type == tensor->type)
            continue;
        if (!snug__tensor_is_quantisable(tensor))
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s is %s in the plan: llama-quantize leaves it at %s", tensor->name,
                             snug_model_type_name(type), snug_model_type_name(tensor->type));
        if (!c->imatrix_path[0] && snug__needs_imatrix(tensor->name, type))
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s as %s needs activation statistics: give --imatrix F, which snug "
                             "imatrix makes",
                             tensor->name, snug_model_type_name(type));
        is_again = is_again || ggml_is_quantized((enum ggml_type)tensor->type);
    }
    /* What a preset says of its source is a file that is still to come. */
    *out_is_again = is_again && !c->model->is_preset;
    return SNUG_OK;
}

static const char *base_type(const struct snug_command *c)
{
    const char *best = NULL;
    for (int allow_used = 0; allow_used <= 1 && !best; allow_used++) {
        double best_miss = INFINITY;
        for (size_t b = 0; b < sizeof BASES / sizeof *BASES; b++) {
            const double miss = fabs(snug_model_type_bits((int)BASES[b].type) - c->bits);
            bool is_used = false;
            for (int i = 0; i < c->plan->n_tensors; i++)
                is_used = is_used || c->plan->types[i] == (int)BASES[b].type;
            if (miss < best_miss && (allow_used || !is_used)) {
                best_miss = miss;
                best = BASES[b].name;
            }
        }
    }
    return best;
}

/* ---- runs ---- */

static int by_rest(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    /* Outside the blocks first: the embedding leads the recipe. */
    if ((x->layer < 0) != (y->layer < 0))
        return x->layer < 0 ? -1 : 1;
    const int order = strcmp(x->rest, y->rest);
    return order ? order : x->layer < y->layer ? -1 : x->layer > y->layer;
}

/* Entries from i on with the same rest. */
static int run_length(const struct recipe *r, int i)
{
    int n = 1;
    while (i + n < r->n && r->entries[i + n].layer >= 0 && r->entries[i].layer >= 0 &&
           strcmp(r->entries[i + n].rest, r->entries[i].rest) == 0)
        n++;
    return n;
}

/* Same types in the same layers? */
static bool is_same_run(const struct recipe *r, int i, int j, int n)
{
    if (run_length(r, j) != n)
        return false;
    for (int k = 0; k < n; k++) {
        if (r->entries[i + k].layer != r->entries[j + k].layer ||
            r->entries[i + k].type != r->entries[j + k].type)
            return false;
    }
    return true;
}

/* ---- patterns ---- */

/* A name within a pattern. What llama-quantize would change or take for something else ('=' ends a
 * pattern, capitals are lowered) matches as any character. */
static void put_literal(struct snug_buffer *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char ch = text[i];
        if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-')
            snug_buffer_append(out, &ch, 1);
        else
            snug_buffer_puts(out, ch == '.' ? "\\." : ".");
    }
}

/* "(attn_k|attn_q)\.weight": the rests of this run and of all that are the same. */
static void put_rests(const struct recipe *r, const int *runs, int n_runs, struct snug_buffer *out)
{
    static const char ending[] = ".weight";
    bool is_ending = true;
    for (int k = 0; k < n_runs; k++) {
        const char *rest = r->entries[runs[k]].rest;
        const size_t n = strlen(rest);
        is_ending =
            is_ending && n >= sizeof ending && strcmp(rest + n - (sizeof ending - 1), ending) == 0;
    }
    snug_buffer_puts(out, n_runs > 1 ? "(" : "");
    for (int k = 0; k < n_runs; k++) {
        const char *rest = r->entries[runs[k]].rest;
        snug_buffer_puts(out, k ? "|" : "");
        put_literal(out, rest, strlen(rest) - (is_ending ? sizeof ending - 1 : 0));
    }
    snug_buffer_puts(out, n_runs > 1 ? ")" : "");
    put_literal(out, ending, is_ending ? sizeof ending - 1 : 0);
}

/* One --tensor-type: the layers of the first run that have this type, or all when is_rest. */
static void put_pattern(struct recipe *r, const int *runs, int n_runs, int type, bool is_rest)
{
    struct snug_buffer pattern = {0};
    const struct entry *first = &r->entries[runs[0]];
    const int n = run_length(r, runs[0]);
    int n_listed = 0;
    snug_buffer_puts(&pattern, "^");
    if (first->layer >= 0)
        snug_buffer_puts(&pattern, is_rest ? "blk\\.[0-9]+\\." : "blk\\.(");
    for (int k = 0; first->layer >= 0 && !is_rest && k < n; k++) {
        if (first[k].type == type)
            snug_buffer_printf(&pattern, "%s%lld", n_listed++ ? "|" : "",
                               (long long)first[k].layer);
    }
    if (first->layer >= 0 && !is_rest)
        snug_buffer_puts(&pattern, ")\\.");
    put_rests(r, runs, n_runs, &pattern);
    snug_buffer_printf(&pattern, "$=%s", snug_model_type_name(type));
    snug_buffer_puts(&r->out, " --tensor-type");
    snug__shell_put(&r->out, snug_buffer_text(&pattern));
    snug_buffer_puts(&r->out, " \\\n   ");
    r->out.is_failed = r->out.is_failed || pattern.is_failed;
    snug_buffer_clear(&pattern);
}

/* All patterns of one group of runs: types of few layers, then the type of most. */
static void put_group(struct recipe *r, const int *runs, int n_runs)
{
    const struct entry *first = &r->entries[runs[0]];
    const int n = run_length(r, runs[0]);
    int count[GGML_TYPE_COUNT] = {0}, most = first->type;
    for (int k = 0; k < n; k++)
        count[first[k].type]++;
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        if (count[t] > count[most])
            most = t;
    }
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        if (count[t] > 0 && t != most)
            put_pattern(r, runs, n_runs, t, false);
    }
    put_pattern(r, runs, n_runs, most, true);
}

static snug_status put_patterns(struct recipe *r, struct snug_error *err)
{
    int *runs = malloc((size_t)r->n * sizeof *runs);
    if (!runs)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the recipe of %d tensors", r->n);
    for (int i = 0; i < r->n; i += run_length(r, i)) {
        const int n = run_length(r, i);
        int n_runs = 0;
        if (r->is_done[i])
            continue;
        for (int j = i; j < r->n; j += run_length(r, j)) {
            if (r->is_done[j] || !is_same_run(r, i, j, n))
                continue;
            r->is_done[j] = true;
            runs[n_runs++] = j;
        }
        put_group(r, runs, n_runs);
        if (r->out.is_failed || r->out.len > SNUG_COMMAND_RECIPE_MAX)
            break;
    }
    free(runs);
    if (r->out.len > SNUG_COMMAND_RECIPE_MAX)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "the recipe of %d matrices has more than %u bytes, too many for a "
                         "command: use snug quantize --plan",
                         r->n, SNUG_COMMAND_RECIPE_MAX);
    return SNUG_OK;
}

static snug_status collect(const struct snug_command *c, struct recipe *r, struct snug_error *err)
{
    r->entries = calloc((size_t)c->plan->n_tensors, sizeof *r->entries);
    r->is_done = calloc((size_t)c->plan->n_tensors, sizeof *r->is_done);
    if (!r->entries || !r->is_done)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the recipe of %d tensors",
                         c->plan->n_tensors);
    for (int i = 0; i < c->plan->n_tensors; i++) {
        if (!snug__is_matrix(&c->model->tensors[i]))
            continue;
        struct entry *e = &r->entries[r->n++];
        *e = (struct entry){.rest = c->plan->names[i], .layer = -1, .type = c->plan->types[i]};
        snug__split_name(c->plan->names[i], &e->layer, &e->rest);
    }
    if (r->n == 0)
        return snug_fail(err, SNUG_UNSUPPORTED, "%s has no matrix to quantise", c->model->path);
    qsort(r->entries, (size_t)r->n, sizeof *r->entries, by_rest);
    return SNUG_OK;
}

/* What to do first, and the command up to its patterns. */
static void put_head(const struct snug_command *c, const char *base, bool is_again,
                     struct snug_buffer *out)
{
    snug_buffer_printf(out,
                       "# %.2f bits per weight. The first pattern that matches gives a tensor its "
                       "type; %s is the file's label.\n",
                       c->bits, base);
    if (c->origin == SNUG__ORIGIN_FOLDER) {
        snug_buffer_puts(out, "# First, with llama.cpp's converter: convert_hf_to_gguf.py "
                              "--outtype f16 --outfile");
        snug__shell_put(out, c->source_gguf);
        snug__shell_put(out, c->source_path);
        snug_buffer_puts(out, "\n");
    } else if (c->origin == SNUG__ORIGIN_REMOTE) {
        snug_buffer_puts(out, "# First fetch this as the first file below: ");
        snug__put_clean(out, c->source_path);
        snug_buffer_puts(out, "\n");
    }
    if (is_again)
        snug_buffer_puts(out, "# The source is quantised already: its loss comes on top of the "
                              "plan's.\n");
    snug__shell_put(out, "llama-quantize");
    if (is_again)
        snug__shell_put(out, "--allow-requantize");
    if (c->imatrix_path[0]) {
        snug__shell_put(out, "--imatrix");
        snug__shell_put(out, c->imatrix_path);
    }
    snug_buffer_puts(out, " \\\n   ");
}

snug_status snug__emit_quantize(const struct snug_command *c, char **out_text,
                                struct snug_error *err)
{
    struct recipe r = {0};
    bool is_again = false;
    snug_status status = check(c, &is_again, err);
    if (status == SNUG_OK)
        status = collect(c, &r, err);
    if (status != SNUG_OK)
        goto done;
    const char *base = base_type(c);
    put_head(c, base, is_again, &r.out);
    status = put_patterns(&r, err);
    if (status != SNUG_OK)
        goto done;
    snug__shell_put(&r.out, c->source_gguf);
    snug__shell_put(&r.out, c->gguf_path);
    snug__shell_put(&r.out, base);
    snug_buffer_puts(&r.out, "\n");
    status = snug__emit_end(&r.out, out_text, err);
done:
    free(r.entries);
    free(r.is_done);
    snug_buffer_clear(&r.out);
    return status;
}
