/* snug/history.h: knowledge as one file, to take from machine to machine.
 *
 * The file is gzip of JSON lines: a header (format, version, counts, SHA-256 of all that follows),
 * then machines, models, tasks, trials with blocks and conditions, noise floors, qualities and
 * sensitivities. It holds no paths, no names that people gave, no texts of errors: every member
 * goes through a list of what may be written, and everything else stays at home. Models are known
 * by their hash and called by their shape. Sessions, labs and token gaps are left out.
 *
 * An import is all or nothing, belongs to a number, and can be taken back: rows of one's own are
 * never changed by it, and rows that were used by one's own tasks since stay. */
#ifndef SNUG_HISTORY_H
#define SNUG_HISTORY_H

#include "snug/store.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Caps on a file; each is tested at cap and cap + 1. */
#define SNUG_HISTORY_PACKED_MAX (16u << 20) /* bytes as it lies on disk */
#define SNUG_HISTORY_TEXT_MAX (64u << 20)   /* bytes unpacked, some 30000 trials */
#define SNUG_HISTORY_LINE_MAX (64u << 10)   /* bytes of a line without its end */

/* What a line can be: constant suffix, its name, its count in the header, how many at most. */
#define SNUG_HISTORY_KINDS(X)                                                                      \
    X(MACHINE, "machine", "n_machines", 1024)                                                      \
    X(MODEL, "model", "n_models", 1024)                                                            \
    X(TASK, "task", "n_tasks", 8192)                                                               \
    X(TRIAL, "trial", "n_trials", 65536)                                                           \
    X(NOISE, "noise", "n_noise", 4096)                                                             \
    X(QUALITY, "quality", "n_qualities", 4096)                                                     \
    X(SENSITIVITY, "sensitivity", "n_sensitivities", 65536)

enum snug_history_kind {
#define SNUG_HISTORY_ENUM(name, text, counted, cap) SNUG_HISTORY_##name,
    SNUG_HISTORY_KINDS(SNUG_HISTORY_ENUM)
#undef SNUG_HISTORY_ENUM
        SNUG_HISTORY_N_KINDS
};

struct snug_history_counts {
    int64_t n[SNUG_HISTORY_N_KINDS];
};

struct snug_history_exported {
    struct snug_history_counts counts;
    int64_t n_left_out; /* trials without a start, or with a config that only makes sense here: a
                           device that is called by its server */
};
/* The file's bytes, malloc'ed. model_hash NULL: of all models.
 * Errors  SNUG_INFEASIBLE: nothing to export; SNUG_BAD_INPUT: more than one file may hold */
snug_status snug_history_export(struct snug_store *store, const char *model_hash, void **out_data,
                                size_t *out_n, struct snug_history_exported *out,
                                struct snug_error *err) SNUG_CHECKED;

struct snug_history_imported {
    int64_t id;                         /* of the import; 0: nothing was new, nothing was kept */
    bool is_known;                      /* id is of an earlier import of the same file */
    double created_unix_s;              /* when the file was written */
    struct snug_history_counts in_file; /* what it holds */
    struct snug_history_counts added;   /* what was not here */
};
/* Check all of the file, then add what is not here in one transaction. `name` begins error texts
 * and, without its folders, names the import. *stop, which may be NULL: set by a signal handler.
 * Errors  SNUG_BAD_INPUT: no history file, cut short, damaged, a line that is not acceptable (its
 *         number is told); SNUG_NEWER; SNUG_INTERRUPTED; nothing is changed then
 * Cost    some 8000 trials per second; one transaction, for which other writers wait */
snug_status snug_history_import(struct snug_store *store, const char *name, const void *data,
                                size_t n, const volatile int *stop,
                                struct snug_history_imported *out,
                                struct snug_error *err) SNUG_CHECKED;

struct snug_history_import_view {
    int64_t id;
    const char *file, *snug; /* borrowed for the call */
    double created_unix_s, imported_unix_s;
    int64_t n_tasks, n_trials; /* that are here because of it */
};
typedef bool (*snug_history_import_fn)(const struct snug_history_import_view *view, void *data);
/* Every import, oldest first; false stops. */
snug_status snug_history_imports(struct snug_store *store, snug_history_import_fn fn, void *data,
                                 struct snug_error *err) SNUG_CHECKED;
/* The import of a file, whatever it is called now. Errors as of import; SNUG_NOT_FOUND: it was not
 * imported, or was taken back. */
snug_status snug_history_find(struct snug_store *store, const char *name, const void *data,
                              size_t n, int64_t *out_id, struct snug_error *err) SNUG_CHECKED;
/* Remove what an import added, in one transaction: what remains is as if it had not been imported.
 * Errors  SNUG_NOT_FOUND: no such import */
snug_status snug_history_undo(struct snug_store *store, int64_t id,
                              struct snug_history_counts *out_removed,
                              struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
