/* The part file of a recording, one trial a line, and the table that is made of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/gzip.h"
#include "perf/tunebench/record.h"
#include "trial/trial_json.h"

/* ---- the part file ---- */

static int index_of(const struct tb_recorder *r, const struct snug_config *config)
{
    for (int i = 0; i < r->n_configs; i++) {
        struct snug_config at;
        snug__lattice_at(&r->lattice, (uint64_t)i, &at);
        if (snug_config_equal(&r->space, &at, config))
            return i;
    }
    return -1;
}

/* The first line says what is recorded, so that another recording is not mixed in. */
static char *first_line(const struct tb_recorder *r)
{
    struct snug_json_writer w = {0};
    char build[128];
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "name", r->arguments->name);
    snug_json_put_string(&w, "model", r->model.hash);
    snug_json_put_string(&w, "machine", r->machine.fingerprint);
    snug_json_put_string(&w, "build", snug_engine_build_here(build, sizeof build));
    snug_json_put_string(&w, "beside", r->arguments->beside);
    snug_json_put_int(&w, "n_blocks", r->arguments->n_blocks);
    snug_space_to_json(&w, "space", &r->space);
    snug_workload_to_json(&w, "workload", &r->workload);
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}

/* Keeps what is valid, also repetitions past those that are asked for now. */
static snug_status take_line(struct tb_recorder *r, const char *line, size_t n,
                             struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug_config config;
    snug_status status = snug_json_parse(r->part_path, line, n, &doc, err);
    snug_space_default(&r->space, &config);
    if (status == SNUG_OK)
        status = snug_config_from_json(snug_json_get(snug_json_root(doc), "config"), &r->space,
                                       true, &config, err);
    const int64_t rep = status == SNUG_OK ? snug_json_get_int(snug_json_root(doc), "rep", -1) : -1;
    const int i = status == SNUG_OK ? index_of(r, &config) : -1;
    snug_json_free(doc);
    if (status == SNUG_OK && (i < 0 || rep < 0 || rep >= SNUG__TABLE_REPS_MAX))
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: a trial that is none of this recording's",
                           r->part_path);
    if (status != SNUG_OK || r->is_done[i][rep])
        return status;
    snug_buffer_append(&r->had, line, n);
    snug_buffer_puts(&r->had, "\n");
    r->is_done[i][rep] = true;
    r->n_recorded += rep < r->arguments->n_reps;
    return SNUG_OK;
}

/* Read what earlier runs left; a line that was cut by a kill is dropped. */
static snug_status take_part(struct tb_recorder *r, const char *head, struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read(r->part_path, SNUG__TABLE_BYTES_MAX, &text, &n, err);
    if (status == SNUG_NOT_FOUND)
        return SNUG_OK;
    if (status == SNUG_OK && (strncmp(text, head, strlen(head)) != 0 || text[strlen(head)] != '\n'))
        status =
            snug_fail(err, SNUG_BAD_INPUT,
                      "%s is of another recording: give another TABLE, or remove it", r->part_path);
    const char *end = NULL;
    for (const char *p = text; status == SNUG_OK && p; p = end ? end + 1 : NULL) {
        end = memchr(p, '\n', (size_t)(text + n - p));
        if (end && p > text && end > p)
            status = take_line(r, p, (size_t)(end - p), err);
    }
    free(text);
    return status;
}

snug_status tb_record_open_part(struct tb_recorder *r, struct snug_error *err)
{
    char *head = first_line(r);
    snprintf(r->part_path, sizeof r->part_path, "%s.part", r->arguments->table);
    if (!head)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a header");
    snug_status status = take_part(r, head, err);
    struct snug_buffer text = {0};
    snug_buffer_printf(&text, "%s\n%s", head, snug_buffer_text(&r->had));
    text.is_failed |= r->had.is_failed;
    free(head);
    if (status == SNUG_OK && text.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for what %s has", r->part_path);
    if (status == SNUG_OK) /* rewritten whole, so that nothing follows a line that was cut */
        status = snug_file_write(r->part_path, text.data, text.len, err);
    snug_buffer_clear(&text);
    if (status == SNUG_OK) {
        r->part = fopen(r->part_path, "a");
        if (!r->part)
            status = snug_fail(err, SNUG_IO, "%s cannot be written to", r->part_path);
    }
    return status;
}

snug_status tb_record_keep(struct tb_recorder *r, const char *line, struct snug_error *err)
{
    snug_buffer_puts(&r->had, line);
    snug_buffer_puts(&r->had, "\n");
    if (fprintf(r->part, "%s\n", line) < 0 || fflush(r->part) != 0 || fsync(fileno(r->part)) != 0)
        return snug_fail(err, SNUG_IO, "%s cannot be written to", r->part_path);
    return SNUG_OK;
}

/* ---- sealing ---- */

/* A trial whose model was loaded already costs the loading of its group, were it to be loaded: the
 * median of those that were. Values are put in by writing each line again. */
static double group_setup(const struct snug_json_node *const *lines, size_t n,
                          const struct tb_recorder *r, const struct snug_json_node *config)
{
    double seconds[TB_RECORD_CONFIGS_MAX];
    size_t n_found = 0;
    for (size_t i = 0; i < n && n_found < TB_RECORD_CONFIGS_MAX; i++) {
        const struct snug_json_node *other = snug_json_get(lines[i], "config");
        bool is_group = true;
        for (int k = 0; k < r->space.n && is_group; k++) {
            const char *name = r->space.knobs[k].name;
            const struct snug_json_node *a = snug_json_get(config, name);
            const struct snug_json_node *b = snug_json_get(other, name);
            if (r->space.knobs[k].when == SNUG_KNOB_LOAD)
                is_group = strcmp(snug_json_string(a, ""), snug_json_string(b, "")) == 0 &&
                           snug_json_int(a, 0) == snug_json_int(b, 0);
        }
        const double s = snug_json_get_number(lines[i], "setup_s", 0);
        if (is_group && s > 0)
            seconds[n_found++] = s;
    }
    return n_found ? snug_stats_median(seconds, n_found) : 0;
}

static void put_line(struct snug_buffer *body, const struct snug_json_node *line, double setup_s)
{
    struct snug_json_writer w = {0};
    const char *key;
    const struct snug_json_node *value;
    snug_json_begin_object(&w, NULL);
    for (size_t i = 0; snug_json_member(line, i, &key, &value); i++)
        if (strcmp(key, "setup_s") != 0)
            snug_json_put_node(&w, key, value);
    snug_json_put_number(&w, "setup_s", round(setup_s * 1e4) / 1e4);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, false);
    snug_buffer_puts(body, text ? text : "");
    snug_buffer_puts(body, "\n");
    body->is_failed |= !text;
    free(text);
}

/* What stating bytes takes: the mean over first repetitions, since the engine states those of a few
 * configs and knows them of the others. */
static double estimate_of(const struct snug_json_node *const *lines, size_t n)
{
    double seconds[TB_RECORD_CONFIGS_MAX];
    size_t n_found = 0;
    for (size_t i = 0; i < n && n_found < TB_RECORD_CONFIGS_MAX; i++)
        if (snug_json_get_int(lines[i], "rep", 0) == 0)
            seconds[n_found++] = snug_json_get_number(lines[i], "estimate_s", 0);
    return n_found ? snug_stats_mean(seconds, n_found) : 0;
}

/* All lines, parsed as one array, to body with setup_s filled in. */
static snug_status seal_lines(struct tb_recorder *r, struct snug_buffer *body, size_t *out_n,
                              struct snug_error *err)
{
    struct snug_buffer array = {0};
    struct snug_json *doc = NULL;
    if (r->had.is_failed)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the trials of %s", r->part_path);
    snug_buffer_puts(&array, "[");
    snug_buffer_puts(&array, snug_buffer_text(&r->had));
    for (size_t i = 0; i + 1 < array.len; i++) /* a line break never stands inside JSON of ours */
        if (array.data[i] == '\n')
            array.data[i] = ',';
    if (array.len > 1)
        array.data[array.len - 1] = ']';
    snug_status status =
        snug_json_parse(r->part_path, snug_buffer_text(&array), array.len, &doc, err);
    const size_t n = status == SNUG_OK ? snug_json_count(snug_json_root(doc)) : 0;
    const struct snug_json_node **lines = calloc(n + 1, sizeof *lines);
    if (status == SNUG_OK && !lines)
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu lines", n);
    if (status == SNUG_OK)
        *out_n = snug_json_elements(snug_json_root(doc), lines, n);
    for (size_t i = 0; status == SNUG_OK && i < n; i++) {
        const double own = snug_json_get_number(lines[i], "setup_s", 0);
        const struct snug_json_node *config = snug_json_get(lines[i], "config");
        put_line(body, lines[i], own > 0 ? own : group_setup(lines, n, r, config));
    }
    if (status == SNUG_OK)
        r->estimate_s = estimate_of(lines, n);
    free(lines);
    snug_json_free(doc);
    snug_buffer_clear(&array);
    return status;
}

static void put_made(struct snug_json_writer *w, const struct tb_recorder *r)
{
    char build[128];
    snug_json_begin_object(w, "made");
    snug_json_put_string(w, "by", "tunebench_record");
    snug_json_put_string(w, "snug", snug_version());
    snug_json_put_string(w, "build", snug_engine_build_here(build, sizeof build));
    snug_json_put_string(w, "cpu", r->machine.cpu_name);
    snug_json_put_int(w, "n_cores", r->machine.n_cores);
    snug_json_put_string(w, "model_arch", r->model.arch);
    snug_json_put_string(w, "model_hash", r->model.hash);
    snug_json_put_int(w, "model_params", (int64_t)r->model.n_params);
    snug_json_put_string(w, "beside", r->arguments->beside);
    snug_json_put_int(w, "n_blocks", r->arguments->n_blocks);
    snug_json_put_int(w, "n_configs", r->n_configs);
    snug_json_end(w);
}

static void put_fit(struct snug_json_writer *w, const struct tb_recorder *r)
{
    struct snug_config fit, config;
    if (snug_engine_fit(r->engine_space, &r->workload, r->arguments->model, &fit, NULL) != SNUG_OK)
        return;
    tb_record_from_engine(r, &fit, &config);
    snug_config_to_json(w, "fit", &r->space, &config);
}

static char *header_of(const struct tb_recorder *r, const struct snug_buffer *body, size_t n)
{
    struct snug_json_writer w = {0};
    char hash[SNUG_SHA256_HEX_MAX];
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "snug_table", SNUG__TABLE_VERSION);
    snug_json_put_string(&w, "name", r->arguments->name);
    snug_space_to_json(&w, "space", &r->space);
    snug_json_begin_array(&w, "workloads");
    snug_workload_to_json(&w, NULL, &r->workload);
    snug_json_end(&w);
    snug_json_put_string(&w, "memory", "stated");
    snug_json_put_number(&w, "estimate_s", round(r->estimate_s * 1e4) / 1e4);
    put_fit(&w, r);
    put_made(&w, r);
    snug_json_put_int(&w, "n_lines", (int64_t)n);
    snug_json_put_string(&w, "sha256", snug_sha256_hex(body->data, body->len, hash));
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}

snug_status tb_record_seal(struct tb_recorder *r, struct snug_error *err)
{
    struct snug_buffer body = {0}, text = {0};
    struct snug__table *table = NULL;
    char *head = NULL;
    void *packed = NULL;
    size_t n = 0, n_packed = 0;
    snug_status status = seal_lines(r, &body, &n, err);
    if (status != SNUG_OK)
        goto done;
    head = header_of(r, &body, n);
    snug_buffer_printf(&text, "%s\n", head ? head : "");
    snug_buffer_append(&text, body.data, body.len);
    if (!head || text.is_failed || body.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for a table");
    if (status == SNUG_OK) /* what would be refused later is refused now */
        status = snug__table_parse(r->arguments->table, text.data, text.len, &table, err);
    if (status == SNUG_OK)
        status = snug_gzip_pack(text.data, text.len, &packed, &n_packed, err);
    if (status == SNUG_OK)
        status = snug_file_write(r->arguments->table, packed, n_packed, err);
    if (status == SNUG_OK)
        fprintf(stderr, "\n%s: %zu of %d cells, %zu trials, %zu bytes\n", r->arguments->table,
                table->n_cells, r->n_configs, n, n_packed);
done:
    snug__table_free(table);
    free(packed);
    free(head);
    snug_buffer_clear(&body);
    snug_buffer_clear(&text);
    return status;
}
