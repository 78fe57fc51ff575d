/* Quantising: libllama's recipes by name, and the link between the parent that checks and the
 * worker that calls libllama. */
#ifndef SNUG_ENGINE_QUANTIZE_H
#define SNUG_ENGINE_QUANTIZE_H

#include <llama.h>

#include "base/json.h"
#include "snug/engine.h"

struct snug__worker;
struct snug__link;

/* The libllama file type of a name, or LLAMA_FTYPE_GUESSED for none. */
enum llama_ftype snug__weight_type(const char *name);
/* The file type whose plain tensors have this type; LLAMA_FTYPE_GUESSED when none has. */
enum llama_ftype snug__file_type_of(int type);
/* Does libllama refuse a type without an importance matrix for this tensor? */
bool snug__needs_imatrix(const char *tensor, int type);
/* Fails, with the name that was meant where one is near. */
snug_status snug__unknown_recipe(const char *name, struct snug_error *err) SNUG_CHECKED;

/* One call of llama_model_quantize in the worker. */
struct snug__quantize_ask {
    const char *from, *to;
    enum llama_ftype file_type;
    bool is_dry;      /* write nothing, tell the type of each tensor */
    bool is_pure;     /* no mixture: the file type's own, but for the overrides */
    bool has_imatrix; /* dry: as if there were one */
    bool may_requantize;
    const char *imatrix_path; /* or NULL */
    int n_threads;
    const struct snug_model *model; /* with types: those that are not the file type's own */
    const int *types;               /* [n_tensors], or NULL */
};

/* Ask; SNUG_BAD_INPUT with libllama's words when it refuses. out_doc (free it) may be NULL. */
snug_status snug__quantize_call(struct snug__link *link, const struct snug_engine_options *options,
                                const struct snug__quantize_ask *ask, double deadline_s,
                                struct snug_json **out_doc, struct snug_error *err) SNUG_CHECKED;
/* What a dry run would make of each tensor, in the model's order. */
snug_status snug__quantize_dry(struct snug__link *link, const struct snug_engine_options *options,
                               const struct snug__quantize_ask *ask, int *out_types,
                               struct snug_error *err) SNUG_CHECKED;

/* In the worker: the request
 *   {"op":"quantize","model":PATH,"to":PATH,"file_type":N,"dry":..,"pure":..,"has_imatrix":..,
 *    "requantize":..,"imatrix":PATH,"n_threads":N,"overrides":[{"name":..,"type":..}..]}
 * is answered by phase* and {"event":"quantized","tensors":[{"name":..,"type":..}..]} (when dry),
 * or refused. */
void snug__worker_quantize(struct snug__worker *w, const struct snug_json_node *request);

#endif
