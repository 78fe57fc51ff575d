/* Headers of safetensors files: which tensors there are, of which type and shape. The data is not
 * read.
 *
 *   n_header u64 | JSON {"NAME": {"dtype", "shape", "data_offsets": [begin, end]}, ...} | data
 *
 * Format after huggingface/safetensors' README: the data is covered without hole or overlap. Shapes
 * stand outermost first. */
#ifndef SNUG_MODEL_SAFETENSORS_H
#define SNUG_MODEL_SAFETENSORS_H

#include "base/arena.h"
#include "model/source.h"

#define SNUG__ST_HEADER_MAX 100000000 /* bytes of JSON; the cap of the reference implementation */
#define SNUG__ST_TENSORS_MAX 262144   /* over all files; the largest published model has 91,991 */
#define SNUG__ST_DIMS_MAX 8
#define SNUG__ST_NAME_MAX 255

struct snug__st_tensor {
    const char *name;
    const char *file;  /* label of its file */
    const char *dtype; /* "BF16" */
    int type;          /* the ggml type of the same numbers; -1 where there is none */
    int n_dims;
    int64_t shape[SNUG__ST_DIMS_MAX]; /* outermost first */
    uint64_t begin, end;              /* in its file's data */
    bool is_used;                     /* for those who map them */
};

/* Tensors of several files. Zero state with an arena is empty. */
struct snug__st_set {
    struct snug_arena *arena; /* borrowed: names live there */
    struct snug__st_tensor *tensors;
    size_t n, cap;
};

/* Add the tensors of one file. Errors: SNUG_BAD_INPUT with file, tensor, found, expected. */
snug_status snug__st_read(const struct snug__source *source, struct snug__st_set *set,
                          struct snug_error *err) SNUG_CHECKED;
/* Order by name; a name in two files is an error. Then find works. */
snug_status snug__st_sort(struct snug__st_set *set, struct snug_error *err) SNUG_CHECKED;
/* NULL when there is no such tensor. */
struct snug__st_tensor *snug__st_find(const struct snug__st_set *set, const char *name);
void snug__st_clear(struct snug__st_set *set);

#endif
