/* Any bytes as a recorded table, as they are and with a checksum that fits, so that the lines are
 * reached; and as gzip. What is accepted has cells that are found again and repetitions within
 * their caps; what is refused says where. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "base/gzip.h"
#include "base/hash.h"
#include "engine/table.h"

#define UNPACKED_MAX ((size_t)1 << 20)

static void check_rep(const struct snug__table *t, const struct snug__table_rep *rep)
{
    check(rep->fidelity >= 0 && rep->fidelity < t->n_fidelities);
    check(rep->rep >= 0 && rep->rep < SNUG__TABLE_REPS_MAX);
    check(rep->wall_s >= 0 && rep->setup_s >= 0);
    check(rep->n_prefill >= 0 && rep->n_prefill <= SNUG_BLOCKS_MAX);
    check(rep->n_decode >= 0 && rep->n_decode <= SNUG_BLOCKS_MAX);
    for (int i = 0; i < rep->n_prefill + rep->n_decode; i++)
        check(rep->block[i] > 0);
}

static void check_table(const struct snug__table *t)
{
    check(t->n_cells > 0 && t->n_cells <= t->n_reps && t->n_reps <= SNUG__TABLE_LINES_MAX);
    for (size_t i = 0; i < t->n_cells; i++) {
        const struct snug__table_cell *cell = &t->cells[i];
        const struct snug__table_cell *found = snug__table_find(t, &cell->config);
        /* a config off the lattice may be nearer to another cell, or to none */
        check(!found || (found >= t->cells && found < t->cells + t->n_cells));
        for (int k = 0; k < cell->n_reps; k++) {
            struct snug_measurement m;
            check_rep(t, &cell->reps[k]);
            snug__table_measurement(cell, &cell->reps[k], &m);
        }
    }
}

static void try_text(const char *text, size_t n)
{
    struct snug__table *t = NULL;
    struct snug_error err = {0};
    if (snug__table_parse("fuzz", text, n, &t, &err) == SNUG_OK)
        check_table(t);
    else
        check(strncmp(err.text, "fuzz: ", 6) == 0 && !t);
    snug__table_free(t);
}

/* Put the right checksum where the header has 64 characters for it. */
static void mend(char *text, size_t n)
{
    static const char key[] = "\"sha256\":\"";
    char hash[SNUG_SHA256_HEX_MAX];
    char *end = memchr(text, '\n', n);
    char *at = end ? memmem(text, (size_t)(end - text), key, sizeof key - 1) : NULL;
    if (!at || end - at < (ptrdiff_t)(sizeof key - 1 + 64))
        return;
    snug_sha256_hex(end + 1, n - (size_t)(end + 1 - text), hash);
    memcpy(at + sizeof key - 1, hash, 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = fuzz_text(data, n), *unpacked = NULL;
    size_t n_unpacked = 0;
    if (!text)
        return 0;
    if (snug_gzip_unpack("fuzz", data, n, UNPACKED_MAX, &unpacked, &n_unpacked, NULL) == SNUG_OK) {
        check(n_unpacked <= UNPACKED_MAX);
        try_text(unpacked, n_unpacked);
        free(unpacked);
    }
    try_text(text, n);
    mend(text, n);
    try_text(text, n);
    free(text);
    return 0;
}
