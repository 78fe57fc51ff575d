/* Hugging Face folders by hand: safetensors files of a header and a hole, from a text that lists
 * the tensors as transformers names and shapes them:
 *
 *   LAYERS[xEXPERTS] NAME DIM...      "#" in the name: the number of the layer, "@": of the expert
 *   1 model.norm.weight 4096
 *   32 model.layers.#.mlp.up_proj.weight 14336 4096 */
#ifndef SNUG_TEST_HF_BUILD_H
#define SNUG_TEST_HF_BUILD_H

#include "test.h"

#include <inttypes.h>

#include "base/buffer.h"
#include "base/file.h"

struct st_file {
    struct snug_buffer json;
    uint64_t n_data;
    int n_tensors;
};

/* One tensor; dims as text, blanks between them. */
static inline void st_add(struct st_file *f, const char *name, const char *dtype, const char *dims)
{
    uint64_t n = strcmp(dtype, "F32") == 0 ? 4 : 2;
    snug_buffer_printf(&f->json, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                       f->n_tensors++ ? "," : "{", name, dtype);
    char *end = NULL;
    for (const char *at = dims; *at && *at != '\n'; at = end) {
        uint64_t dim = strtoull(at, &end, 10);
        if (end == at)
            break;
        n *= dim;
        snug_buffer_printf(&f->json, "%s%" PRIu64, at == dims ? "" : ",", dim);
    }
    snug_buffer_printf(&f->json, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", f->n_data,
                       f->n_data + n);
    f->n_data += n;
}

static inline void st_name(const char *pattern, size_t n, int layer, int expert, char out[256])
{
    struct snug_buffer b = {0};
    for (size_t i = 0; i < n; i++) {
        if (pattern[i] == '#' || pattern[i] == '@')
            snug_buffer_printf(&b, "%d", pattern[i] == '#' ? layer : expert);
        else
            snug_buffer_append(&b, pattern + i, 1);
    }
    snprintf(out, 256, "%s", snug_buffer_text(&b));
    snug_buffer_clear(&b);
}

/* All tensors of the text. */
static inline void st_add_all(struct st_file *f, const char *text, const char *dtype)
{
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        int n_layers = 0, n_experts = 1, n_used = 0;
        assert_int_equal(sscanf(line, "%d%n", &n_layers, &n_used), 1);
        if (line[n_used] == 'x') {
            int n_more = 0;
            assert_int_equal(sscanf(line + n_used, "x%d%n", &n_experts, &n_more), 1);
            n_used += n_more;
        }
        const char *pattern = line + n_used + 1;
        size_t n = strcspn(pattern, " ");
        for (int layer = 0; layer < n_layers; layer++) {
            for (int expert = 0; expert < n_experts; expert++) {
                char name[256];
                st_name(pattern, n, layer, expert, name);
                st_add(f, name, dtype, pattern + n + 1);
            }
        }
    }
}

/* Length, JSON, hole; clears f. */
static inline void st_save(struct st_file *f, const char *path)
{
    uint8_t length[8];
    snug_buffer_puts(&f->json, f->n_tensors ? "}" : "{}");
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)f->json.len >> (8 * i));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(length, 1, 8, file), 8);
    assert_int_equal(fwrite(f->json.data, 1, f->json.len, file), f->json.len);
    assert_int_equal(fflush(file), 0);
    assert_int_equal(ftruncate(fileno(file), (off_t)(8 + f->json.len + f->n_data)), 0);
    assert_int_equal(fclose(file), 0);
    snug_buffer_clear(&f->json);
    *f = (struct st_file){0};
}

static inline void hf_put(const char *folder, const char *name, const char *text)
{
    struct snug_error err;
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(snug_file_write(path, text, strlen(text), &err));
}

/* FOLDER with config.json and one model.safetensors. */
static inline void hf_folder(const char *folder, const char *config, const char *tensors,
                             const char *dtype)
{
    struct snug_error err;
    struct st_file f = {0};
    char path[1024];
    assert_ok(snug_file_make_folder(folder, &err));
    hf_put(folder, "config.json", config);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    st_add_all(&f, tensors, dtype);
    st_save(&f, path);
}

#endif
