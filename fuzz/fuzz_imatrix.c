/* Any bytes as an importance matrix. What is accepted has finite means, found by name. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "engine/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_error err = {0};
    struct snug_imatrix m = {.n_rows = -7};
    struct snug__source source;
    snug__source_memory("fuzz", data, n, n, &source);
    if (snug__imatrix_read_source(&source, &m, &err) != SNUG_OK) {
        check(err.text[0] && m.n_rows == -7);
        return 0;
    }
    check(m.n_rows > 0 && m.n_rows <= SNUG_IMATRIX_ROWS_MAX);
    check(memchr(m.dataset, '\0', sizeof m.dataset) != NULL);
    for (int i = 0; i < m.n_rows; i++) {
        const struct snug_imatrix_row *row = &m.rows[i];
        check(snug_imatrix_find(&m, row->name) == row);
        for (int64_t k = 0; k < row->n; k++)
            check(isfinite(row->values[k]) && row->values[k] >= 0.0f);
    }
    snug_imatrix_clear(&m);
    return 0;
}
