/* Configs, workloads and measurements as JSON. A table of fields per struct drives both ways, so
 * that what is written is what is read. */
#include "trial/trial_json.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "trial/conditions_json.h"
#include "trial/knob.h"

/* ---- configs ---- */

void snug_config_to_json(struct snug_json_writer *w, const char *key,
                         const struct snug_space *space, const struct snug_config *config)
{
    snug_json_begin_object(w, key);
    for (int i = 0; i < space->n; i++) {
        const struct snug_knob *knob = &space->knobs[i];
        const char *name = snug__knob_name_of(knob, config->value[i]);
        if (name)
            snug_json_put_string(w, knob->name, name);
        else
            snug_json_put_int(w, knob->name, config->value[i]);
    }
    snug_json_end(w);
}

/* Numbers are accepted as JSON numbers or as text, booleans also as true and false. */
static snug_status read_value(const struct snug_knob *knob, const struct snug_json_node *node,
                              int64_t *out_value, struct snug_error *err)
{
    char text[32];
    if (snug_json_is_string(node))
        return snug_knob_parse(knob, snug_json_string(node, ""), out_value, err);
    if (snug_json_is_number(node)) {
        const double number = snug_json_number(node, 0.0);
        const int64_t whole = snug_json_int(node, 0);
        if (number != (double)whole)
            return snug_fail(err, SNUG_BAD_INPUT, "%s: %g is not a whole number", knob->name,
                             number);
        snprintf(text, sizeof text, "%lld", (long long)whole);
        return snug_knob_parse(knob, text, out_value, err);
    }
    if (knob->kind == SNUG_KNOB_BOOL && snug_json_bool(node, false) == snug_json_bool(node, true)) {
        *out_value = snug_json_bool(node, false);
        return SNUG_OK;
    }
    return snug_fail(err, SNUG_BAD_INPUT, "%s: neither a number nor a text", knob->name);
}

static snug_status fail_unknown(const struct snug_space *space, const char *name,
                                struct snug_error *err)
{
    const char *names[SNUG_KNOBS_MAX];
    for (int i = 0; i < space->n; i++)
        names[i] = space->knobs[i].name;
    const char *near = snug__near_word(name, names, space->n);
    return snug_fail(err, SNUG_BAD_INPUT, "no knob '%.40s'%s%s", name,
                     near ? ", did you mean " : "", near ? near : "");
}

snug_status snug_config_from_json(const struct snug_json_node *node, const struct snug_space *space,
                                  bool is_strict, struct snug_config *config,
                                  struct snug_error *err)
{
    struct snug_config found = *config;
    const char *name = NULL;
    const struct snug_json_node *value = NULL;
    if (is_strict && !snug_json_is_object(node))
        return snug_fail(err, SNUG_BAD_INPUT, "a config must be an object of knob names");
    for (size_t i = 0; snug_json_member(node, i, &name, &value); i++) {
        const int row = snug_space_find(space, name);
        snug_status status = SNUG_OK;
        if (row >= 0)
            status =
                read_value(&space->knobs[row], value, &found.value[row], is_strict ? err : NULL);
        else if (is_strict)
            status = fail_unknown(space, name, err);
        if (is_strict && status != SNUG_OK)
            return status;
    }
    *config = found;
    return SNUG_OK;
}

/* ---- fields ---- */

enum field_kind { FIELD_INT, FIELD_NUMBER, FIELD_BYTES };

struct field {
    const char *key;
    enum field_kind kind;
    size_t offset; /* of an int64_t, double or uint64_t in the struct */
};

#define N_FIELDS(table) (sizeof(table) / sizeof(table)[0])
#define WORKLOAD(name)                                                                             \
    {                                                                                              \
#name, FIELD_INT, offsetof(struct snug_workload, name)                                     \
    }
#define NUMBER(name)                                                                               \
    {                                                                                              \
#name, FIELD_NUMBER, offsetof(struct snug_measurement, name)                               \
    }
#define COUNTED(name)                                                                              \
    {                                                                                              \
#name, FIELD_INT, offsetof(struct snug_measurement, name)                                  \
    }
#define BYTES(name)                                                                                \
    {                                                                                              \
#name, FIELD_BYTES, offsetof(struct snug_bytes, name)                                      \
    }

static const struct field WORKLOAD_FIELDS[] = {
    WORKLOAD(n_prompt), WORKLOAD(n_gen), WORKLOAD(n_depth), WORKLOAD(n_parallel), WORKLOAD(n_ctx),
};
static const struct field BYTES_FIELDS[] = {
    BYTES(weights), BYTES(cache), BYTES(compute), BYTES(device), BYTES(rss_peak), BYTES(rss_base),
};
static const struct field MEASUREMENT_FIELDS[] = {
    NUMBER(prefill_tps),    NUMBER(decode_tps),         NUMBER(ttft_s),
    NUMBER(tpot_p50_s),     NUMBER(tpot_p95_s),         NUMBER(load_s),
    NUMBER(wall_s),         NUMBER(warmup_prefill_tps), NUMBER(warmup_decode_tps),
    NUMBER(throttled_s),    NUMBER(other_load_frac),    NUMBER(load_average),
    NUMBER(started_unix_s),
};
static const struct field DETAIL_FIELDS[] = {
    NUMBER(first_sample_s),
    NUMBER(noise_frac),
    COUNTED(n_cached_hits),
    COUNTED(n_output),
};

static void put_fields(struct snug_json_writer *w, const struct field *fields, size_t n,
                       const void *object)
{
    for (size_t i = 0; i < n; i++) {
        const char *at = (const char *)object + fields[i].offset;
        if (fields[i].kind == FIELD_NUMBER)
            snug_json_put_number(w, fields[i].key, *(const double *)(const void *)at);
        else
            snug_json_put_int(w, fields[i].key, *(const int64_t *)(const void *)at);
    }
}

static void get_fields(const struct snug_json_node *node, const struct field *fields, size_t n,
                       void *object)
{
    for (size_t i = 0; i < n; i++) {
        char *at = (char *)object + fields[i].offset;
        if (fields[i].kind == FIELD_NUMBER) {
            *(double *)(void *)at = snug_json_get_number(node, fields[i].key, 0.0);
            continue;
        }
        const int64_t value = snug_json_get_int(node, fields[i].key, 0);
        *(int64_t *)(void *)at = value < 0 && fields[i].kind == FIELD_BYTES ? 0 : value;
    }
}

void snug_workload_to_json(struct snug_json_writer *w, const char *key,
                           const struct snug_workload *workload)
{
    snug_json_begin_object(w, key);
    put_fields(w, WORKLOAD_FIELDS, N_FIELDS(WORKLOAD_FIELDS), workload);
    if (workload->hash[0]) {
        snug_json_put_string(w, "name", workload->name);
        snug_json_put_string(w, "hash", workload->hash);
        snug_json_put_string(w, "path", workload->path);
    }
    snug_json_end(w);
}

void snug_workload_from_json(const struct snug_json_node *node, struct snug_workload *workload)
{
    get_fields(node, WORKLOAD_FIELDS, N_FIELDS(WORKLOAD_FIELDS), workload);
    snprintf(workload->name, sizeof workload->name, "%s", snug_json_get_string(node, "name", ""));
    snprintf(workload->hash, sizeof workload->hash, "%s", snug_json_get_string(node, "hash", ""));
    snprintf(workload->path, sizeof workload->path, "%s", snug_json_get_string(node, "path", ""));
}

/* ---- measurements ---- */

static void put_blocks(struct snug_json_writer *w, const char *key, const double *tps, int n)
{
    snug_json_begin_array(w, key);
    for (int i = 0; i < n && i < SNUG_BLOCKS_MAX; i++)
        snug_json_put_number(w, NULL, tps[i]);
    snug_json_end(w);
}

static int get_blocks(const struct snug_json_node *node, double *out, size_t cap)
{
    size_t n = snug_json_is_array(node) ? snug_json_count(node) : 0;
    if (n > cap)
        n = cap;
    for (size_t i = 0; i < n; i++)
        out[i] = snug_json_number(snug_json_at(node, i), 0.0);
    return (int)n;
}

static void put_warnings(struct snug_json_writer *w, uint32_t warnings)
{
    snug_json_begin_array(w, "warnings");
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
        if (warnings >> bit & 1u)
            snug_json_put_string(w, NULL, snug_warning_name((enum snug_warning_bit)bit));
    }
    snug_json_end(w);
}

/* Names that a newer snug may have added are dropped. */
static uint32_t get_warnings(const struct snug_json_node *node)
{
    uint32_t warnings = 0;
    const size_t n = snug_json_is_array(node) ? snug_json_count(node) : 0;
    for (size_t i = 0; i < n && i < 32; i++) {
        const char *name = snug_json_string(snug_json_at(node, i), "");
        for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
            if (strcmp(name, snug_warning_name((enum snug_warning_bit)bit)) == 0)
                warnings |= 1u << bit;
        }
    }
    return warnings;
}

static void put_details(struct snug_json_writer *w, const struct snug_measurement *m)
{
    put_fields(w, DETAIL_FIELDS, N_FIELDS(DETAIL_FIELDS), m);
    put_blocks(w, "warmup_prefill_block_tps", m->warmup_prefill_block_tps,
               m->n_warmup_prefill_blocks);
    put_blocks(w, "warmup_decode_block_tps", m->warmup_decode_block_tps, m->n_warmup_decode_blocks);
    snug_conditions_to_json(w, "conditions", &m->conditions);
    if (m->n_samples > 0)
        snug_samples_to_json(w, "samples", m->samples, m->n_samples);
}

void snug_measurement_details_to_json(struct snug_json_writer *w, const char *key,
                                      const struct snug_measurement *m)
{
    snug_json_begin_object(w, key);
    put_details(w, m);
    snug_json_end(w);
}

void snug_measurement_details_from_json(const struct snug_json_node *node,
                                        struct snug_measurement *m)
{
    get_fields(node, DETAIL_FIELDS, N_FIELDS(DETAIL_FIELDS), m);
    if (!snug_json_get(node, "n_output"))
        m->n_output = -1; /* written before it was counted */
    m->n_warmup_prefill_blocks = get_blocks(snug_json_get(node, "warmup_prefill_block_tps"),
                                            m->warmup_prefill_block_tps, SNUG_WARMUP_BLOCKS_MAX);
    m->n_warmup_decode_blocks = get_blocks(snug_json_get(node, "warmup_decode_block_tps"),
                                           m->warmup_decode_block_tps, SNUG_WARMUP_BLOCKS_MAX);
    snug_conditions_from_json(snug_json_get(node, "conditions"), &m->conditions);
    m->samples = snug_samples_from_json(snug_json_get(node, "samples"), &m->n_samples);
}

void snug_measurement_to_json(struct snug_json_writer *w, const char *key,
                              const struct snug_measurement *m)
{
    snug_json_begin_object(w, key);
    snug_json_put_string(w, "outcome", snug_outcome_name(m->outcome));
    snug_json_put_string(w, "reason", m->reason);
    put_fields(w, MEASUREMENT_FIELDS, N_FIELDS(MEASUREMENT_FIELDS), m);
    snug_json_begin_object(w, "bytes");
    put_fields(w, BYTES_FIELDS, N_FIELDS(BYTES_FIELDS), &m->bytes);
    snug_json_end(w);
    put_blocks(w, "prefill_block_tps", m->prefill_block_tps, m->n_prefill_blocks);
    put_blocks(w, "decode_block_tps", m->decode_block_tps, m->n_decode_blocks);
    put_warnings(w, m->warnings);
    snug_json_put_string(w, "verdict", snug_verdict_name(snug_verdict_of(m->warnings)));
    put_details(w, m);
    snug_json_put_string(w, "build", m->build);
    snug_json_end(w);
}

void snug_measurement_from_json(const struct snug_json_node *node, struct snug_measurement *m)
{
    memset(m, 0, sizeof *m);
    /* An outcome without a known name is no success. */
    m->outcome = snug_outcome_from_name(snug_json_get_string(node, "outcome", ""));
    if (m->outcome == SNUG_N_OUTCOMES)
        m->outcome = SNUG_TRIAL_REFUSED;
    snprintf(m->reason, sizeof m->reason, "%s", snug_json_get_string(node, "reason", ""));
    get_fields(node, MEASUREMENT_FIELDS, N_FIELDS(MEASUREMENT_FIELDS), m);
    get_fields(snug_json_get(node, "bytes"), BYTES_FIELDS, N_FIELDS(BYTES_FIELDS), &m->bytes);
    m->n_prefill_blocks =
        get_blocks(snug_json_get(node, "prefill_block_tps"), m->prefill_block_tps, SNUG_BLOCKS_MAX);
    m->n_decode_blocks =
        get_blocks(snug_json_get(node, "decode_block_tps"), m->decode_block_tps, SNUG_BLOCKS_MAX);
    snug_measurement_details_from_json(node, m);
    m->warnings = get_warnings(snug_json_get(node, "warnings"));
    snprintf(m->build, sizeof m->build, "%s", snug_json_get_string(node, "build", ""));
}

/* ---- spaces ---- */

static void put_bound(struct snug_json_writer *w, const char *key, const struct snug_knob *knob,
                      int64_t value)
{
    const char *name = snug__knob_name_of(knob, value);
    if (name)
        snug_json_put_string(w, key, name);
    else
        snug_json_put_int(w, key, value);
}

static void put_knob(struct snug_json_writer *w, const struct snug_knob *knob)
{
    static const char *const kinds[] = {"int", "log2", "enum", "bool"};
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "name", knob->name);
    snug_json_put_string(w, "kind", kinds[knob->kind]);
    snug_json_put_string(w, "when", knob->when == SNUG_KNOB_LOAD ? "load" : "context");
    put_bound(w, "default", knob, knob->def);
    if (knob->kind == SNUG_KNOB_INT || knob->kind == SNUG_KNOB_LOG2) {
        snug_json_put_int(w, "min", knob->min);
        snug_json_put_int(w, "max", knob->max);
    }
    if (knob->kind == SNUG_KNOB_INT)
        snug_json_put_int(w, "step", knob->step);
    if (knob->kind == SNUG_KNOB_ENUM) {
        snug_json_begin_array(w, "values");
        for (int i = 0; i < knob->n_values; i++)
            snug_json_put_string(w, NULL, knob->values[i]);
        snug_json_end(w);
    }
    snug_json_put_bool(w, "is_tuned", knob->is_tuned);
    snug_json_put_bool(w, "is_quality", knob->is_quality);
    if (knob->why_not)
        snug_json_put_string(w, "why_not", knob->why_not);
    snug_json_put_string(w, "flag", knob->flag);
    snug_json_put_string(w, "help", knob->help);
    snug_json_end(w);
}

void snug_space_to_json(struct snug_json_writer *w, const char *key, const struct snug_space *space)
{
    snug_json_begin_array(w, key);
    for (int i = 0; i < space->n; i++)
        put_knob(w, &space->knobs[i]);
    snug_json_end(w);
}
