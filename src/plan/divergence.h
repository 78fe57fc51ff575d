/* What a choice of types loses, measured: a file is made with them, and the KL divergence of it
 * from the model as it is taken over a text. Both are temporary. */
#ifndef SNUG_PLAN_DIVERGENCE_H
#define SNUG_PLAN_DIVERGENCE_H

#include "base/scratch.h"
#include "snug/plan.h"

/* Filled by the caller up to `stop`, the rest zero; all is borrowed until it is closed. */
struct snug__divergence {
    const struct snug_model *model; /* with weights of a source type */
    const char *imatrix_path;       /* or NULL */
    const struct snug_space *space;
    const struct snug_config *config, *config_reference;
    const char *text_path;
    int64_t n_ctx, n_chunks_max;
    const char *folder; /* for temporary files: the reference run and one file at a time */
    const volatile int *stop;
    struct snug_scratch scratch;
    int64_t n_chunks; /* of the reference; 0: not made yet */
    const char **names;
};

/* Run the model as it is; done by the first measurement when it was not before. */
snug_status snug__divergence_reference(struct snug__divergence *d,
                                       struct snug_error *err) SNUG_CHECKED;
/* types[n_tensors] in the model's order. out_file_bytes may be NULL. Cost: one quantisation and one
 * evaluation of n_chunks. */
snug_status snug__divergence_of(struct snug__divergence *d, const int *types,
                                struct snug_estimate *out_kld, uint64_t *out_file_bytes,
                                struct snug_error *err) SNUG_CHECKED;
/* Remove the temporary files. */
void snug__divergence_close(struct snug__divergence *d);

#endif
