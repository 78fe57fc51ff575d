/* Reads any bytes as a config.json, then gives it exactly the tensors that the rows of its
 * architecture expect: the header made of both must open as a model. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/hf.h"
#include "model/shape_file.h"

#define TENSORS_MAX 4096 /* more layers and experts than that take too long for a fuzzer */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct snug__st_tensor tensors[TENSORS_MAX];

static bool add(struct snug__st_set *set, const struct snug__hf_config *c,
                const struct snug__hf_row *row, const char *prefix)
{
    const char *mark = strstr(row->hf, "%d");
    int64_t n = mark ? c->n_expert : 1;
    for (int64_t i = 0; i < n; i++) {
        if (set->n >= TENSORS_MAX)
            return false;
        struct snug__st_tensor *t = &tensors[set->n++];
        int64_t in = snug__hf_width(c, row->in), out = snug__hf_width(c, row->out);
        bool is_transposed = row->flags & HF_TRANSPOSED;
        char name[256];
        if (mark)
            snprintf(name, sizeof name, "%s%.*s%d%s", prefix, (int)(mark - row->hf), row->hf,
                     (int)i, mark + 2);
        else
            snprintf(name, sizeof name, "%s%s", prefix, row->hf);
        *t = (struct snug__st_tensor){.name = snug_arena_strdup(set->arena, name),
                                      .file = "f",
                                      .dtype = "BF16",
                                      .type = 30,
                                      .n_dims = row->out == DIM_NONE ? 1 : 2,
                                      .shape = {in}};
        if (row->out != DIM_NONE) {
            t->shape[0] = is_transposed ? in : out;
            t->shape[1] = is_transposed ? out : in;
        }
    }
    return true;
}

static bool add_all(struct snug__st_set *set, const struct snug__hf_config *c)
{
    const struct {
        const struct snug__hf_row *rows;
        int n;
        int64_t n_times;
    } parts[] = {{snug__hf_head_rows, snug__n_hf_head_rows, 1},
                 {snug__hf_block_rows, snug__n_hf_block_rows, c->n_layer},
                 {snug__hf_tail_rows, snug__n_hf_tail_rows, 1}};
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
        for (int64_t layer = 0; layer < parts[p].n_times; layer++) {
            char prefix[64];
            if (p == 1)
                snprintf(prefix, sizeof prefix, "%s%s%d.", c->arch->root, c->arch->layers,
                         (int)layer);
            else
                snprintf(prefix, sizeof prefix, "%s", c->arch->root);
            for (int i = 0; i < parts[p].n; i++) {
                if ((parts[p].rows[i].archs & c->arch->bit) &&
                    !add(set, c, &parts[p].rows[i], prefix))
                    return false;
            }
        }
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_error err = {0};
    struct snug__hf_config config;
    struct snug_arena arena = {0};
    struct snug__st_set set = {.arena = &arena, .tensors = tensors};
    struct snug_buffer header = {0};
    struct snug_model model;
    uint64_t bytes_data = 0;
    snug_status status = snug__hf_config_read("fuzz", (const char *)data, n, &config, &err);
    if (status != SNUG_OK) {
        if (err.text[0] == '\0' || err.status != status)
            abort(); /* a fault without a word about it */
        return 0;
    }
    if (add_all(&set, &config)) {
        if (snug__st_sort(&set, &err) != SNUG_OK)
            abort();
        status = snug__hf_header("fuzz", &config, &set, &header, &bytes_data, &err);
        if (status == SNUG_OK) {
            if (snug__model_open_header("fuzz", &header, header.len + bytes_data, &model, &err) !=
                SNUG_OK)
                abort(); /* what we write we must be able to read */
            if (model.n_layer != config.n_layer || model.n_embd != config.n_embd)
                abort();
            snug_model_clear(&model);
        } else if (err.text[0] == '\0') {
            abort();
        }
    }
    snug_buffer_clear(&header);
    snug_arena_clear(&arena);
    return 0;
}
