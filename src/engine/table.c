/* Reading recorded tables: lines become repetitions, sorted, grouped into cells.
 *
 * The text is checked against its checksum before a line is read, so a table cut short or edited by
 * hand is refused; every value is checked all the same, since whoever edits can also hash. */
#include "engine/table.h"

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/gzip.h"
#include "base/hash.h"
#include "base/json.h"
#include "snug/stats.h"
#include "trial/trial_json.h"

/* No trial takes longer: a day. */
#define SECONDS_MAX 86400.0
#define BYTES_MAX (INT64_C(1) << 50)

/* One repetition on its way into a cell. */
struct line {
    struct snug_config config;
    uint64_t hash;
    struct snug_bytes bytes;
    double predicted_prefill_tps, predicted_decode_tps;
    struct snug__table_rep rep;
    size_t number; /* in the file, for errors */
};

struct reader {
    struct snug__table *table;
    struct line *lines; /* [n_lines] */
    size_t n_lines, n;
};

static uint64_t hash_config(const struct snug_space *space, const struct snug_config *config)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a's basis and, below, its prime */
    for (int r = 0; r < space->n; r++) {
        hash ^= (uint64_t)config->value[r];
        hash *= UINT64_C(0x100000001b3);
        hash ^= hash >> 31;
    }
    return hash;
}

/* ---- header ---- */

static snug_status read_workloads(struct snug__table *t, const struct snug_json_node *node,
                                  struct snug_error *err)
{
    const size_t n = snug_json_is_array(node) ? snug_json_count(node) : 0;
    if (n < 1 || n > SNUG__TABLE_FIDELITIES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "\"workloads\" of 1 to %d are needed",
                         SNUG__TABLE_FIDELITIES_MAX);
    for (size_t i = 0; i < n; i++) {
        struct snug_workload *w = &t->workloads[i];
        snug_workload_from_json(snug_json_at(node, i), w);
        w->n_parallel = w->n_parallel ? w->n_parallel : 1; /* not written: one sequence */
        const int64_t lengths[] = {w->n_prompt, w->n_gen, w->n_depth, w->n_ctx, w->n_parallel - 1};
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
            if (lengths[k] < 0 || lengths[k] > SNUG__TABLE_TOKENS_MAX)
                return snug_fail(err, SNUG_BAD_INPUT, "workload %zu: lengths must lie in 0 to %lld",
                                 i, (long long)SNUG__TABLE_TOKENS_MAX);
        if (w->n_prompt + w->n_gen == 0)
            return snug_fail(err, SNUG_BAD_INPUT, "workload %zu has no tokens", i);
    }
    t->n_fidelities = (int)n;
    return SNUG_OK;
}

static snug_status read_limits(struct snug__table *t, const struct snug_json_node *root,
                               struct snug_error *err)
{
    const char *memory = snug_json_get_string(root, "memory", "stated");
    const int64_t limit = snug_json_get_int(root, "limit_bytes", 0);
    t->is_device_memory = strcmp(memory, "device") == 0;
    t->estimate_s = snug_json_get_number(root, "estimate_s", 0);
    if (!t->is_device_memory && strcmp(memory, "stated") != 0)
        return snug_fail(err, SNUG_BAD_INPUT, "\"memory\" is stated or device, not \"%.32s\"",
                         memory);
    if (limit < 0 || limit > BYTES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "\"limit_bytes\" of %lld", (long long)limit);
    if (!(t->estimate_s >= 0 && t->estimate_s <= SECONDS_MAX))
        return snug_fail(err, SNUG_BAD_INPUT, "\"estimate_s\" must lie in 0 to %.0f", SECONDS_MAX);
    t->limit_bytes = (uint64_t)limit;
    return SNUG_OK;
}

static snug_status read_texts(struct snug__table *t, const struct snug_json_node *root,
                              struct snug_error *err)
{
    struct snug_json_writer w = {0};
    const struct snug_json_node *made = snug_json_get(root, "made");
    snug_json_begin_object(&w, NULL);
    if (made)
        snug_json_put_node(&w, "made", made);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, false);
    t->made = text ? snug_arena_strdup(&t->arena, text) : NULL;
    free(text);
    t->name = snug_arena_strdup(&t->arena, snug_json_get_string(root, "name", ""));
    if (!t->made || !t->name)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a table");
    if (!t->name[0] || strlen(t->name) > SNUG_WORKLOAD_NAME_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "a \"name\" of 1 to %d characters is needed",
                         SNUG_WORKLOAD_NAME_MAX);
    return SNUG_OK;
}

static snug_status read_header(struct reader *r, const struct snug_json_node *root,
                               struct snug_error *err)
{
    struct snug__table *t = r->table;
    const int64_t version = snug_json_get_int(root, "snug_table", 0);
    const int64_t n_lines = snug_json_get_int(root, "n_lines", -1);
    if (version > SNUG__TABLE_VERSION)
        return snug_fail(err, SNUG_NEWER, "a table of version %lld; this snug reads up to %d",
                         (long long)version, SNUG__TABLE_VERSION);
    if (version != SNUG__TABLE_VERSION)
        return snug_fail(err, SNUG_BAD_INPUT, "no table: \"snug_table\": %d is missing",
                         SNUG__TABLE_VERSION);
    if (n_lines < 1 || n_lines > SNUG__TABLE_LINES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "\"n_lines\" must lie in 1 to %d",
                         SNUG__TABLE_LINES_MAX);
    r->n_lines = (size_t)n_lines;
    snug_status status =
        snug_space_from_json(snug_json_get(root, "space"), &t->arena, &t->space, err);
    if (status == SNUG_OK)
        status = read_workloads(t, snug_json_get(root, "workloads"), err);
    if (status == SNUG_OK)
        status = read_limits(t, root, err);
    if (status == SNUG_OK)
        status = read_texts(t, root, err);
    const struct snug_json_node *fit = snug_json_get(root, "fit");
    if (status == SNUG_OK && snug_json_is_object(fit)) {
        t->has_fit = true;
        snug_space_default(&t->space, &t->fit);
        status = snug_config_from_json(fit, &t->space, true, &t->fit, err);
    }
    return status;
}

/* ---- lines ---- */

static snug_status read_outcome(struct reader *r, const struct snug_json_node *root,
                                struct snug_measurement *m, struct line *line,
                                struct snug_error *err)
{
    const char *name = snug_json_get_string(root, "outcome", "");
    const int64_t fidelity = snug_json_get_int(root, "fidelity", 0);
    const int64_t rep = snug_json_get_int(root, "rep", -1);
    if (snug_outcome_from_name(name) == SNUG_N_OUTCOMES)
        return snug_fail(err, SNUG_BAD_INPUT, "outcome \"%.32s\" is unknown", name);
    if (fidelity < 0 || fidelity >= r->table->n_fidelities)
        return snug_fail(err, SNUG_BAD_INPUT, "fidelity %lld: there are %d workloads",
                         (long long)fidelity, r->table->n_fidelities);
    if (rep < 0 || rep >= SNUG__TABLE_REPS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "rep %lld: 0 to %d are possible", (long long)rep,
                         SNUG__TABLE_REPS_MAX - 1);
    line->rep = (struct snug__table_rep){
        .fidelity = (int)fidelity,
        .rep = (int)rep,
        .outcome = m->outcome,
        .ttft_s = snug_json_get_number(root, "ttft_s", 0),
        .wall_s = snug_json_get_number(root, "wall_s", -1),
        .setup_s = snug_json_get_number(root, "setup_s", 0),
    };
    const double seconds[3] = {line->rep.ttft_s, line->rep.wall_s, line->rep.setup_s};
    for (int i = 0; i < 3; i++)
        if (!(seconds[i] >= 0 && seconds[i] <= SECONDS_MAX))
            return snug_fail(err, SNUG_BAD_INPUT,
                             "wall_s, setup_s and ttft_s must lie in 0 to %.0f", SECONDS_MAX);
    return SNUG_OK;
}

/* Blocks of a phase that the workload has: some, all above 0. */
static bool are_blocks(const double *tps, int n, int64_t n_tokens)
{
    for (int i = 0; i < n; i++)
        if (!(tps[i] > 0) || !isfinite(tps[i]))
            return false;
    return n > 0 || n_tokens == 0;
}

static snug_status keep_blocks(struct reader *r, const struct snug_measurement *m,
                               struct line *line, struct snug_error *err)
{
    const struct snug_workload *w = &r->table->workloads[line->rep.fidelity];
    const int n_prefill = m->n_prefill_blocks, n_decode = m->n_decode_blocks;
    if (line->rep.outcome != SNUG_TRIAL_OK)
        return SNUG_OK;
    if (!are_blocks(m->prefill_block_tps, n_prefill, w->n_prompt) ||
        !are_blocks(m->decode_block_tps, n_decode, w->n_gen))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "an ok trial needs block speeds above 0 of each phase of its workload");
    double *block =
        snug_arena_alloc(&r->table->arena, (size_t)(n_prefill + n_decode) + 1, sizeof *block);
    if (!block)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a table");
    memcpy(block, m->prefill_block_tps, (size_t)n_prefill * sizeof *block);
    memcpy(block + n_prefill, m->decode_block_tps, (size_t)n_decode * sizeof *block);
    line->rep.block = block;
    line->rep.n_prefill = n_prefill;
    line->rep.n_decode = n_decode;
    return SNUG_OK;
}

static snug_status read_predicted(const struct snug_json_node *node, struct line *line,
                                  struct snug_error *err)
{
    line->predicted_prefill_tps = snug_json_get_number(node, "prefill_tps", 0);
    line->predicted_decode_tps = snug_json_get_number(node, "decode_tps", 0);
    if (!(line->predicted_prefill_tps >= 0 && line->predicted_decode_tps >= 0) ||
        !isfinite(line->predicted_prefill_tps + line->predicted_decode_tps))
        return snug_fail(err, SNUG_BAD_INPUT, "predicted speeds must be 0 or more");
    return SNUG_OK;
}

static snug_status read_trial(struct reader *r, const struct snug_json_node *root, size_t number,
                              struct snug_error *err)
{
    struct line *line = &r->lines[r->n];
    struct snug_measurement m;
    snug_space_default(&r->table->space, &line->config);
    snug_status status = snug_config_from_json(snug_json_get(root, "config"), &r->table->space,
                                               true, &line->config, err);
    if (status != SNUG_OK)
        return status;
    snug_measurement_from_json(root, &m);
    status = read_outcome(r, root, &m, line, err);
    if (status == SNUG_OK)
        status = keep_blocks(r, &m, line, err);
    if (status == SNUG_OK)
        status = read_predicted(snug_json_get(root, "predicted"), line, err);
    line->hash = hash_config(&r->table->space, &line->config);
    line->bytes = m.bytes;
    line->number = number;
    const uint64_t kinds[4] = {m.bytes.weights, m.bytes.cache, m.bytes.compute, m.bytes.device};
    for (int i = 0; status == SNUG_OK && i < 4; i++)
        if (kinds[i] > BYTES_MAX)
            status =
                snug_fail(err, SNUG_BAD_INPUT, "bytes of more than %lld", (long long)BYTES_MAX);
    if (status == SNUG_OK && m.outcome != SNUG_TRIAL_REFUSED && snug_bytes_stated(&m.bytes) == 0)
        status =
            snug_fail(err, SNUG_BAD_INPUT, "no bytes: only a refused config may go without them");
    snug_measurement_clear(&m);
    r->n += status == SNUG_OK;
    return status;
}

static snug_status read_line(struct reader *r, const char *text, size_t n, size_t number,
                             struct snug_error *err)
{
    struct snug_json *doc = NULL;
    snug_status status = snug_json_parse("json", text, n, &doc, err);
    if (status == SNUG_OK && number > 1 && r->n == r->n_lines)
        status =
            snug_fail(err, SNUG_BAD_INPUT, "more lines than \"n_lines\": %zu says", r->n_lines);
    if (status == SNUG_OK)
        status = number == 1 ? read_header(r, snug_json_root(doc), err)
                             : read_trial(r, snug_json_root(doc), number, err);
    if (status == SNUG_OK && number == 1) {
        r->lines = calloc(r->n_lines, sizeof *r->lines);
        if (!r->lines)
            status = snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu lines", r->n_lines);
    }
    snug_json_free(doc);
    return status == SNUG_OK ? SNUG_OK : snug_fail_prefix(err, status, "line %zu", number);
}

/* ---- cells ---- */

static int compare_values(const struct snug_config *a, const struct snug_config *b)
{
    for (int r = 0; r < SNUG_KNOBS_MAX; r++)
        if (a->value[r] != b->value[r])
            return a->value[r] < b->value[r] ? -1 : 1;
    return 0;
}

static int compare_lines(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    const int order = compare_values(&x->config, &y->config);
    if (order != 0)
        return order;
    if (x->rep.fidelity != y->rep.fidelity)
        return x->rep.fidelity < y->rep.fidelity ? -1 : 1;
    return x->rep.rep < y->rep.rep ? -1 : x->rep.rep > y->rep.rep;
}

static bool is_same_cell(const struct line *a, const struct line *b)
{
    return a->hash == b->hash && compare_values(&a->config, &b->config) == 0;
}

/* The bytes of a cell are those of the first line that states any. */
static void add_to_cell(struct snug__table_cell *cell, const struct line *line,
                        const struct snug__table_rep *rep)
{
    if (cell->n_reps == 0)
        *cell = (struct snug__table_cell){.config = line->config,
                                          .hash = line->hash,
                                          .predicted_prefill_tps = line->predicted_prefill_tps,
                                          .predicted_decode_tps = line->predicted_decode_tps,
                                          .reps = rep};
    if (snug_bytes_stated(&cell->bytes) == 0)
        cell->bytes = line->bytes;
    cell->n_reps++;
}

static snug_status group_cells(struct reader *r, struct snug_error *err)
{
    struct snug__table *t = r->table;
    if (r->n != r->n_lines)
        return snug_fail(err, SNUG_BAD_INPUT, "%zu lines where \"n_lines\" says %zu", r->n,
                         r->n_lines);
    qsort(r->lines, r->n, sizeof *r->lines, compare_lines);
    t->reps = snug_arena_alloc(&t->arena, r->n, sizeof *t->reps);
    t->cells = snug_arena_alloc(&t->arena, r->n, sizeof *t->cells);
    if (!t->reps || !t->cells)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu lines", r->n);
    for (size_t i = 0; i < r->n; i++) {
        const struct line *line = &r->lines[i];
        const bool is_same = i > 0 && is_same_cell(line, line - 1);
        if (is_same && compare_lines(line, line - 1) == 0)
            return snug_fail(err, SNUG_BAD_INPUT, "lines %zu and %zu are the same repetition",
                             line[-1].number, line->number);
        t->n_cells += !is_same;
        t->reps[t->n_reps] = line->rep;
        add_to_cell(&t->cells[t->n_cells - 1], line, &t->reps[t->n_reps++]);
    }
    return SNUG_OK;
}

/* ---- whole tables ---- */

static snug_status check_sum(const char *text, size_t n, const char *body, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    char hash[SNUG_SHA256_HEX_MAX];
    snug_status status = snug_json_parse("json", text, (size_t)(body - text), &doc, err);
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "line 1");
    const char *said = snug_json_get_string(snug_json_root(doc), "sha256", "");
    snug_sha256_hex(body, n - (size_t)(body - text), hash);
    if (snug_json_get_int(snug_json_root(doc), "snug_table", 0) == SNUG__TABLE_VERSION &&
        strcmp(hash, said) != 0)
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "line 1: \"sha256\" does not fit what follows: the table was cut or "
                           "changed; fetch or record it again");
    snug_json_free(doc);
    return status;
}

static snug_status parse(struct reader *r, const char *text, size_t n, struct snug_error *err)
{
    const char *first = memchr(text, '\n', n);
    if (!first)
        return snug_fail(err, SNUG_BAD_INPUT, "no table: a header line and lines of trials");
    snug_status status = check_sum(text, n, first + 1, err);
    size_t number = 0;
    for (const char *p = text; status == SNUG_OK && p < text + n;) {
        const char *end = memchr(p, '\n', (size_t)(text + n - p));
        end = end ? end : text + n;
        status = read_line(r, p, (size_t)(end - p), ++number, err);
        p = end + 1;
    }
    return status == SNUG_OK ? group_cells(r, err) : status;
}

snug_status snug__table_parse(const char *name, const char *text, size_t n,
                              struct snug__table **out, struct snug_error *err)
{
    if (n > SNUG__TABLE_BYTES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: more than %zu bytes", name,
                         SNUG__TABLE_BYTES_MAX);
    struct reader r = {.table = calloc(1, sizeof *r.table)};
    if (!r.table)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a table", name);
    snug_status status = parse(&r, text, n, err);
    free(r.lines);
    if (status != SNUG_OK) {
        snug__table_free(r.table);
        return snug_fail_prefix(err, status, "%s", name);
    }
    *out = r.table;
    return SNUG_OK;
}

snug_status snug__table_read(const char *path, struct snug__table **out, struct snug_error *err)
{
    char *data = NULL, *text = NULL;
    size_t n_data = 0, n = 0;
    snug_status status = snug_file_read(path, SNUG__TABLE_BYTES_MAX, &data, &n_data, err);
    if (status == SNUG_OK && snug_gzip_is(data, n_data)) {
        status = snug_gzip_unpack(path, data, n_data, SNUG__TABLE_BYTES_MAX, &text, &n, err);
        free(data);
    } else {
        text = data;
        n = n_data;
    }
    if (status == SNUG_OK)
        status = snug__table_parse(path, text, n, out, err);
    free(text);
    return status;
}

void snug__table_free(struct snug__table *table)
{
    if (!table)
        return;
    snug_arena_clear(&table->arena);
    free(table);
}

/* ---- looking up ---- */

static int compare_cells(const void *a, const void *b)
{
    const struct snug__table_cell *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return compare_values(&x->config, &y->config);
}

const struct snug__table_cell *snug__table_find(const struct snug__table *table,
                                                const struct snug_config *config)
{
    struct snug__table_cell key = {.hash = 0};
    for (int r = 0; r < table->space.n; r++) {
        const struct snug_knob *knob = &table->space.knobs[r];
        key.config.value[r] = knob->is_tuned
                                  ? snug_knob_level(knob, snug_knob_index(knob, config->value[r]))
                                  : config->value[r];
    }
    key.hash = hash_config(&table->space, &key.config);
    return bsearch(&key, table->cells, table->n_cells, sizeof *table->cells, compare_cells);
}

uint64_t snug__table_memory(const struct snug__table *table, const struct snug__table_cell *cell)
{
    const uint64_t all = snug_bytes_stated(&cell->bytes);
    /* a config that keeps nothing on the device still is a point: 1 byte of it */
    const uint64_t device = cell->bytes.device ? cell->bytes.device : 1;
    return all && table->is_device_memory ? device : all;
}

int snug__table_reps_of(const struct snug__table_cell *cell, int fidelity,
                        const struct snug__table_rep **out_first)
{
    int n = 0;
    *out_first = NULL;
    for (int i = 0; i < cell->n_reps; i++)
        if (cell->reps[i].fidelity == fidelity && n++ == 0)
            *out_first = &cell->reps[i];
    return n;
}

void snug__table_measurement(const struct snug__table_cell *cell, const struct snug__table_rep *rep,
                             struct snug_measurement *out)
{
    *out = (struct snug_measurement){.outcome = rep->outcome,
                                     .bytes = cell->bytes,
                                     .effective = cell->config,
                                     .n_cached_hits = -1,
                                     .n_output = -1};
    if (rep->outcome != SNUG_TRIAL_OK) {
        snprintf(out->reason, sizeof out->reason, "recorded as %s",
                 snug_outcome_name(rep->outcome));
        return;
    }
    out->ttft_s = rep->ttft_s;
    out->n_prefill_blocks = rep->n_prefill;
    out->n_decode_blocks = rep->n_decode;
    memcpy(out->prefill_block_tps, rep->block, (size_t)rep->n_prefill * sizeof *rep->block);
    memcpy(out->decode_block_tps, rep->block + rep->n_prefill,
           (size_t)rep->n_decode * sizeof *rep->block);
    if (rep->n_prefill)
        out->prefill_tps = snug_stats_median(out->prefill_block_tps, (size_t)rep->n_prefill);
    if (rep->n_decode)
        out->decode_tps = snug_stats_median(out->decode_block_tps, (size_t)rep->n_decode);
}
