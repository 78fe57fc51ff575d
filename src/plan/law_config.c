/* From knobs to a law's load, and from its speeds to those that a measurement states. */
#include "plan/law_config.h"

#include <string.h>

#include "trial/knob.h"

static int64_t value_of(const struct snug_space *space, const struct snug_config *config,
                        const char *name, int64_t otherwise)
{
    const int row = snug_space_find(space, name);
    return row < 0 ? otherwise : config->value[row];
}

/* A named value as it is written: "q8_0". */
static const char *word_of(const struct snug_space *space, const struct snug_config *config,
                           const char *name, const char *otherwise)
{
    const int row = snug_space_find(space, name);
    const char *word = row < 0 ? NULL : snug__knob_name_of(&space->knobs[row], config->value[row]);
    return word ? word : otherwise;
}

void snug__law_knobs_of(const struct snug_space *space, const struct snug_config *config,
                        struct snug__law_knobs *out)
{
    const int64_t n_threads = value_of(space, config, "n_threads", 0);
    *out = (struct snug__law_knobs){
        .n_threads = n_threads,
        .n_threads_batch = value_of(space, config, "n_threads_batch", n_threads),
        .n_ubatch = value_of(space, config, "n_ubatch", 512),
        .n_gpu_layers = value_of(space, config, "n_gpu_layers", 0),
        .type_k = word_of(space, config, "type_k", "f16"),
        .type_v = word_of(space, config, "type_v", "f16"),
        .cpu_mask = word_of(space, config, "cpu_mask", "all"),
        .repack = word_of(space, config, "repack", "on"),
        .flash_attn = word_of(space, config, "flash_attn", "on"),
    };
}

void snug__law_knobs_from_json(const struct snug_json_node *config, struct snug__law_knobs *out)
{
    const int64_t n_threads = snug_json_get_int(config, "n_threads", 0);
    *out = (struct snug__law_knobs){
        .n_threads = n_threads,
        .n_threads_batch = snug_json_get_int(config, "n_threads_batch", n_threads),
        .n_ubatch = snug_json_get_int(config, "n_ubatch", 512),
        .n_gpu_layers = snug_json_get_int(config, "n_gpu_layers", 0),
        .type_k = snug_json_get_string(config, "type_k", "f16"),
        .type_v = snug_json_get_string(config, "type_v", "f16"),
        .cpu_mask = snug_json_get_string(config, "cpu_mask", "all"),
        .repack = snug_json_get_string(config, "repack", "on"),
        .flash_attn = snug_json_get_string(config, "flash_attn", "on"),
    };
}

bool snug__law_load_of(const struct snug__law_knobs *knobs, const struct snug_model *model,
                       int tier, struct snug_law_load *out)
{
    const int type_k = snug_model_type_from_name(knobs->type_k);
    const int type_v = snug_model_type_from_name(knobs->type_v);
    if (type_k < 0 || type_v < 0 || knobs->n_gpu_layers != 0 ||
        strcmp(knobs->cpu_mask, "all") != 0 || strcmp(knobs->repack, "off") == 0 ||
        strcmp(knobs->flash_attn, "off") == 0)
        return false;
    snug_law_load_init(model, NULL, tier, type_k, type_v, knobs->n_ubatch, out);
    return true;
}

double snug__law_load_decode_tps(const struct snug_law *law, struct snug_law_load *load,
                                 const struct snug_workload *w)
{
    load->n_parallel = w->n_parallel;
    /* The law says what one sequence gets. */
    return (double)w->n_parallel * snug_law_decode_tps(law, load, w->n_depth + w->n_gen / 2).value;
}

double snug__law_load_prefill_tps(const struct snug_law *law, struct snug_law_load *load,
                                  const struct snug_workload *w)
{
    load->n_parallel = w->n_parallel;
    return snug_law_prefill_tps(law, load, w->n_prompt, w->n_depth).value;
}
