/* Shape-only models: opened from a header in memory, and put on disk as that header before a hole,
 * which takes no space. Any GGUF reader takes such a file as long as it reads no weights. */
#include "model/shape_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "model/synth.h"

snug_status snug__model_open_header(const char *path, const struct snug_buffer *header,
                                    uint64_t size, struct snug_model *out, struct snug_error *err)
{
    struct snug__source source;
    struct snug_model model;
    snug__source_memory(path, header->data, header->len, size, &source);
    snug_status status = snug__model_open_source(path, &source, &model, err);
    if (status != SNUG_OK)
        return status;
    void *copy = snug_arena_alloc(model.owner, header->len, 1);
    if (!copy) {
        snug_model_clear(&model);
        return snug_fail(err, SNUG_NO_MEMORY, "%.200s: header", path);
    }
    memcpy(copy, header->data, header->len);
    model.header = copy;
    model.n_header = header->len;
    model.has_data = false;
    *out = model;
    return SNUG_OK;
}

static int write_all(int fd, const void *data, uint64_t n)
{
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t wrote = write(fd, p, n < SSIZE_MAX ? (size_t)n : SSIZE_MAX);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return errno;
        p += wrote;
        n -= (uint64_t)wrote;
    }
    return 0;
}

/* Header and hole under a temporary name, then rename. */
static snug_status write_file(const struct snug_model *model, const char *path,
                              struct snug_error *err)
{
    char temp[4096 + 64];
    /* the thread id: two threads may write the same model */
    snprintf(temp, sizeof temp, "%s.tmp%ld", path, (long)gettid());
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return snug_fail(err, SNUG_IO, "%s: cannot create: %s", temp, strerror(errno));
    int code = write_all(fd, model->header, model->n_header);
    if (code == 0 && ftruncate(fd, (off_t)model->bytes_file) != 0)
        code = errno;
    if (close(fd) != 0 && code == 0)
        code = errno;
    if (code == 0 && rename(temp, path) != 0)
        code = errno;
    if (code == 0)
        return SNUG_OK;
    unlink(temp);
    return snug_fail(err, SNUG_IO, "%s: cannot write a sparse file of %" PRIu64 " bytes: %s", path,
                     model->bytes_file, strerror(code));
}

snug_status snug_model_shape_file(const struct snug_model *model, const char *folder,
                                  char *out_path, size_t cap, struct snug_error *err)
{
    char path[4096];
    struct stat st;
    int n = model->header ? snprintf(path, sizeof path, "%s/%s.gguf", folder, model->hash)
                          : snprintf(path, sizeof path, "%s", model->path);
    if (n < 0 || (size_t)n >= sizeof path || (size_t)n >= cap)
        return snug_fail(err, SNUG_BAD_INPUT, "%.200s: a path of %d bytes is too long", folder, n);
    if (model->header) {
        bool is_there = stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
                        (uint64_t)st.st_size == model->bytes_file;
        snug_status status = is_there ? SNUG_OK : snug_file_make_folder(folder, err);
        if (status == SNUG_OK && !is_there)
            status = write_file(model, path, err);
        if (status != SNUG_OK)
            return status;
    }
    memcpy(out_path, path, (size_t)n + 1);
    return SNUG_OK;
}
