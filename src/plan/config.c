/* From a plan or a shape to the knobs that an engine runs with. */
#include "plan/config.h"

snug_status snug__config_word(const struct snug_space *space, struct snug_config *config,
                              const char *name, const char *text, struct snug_error *err)
{
    const int row = snug_space_find(space, name);
    return row < 0 ? SNUG_OK : snug_knob_parse(&space->knobs[row], text, &config->value[row], err);
}

void snug__config_number(const struct snug_space *space, struct snug_config *config,
                         const char *name, int64_t value)
{
    const int row = snug_space_find(space, name);
    if (row >= 0)
        config->value[row] = value;
}

snug_status snug__config_shape(const struct snug_space *space, const struct snug_plan_shape *shape,
                               struct snug_config *config, struct snug_error *err)
{
    snug_status status =
        snug__config_word(space, config, "type_k", snug_model_type_name(shape->type_k), err);
    if (status == SNUG_OK)
        status =
            snug__config_word(space, config, "type_v", snug_model_type_name(shape->type_v), err);
    if (status == SNUG_OK)
        status =
            snug__config_word(space, config, "flash_attn", shape->flash_attn ? "on" : "off", err);
    snug__config_number(space, config, "n_batch", shape->n_batch);
    snug__config_number(space, config, "n_ubatch", shape->n_ubatch);
    return status;
}

struct snug_plan_shape snug_plan_shape_of(const struct snug_plan *plan)
{
    return (struct snug_plan_shape){.n_ctx = plan->n_ctx,
                                    .n_parallel = plan->n_parallel,
                                    .n_batch = plan->n_batch,
                                    .n_ubatch = plan->n_ubatch,
                                    .n_gpu_layers = plan->n_gpu_layers,
                                    .type_k = plan->type_k,
                                    .type_v = plan->type_v,
                                    .flash_attn = plan->flash_attn,
                                    .use_mmap = plan->use_mmap};
}

snug_status snug_plan_config(const struct snug_plan *plan, const struct snug_space *space,
                             struct snug_config *out, struct snug_error *err)
{
    const struct snug_plan_shape shape = snug_plan_shape_of(plan);
    struct snug_config config;
    snug_space_default(space, &config);
    snug_status status = snug__config_shape(space, &shape, &config, err);
    if (status == SNUG_OK)
        status =
            snug__config_word(space, &config, "load_mode", plan->use_mmap ? "mmap" : "none", err);
    /* Repacked weights are memory that cannot be dropped: what is larger than memory stays as it is
     * in the file. */
    if (status == SNUG_OK && plan->use_mmap)
        status = snug__config_word(space, &config, "repack", "off", err);
    snug__config_number(space, &config, "n_gpu_layers", plan->n_gpu_layers);
    if (plan->n_threads > 0) {
        snug__config_number(space, &config, "n_threads", plan->n_threads);
        snug__config_number(space, &config, "n_threads_batch", plan->n_threads);
    }
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "the plan");
    *out = config;
    return SNUG_OK;
}
