/* Quantising a model file, parent side: a worker does it, since libllama ends its process on a
 * tensor it does not like, and since its memory goes back only with the process. */
#include "engine/quantize.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/llama_engine.h"

/* Without those that need an importance matrix. */
static const struct {
    const char *name;
    enum llama_ftype type;
} TYPES[] = {
    {"f16", LLAMA_FTYPE_MOSTLY_F16},       {"bf16", LLAMA_FTYPE_MOSTLY_BF16},
    {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},     {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K},
    {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M}, {"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S},
    {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},     {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
    {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M}, {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S},
    {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},     {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
    {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL}, {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS},
    {"q3_k_l", LLAMA_FTYPE_MOSTLY_Q3_K_L}, {"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M},
    {"q3_k_s", LLAMA_FTYPE_MOSTLY_Q3_K_S}, {"iq3_m", LLAMA_FTYPE_MOSTLY_IQ3_M},
    {"iq3_s", LLAMA_FTYPE_MOSTLY_IQ3_S},   {"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K},
};

enum { N_TYPES = sizeof TYPES / sizeof *TYPES };

enum llama_ftype snug__weight_type(const char *name)
{
    for (int i = 0; i < N_TYPES; i++) {
        if (strcmp(TYPES[i].name, name) == 0)
            return TYPES[i].type;
    }
    return LLAMA_FTYPE_GUESSED;
}

const char *const *snug_engine_weight_types(void)
{
    static const char *names[N_TYPES + 1]; /* written alike by every thread */
    for (int i = 0; i < N_TYPES; i++)
        names[i] = TYPES[i].name;
    return names;
}

static snug_status call(const char *model_path, const char *type, const char *part_path,
                        double deadline_s, const volatile int *stop, struct snug_error *err)
{
    const struct snug_model none = {0};
    const struct snug_engine_options options = {
        .model_path = model_path, .model = &none, .stop = stop};
    struct snug__link link = {0};
    struct snug__link_end end = {0};
    struct snug_json *doc = NULL;
    struct snug_json_writer request = {0};
    snug_status status = snug__link_open(&link, &options, NULL, err);
    if (status != SNUG_OK)
        return status;
    snug_json_begin_object(&request, NULL);
    snug_json_put_string(&request, "op", "quantize");
    snug_json_put_string(&request, "model", model_path);
    snug_json_put_string(&request, "type", type);
    snug_json_put_string(&request, "to", part_path);
    snug_json_end(&request);
    status = snug__link_call(&link, &options, &request, deadline_s, &doc, &end, err);
    const struct snug_json_node *root = snug_json_root(doc);
    if (status == SNUG_CRASHED && end.outcome == SNUG_TRIAL_TIMEOUT)
        status = snug_fail(err, SNUG_TIMEOUT, "%s to %s: %s", model_path, type, end.reason);
    else if (status == SNUG_CRASHED)
        status = snug_fail(err, SNUG_CRASHED, "%s to %s: %s", model_path, type, end.reason);
    else if (status == SNUG_OK && strcmp(snug_json_get_string(root, "event", ""), "quantized") != 0)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s to %s: %s", model_path, type,
                           snug_json_get_string(root, "reason", "no reason given"));
    snug_json_free(doc);
    snug__link_close(&link);
    return status;
}

snug_status snug_engine_quantize(const char *model_path, const char *type, const char *out_path,
                                 double deadline_s, const volatile int *stop,
                                 struct snug_error *err)
{
    char part_path[4096];
    if (snug__weight_type(type) == LLAMA_FTYPE_GUESSED)
        return snug_fail(err, SNUG_BAD_INPUT, "'%.40s' is no type to quantise to", type);
    if ((size_t)snprintf(part_path, sizeof part_path, "%s.part", out_path) >= sizeof part_path)
        return snug_fail(err, SNUG_BAD_INPUT, "%.80s...: the path is too long", out_path);
    snug_status status = call(model_path, type, part_path, deadline_s, stop, err);
    if (status == SNUG_OK && rename(part_path, out_path) != 0)
        status = snug_fail(err, SNUG_IO, "%s: cannot be renamed to %s: %s", part_path, out_path,
                           strerror(errno));
    if (status != SNUG_OK)
        unlink(part_path);
    return status;
}
