/* What an answer of llama-server says of its own speed: "timings" at its end, or in the last event
 * of a stream. Only the end of an answer is kept while it passes. */
#ifndef SNUG_SERVE_TIMINGS_H
#define SNUG_SERVE_TIMINGS_H

#include "snug/base.h"

#define SNUG__TIMINGS_TAIL_MAX 1024 /* bytes; the object has some 350, little follows it */

/* Zero state. */
struct snug__timings_tail {
    char bytes[SNUG__TIMINGS_TAIL_MAX];
    size_t n;
};

struct snug__timings {
    double n_prompt, prompt_s; /* tokens that were computed, not found in the cache; 0: none */
    double n_gen, gen_s;       /* tokens after the first, which the prompt gave; 0: none */
};

/* The next bytes of an answer. */
void snug__timings_pass(struct snug__timings_tail *tail, const char *bytes, size_t n);
/* False where it says nothing that makes sense. */
bool snug__timings_find(const struct snug__timings_tail *tail, struct snug__timings *out);

#endif
