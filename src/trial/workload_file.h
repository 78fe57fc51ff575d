/* Workload files: prompts by class, and sessions of several turns, by a name and a hash.
 *
 * FILE.json is one object, FILE.jsonl one object a line, each a session more:
 *   {"name": N, "class": "chat"|"code"|"document"|"json",
 *    "prompts": [TEXT, ...] or "file": PATH, "n_gen": TOKENS, "unique_prefix": true|false}
 *   {"name": N, "class": "session", "turns": [{"user": TEXT, "assistant": TEXT}, ...]}
 * PATH is relative to the workload file; its prompts are parted by lines of "---" alone, so that a
 * file without one is one long prompt. Lines that end in CR LF read as if they ended in LF. In a
 * .jsonl the first line gives the name for all; a name on another line must be the same.
 *
 * The hash is the SHA-256 of all that is said, the text of PATH included and PATH itself left out:
 * the same texts have the same hash wherever they lie and however their JSON is laid out. */
#ifndef SNUG_TRIAL_WORKLOAD_FILE_H
#define SNUG_TRIAL_WORKLOAD_FILE_H

#include "base/arena.h"
#include "snug/trial.h"

#define SNUG_WORKLOAD_BYTES_MAX (16u << 20) /* of a workload file, and of the file it names */
#define SNUG_WORKLOAD_PROMPTS_MAX 1024
#define SNUG_WORKLOAD_SESSIONS_MAX 256
#define SNUG_WORKLOAD_TURNS_MAX 256 /* of one session */
#define SNUG_WORKLOAD_GEN_MAX (1 << 20)
#define SNUG_WORKLOAD_GEN_DEFAULT 128

enum snug_workload_class {
    SNUG_WORKLOAD_CHAT,
    SNUG_WORKLOAD_CODE,
    SNUG_WORKLOAD_DOCUMENT,
    SNUG_WORKLOAD_JSON,
    SNUG_WORKLOAD_SESSION,
    SNUG_N_WORKLOAD_CLASSES
};
/* "chat", "code", "document", "json", "session". */
const char *snug_workload_class_name(enum snug_workload_class workload_class);

struct snug_workload_turn {
    const char *user, *assistant;
};

struct snug_workload_session {
    struct snug_workload_turn *turns;
    int n_turns;
};

/* What a workload file says. Zero state is empty. */
struct snug_workload_text {
    struct snug_arena arena; /* holds everything below */
    enum snug_workload_class workload_class;
    const char **prompts; /* none for sessions */
    int n_prompts;
    struct snug_workload_session *sessions; /* none for prompts */
    int n_sessions;
    int64_t n_gen;          /* 0 for sessions: their answers are given */
    bool use_unique_prefix; /* every prompt begins with tokens of its own */
};

/* Read, check and hash. Sets n_gen, name, hash and path (absolute) of *workload; what is counted in
 * tokens of a model, and the rest, is left alone.
 * Errors  SNUG_NOT_FOUND, SNUG_IO, SNUG_BAD_INPUT with file and field; outputs are untouched. */
snug_status snug_workload_file_read(const char *path, struct snug_workload *workload,
                                    struct snug_workload_text *out_text,
                                    struct snug_error *err) SNUG_CHECKED;
/* Text in memory that is read as a workload file. */
struct snug_workload_source {
    const char *name;   /* begins the errors */
    const char *folder; /* what "file" is relative to; NULL: none may be named */
    bool is_lines;      /* as .jsonl */
    const char *text;
    size_t n; /* bytes of text, which is NUL-terminated besides */
};

/* The same of text in memory; sets n_gen, name and hash. */
snug_status snug_workload_file_parse(const struct snug_workload_source *source,
                                     struct snug_workload *workload,
                                     struct snug_workload_text *out_text,
                                     struct snug_error *err) SNUG_CHECKED;
void snug_workload_text_clear(struct snug_workload_text *text);

#endif
