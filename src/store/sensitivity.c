/* Measured sensitivities: one row per group of tensors and type, so that a measurement of hours
 * goes on where it was stopped. */
#include "store/store_internal.h"

#define TEXT_MAX SNUG_STORE_TEXT_MAX

static void bind_place(struct snug__use *use, const struct snug_store_sensitivity_place *place)
{
    snug__use_text(use, 1, "the model's hash", place->model_hash, TEXT_MAX);
    snug__use_text(use, 2, "the text's hash", place->text_hash, TEXT_MAX);
    snug__use_text(use, 3, "the imatrix's hash", place->imatrix_hash, TEXT_MAX);
    snug__use_text(use, 4, "the engine's build", place->build, TEXT_MAX);
    snug__use_int(use, 5, place->n_ctx);
    snug__use_int(use, 6, place->n_chunks);
    snug__use_text(use, 7, "the name of a tensor group", place->tensors, TEXT_MAX);
    snug__use_text(use, 8, "the name of a type", place->type, TEXT_MAX);
}

snug_status snug_store_sensitivity_add(struct snug_store *store,
                                       const struct snug_store_sensitivity_place *place,
                                       struct snug_estimate kld, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_SENSITIVITY, err);
    bind_place(&use, place);
    snug__use_number(&use, 9, kld.value);
    snug__use_number(&use, 10, kld.se);
    snug__use_number(&use, 11, snug__store_now_s());
    return snug__use_run(&use, "keep a sensitivity", NULL);
}

snug_status snug_store_sensitivity_find(struct snug_store *store,
                                        const struct snug_store_sensitivity_place *place,
                                        struct snug_estimate *out, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_SENSITIVITY_OF, err);
    struct snug_estimate found = {0.0, 0.0};
    bind_place(&use, place);
    if (snug__use_step(&use, "be read")) {
        found.value = sqlite3_column_double(use.statement, 0);
        found.se = sqlite3_column_double(use.statement, 1);
    } else if (use.status == SNUG_OK) {
        use.status = snug_fail(err, SNUG_NOT_FOUND, "%s to %s was never measured", place->tensors,
                               place->type);
    }
    const snug_status status = snug__use_end(&use);
    if (status == SNUG_OK)
        *out = found;
    return status;
}
