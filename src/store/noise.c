/* The noise floor of a machine: how much repeated blocks of one config spread there. */
#include "store/store_internal.h"

snug_status snug_store_noise_set(struct snug_store *store, const char *fingerprint,
                                 const char *build, double frac, int n_blocks,
                                 struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_NOISE_SET, err);
    snug__use_text(&use, 1, "the machine's fingerprint", fingerprint, SNUG_STORE_TEXT_MAX);
    snug__use_text(&use, 2, "the engine's build", build, SNUG_STORE_TEXT_MAX);
    snug__use_number(&use, 3, frac);
    snug__use_int(&use, 4, n_blocks);
    snug__use_number(&use, 5, snug__store_now_s());
    return snug__use_run(&use, "keep a noise floor", NULL);
}

snug_status snug_store_noise_get(struct snug_store *store, const char *fingerprint,
                                 double *out_frac, int *out_n_blocks, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_NOISE_GET, err);
    double frac = 0.0;
    int n_blocks = 0;
    snug__use_text(&use, 1, "the machine's fingerprint", fingerprint, SNUG_STORE_TEXT_MAX);
    if (snug__use_step(&use, "be read")) {
        frac = sqlite3_column_double(use.statement, 0);
        n_blocks = sqlite3_column_int(use.statement, 1);
    } else if (use.status == SNUG_OK) {
        use.status = snug_fail(err, SNUG_NOT_FOUND, "no noise floor of this machine yet");
    }
    const snug_status status = snug__use_end(&use);
    if (status == SNUG_OK) {
        *out_frac = frac;
        *out_n_blocks = n_blocks;
    }
    return status;
}
