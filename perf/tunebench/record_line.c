/* Rows and lines of a table that is being recorded. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "perf/tunebench/record.h"
#include "plan/law_config.h"
#include "trial/conditions_json.h"
#include "trial/trial_json.h"

/* ---- rows ---- */

/* Names of the table are the listed ones alone. */
static void narrow_names(struct snug_knob *knob, const int64_t *values, int n)
{
    struct snug_knob narrow = *knob;
    narrow.n_values = n;
    narrow.def = 0;
    for (int i = 0; i < n; i++) {
        narrow.values[i] = knob->values[values[i]];
        narrow.def = values[i] == knob->def ? i : narrow.def;
    }
    narrow.max = n - 1;
    *knob = narrow;
}

/* A switch has two levels: one that is recorded at one of them is not tuned. */
static void narrow_switch(struct snug_knob *knob, const int64_t *values, int n)
{
    knob->is_tuned = n > 1;
    knob->def = n > 1 ? knob->def : values[0];
}

/* Bounds around the listed values; false when the row's own steps do not meet them all. */
static bool narrow_bounds(struct snug_knob *knob, const int64_t *values, int n)
{
    knob->min = values[0];
    knob->max = values[n - 1];
    knob->step = n > 1 ? values[1] - values[0] : 1;
    if (knob->step < 1 || knob->max < knob->min || snug_knob_n_levels(knob) != n)
        return false;
    knob->def = snug_knob_level(knob, snug_knob_index(knob, knob->def));
    for (int i = 0; i < n; i++)
        if (snug_knob_level(knob, i) != values[i])
            return false;
    return true;
}

static snug_status read_values(const struct snug_knob *knob, const char *list, int64_t *out,
                               int *out_n, struct snug_error *err)
{
    char text[512], *rest = text;
    *out_n = 0;
    if (strlen(list) >= sizeof text)
        return snug_fail(err, SNUG_BAD_INPUT, "more than %zu characters", sizeof text - 1);
    snprintf(text, sizeof text, "%s", list);
    for (char *word = strsep(&rest, ","); word; word = strsep(&rest, ",")) {
        if (*out_n == SNUG_KNOB_VALUES_MAX)
            return snug_fail(err, SNUG_BAD_INPUT, "more than %d values", SNUG_KNOB_VALUES_MAX);
        const snug_status status = snug_knob_parse(knob, word, &out[*out_n], err);
        if (status != SNUG_OK)
            return status;
        for (int i = 0; i < *out_n; i++)
            if (out[i] == out[*out_n])
                return snug_fail(err, SNUG_BAD_INPUT, "%.40s stands twice", word);
        (*out_n)++;
    }
    return SNUG_OK;
}

snug_status tb_record_add_row(struct tb_recorder *r, const char *argument, struct snug_error *err)
{
    char name[64];
    int64_t values[SNUG_KNOB_VALUES_MAX];
    int n = 0;
    const char *equals = strchr(argument, '=');
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - argument) : 0, argument);
    const int row = snug_space_find(r->engine_space, name);
    if (!equals || row < 0 || r->space.n == SNUG_KNOBS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "--knob %s: NAME=VALUE,VALUE of a knob that there is",
                         argument);
    if (snug_space_find(&r->space, name) >= 0)
        return snug_fail(err, SNUG_BAD_INPUT, "--knob %s stands twice", name);
    struct snug_knob *knob = &r->space.knobs[r->space.n];
    *knob = r->engine_space->knobs[row];
    knob->is_tuned = true;
    const snug_status status = read_values(knob, equals + 1, values, &n, err);
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "--knob %.80s", argument);
    if (knob->kind == SNUG_KNOB_ENUM)
        narrow_names(knob, values, n);
    else if (knob->kind == SNUG_KNOB_BOOL)
        narrow_switch(knob, values, n);
    else if (!narrow_bounds(knob, values, n))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--knob %s: values must rise by equal steps, or double, as %s does",
                         argument, knob->name);
    r->engine_row[r->space.n++] = row;
    return SNUG_OK;
}

/* The same value in another row of that knob: names stand in another order there. -1: not there. */
static int64_t value_in(const struct snug_knob *from, int64_t value, const struct snug_knob *to)
{
    if (from->kind != SNUG_KNOB_ENUM)
        return value;
    for (int k = 0; k < to->n_values; k++)
        if (strcmp(to->values[k], from->values[value]) == 0)
            return k;
    return -1;
}

void tb_record_to_engine(const struct tb_recorder *r, const struct snug_config *config,
                         struct snug_config *out)
{
    snug_space_default(r->engine_space, out);
    for (int i = 0; i < r->space.n; i++) {
        const int row = r->engine_row[i];
        out->value[row] =
            value_in(&r->space.knobs[i], config->value[i], &r->engine_space->knobs[row]);
    }
}

void tb_record_from_engine(const struct tb_recorder *r, const struct snug_config *engine_config,
                           struct snug_config *out)
{
    snug_space_default(&r->space, out);
    for (int i = 0; i < r->space.n; i++) {
        const struct snug_knob *knob = &r->space.knobs[i];
        const int row = r->engine_row[i];
        const int64_t value =
            value_in(&r->engine_space->knobs[row], engine_config->value[row], knob);
        if (knob->is_tuned && value >= 0)
            out->value[i] = snug_knob_level(knob, snug_knob_index(knob, value));
    }
}

/* ---- one line ---- */

/* The law of n_threads, opened when needed; NULL with SNUG_OK where it says nothing of them. */
static snug_status law_of(struct tb_recorder *r, int64_t n_threads, const struct snug_law **out,
                          struct snug_error *err)
{
    snug_status status = SNUG_OK;
    *out = NULL;
    if (n_threads < 1 || n_threads >= TB_RECORD_LAWS_MAX)
        return SNUG_OK;
    struct snug_law *law = &r->laws[n_threads];
    const struct snug_law_request request = {
        .machine = "this", .cache_folder = r->arguments->predict, .n_threads = (int)n_threads};
    if (law->n_tiers == 0)
        status = snug_law_open(&request, law, err);
    if (status == SNUG_OK && law->tiers[0].kind == SNUG_TIER_HOST)
        *out = law;
    return status;
}

/* Nothing where the law says nothing, as of the prior of `snug tune`. */
static snug_status predict(struct tb_recorder *r, const struct snug_config *engine_config,
                           struct snug_json_writer *w, struct snug_error *err)
{
    struct snug__law_knobs knobs;
    struct snug_law_load load;
    const struct snug_law *decode = NULL, *prefill = NULL;
    snug__law_knobs_of(r->engine_space, engine_config, &knobs);
    if (!r->arguments->predict || !snug__law_load_of(&knobs, &r->model, 0, &load))
        return SNUG_OK;
    snug_status status = law_of(r, knobs.n_threads, &decode, err);
    if (status == SNUG_OK)
        status = law_of(r, knobs.n_threads_batch, &prefill, err);
    if (status != SNUG_OK || !decode || !prefill)
        return status;
    snug_json_begin_object(w, "predicted");
    snug_json_put_number(w, "prefill_tps",
                         snug__law_load_prefill_tps(prefill, &load, &r->workload));
    snug_json_put_number(w, "decode_tps", snug__law_load_decode_tps(decode, &load, &r->workload));
    snug_json_end(w);
    return SNUG_OK;
}

static void put_blocks(struct snug_json_writer *w, const char *key, const double *tps, int n)
{
    snug_json_begin_array(w, key);
    for (int i = 0; i < n; i++)
        snug_json_put_number(w, NULL, round(tps[i] * 1e3) / 1e3);
    snug_json_end(w);
}

static void put_bytes(struct snug_json_writer *w, const struct snug_bytes *bytes)
{
    snug_json_begin_object(w, "bytes");
    snug_json_put_int(w, "weights", (int64_t)bytes->weights);
    snug_json_put_int(w, "cache", (int64_t)bytes->cache);
    snug_json_put_int(w, "compute", (int64_t)bytes->compute);
    snug_json_put_int(w, "device", (int64_t)bytes->device);
    snug_json_put_int(w, "rss_peak", (int64_t)bytes->rss_peak);
    snug_json_end(w);
}

char *tb_record_line(struct tb_recorder *r, const struct snug_config *config, int rep,
                     const struct snug_measurement *m, struct snug_error *err)
{
    struct snug_json_writer w = {0};
    struct snug_config engine_config;
    char warnings[256];
    tb_record_to_engine(r, config, &engine_config);
    snug_json_begin_object(&w, NULL);
    snug_config_to_json(&w, "config", &r->space, config);
    snug_json_put_int(&w, "fidelity", 0);
    snug_json_put_int(&w, "rep", rep);
    snug_json_put_string(&w, "outcome", snug_outcome_name(m->outcome));
    if (m->outcome == SNUG_TRIAL_OK) {
        put_blocks(&w, "prefill_block_tps", m->prefill_block_tps, m->n_prefill_blocks);
        put_blocks(&w, "decode_block_tps", m->decode_block_tps, m->n_decode_blocks);
        snug_json_put_number(&w, "ttft_s", m->ttft_s);
    } else {
        snug_json_put_string(&w, "reason", m->reason);
    }
    if (snug_bytes_stated(&m->bytes) > 0)
        put_bytes(&w, &m->bytes);
    snug_json_put_number(&w, "wall_s", fmax(m->wall_s - m->load_s, 0));
    snug_json_put_number(&w, "setup_s", m->load_s);
    snug_json_put_number(&w, "estimate_s", r->estimate_s);
    snug_json_put_string(&w, "warnings",
                         snug_warnings_text(m->warnings, " ", warnings, sizeof warnings));
    snug_json_put_number(&w, "load_average", m->load_average);
    snug_conditions_to_json(&w, "conditions", &m->conditions);
    snug_json_put_number(&w, "started_unix_s", floor(m->started_unix_s));
    const snug_status status = predict(r, &engine_config, &w, err);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, false);
    if (status != SNUG_OK) {
        free(text);
        return NULL;
    }
    if (!text)
        snug_fail(err, SNUG_NO_MEMORY, "no memory for a line");
    return text;
}
