/* Opens any bytes as a reference file of snug eval: what opens must hold what its header says. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static char path[64];
    struct snug_error err = {0};
    struct snug__reference r;
    int32_t *tokens = NULL;
    snprintf(path, sizeof path, "/tmp/snug-fuzz-%ld.snugref", (long)getpid());
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0)
        return 0;
    if (snug__reference_open(path, &r, &tokens, &err) != SNUG_OK) {
        if (err.text[0] == '\0')
            abort(); /* a fault without a word about it */
        remove(path);
        return 0;
    }
    const size_t n_rows = (size_t)r.head.n_chunks * (size_t)r.head.n_scored;
    const size_t n_row = snug__reference_row_bytes(r.head.n_vocab);
    unsigned char *row = malloc(n_row);
    float *log_p = malloc((size_t)r.head.n_vocab * sizeof *log_p);
    for (size_t i = 0; row && log_p && i < n_rows; i++) {
        if (snug__reference_read(&r, row, n_row, &err) != SNUG_OK)
            abort(); /* the length was checked */
        snug__reference_unpack(row, r.head.n_vocab, log_p);
    }
    free(row);
    free(log_p);
    free(tokens);
    snug__reference_close(&r);
    remove(path);
    return 0;
}
