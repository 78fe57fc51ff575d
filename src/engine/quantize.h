/* Types that weights can be quantised to, in libllama's terms. */
#ifndef SNUG_ENGINE_QUANTIZE_H
#define SNUG_ENGINE_QUANTIZE_H

#include <llama.h>

#include "base/json.h"

struct snug__worker;

/* The libllama file type of a name, or LLAMA_FTYPE_GUESSED for none. */
enum llama_ftype snug__weight_type(const char *name);
/* In the worker: the request {"op":"quantize","model":PATH,"type":T,"to":PATH}, answered by
 * {"event":"quantized"} or refused. */
void snug__worker_quantize(struct snug__worker *w, const struct snug_json_node *request);

#endif
