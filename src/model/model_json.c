/* A model as JSON. Types go by ggml's names, shapes in ggml's order (ne[0] is contiguous). */
#include "model/model_json.h"

static void put_types(struct snug_json_writer *w, const struct snug_model *model)
{
    snug_json_begin_array(w, "types");
    for (int i = 0; i < model->n_types; i++) {
        const struct snug_model_type_sum *sum = &model->types[i];
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "type", snug_model_type_name(sum->type));
        snug_json_put_int(w, "n_tensors", sum->n_tensors);
        snug_json_put_int(w, "n_elements", (int64_t)sum->n_elements);
        snug_json_put_int(w, "bytes", (int64_t)sum->bytes);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_tensors(struct snug_json_writer *w, const struct snug_model *model)
{
    snug_json_begin_array(w, "tensors");
    for (int i = 0; i < model->n_tensors; i++) {
        const struct snug_tensor *tensor = &model->tensors[i];
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "name", tensor->name);
        snug_json_put_string(w, "type", snug_model_type_name(tensor->type));
        snug_json_begin_array(w, "ne");
        for (int d = 0; d < tensor->n_dims; d++)
            snug_json_put_int(w, NULL, tensor->ne[d]);
        snug_json_end(w);
        snug_json_put_int(w, "bytes", (int64_t)tensor->bytes);
        snug_json_put_int(w, "offset", (int64_t)tensor->offset);
        snug_json_put_int(w, "split", tensor->split);
        snug_json_end(w);
    }
    snug_json_end(w);
}

void snug_model_to_json(struct snug_json_writer *w, const char *key, const struct snug_model *model,
                        bool with_tensors)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"n_params", (int64_t)model->n_params},
        {"bytes_tensors", (int64_t)model->bytes_tensors},
        {"bytes_file", (int64_t)model->bytes_file},
        {"n_splits", model->n_splits},
        {"n_tensors", model->n_tensors},
        {"n_layer", model->n_layer},
        {"n_embd", model->n_embd},
        {"n_ff", model->n_ff},
        {"n_head", model->n_head},
        {"n_head_kv", model->n_head_kv},
        {"n_embd_head_k", model->n_embd_head_k},
        {"n_embd_head_v", model->n_embd_head_v},
        {"n_vocab", model->n_vocab},
        {"n_ctx_train", model->n_ctx_train},
        {"n_expert", model->n_expert},
        {"n_expert_used", model->n_expert_used},
        {"n_swa", model->n_swa},
    };
    snug_json_begin_object(w, key);
    snug_json_put_string(w, "name", model->name);
    snug_json_put_string(w, "path", model->path);
    snug_json_put_string(w, "arch", model->arch);
    snug_json_put_string(w, "file_type", model->file_type);
    snug_json_put_string(w, "tokenizer", model->tokenizer);
    snug_json_put_string(w, "hash", model->hash);
    if (model->note[0])
        snug_json_put_string(w, "note", model->note);
    snug_json_put_bool(w, "has_data", model->has_data);
    snug_json_put_bool(w, "is_tied", model->is_tied);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        snug_json_put_int(w, numbers[i].name, numbers[i].value);
    put_types(w, model);
    if (with_tensors)
        put_tensors(w, model);
    snug_json_end(w);
}
