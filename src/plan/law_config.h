/* What a law says of a config of the engine: one place for the prior of a search, for predictions
 * of recorded tables and for what past trials say of a law. */
#ifndef SNUG_PLAN_LAW_CONFIG_H
#define SNUG_PLAN_LAW_CONFIG_H

#include "base/json.h"
#include "snug/law.h"
#include "snug/trial.h"

/* The knobs that a law knows of; words are borrowed. A knob that is not there has its default. */
struct snug__law_knobs {
    int64_t n_threads; /* 0: not there */
    int64_t n_threads_batch, n_ubatch, n_gpu_layers;
    const char *type_k, *type_v, *cpu_mask, *repack, *flash_attn;
};
void snug__law_knobs_of(const struct snug_space *space, const struct snug_config *config,
                        struct snug__law_knobs *out);
/* Of a stored config. */
void snug__law_knobs_from_json(const struct snug_json_node *config, struct snug__law_knobs *out);

/* The load of a model, whole on tier `tier`, under these knobs. false where the law says nothing:
 * layers on a device, a choice of CPUs, weights as they lie, attention that is not fused, which no
 * calibration runs; or types that there are not. */
bool snug__law_load_of(const struct snug__law_knobs *knobs, const struct snug_model *model,
                       int tier, struct snug_law_load *out);
/* What all sequences of a workload get together, as a measurement has it, in tokens per second; the
 * law must be that of n_threads, or of n_threads_batch. */
double snug__law_load_decode_tps(const struct snug_law *law, struct snug_law_load *load,
                                 const struct snug_workload *w);
double snug__law_load_prefill_tps(const struct snug_law *law, struct snug_law_load *load,
                                  const struct snug_workload *w);

#endif
