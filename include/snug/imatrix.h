/* snug/imatrix.h: activation statistics of a model, as llama-imatrix writes them. */
#ifndef SNUG_IMATRIX_H
#define SNUG_IMATRIX_H

#include "snug/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct snug_imatrix_row {
    const char *name; /* of the tensor */
    int64_t n;        /* columns, times matrices of a stack of experts */
    float *values;    /* mean squared activation of each column */
    double count;     /* activations behind them */
};

struct snug_imatrix {
    struct snug_imatrix_row *rows;
    int n_rows;
    char dataset[256];
    int64_t n_chunks;
    void *owner; /* of the strings and numbers above */
};

/* Errors  SNUG_NOT_FOUND; SNUG_BAD_INPUT: not an imatrix in GGUF form, or a damaged one. */
snug_status snug_imatrix_read(const char *path, struct snug_imatrix *out,
                              struct snug_error *err) SNUG_CHECKED;
/* NULL when there is none. */
const struct snug_imatrix_row *snug_imatrix_find(const struct snug_imatrix *imatrix,
                                                 const char *name);
void snug_imatrix_clear(struct snug_imatrix *imatrix);

#ifdef __cplusplus
}
#endif
#endif
