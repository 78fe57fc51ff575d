/* Opening a model: one file, the parts of a split one, or a preset. */
#include "snug/model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ggml.h>

#include "model/model_fill.h"
#include "model/hf.h"
#include "model/preset.h"
#include "model/shape_file.h"
#include "model/synth.h"
#include "model/url.h"

#define SPLIT_SUFFIX_MAX 40 /* "-00001-of-00003.gguf" and room for more digits */
#define SPLIT_WINDOWS_MIN 4 /* hash samples of each part */
#define NEAR_DISTANCE 3     /* edits up to which a preset is offered for a wrong name */
#define PRESET_TEXT_MAX 64  /* longest text compared with preset names */

/* One model being put together; parts are opened one at a time. */
struct opening {
    struct snug_model *model;
    struct snug_arena *arena;
    struct snug_sha256 hash;
    int n_parts;
    int cap_tensors;
    int64_t n_tensors_said; /* split.tensors.count, or -1 */
};

/* ---- parts ---- */

static snug_status add_tensors(struct opening *o, const struct snug__gguf *gguf, int part,
                               const char *label, struct snug_error *err)
{
    struct snug_model *m = o->model;
    int n = m->n_tensors + gguf->n_tensors;
    if (n > SNUG_GGUF_TENSORS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %d tensors in parts 1 to %d; up to %d are "
                         "accepted",
                         label, n, part + 1, SNUG_GGUF_TENSORS_MAX);
    for (int i = 0; i < gguf->n_tensors; i++)
        gguf->tensors[i].split = part;
    if (part == 0) {
        m->tensors = gguf->tensors;
        o->cap_tensors = n;
    } else if (n > o->cap_tensors) {
        /* doubling: the arena keeps what is outgrown, but that is less than what is used */
        size_t cap = 2 * (size_t)n;
        struct snug_tensor *all = snug_arena_alloc(o->arena, cap, sizeof *all);
        if (!all)
            return snug_fail(err, SNUG_NO_MEMORY, "%d tensors", n);
        if (m->n_tensors > 0)
            memcpy(all, m->tensors, (size_t)m->n_tensors * sizeof *all);
        m->tensors = all;
        o->cap_tensors = (int)cap;
    }
    if (part > 0 && gguf->n_tensors > 0)
        memcpy(m->tensors + m->n_tensors, gguf->tensors,
               (size_t)gguf->n_tensors * sizeof *m->tensors);
    m->n_tensors = n;
    return SNUG_OK;
}

static snug_status add_part(struct opening *o, const struct snug__source *source,
                            const struct snug__gguf *gguf, int part, struct snug_error *err)
{
    int n_windows = SNUG__HASH_WINDOWS / o->n_parts;
    if (n_windows < SPLIT_WINDOWS_MIN)
        n_windows = SPLIT_WINDOWS_MIN;
    snug_status status = snug__model_hash(&o->hash, source, gguf, n_windows, err);
    if (status == SNUG_OK)
        status = add_tensors(o, gguf, part, source->label, err);
    if (status == SNUG_OK)
        o->model->bytes_file += source->size;
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What only shows over all parts: a name twice, a part that lost tensors. */
static snug_status check_parts(const struct opening *o, const char *label, struct snug_error *err)
{
    const struct snug_model *m = o->model;
    if (o->n_tensors_said >= 0 && o->n_tensors_said != m->n_tensors)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %d tensors in %d parts, split.tensors.count says %" PRId64, label,
                         m->n_tensors, o->n_parts, o->n_tensors_said);
    size_t n = (size_t)m->n_tensors;
    const char **names = malloc((n + 1) * sizeof *names);
    if (!names)
        return snug_fail(err, SNUG_NO_MEMORY, "%zu tensor names", n);
    for (size_t i = 0; i < n; i++)
        names[i] = m->tensors[i].name;
    qsort(names, n, sizeof *names, compare_names);
    snug_status status = SNUG_OK;
    for (size_t i = 1; status == SNUG_OK && i < n; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            status =
                snug_fail(err, SNUG_BAD_INPUT, "%s: tensor %s is in two parts", label, names[i]);
    }
    free(names);
    return status;
}

/* Split part `part` of PREFIX: read it and check that it says so itself. */
static snug_status open_part(struct opening *o, const char *path, int part, struct snug__gguf *out,
                             struct snug_error *err)
{
    struct snug__source source;
    struct snug__gguf gguf;
    snug_status status = snug__source_open(path, &source, err);
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "part %d of %d", part + 1, o->n_parts);
    int64_t no = 0, n_parts = 0;
    status = snug__gguf_read(&source, o->arena, &gguf, err);
    if (status == SNUG_OK)
        status = snug__model_count(&gguf, source.label, "split.no", 0, INT16_MAX, &no, err);
    if (status == SNUG_OK)
        status = snug__model_count(&gguf, source.label, "split.count", 0, INT16_MAX, &n_parts, err);
    if (status == SNUG_OK && (no != part || n_parts != o->n_parts))
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%s: says that it is part %" PRId64 " of %" PRId64
                           " (split.no, split.count); its name says %d of %d",
                           source.label, no + 1, n_parts, part + 1, o->n_parts);
    if (status == SNUG_OK)
        status = add_part(o, &source, &gguf, part, err);
    snug__source_close(&source);
    if (status == SNUG_OK)
        *out = gguf;
    return status;
}

/* Length of PREFIX in "PREFIX-00001-of-00003.gguf", or an error. */
static snug_status find_prefix(const char *path, int64_t no, int n_parts, size_t *out,
                               struct snug_error *err)
{
    char suffix[SPLIT_SUFFIX_MAX];
    snprintf(suffix, sizeof suffix, "-%05" PRId64 "-of-%05d.gguf", no + 1, n_parts);
    size_t n = strlen(path), n_suffix = strlen(suffix);
    if (n <= n_suffix || strcmp(path + n - n_suffix, suffix) != 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: is part %" PRId64 " of %d of a split model; its name must end in %s",
                         path, no + 1, n_parts, suffix);
    *out = n - n_suffix;
    return SNUG_OK;
}

static snug_status open_parts(struct opening *o, const char *path, int64_t no,
                              struct snug__gguf *out_first, struct snug_error *err)
{
    size_t n_prefix = 0;
    snug_status status = find_prefix(path, no, o->n_parts, &n_prefix, err);
    for (int part = 0; status == SNUG_OK && part < o->n_parts; part++) {
        char part_path[sizeof o->model->path];
        struct snug__gguf gguf;
        int n = snprintf(part_path, sizeof part_path, "%.*s-%05d-of-%05d.gguf", (int)n_prefix, path,
                         part + 1, o->n_parts);
        if (n < 0 || (size_t)n >= sizeof part_path)
            return snug_fail(err, SNUG_BAD_INPUT, "path of part %d is too long", part + 1);
        status = open_part(o, part_path, part, &gguf, err);
        if (status == SNUG_OK && part == 0) {
            *out_first = gguf;
            snprintf(o->model->path, sizeof o->model->path, "%s", part_path);
        }
    }
    return status == SNUG_OK ? check_parts(o, path, err) : status;
}

/* ---- files ---- */

/* Find out whether the file is a part, then add it or all the parts. */
static snug_status read_file(struct opening *o, const char *path, const struct snug__source *source,
                             struct snug__gguf *out_first, struct snug_error *err)
{
    struct snug__gguf gguf;
    int64_t no = 0, n_parts = 0;
    snug_status status = snug__gguf_read(source, o->arena, &gguf, err);
    if (status == SNUG_OK)
        status = snug__model_count(&gguf, source->label, "split.count", 1, SNUG_GGUF_SPLITS_MAX,
                                   &n_parts, err);
    if (status == SNUG_OK)
        status = snug__model_count(&gguf, source->label, "split.no", 0, INT16_MAX, &no, err);
    if (status == SNUG_OK)
        status = snug__model_count(&gguf, source->label, "split.tensors.count", -1,
                                   SNUG_GGUF_TENSORS_MAX, &o->n_tensors_said, err);
    if (status != SNUG_OK)
        return status;
    o->n_parts = n_parts > 1 ? (int)n_parts : 1;
    if (o->n_parts > 1)
        return open_parts(o, path, no, out_first, err);
    *out_first = gguf;
    snprintf(o->model->path, sizeof o->model->path, "%s", path);
    return add_part(o, source, &gguf, 0, err);
}

snug_status snug__model_open_source(const char *path, const struct snug__source *source,
                                    struct snug_model *out, struct snug_error *err)
{
    struct snug_arena *arena = calloc(1, sizeof *arena);
    struct snug_model *model = calloc(1, sizeof *model); /* 10 KiB, and out stays as it is */
    snug_status status = SNUG_OK;
    if (!arena || !model) {
        status = snug_fail(err, SNUG_NO_MEMORY, "model");
        goto done;
    }
    struct opening o = {.model = model, .arena = arena, .n_parts = 1, .n_tensors_said = -1};
    struct snug__gguf first;
    snug_sha256_init(&o.hash);
    status = read_file(&o, path, source, &first, err);
    if (status == SNUG_OK)
        status = snug__model_fill(&first, source->label, model, err);
    if (status != SNUG_OK)
        goto done;
    snug_sha256_final_hex(&o.hash, model->hash);
    model->n_splits = o.n_parts;
    model->has_data = true;
    model->owner = arena;
    arena = NULL; /* the model owns it now */
    *out = *model;
done:
    if (arena)
        snug_arena_clear(arena);
    free(arena);
    free(model);
    return status;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static snug_status open_path(const char *path, struct snug_model *out, struct snug_error *err)
{
    if (strlen(path) >= sizeof out->path)
        return snug_fail(err, SNUG_BAD_INPUT, "a path of %zu bytes; up to %zu are accepted",
                         strlen(path), sizeof out->path - 1);
    if (is_folder(path))
        return snug__hf_open(path, out, err);
    struct snug__source source;
    snug_status status = snug__source_open(path, &source, err);
    if (status != SNUG_OK)
        return status;
    status = snug__model_open_source(path, &source, out, err);
    snug__source_close(&source);
    return status;
}

/* ---- presets ---- */

static snug_status open_preset(const struct snug__preset *preset, const char *type,
                               struct snug_model *out, struct snug_error *err)
{
    char path[PRESET_TEXT_MAX];
    snprintf(path, sizeof path, "preset:%s%s%s", preset->name, type ? ":" : "", type ? type : "");
    struct snug_buffer header = {0};
    struct snug_synth_options options = {.type = type, .is_shape_only = true};
    struct snug__shape shape = {0};
    struct snug_model model;
    snug_status status = snug__shape_init(preset, &options, &shape, err);
    if (status == SNUG_OK)
        status = snug__synth_header(&shape, &options, &header, err);
    if (status != SNUG_OK)
        goto done;
    status = snug__model_open_header(path, &header, header.len + shape.bytes_data, &model, err);
    if (status != SNUG_OK)
        goto done;
    model.is_preset = true;
    /* shape-only files carry no vocabulary; a real file of the preset would */
    snprintf(model.tokenizer, sizeof model.tokenizer, "%s", snug__preset_tokenizer(preset));
    *out = model;
done:
    snug_buffer_clear(&header);
    snug__shape_clear(&shape);
    return status;
}

/* Levenshtein distance of two short texts. */
static int edit_distance(const char *a, const char *b)
{
    int row[PRESET_TEXT_MAX + 1];
    int n_b = (int)strnlen(b, PRESET_TEXT_MAX);
    for (int j = 0; j <= n_b; j++)
        row[j] = j;
    for (int i = 1; a[i - 1] && i <= PRESET_TEXT_MAX; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n_b; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[n_b];
}

/* "a, b": presets near the name, or all when none is. */
static void list_near(const char *name, char *out, size_t cap)
{
    const char *const *presets = snug_model_presets();
    size_t n = 0;
    out[0] = '\0';
    for (int pass = 0; pass < 2 && n == 0; pass++) {
        for (int i = 0; presets[i] && n < cap; i++) {
            bool is_near = edit_distance(name, presets[i]) <= NEAR_DISTANCE ||
                           (strlen(name) > 2 && strstr(presets[i], name));
            if (is_near || pass == 1)
                n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? ", " : "", presets[i]);
        }
    }
}

static snug_status unknown_name(const char *name, struct snug_error *err)
{
    char list[256];
    list_near(name, list, sizeof list);
    return snug_fail(err, SNUG_NOT_FOUND, "no file or preset '%.100s'; presets: %s", name, list);
}

snug_status snug_model_open(const char *path_or_preset, struct snug_model *out,
                            struct snug_error *err)
{
    if (snug__url_is(path_or_preset))
        return snug__url_open(path_or_preset, out, err);
    bool is_preset = strncmp(path_or_preset, "preset:", 7) == 0;
    const char *name = path_or_preset + (is_preset ? 7 : 0);
    if (!is_preset && strchr(name, '/'))
        return open_path(path_or_preset, out, err);
    const char *colon = strchr(name, ':');
    const struct snug__preset *preset =
        snug__preset_find(name, colon ? (size_t)(colon - name) : strlen(name));
    if (preset)
        return open_preset(preset, colon ? colon + 1 : NULL, out, err);
    snug_status status = is_preset ? SNUG_NOT_FOUND : open_path(path_or_preset, out, err);
    /* where it is there, what is missing is a part of it, and the error says which */
    bool is_unknown = status == SNUG_NOT_FOUND && (is_preset || access(path_or_preset, F_OK) != 0);
    return is_unknown ? unknown_name(name, err) : status;
}

void snug_model_clear(struct snug_model *model)
{
    if (!model)
        return;
    if (model->owner)
        snug_arena_clear(model->owner);
    free(model->owner);
    memset(model, 0, sizeof *model);
}

/* ---- cache ---- */

static bool is_known_type(int type) /* ggml asserts on others */
{
    return type >= 0 && type < GGML_TYPE_COUNT && ggml_blck_size((enum ggml_type)type) > 0;
}

/* Bytes of n elements of a type; UINT64_MAX on overflow. */
static uint64_t type_bytes(uint64_t n, int type)
{
    if (!is_known_type(type))
        return 0;
    uint64_t n_block = (uint64_t)ggml_blck_size((enum ggml_type)type), bytes = 0;
    uint64_t n_blocks = n / n_block + (n % n_block != 0);
    if (__builtin_mul_overflow(n_blocks, (uint64_t)ggml_type_size((enum ggml_type)type), &bytes))
        return UINT64_MAX;
    return bytes;
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
    uint64_t product = 0;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

uint64_t snug_model_cache_bytes(const struct snug_model *model, uint64_t n_cells, int type_k,
                                int type_v)
{
    uint64_t n_heads = (uint64_t)model->n_layer * (uint64_t)model->n_head_kv;
    uint64_t n_k = model->n_embd_k_all, n_v = model->n_embd_v_all;
    if (n_k == 0 && n_v == 0) { /* a struct that was filled by hand */
        n_k = n_heads * (uint64_t)model->n_embd_head_k;
        n_v = n_heads * (uint64_t)model->n_embd_head_v;
    }
    uint64_t k = multiply(n_cells, type_bytes(n_k, type_k));
    uint64_t v = multiply(n_cells, type_bytes(n_v, type_v)), sum = 0;
    return __builtin_add_overflow(k, v, &sum) ? UINT64_MAX : sum;
}

const char *snug_model_type_name(int type)
{
    return is_known_type(type) ? ggml_type_name((enum ggml_type)type) : "?";
}

int snug_model_type_from_name(const char *name)
{
    for (int type = 0; type < GGML_TYPE_COUNT; type++) {
        if (is_known_type(type) && strcasecmp(ggml_type_name((enum ggml_type)type), name) == 0)
            return type;
    }
    return -1;
}

uint64_t snug_model_tensor_bytes(const struct snug_tensor *tensor, int type)
{
    const int64_t n_block = is_known_type(type) ? ggml_blck_size((enum ggml_type)type) : 0;
    if (n_block <= 0 || tensor->ne[0] % n_block != 0)
        return 0;
    return tensor->n_elements / (uint64_t)n_block * ggml_type_size((enum ggml_type)type);
}

double snug_model_type_bits(int type)
{
    return is_known_type(type) ? 8.0 * (double)ggml_type_size((enum ggml_type)type) /
                                     (double)ggml_blck_size((enum ggml_type)type)
                               : 0.0;
}
