/* Importance matrices: the reader on any source of bytes, and the writer. Private to the room.
 *
 * llama.cpp's format is a GGUF: keys general.type "imatrix", imatrix.datasets, imatrix.chunk_count,
 * imatrix.chunk_size; of every weight NAME the F32 tensors NAME.in_sum2 [columns, matrices], sums
 * of squared activations, and NAME.counts [1, matrices], how many were added. */
#ifndef SNUG_ENGINE_IMATRIX_H
#define SNUG_ENGINE_IMATRIX_H

#include "model/source.h"
#include "snug/imatrix.h"

struct snug__worker;
struct snug__settings;
struct snug_json_node;

snug_status snug__imatrix_read_source(const struct snug__source *source, struct snug_imatrix *out,
                                      struct snug_error *err) SNUG_CHECKED;

/* Sums of one weight while they are collected. n_cols * n_mats sums, and a count each for n_counts
 * matrices: one per expert, or one for all. */
struct snug__imatrix_sums {
    char name[SNUG_GGUF_TENSOR_NAME_MAX + 1];
    int64_t n_cols, n_mats, n_counts;
    double *sums, *counts;
};
/* Sorts rows by name and writes them to path, which is not synced. */
snug_status snug__imatrix_write(const char *path, struct snug__imatrix_sums *rows, int n_rows,
                                const char *dataset, int64_t n_chunks, int64_t chunk_size,
                                struct snug_error *err) SNUG_CHECKED;

/* In the worker: the request
 *   {"op":"imatrix","config":{..},"text":PATH,"to":PATH,"n_ctx":N,"n_chunks":N}
 * is answered by phase* and {"event":"imatrix","n_chunks":N,"n_rows":N}, or refused. */
void snug__worker_imatrix(struct snug__worker *w, const struct snug__settings *settings,
                          const struct snug_json_node *request);

#endif
