/* Synthetic models: header, vocabulary, random weights; private to the room. */
#ifndef SNUG_MODEL_SYNTH_H
#define SNUG_MODEL_SYNTH_H

#include "base/buffer.h"
#include "model/gguf_write.h"
#include "model/preset.h"
#include "model/source.h"
#include "snug/stats.h"

/* The whole header, padded, into an empty buffer; is_shape_only leaves the vocabulary out. */
snug_status snug__synth_header(const struct snug__shape *shape,
                               const struct snug_synth_options *options, struct snug_buffer *out,
                               struct snug_error *err) SNUG_CHECKED;

/* Keys tokenizer.*: n_vocab tokens that libllama accepts and tokenises text with. */
void snug__vocabulary_put(struct snug__gguf_writer *w, const struct snug__preset *preset);

/* Random blocks to write tensors from. Zero state is empty. */
struct snug__pool {
    int type;
    int64_t n_in; /* row length that the spread of the values suits */
    uint8_t *data;
    size_t n_bytes; /* whole blocks */
};
#define SNUG__POOL_BYTES (8u << 20)

/* Fill the pool with at most SNUG__POOL_BYTES and at most bytes_max (at least one row each) of
 * matrix weights of standard deviation 1 / sqrt(n_in): activations keep their size from layer to
 * layer. Nothing is done when the pool already holds such. */
snug_status snug__pool_fill(struct snug__pool *pool, const struct snug__shape_tensor *tensor,
                            uint64_t bytes_max, struct snug_rng *rng,
                            struct snug_error *err) SNUG_CHECKED;
void snug__pool_clear(struct snug__pool *pool);

/* Any source of GGUF bytes as a model; snug_model_open and the fuzz target end here. `path` is
 * kept in the model and leads to the parts of a split one. */
snug_status snug__model_open_source(const char *path, const struct snug__source *source,
                                    struct snug_model *out, struct snug_error *err) SNUG_CHECKED;

#endif
