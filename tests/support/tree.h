/* A machine as a tree of files that changes between two looks: copies of recorded machines, single
 * files put or changed in place, as the kernel's files change under those who keep them open. */
#ifndef SNUG_TEST_TREE_H
#define SNUG_TEST_TREE_H

#include "test.h"

#include "base/file.h"

static const char *tree_from, *tree_to;

/* Write FOLDER/path, making folders on the way; an open file sees the new text. */
static inline void tree_put(const char *folder, const char *path, const char *text)
{
    struct snug_error err;
    char full[2048], parent[2048];
    snprintf(full, sizeof full, "%s/%s", folder, path);
    snprintf(parent, sizeof parent, "%s", full);
    *strrchr(parent, '/') = '\0';
    assert_ok(snug_file_make_folder(parent, &err));
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static inline void tree_put_number(const char *folder, const char *path, double value)
{
    char text[64];
    snprintf(text, sizeof text, "%.0f\n", value);
    tree_put(folder, path, text);
}

/* Remove FOLDER/path with all below. */
static inline void tree_drop(const char *folder, const char *path)
{
    char full[2048];
    snprintf(full, sizeof full, "%s/%s", folder, path);
    assert_int_equal(nftw(full, test_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline int tree_copy_one(const char *path, const struct stat *info, int kind,
                                struct FTW *place)
{
    struct snug_error err;
    char *text = NULL;
    (void)info;
    (void)place;
    if (kind != FTW_F)
        return 0;
    assert_ok(snug_file_read(path, 1u << 20, &text, NULL, &err));
    tree_put(tree_to, path + strlen(tree_from) + 1, text);
    free(text);
    return 0;
}

static inline void tree_copy(const char *machine, const char *folder)
{
    static char path[1024];
    const char *root = getenv("SNUG_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/machines/%s", root ? root : ".", machine);
    tree_from = path;
    tree_to = folder;
    assert_int_equal(nftw(path, tree_copy_one, 16, FTW_PHYS), 0);
}

#endif
