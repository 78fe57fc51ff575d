/* snug/imatrix.h: importance matrices: how large the activations are that each column of a weight
 * meets, collected from a text; what quantisers and the sensitivity weigh their errors with. */
#ifndef SNUG_IMATRIX_H
#define SNUG_IMATRIX_H

#include "snug/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_IMATRIX_ROWS_MAX (SNUG_GGUF_TENSORS_MAX / 2)
#define SNUG_IMATRIX_VALUES_MAX ((int64_t)1 << 29) /* of all rows: 60 layers of 256 experts */
#define SNUG_IMATRIX_CHUNK_MAX 65536               /* tokens */

/* One weight. Of expert tensors n is columns times experts, expert by expert; one that no token
 * reached has 1 everywhere, as llama.cpp has it. */
struct snug_imatrix_row {
    const char *name; /* of the weight: "blk.0.attn_q.weight" */
    int64_t n;
    float *values; /* mean squared activation per input column */
    double count;  /* activations that were averaged, over all experts */
};
struct snug_imatrix {
    struct snug_imatrix_row *rows; /* by name */
    int n_rows;
    char dataset[256]; /* the text it was collected from, "" when the file does not say */
    int64_t n_chunks;
    void *owner;
};

/* Read llama.cpp's GGUF imatrix format. Every count and length is checked before use.
 * Errors  SNUG_BAD_INPUT: what is wrong and where; the older .dat format is named. */
snug_status snug_imatrix_read(const char *path, struct snug_imatrix *out,
                              struct snug_error *err) SNUG_CHECKED;
/* The row of a weight, or NULL. */
const struct snug_imatrix_row *snug_imatrix_find(const struct snug_imatrix *m, const char *name);
void snug_imatrix_clear(struct snug_imatrix *m);

struct snug_imatrix_options {
    const char *model_path;
    const char *text_path; /* at most SNUG_EVAL_TEXT_MAX bytes */
    const char *out_path;
    int64_t n_ctx;     /* tokens of a chunk, 16 at the least; 0: 512 */
    int64_t n_chunks;  /* at most so many; 0: all of the text */
    int n_threads;     /* 0: libllama's default */
    double deadline_s; /* 0: none */
    const volatile int *stop;
    snug_engine_progress_fn progress; /* "chunk 3 of 10" */
    void *progress_data;
};
/* Run the text through the model in a worker and write the sums of squared activations in
 * llama.cpp's GGUF format, to a temporary name that is renamed when whole. *out_n_chunks may be
 * NULL. Cost: one prefill of the text.
 * Errors  SNUG_BAD_INPUT: the text is shorter than a chunk; SNUG_UNSUPPORTED: libllama refuses;
 *         SNUG_INTERRUPTED. Nothing is left then.
 * Source  llama.cpp, tools/imatrix: chunks and counts follow it, so that the numbers agree */
snug_status snug_engine_imatrix(const struct snug_imatrix_options *options, int64_t *out_n_chunks,
                                struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
