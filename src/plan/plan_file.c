/* plan.json, version 1: the table of its fields, and the writer. See plan_internal.h. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "plan/plan_internal.h"

#define AT(field) offsetof(struct snug_plan, field)
#define TEXT(name, field)                                                                          \
    {                                                                                              \
        name, SNUG__PLAN_TEXT, AT(field), 0, (int64_t)sizeof(((struct snug_plan *)0)->field)       \
    }
#define TIER(name, field)                                                                          \
    {                                                                                              \
        name, SNUG__PLAN_BYTES, offsetof(struct snug_plan_tier, field), 0, BYTES_MOST              \
    }

/* Far above every machine, far below what sums of them overflow at. */
#define BYTES_MOST ((int64_t)1 << 56)
#define TOKENS_MOST ((int64_t)1 << 31)
#define LAYERS_MOST 65536
#define PARALLEL_MOST 65536
#define THREADS_MOST 65536
#define PARAMS_MOST ((int64_t)1 << 56)

static const struct snug__plan_field MODEL[] = {
    TEXT("name", model_name),
    TEXT("hash", model_hash),
    TEXT("arch", arch),
    {"n_params", SNUG__PLAN_BYTES, AT(n_params), 0, PARAMS_MOST},
    {"n_tensors", SNUG__PLAN_SMALL, AT(n_tensors), 0, SNUG_GGUF_TENSORS_MAX},
};
static const struct snug__plan_field MACHINE[] = {
    TEXT("name", machine),
    TEXT("law", law_source),
};
static const struct snug__plan_field VERDICT[] = {
    {"grade", SNUG__PLAN_GRADE, AT(grade), 0, 0},
    TEXT("reason", reason),
};
static const struct snug__plan_field RUN[] = {
    {"type_k", SNUG__PLAN_TYPE, AT(type_k), 0, 0},
    {"type_v", SNUG__PLAN_TYPE, AT(type_v), 0, 0},
    {"flash_attn", SNUG__PLAN_FLAG, AT(flash_attn), 0, 0},
    {"n_ctx", SNUG__PLAN_INT, AT(n_ctx), 0, TOKENS_MOST},
    {"n_parallel", SNUG__PLAN_INT, AT(n_parallel), 0, PARALLEL_MOST},
    {"n_gpu_layers", SNUG__PLAN_INT, AT(n_gpu_layers), -1, LAYERS_MOST},
    {"n_batch", SNUG__PLAN_INT, AT(n_batch), 0, TOKENS_MOST},
    {"n_ubatch", SNUG__PLAN_INT, AT(n_ubatch), 0, TOKENS_MOST},
    {"n_threads", SNUG__PLAN_INT, AT(n_threads), 0, THREADS_MOST},
    {"use_mmap", SNUG__PLAN_FLAG, AT(use_mmap), 0, 0},
};
static const struct snug__plan_field PREDICTED[] = {
    {"file_bytes", SNUG__PLAN_BYTES, AT(file_bytes), 0, BYTES_MOST},
    {"total_bytes", SNUG__PLAN_BYTES, AT(total_bytes), 0, BYTES_MOST},
    {"host_bytes", SNUG__PLAN_RANGE, AT(host_bytes), 0, 0},
    {"n_prompt", SNUG__PLAN_INT, AT(n_prompt), 0, TOKENS_MOST},
    {"prefill_tps", SNUG__PLAN_RANGE, AT(prefill_tps), 0, 0},
    {"ttft_s", SNUG__PLAN_RANGE, AT(ttft_s), 0, 0},
    {"loss", SNUG__PLAN_RANGE, AT(loss), 0, 0},
    {"loss_method", SNUG__PLAN_METHOD, AT(method), 0, 0},
    {"gap_frac", SNUG__PLAN_NUMBER, AT(gap_frac), 0, 0},
};
const struct snug__plan_field snug__plan_tier_fields[] = {
    {"name", SNUG__PLAN_TEXT, offsetof(struct snug_plan_tier, name), 0,
     (int64_t)sizeof(((struct snug_plan_tier *)0)->name)},
    TIER("bytes_usable", bytes_usable),
    TIER("weights", weights),
    TIER("cache", cache),
    TIER("compute", compute),
    TIER("reserve", reserve),
    {"n_layer", SNUG__PLAN_INT, offsetof(struct snug_plan_tier, n_layer), 0, LAYERS_MOST},
};

#define N(table) ((int)(sizeof(table) / sizeof *(table)))
const int snug__plan_n_tier_fields = N(snug__plan_tier_fields);

const struct snug__plan_section snug__plan_sections[] = {
    {"model", MODEL, N(MODEL), {NULL}},
    {"machine", MACHINE, N(MACHINE), {NULL}},
    {"verdict", VERDICT, N(VERDICT), {NULL}},
    {"run", RUN, N(RUN), {NULL}},
    {"predicted", PREDICTED, N(PREDICTED), {"tiers", "decode", NULL}},
    {NULL, NULL, 0, {NULL}},
};

/* ---- writing ---- */

static void put_range(struct snug_json_writer *w, const char *key,
                      const struct snug_prediction *range)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "value", range->value);
    snug_json_put_number(w, "lo", range->lo);
    snug_json_put_number(w, "hi", range->hi);
    snug_json_end(w);
}

static void put_field(struct snug_json_writer *w, const struct snug__plan_field *field,
                      const void *base)
{
    const char *at = (const char *)base + field->at;
    switch (field->kind) {
    case SNUG__PLAN_TEXT:
        snug_json_put_string(w, field->key, at);
        break;
    case SNUG__PLAN_INT:
        snug_json_put_int(w, field->key, *(const int64_t *)(const void *)at);
        break;
    case SNUG__PLAN_SMALL:
        snug_json_put_int(w, field->key, *(const int *)(const void *)at);
        break;
    case SNUG__PLAN_BYTES:
        snug_json_put_int(w, field->key, (int64_t) * (const uint64_t *)(const void *)at);
        break;
    case SNUG__PLAN_FLAG:
        snug_json_put_bool(w, field->key, *(const bool *)at);
        break;
    case SNUG__PLAN_TYPE:
        snug_json_put_string(w, field->key, snug_model_type_name(*(const int *)(const void *)at));
        break;
    case SNUG__PLAN_GRADE:
        snug_json_put_string(w, field->key,
                             snug_plan_grade_name(*(const enum snug_plan_grade *)(const void *)at));
        break;
    case SNUG__PLAN_METHOD:
        snug_json_put_string(
            w, field->key,
            snug_sensitivity_method_name(*(const enum snug_sensitivity_method *)(const void *)at));
        break;
    case SNUG__PLAN_NUMBER:
        snug_json_put_number(w, field->key, *(const double *)(const void *)at);
        break;
    case SNUG__PLAN_RANGE:
        put_range(w, field->key, (const struct snug_prediction *)(const void *)at);
        break;
    }
}

static void put_tiers(struct snug_json_writer *w, const struct snug_plan *plan)
{
    snug_json_begin_array(w, "tiers");
    for (int i = 0; i < plan->n_tiers; i++) {
        snug_json_begin_object(w, NULL);
        for (int k = 0; k < snug__plan_n_tier_fields; k++)
            put_field(w, &snug__plan_tier_fields[k], &plan->tiers[i]);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_decode(struct snug_json_writer *w, const struct snug_plan *plan)
{
    snug_json_begin_array(w, "decode");
    for (int i = 0; i < plan->n_depths; i++) {
        snug_json_begin_object(w, NULL);
        snug_json_put_int(w, "depth", plan->depths[i]);
        put_range(w, "tps", &plan->decode_tps[i]);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_lists(struct snug_json_writer *w, const struct snug_plan *plan)
{
    snug_json_begin_array(w, "notes");
    for (int i = 0; i < plan->n_notes; i++)
        snug_json_put_string(w, NULL, plan->notes[i]);
    snug_json_end(w);
    snug_json_begin_array(w, "tensors");
    for (int i = 0; i < plan->n_tensors; i++) {
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "name", plan->names[i]);
        snug_json_put_string(w, "type", snug_model_type_name(plan->types[i]));
        snug_json_end(w);
    }
    snug_json_end(w);
}

char *snug_plan_to_json(const struct snug_plan *plan)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "format", SNUG__PLAN_FORMAT);
    snug_json_put_int(&w, "version", SNUG__PLAN_VERSION);
    for (const struct snug__plan_section *s = snug__plan_sections; s->key; s++) {
        snug_json_begin_object(&w, s->key);
        for (int i = 0; i < s->n_fields; i++)
            put_field(&w, &s->fields[i], plan);
        if (s->arrays[0]) {
            put_tiers(&w, plan);
            put_decode(&w, plan);
        }
        snug_json_end(&w);
    }
    put_lists(&w, plan);
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

snug_status snug_plan_write(const struct snug_plan *plan, const char *path, struct snug_error *err)
{
    char *text = snug_plan_to_json(plan);
    if (!text)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a plan of %d tensors", path,
                         plan->n_tensors);
    const snug_status status = snug_file_write(path, text, strlen(text), err);
    free(text);
    return status;
}
