/* A Hugging Face folder as a model. Which files there are comes from the index, where there is one;
 * else from the folder. Cost: the headers, some MB for the largest models. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "model/hf.h"
#include "model/shape_file.h"
#include "model/synth.h"

#define INDEX_MAX_BYTES (64u << 20) /* of the index; that of 92 k tensors has 9 MB */
#define SHARDS_MAX SNUG_GGUF_SPLITS_MAX
#define MISSING_NAMES_MAX 240 /* bytes of the list of missing shards */
#define FILE_NAME_MAX 255
#define INDEX_NAME "model.safetensors.index.json"

/* Names of files; zero state is empty. */
struct shards {
    char (*names)[FILE_NAME_MAX + 1];
    int n;
};

static int compare_texts(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool is_there(const char *folder, const char *name)
{
    char path[4096 + FILE_NAME_MAX + 2];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &st) == 0;
}

static snug_status add_shard(const char *folder, struct shards *shards, const char *name,
                             struct snug_error *err)
{
    size_t n = strlen(name);
    if (shards->n >= SHARDS_MAX || n > FILE_NAME_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%.200s: more than %d safetensors files, or names of over %d bytes",
                         folder, SHARDS_MAX, FILE_NAME_MAX);
    memcpy(shards->names[shards->n++], name, n + 1);
    return SNUG_OK;
}

/* "index says 4 files: model-00002-of-00004.safetensors, ... are missing" */
static snug_status check_there(const char *folder, const char *who, const struct shards *shards,
                               struct snug_error *err)
{
    char list[MISSING_NAMES_MAX] = "";
    size_t at = 0;
    int n = 0;
    for (int i = 0; i < shards->n; i++) {
        if (is_there(folder, shards->names[i]))
            continue;
        n++;
        if (at + FILE_NAME_MAX / 4 < sizeof list)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%.80s", at ? ", " : "",
                                   shards->names[i]);
    }
    if (n == 0)
        return SNUG_OK;
    return snug_fail(err, SNUG_NOT_FOUND, "%.150s: %s %d file%s, %d of them missing: %s", folder,
                     who, shards->n, shards->n > 1 ? "s" : "", n, list);
}

/* ---- the index ---- */

/* The distinct files of a weight_map of n members. values is sorted. */
static snug_status collect(const char *folder, const char **files, size_t n, struct shards *shards,
                           struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (size_t i = 0; status == SNUG_OK && i < n; i++) {
        if (i > 0 && strcmp(files[i - 1], files[i]) == 0)
            continue;
        size_t n_name = strlen(files[i]);
        if (n_name < 1 || n_name > FILE_NAME_MAX || strchr(files[i], '/') || files[i][0] == '.')
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%.150s/" INDEX_NAME ": '%.100s' is no name of a file in this folder",
                             folder, files[i]);
        status = add_shard(folder, shards, files[i], err);
    }
    return status;
}

static int compare_pointers(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The members of weight_map: names, and the files that they are said to be in. */
struct index {
    struct snug_json *json;
    const char **names, **files;
    size_t n;
};

static void clear_index(struct index *index)
{
    snug_json_free(index->json);
    free(index->names);
    free(index->files);
}

static snug_status read_index(const char *folder, struct index *index, struct snug_error *err)
{
    char path[4096 + FILE_NAME_MAX + 2];
    char *text = NULL;
    size_t n_text = 0;
    snprintf(path, sizeof path, "%s/" INDEX_NAME, folder);
    snug_status status = snug_file_read(path, INDEX_MAX_BYTES, &text, &n_text, err);
    if (status == SNUG_OK)
        status = snug_json_parse(path, text, n_text, &index->json, err);
    free(text);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *map = snug_json_get(snug_json_root(index->json), "weight_map");
    size_t n = snug_json_count(map);
    if (!snug_json_is_object(map) || n < 1 || n > SNUG__ST_TENSORS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: weight_map is no object of 1 to %d tensors and their files", path,
                         SNUG__ST_TENSORS_MAX);
    const struct snug_json_node **values = calloc(n, sizeof *values);
    index->names = calloc(n, sizeof *index->names);
    index->files = calloc(n, sizeof *index->files);
    if (!values || !index->names || !index->files) {
        free(values);
        return snug_fail(err, SNUG_NO_MEMORY, "%s", path);
    }
    index->n = snug_json_members(map, index->names, values, n);
    for (size_t i = 0; i < index->n; i++)
        index->files[i] = snug_json_string(values[i], "");
    free(values);
    return SNUG_OK;
}

/* Each tensor of the index is in a file of the set. */
static snug_status check_index(const char *folder, const struct index *index,
                               const struct snug__st_set *set, struct snug_error *err)
{
    for (size_t i = 0; i < index->n; i++) {
        const struct snug__st_tensor *t = snug__st_find(set, index->names[i]);
        if (!t)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%.150s/" INDEX_NAME ": tensor %.100s is in no file; the index says "
                             "%.80s",
                             folder, index->names[i], index->files[i]);
        const char *file = strrchr(t->file, '/');
        if (strcmp(file ? file + 1 : t->file, index->files[i]) != 0)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%.150s/" INDEX_NAME ": tensor %.100s is in %.80s; the index says "
                             "%.80s",
                             folder, index->names[i], t->file, index->files[i]);
    }
    return SNUG_OK;
}

/* ---- without an index ---- */

/* n of "model-00001-of-0000N.safetensors", 0 for other names; *out_prefix: bytes before it. */
static int parts_of(const char *name, size_t *out_prefix)
{
    int no = 0, n = 0, n_used = 0;
    const char *of = strstr(name, "-of-");
    if (!of || of - name < 6 || of[-6] != '-')
        return 0;
    if (sscanf(of - 5, "%5d-of-%5d.safetensors%n", &no, &n, &n_used) != 2 || n_used == 0 ||
        of[-5 + n_used] != '\0' || no < 1 || n < 2 || n > SHARDS_MAX)
        return 0;
    *out_prefix = (size_t)(of - 6 - name);
    return n;
}

/* Every file that the names of those found speak of. */
static snug_status name_all(const char *folder, struct shards *shards, struct snug_error *err)
{
    size_t n_prefix = 0;
    int n = parts_of(shards->names[0], &n_prefix);
    if (n == 0 && shards->n > 1)
        return snug_fail(err, SNUG_NOT_FOUND,
                         "%.200s: %d safetensors files and no " INDEX_NAME
                         " that says which belong together",
                         folder, shards->n);
    if (n == 0)
        return SNUG_OK;
    char prefix[FILE_NAME_MAX + 1];
    snprintf(prefix, sizeof prefix, "%.*s", (int)n_prefix, shards->names[0]);
    shards->n = 0;
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < n; i++) {
        char name[FILE_NAME_MAX + 64];
        snprintf(name, sizeof name, "%s-%05d-of-%05d.safetensors", prefix, i + 1, n);
        status = add_shard(folder, shards, name, err);
    }
    return status == SNUG_OK ? check_there(folder, "the names say", shards, err) : status;
}

static snug_status scan(const char *folder, struct shards *shards, struct snug_error *err)
{
    if (is_there(folder, "model.safetensors"))
        return add_shard(folder, shards, "model.safetensors", err);
    DIR *dir = opendir(folder);
    if (!dir)
        return snug_fail(err, SNUG_IO, "%.200s: cannot read: %s", folder, strerror(errno));
    snug_status status = SNUG_OK;
    for (const struct dirent *entry; status == SNUG_OK && (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name);
        if (n > 12 && entry->d_name[0] != '.' &&
            strcmp(entry->d_name + n - 12, ".safetensors") == 0)
            status = add_shard(folder, shards, entry->d_name, err);
    }
    closedir(dir);
    if (status != SNUG_OK)
        return status;
    if (shards->n == 0)
        return snug_fail(
            err, SNUG_NOT_FOUND,
            "%.200s: no *.safetensors in this folder; other weights (pytorch_model.bin) "
            "are not read",
            folder);
    qsort(shards->names, (size_t)shards->n, sizeof *shards->names, compare_texts);
    return name_all(folder, shards, err);
}

/* ---- together ---- */

static snug_status read_shards(const char *folder, const struct shards *shards,
                               struct snug__st_set *set, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < shards->n; i++) {
        char path[4096 + FILE_NAME_MAX + 2];
        struct snug__source source;
        snprintf(path, sizeof path, "%s/%s", folder, shards->names[i]);
        status = snug__source_open(path, &source, err);
        if (status != SNUG_OK)
            break;
        status = snug__st_read(&source, set, err);
        snug__source_close(&source);
    }
    return status == SNUG_OK ? snug__st_sort(set, err) : status;
}

snug_status snug__hf_shards_read(const char *folder, struct snug__st_set *set,
                                 struct snug_error *err)
{
    struct shards shards = {.names = calloc(SHARDS_MAX, sizeof *shards.names)};
    struct index index = {0};
    const char **sorted = NULL;
    snug_status status = SNUG_OK;
    if (!shards.names) {
        status = snug_fail(err, SNUG_NO_MEMORY, "%.200s: file names", folder);
        goto done;
    }
    bool has_index = is_there(folder, INDEX_NAME);
    if (!has_index) {
        status = scan(folder, &shards, err);
    } else {
        status = read_index(folder, &index, err);
        sorted = status == SNUG_OK ? calloc(index.n, sizeof *sorted) : NULL;
        if (status == SNUG_OK && !sorted)
            status = snug_fail(err, SNUG_NO_MEMORY, "%.200s: index", folder);
        if (status != SNUG_OK)
            goto done;
        memcpy(sorted, index.files, index.n * sizeof *sorted);
        qsort(sorted, index.n, sizeof *sorted, compare_pointers);
        status = collect(folder, sorted, index.n, &shards, err);
        if (status == SNUG_OK)
            status = check_there(folder, "the index says", &shards, err);
    }
    if (status == SNUG_OK)
        status = read_shards(folder, &shards, set, err);
    if (status == SNUG_OK && has_index)
        status = check_index(folder, &index, set, err);
done:
    free(sorted);
    clear_index(&index);
    free(shards.names);
    return status;
}

static snug_status read_config(const char *folder, struct snug__hf_config *out,
                               struct snug_error *err)
{
    char path[4096 + FILE_NAME_MAX + 2], label[SNUG__LABEL_MAX];
    char *text = NULL;
    size_t n = 0;
    snprintf(path, sizeof path, "%s/config.json", folder);
    snug__label_set(folder, label);
    if (!is_there(folder, "config.json"))
        return snug_fail(
            err, SNUG_BAD_INPUT,
            "%s: is a folder without config.json; a GGUF file, or a Hugging Face folder "
            "with config.json and *.safetensors, is accepted",
            label);
    snug_status status = snug_file_read(path, SNUG__HF_CONFIG_MAX, &text, &n, err);
    snug__label_set(path, label);
    if (status == SNUG_OK)
        status = snug__hf_config_read(label, text, n, out, err);
    free(text);
    return status;
}

/* The folder's own name; the header has none, so that copies of a folder have one hash. */
static void set_name(const char *folder, struct snug_model *model)
{
    char *real = realpath(folder, NULL);
    const char *slash = real ? strrchr(real, '/') : NULL;
    snprintf(model->name, sizeof model->name, "%s", slash ? slash + 1 : "");
    free(real);
}

snug_status snug__hf_open(const char *folder, struct snug_model *out, struct snug_error *err)
{
    struct snug__hf_config config;
    struct snug_arena arena = {0};
    struct snug__st_set set = {.arena = &arena};
    struct snug_buffer header = {0};
    uint64_t bytes_data = 0;
    struct snug_model model = {0};
    char label[SNUG__LABEL_MAX];
    if (strlen(folder) >= sizeof model.path)
        return snug_fail(err, SNUG_BAD_INPUT, "a path of %zu bytes; up to %zu are accepted",
                         strlen(folder), sizeof model.path - 1);
    snug__label_set(folder, label);
    snug_status status = read_config(folder, &config, err);
    if (status == SNUG_OK)
        status = snug__hf_shards_read(folder, &set, err);
    if (status == SNUG_OK)
        status = snug__hf_header(label, &config, &set, &header, &bytes_data, err);
    if (status == SNUG_OK)
        status = snug__model_open_header(folder, &header, header.len + bytes_data, &model, err);
    if (status == SNUG_OK) {
        set_name(folder, &model);
        model.tokenizer[0] = '\0'; /* not read: the header carries none */
        *out = model;
    }
    snug_buffer_clear(&header);
    snug__st_clear(&set);
    snug_arena_clear(&arena);
    return status;
}
