/* What quantising does to weights: which types a tensor can have, and the reconstruction error of
 * each. */
#ifndef SNUG_ENGINE_SENSITIVITY_H
#define SNUG_ENGINE_SENSITIVITY_H

#include "base/json.h"
#include "snug/engine.h"

struct snug__worker;

/* Does libllama ever quantise this tensor? Matrices whose name ends in "weight", without norms,
 * routers, position embeddings and such small ones. */
bool snug__tensor_is_quantisable(const struct snug_tensor *tensor);
/* Is it of a type that weights are trained in: f32, f16, bf16? */
bool snug__type_is_source(int type);
/* Can libllama make this type only with activation statistics? */
bool snug__type_needs_imatrix(int type);
/* Can libllama make this tensor of that type, from the one it has? Rows must be whole blocks, and a
 * type of more bits than the source's has nothing to give. Its own type it can always keep. */
bool snug__tensor_can_have(const struct snug_tensor *tensor, int type, bool has_imatrix_row);

struct snug__errors_request {
    const struct snug_model *model; /* of a file */
    const char *imatrix_path;       /* or NULL */
    const int *types;
    int n_types;
    double deadline_s; /* between two tensors */
    const volatile int *stop;
    snug_engine_progress_fn progress;
    void *progress_data;
};

/* For every tensor and type the relative squared error sum a (w - q(w))^2 / sum a w^2 over sampled
 * rows, a being 1 or, with an imatrix, the mean squared activation of the column. Computed in a
 * worker, by all cores.
 * Out     out[n_tensors * n_types]: value NAN where the tensor cannot have the type, 0 for its own
 * Errors  SNUG_BAD_INPUT: weights that are not finite; an imatrix of another model
 * Cost    see worker_sensitivity.c: about a minute on two cores for 8 B parameters and all types */
snug_status snug__sensitivity_errors(const struct snug__errors_request *request,
                                     struct snug_estimate *out,
                                     struct snug_error *err) SNUG_CHECKED;

/* In the worker:
 *   -> {"op":"errors","model":PATH,"imatrix":PATH,"types":[..]}
 *   <- {"event":"errors","tensor":I,"values":[value,se,..]}* {"event":"done"} | refused */
void snug__worker_errors(struct snug__worker *w, const struct snug_json_node *request);

#endif
