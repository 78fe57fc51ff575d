/* Quality of models under cache types: what tables of speed show as a row's price. */
#include <stdlib.h>
#include <string.h>

#include "store/store_internal.h"
#include "trial/quality_json.h"

#define TEXT_MAX SNUG_STORE_TEXT_MAX

snug_status snug_store_quality_json_add(struct snug_store *store,
                                        const struct snug_quality_place *place, const char *json,
                                        struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_QUALITY, err);
    snug__use_int(&use, 1, place->model_id);
    snug__use_text(&use, 2, "the engine's build", place->build, TEXT_MAX);
    snug__use_text(&use, 3, "the type of the keys", place->type_k, TEXT_MAX);
    snug__use_text(&use, 4, "the type of the values", place->type_v, TEXT_MAX);
    snug__use_text(&use, 5, "the text's hash", place->text_hash, TEXT_MAX);
    snug__use_text(&use, 6, "the reference's hash", place->reference_hash, TEXT_MAX);
    snug__use_int(&use, 7, place->n_ctx);
    snug__use_text(&use, 8, "the kind", place->is_task ? "task" : "text", TEXT_MAX);
    snug__use_text(&use, 9, "the figures", json, SNUG_STORE_JSON_MAX);
    snug__use_number(&use, 10, snug__store_now_s());
    return snug__use_run(&use, "keep a quality", NULL);
}

snug_status snug_store_quality_add(struct snug_store *store, int64_t model_id, const char *build,
                                   const struct snug_quality *quality, struct snug_error *err)
{
    const struct snug_quality_place place = {.model_id = model_id,
                                             .build = build,
                                             .type_k = quality->type_k,
                                             .type_v = quality->type_v,
                                             .text_hash = quality->text_hash,
                                             .reference_hash = quality->reference_hash,
                                             .n_ctx = quality->n_ctx};
    struct snug_json_writer w = {0};
    snug_quality_to_json(&w, NULL, quality);
    char *json = snug_json_finish(&w, false);
    if (!json)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a quality", store->path);
    const snug_status status = snug_store_quality_json_add(store, &place, json, err);
    free(json);
    return status;
}

snug_status snug_store_quality_find(struct snug_store *store, const char *model_hash,
                                    const char *type_k, const char *type_v,
                                    struct snug_quality *out, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug__use use = snug__use_begin(store, SNUG__SQL_QUALITY_OF, err);
    snug__use_text(&use, 1, "the model's hash", model_hash, TEXT_MAX);
    snug__use_text(&use, 2, "the type of the keys", type_k, TEXT_MAX);
    snug__use_text(&use, 3, "the type of the values", type_v, TEXT_MAX);
    if (snug__use_step(&use, "be read")) {
        const char *json = snug__column_text(use.statement, 0);
        if (snug_json_parse("quality", json, strlen(json), &doc, NULL) != SNUG_OK)
            use.status =
                snug_fail(err, SNUG_NOT_FOUND, "%s: a quality that cannot be read", store->path);
    } else if (use.status == SNUG_OK) {
        use.status = snug_fail(err, SNUG_NOT_FOUND, "the quality of this was never measured");
    }
    const snug_status status = snug__use_end(&use);
    if (status == SNUG_OK)
        snug_quality_from_json(snug_json_root(doc), out);
    snug_json_free(doc);
    return status;
}
