/* From one file's metadata and tensors to struct snug_model; private to the room. */
#ifndef SNUG_MODEL_FILL_H
#define SNUG_MODEL_FILL_H

#include "base/hash.h"
#include "model/gguf_read.h"

/* Sizes, names and counts out of the metadata; label begins error texts. model->tensors is set
 * before. */
snug_status snug__model_fill(const struct snug__gguf *gguf, const char *label,
                             struct snug_model *model, struct snug_error *err) SNUG_CHECKED;
/* n_params, bytes_tensors, types[] from model->tensors. */
void snug__model_sum(struct snug_model *model);

#define SNUG__HASH_WINDOWS 64        /* samples of the tensor data of an unsplit model */
#define SNUG__HASH_WINDOW_BYTES 4096 /* each */
/* Add one file: its whole header, and n_windows evenly spread samples of its data. */
snug_status snug__model_hash(struct snug_sha256 *hash, const struct snug__source *source,
                             const struct snug__gguf *gguf, int n_windows,
                             struct snug_error *err) SNUG_CHECKED;

/* An integer of the metadata within 0..max, fallback when there is none; of a per-layer array the
 * largest. */
snug_status snug__model_count(const struct snug__gguf *gguf, const char *label, const char *key,
                              int64_t fallback, int64_t max, int64_t *out,
                              struct snug_error *err) SNUG_CHECKED;

#endif
