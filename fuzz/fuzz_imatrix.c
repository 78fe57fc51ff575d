/* Opens any bytes as an imatrix: what is accepted must hold finite means that can be read. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "snug/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[64];
    struct snug_error err = {0};
    struct snug_imatrix m = {.n_rows = 0};
    snprintf(path, sizeof path, "/tmp/snug-fuzz-%ld.imatrix", (long)getpid());
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0)
        return 0;
    if (snug_imatrix_read(path, &m, &err) != SNUG_OK && err.text[0] == '\0')
        abort(); /* a fault without a word about it */
    for (int i = 0; i < m.n_rows; i++) {
        if (snug_imatrix_find(&m, m.rows[i].name) == NULL)
            abort();
        for (int64_t c = 0; c < m.rows[i].n; c++) {
            if (!(m.rows[i].values[c] >= 0.0f) || isinf(m.rows[i].values[c]))
                abort();
        }
    }
    snug_imatrix_clear(&m);
    remove(path);
    return 0;
}
