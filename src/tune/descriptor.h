/* What a task is like, as a vector on a log scale: what past tasks are chosen by. */
#ifndef SNUG_TUNE_DESCRIPTOR_H
#define SNUG_TUNE_DESCRIPTOR_H

#include "snug/machine.h"
#include "snug/model.h"
#include "snug/store.h"
#include "snug/trial.h"

/* Name, part of the task, doublings that count as a step. Sizes that settle which config is good
 * have short steps. */
#define SNUG__DESCRIPTOR(X)                                                                        \
    X(n_layer, MODEL, 2)                                                                           \
    X(n_embd, MODEL, 2)                                                                            \
    X(n_ff, MODEL, 2)                                                                              \
    X(n_head, MODEL, 2)                                                                            \
    X(n_expert, MODEL, 2)                                                                          \
    X(n_expert_used, MODEL, 2)                                                                     \
    X(n_params, MODEL, 3)                                                                          \
    X(bits_per_weight, MODEL, 1)                                                                   \
    X(bytes, MODEL, 3)                                                                             \
    X(n_cores, MACHINE, 1)                                                                         \
    X(n_threads, MACHINE, 1)                                                                       \
    X(cache_bytes, MACHINE, 2)                                                                     \
    X(ram_bytes, MACHINE, 3)                                                                       \
    X(n_devices, MACHINE, 1)                                                                       \
    X(device_bytes, MACHINE, 8)                                                                    \
    X(bandwidth_bps, MACHINE, 1)                                                                   \
    X(flops, MACHINE, 1)                                                                           \
    X(n_prompt, WORKLOAD, 2)                                                                       \
    X(n_gen, WORKLOAD, 2)                                                                          \
    X(n_depth, WORKLOAD, 4)                                                                        \
    X(n_parallel, WORKLOAD, 1)                                                                     \
    X(n_ctx, WORKLOAD, 3)                                                                          \
    X(load, LOAD, 1)

enum snug__descriptor_field {
#define SNUG__DESCRIPTOR_ENUM(name, part, step) SNUG__DESCRIPTOR_##name,
    SNUG__DESCRIPTOR(SNUG__DESCRIPTOR_ENUM)
#undef SNUG__DESCRIPTOR_ENUM
        SNUG__N_DESCRIPTOR
};

struct snug__descriptor {
    double value[SNUG__N_DESCRIPTOR]; /* log2; NAN: not known */
};

/* What there is to describe; NULL: not known. load_level NULL counts as "idle". */
struct snug__descriptor_parts {
    const struct snug_machine *machine;
    const struct snug_machine_speed *speed; /* measured; of the same machine */
    const struct snug_model *model;         /* its numbers; neither tensors nor texts */
    const struct snug_workload *workload;
    const char *load_level;
};
void snug__descriptor_init(struct snug__descriptor *d, const struct snug__descriptor_parts *parts);
/* Of a stored task. JSON that cannot be read makes its part unknown. Both counts may be NULL: 0
 * where they are not known. */
void snug__descriptor_of_task(struct snug__descriptor *d, const struct snug_task_view *task,
                              int64_t *out_n_layer, int *out_n_threads);
/* 0 for the same; the root of the sum over parts of the mean square step of what both know. What
 * only one knows counts as half a step; a part of which nothing is known, as one. Finite. */
double snug__descriptor_distance(const struct snug__descriptor *a,
                                 const struct snug__descriptor *b);
/* 1 for the same, 1/2 a step apart, falling to 0: 1 / (1 + distance^2). */
double snug__descriptor_similarity(const struct snug__descriptor *a,
                                   const struct snug__descriptor *b);

#endif
