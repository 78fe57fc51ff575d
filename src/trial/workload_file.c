/* Workload files: JSON in, texts in an arena out, and the hash of what they say. Format and caps
 * are in the header. Every text is checked here (UTF-8, not empty), because libllama's tokenizers
 * are given what this file lets through. */
#include "trial/workload_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "trial/knob.h"

static const char *const CLASSES[SNUG_N_WORKLOAD_CLASSES] = {"chat", "code", "document", "json",
                                                             "session"};
static const char *const KEYS[] = {"name",  "class", "prompts",      "file",
                                   "turns", "n_gen", "unique_prefix"};
#define N_KEYS ((int)(sizeof KEYS / sizeof *KEYS))

struct reader {
    const struct snug_workload_source *source;
    struct snug_workload_text *out;
    const char *name; /* of the workload, NULL until it was given */
    int line;         /* of a .jsonl; 0 else */
    struct snug_error *err;
};

const char *snug_workload_class_name(enum snug_workload_class workload_class)
{
    return CLASSES[workload_class];
}

/* "FILE: " or "FILE:LINE: " before what is wrong. */
static snug_status refuse(const struct reader *r, const char *format, ...) SNUG_PRINTF(2, 3);
static snug_status refuse(const struct reader *r, const char *format, ...)
{
    char text[SNUG_ERROR_TEXT_MAX / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (r->line > 0)
        return snug_fail(r->err, SNUG_BAD_INPUT, "%s:%d: %s", r->source->name, r->line, text);
    return snug_fail(r->err, SNUG_BAD_INPUT, "%s: %s", r->source->name, text);
}

static snug_status no_memory(const struct reader *r)
{
    return snug_fail(r->err, SNUG_NO_MEMORY, "%s: no memory for its texts", r->source->name);
}

static snug_status check_keys(const struct reader *r, const struct snug_json_node *object,
                              const char *const *keys, int n_keys)
{
    const char *key = NULL;
    const struct snug_json_node *value = NULL;
    for (size_t i = 0; snug_json_member(object, i, &key, &value); i++) {
        bool is_known = false;
        for (int k = 0; k < n_keys && !is_known; k++)
            is_known = strcmp(key, keys[k]) == 0;
        if (is_known)
            continue;
        const char *near = snug__near_word(key, keys, n_keys);
        return refuse(r, "no field '%.40s' in a workload%s%s", key, near ? ", did you mean " : "",
                      near ? near : "");
    }
    return SNUG_OK;
}

/* A text of the document as the arena's own. */
static snug_status take_text(const struct reader *r, const struct snug_json_node *node,
                             const char *where, const char **out)
{
    const char *text = snug_json_string(node, NULL);
    if (!text)
        return refuse(r, "%s must be a text", where);
    if (text[0] == '\0')
        return refuse(r, "%s is empty", where);
    *out = snug_arena_strdup(&r->out->arena, text);
    return *out ? SNUG_OK : no_memory(r);
}

/* ---- prompts ---- */

static snug_status take_prompts(const struct reader *r, const struct snug_json_node *node)
{
    struct snug_workload_text *out = r->out;
    const size_t n = snug_json_count(node);
    if (!snug_json_is_array(node) || n == 0 || n > SNUG_WORKLOAD_PROMPTS_MAX)
        return refuse(r, "prompts must be a list of 1 to %d texts", SNUG_WORKLOAD_PROMPTS_MAX);
    out->prompts = snug_arena_alloc(&out->arena, n, sizeof *out->prompts);
    if (!out->prompts)
        return no_memory(r);
    for (size_t i = 0; i < n; i++) {
        char where[32];
        snprintf(where, sizeof where, "prompts[%zu]", i);
        const snug_status status =
            take_text(r, snug_json_at(node, i), where, &out->prompts[out->n_prompts]);
        if (status != SNUG_OK)
            return status;
        out->n_prompts++;
    }
    return SNUG_OK;
}

/* CR LF becomes LF in place, so that a checkout with other line ends is the same workload. */
static size_t drop_carriage_returns(char *text, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\r' || text[i + 1] != '\n')
            text[kept++] = text[i];
    }
    text[kept] = '\0';
    return kept;
}

static snug_status check_utf8(const struct reader *r, const char *path, const char *text, size_t n)
{
    int line = 1;
    for (size_t i = 0; i < n;) {
        const size_t length = snug_utf8_length((const unsigned char *)text + i);
        if (length == 0 || text[i] == '\0')
            return snug_fail(r->err, SNUG_BAD_INPUT, "%s:%d: byte %zu is no UTF-8 text", path, line,
                             i);
        line += text[i] == '\n';
        i += length;
    }
    return SNUG_OK;
}

/* Where the prompt at `text` ends: at a line of "---" alone, or at the end. *out_next begins the
 * prompt after it, NULL when there is none. */
static const char *find_part_end(const char *text, const char **out_next)
{
    for (const char *at = text; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        if (strncmp(at, "---", 3) == 0 && (at[3] == '\n' || at[3] == '\0')) {
            *out_next = at[3] ? at + 4 : NULL;
            return at;
        }
    }
    *out_next = NULL;
    return text + strlen(text);
}

/* Parts that hold nothing but white space are left out: a file may begin or end with "---". */
static snug_status split_prompts(const struct reader *r, const char *path, const char *text)
{
    struct snug_workload_text *out = r->out;
    out->prompts = snug_arena_alloc(&out->arena, SNUG_WORKLOAD_PROMPTS_MAX, sizeof *out->prompts);
    if (!out->prompts)
        return no_memory(r);
    for (const char *next = NULL; text; text = next) {
        const char *end = find_part_end(text, &next);
        const size_t n = (size_t)(end - text);
        if (strspn(text, " \t\n") >= n)
            continue;
        if (out->n_prompts == SNUG_WORKLOAD_PROMPTS_MAX)
            return snug_fail(r->err, SNUG_BAD_INPUT, "%s: more than %d prompts", path,
                             SNUG_WORKLOAD_PROMPTS_MAX);
        const char *prompt = snug_arena_strndup(&out->arena, text, n);
        if (!prompt)
            return no_memory(r);
        out->prompts[out->n_prompts++] = prompt;
    }
    if (out->n_prompts == 0)
        return snug_fail(r->err, SNUG_BAD_INPUT, "%s: no prompt in it, only white space", path);
    return SNUG_OK;
}

static snug_status take_file(const struct reader *r, const struct snug_json_node *node)
{
    const char *file = snug_json_string(node, "");
    if (file[0] == '\0')
        return refuse(r, "file must be the path of a text");
    if (!r->source->folder)
        return refuse(r, "file: no other file may be named here");
    char path[PATH_MAX];
    const int n_path = file[0] == '/'
                           ? snprintf(path, sizeof path, "%s", file)
                           : snprintf(path, sizeof path, "%s/%s", r->source->folder, file);
    if (n_path >= (int)sizeof path)
        return refuse(r, "file: a path longer than %d bytes", PATH_MAX - 1);
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read(path, SNUG_WORKLOAD_BYTES_MAX, &text, &n, r->err);
    if (status != SNUG_OK)
        return snug_fail_prefix(r->err, status, "%s: file", r->source->name);
    n = drop_carriage_returns(text, n);
    status = check_utf8(r, path, text, n);
    if (status == SNUG_OK)
        status = split_prompts(r, path, text);
    free(text);
    return status;
}

/* ---- sessions ---- */

static snug_status take_session(const struct reader *r, const struct snug_json_node *turns)
{
    static const char *const keys[] = {"user", "assistant"};
    struct snug_workload_text *out = r->out;
    const size_t n = snug_json_count(turns);
    if (!snug_json_is_array(turns) || n == 0 || n > SNUG_WORKLOAD_TURNS_MAX)
        return refuse(r, "turns must be a list of 1 to %d {\"user\", \"assistant\"}",
                      SNUG_WORKLOAD_TURNS_MAX);
    struct snug_workload_session *session = &out->sessions[out->n_sessions];
    session->turns = snug_arena_alloc(&out->arena, n, sizeof *session->turns);
    if (!session->turns)
        return no_memory(r);
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *turn = snug_json_at(turns, i);
        char where[32];
        snug_status status = check_keys(r, turn, keys, 2);
        snprintf(where, sizeof where, "turns[%zu].user", i);
        if (status == SNUG_OK)
            status = take_text(r, snug_json_get(turn, "user"), where, &session->turns[i].user);
        snprintf(where, sizeof where, "turns[%zu].assistant", i);
        if (status == SNUG_OK)
            status =
                take_text(r, snug_json_get(turn, "assistant"), where, &session->turns[i].assistant);
        if (status != SNUG_OK)
            return status;
    }
    session->n_turns = (int)n;
    out->n_sessions++;
    return SNUG_OK;
}

/* ---- a whole object ---- */

static snug_status take_name(struct reader *r, const struct snug_json_node *root)
{
    const struct snug_json_node *node = snug_json_get(root, "name");
    if (!node && r->name) /* a later line of a .jsonl */
        return SNUG_OK;
    const char *name = NULL;
    const snug_status status = take_text(r, node, "name", &name);
    if (status != SNUG_OK)
        return status;
    if (strlen(name) >= SNUG_WORKLOAD_NAME_MAX)
        return refuse(r, "name is longer than %d bytes", SNUG_WORKLOAD_NAME_MAX - 1);
    if (strpbrk(name, "\n\r\t"))
        return refuse(r, "name must be one line without tabs");
    if (r->name && strcmp(name, r->name) != 0)
        return refuse(r, "name '%s' is not the first line's '%s'", name, r->name);
    r->name = name;
    return SNUG_OK;
}

static snug_status take_class(const struct reader *r, const struct snug_json_node *root)
{
    const struct snug_json_node *node = snug_json_get(root, "class");
    const char *text = snug_json_string(node, r->out->n_sessions > 0 && !node ? "session" : "");
    for (int i = 0; i < SNUG_N_WORKLOAD_CLASSES; i++) {
        if (strcmp(text, CLASSES[i]) == 0) {
            r->out->workload_class = (enum snug_workload_class)i;
            if (r->line > 0 && i != SNUG_WORKLOAD_SESSION)
                return refuse(r, "class must be session in a .jsonl: one session a line");
            return SNUG_OK;
        }
    }
    return refuse(r, "class must be chat, code, document, json or session, not '%.40s'", text);
}

static snug_status take_prefix(const struct reader *r, const struct snug_json_node *root)
{
    const struct snug_json_node *node = snug_json_get(root, "unique_prefix");
    const bool low = snug_json_bool(node, false), high = snug_json_bool(node, true);
    if (node && low != high)
        return refuse(r, "unique_prefix must be true or false");
    if (node || r->out->n_sessions == 0)
        r->out->use_unique_prefix = high;
    return SNUG_OK;
}

static snug_status take_gen(const struct reader *r, const struct snug_json_node *root)
{
    const struct snug_json_node *node = snug_json_get(root, "n_gen");
    const bool is_session = r->out->workload_class == SNUG_WORKLOAD_SESSION;
    if (node && is_session)
        return refuse(r, "n_gen: a session has the lengths of its answers");
    const int64_t n_gen =
        is_session ? 0 : snug_json_int(node, node ? -1 : SNUG_WORKLOAD_GEN_DEFAULT);
    if (n_gen < 0 || n_gen > SNUG_WORKLOAD_GEN_MAX)
        return refuse(r, "n_gen must be 0 to %d", SNUG_WORKLOAD_GEN_MAX);
    r->out->n_gen = n_gen;
    return SNUG_OK;
}

static snug_status take_object(struct reader *r, const struct snug_json_node *root)
{
    if (!snug_json_is_object(root))
        return refuse(r, "a workload must be an object: {\"name\": ..., \"class\": ...}");
    snug_status status = check_keys(r, root, KEYS, N_KEYS);
    if (status == SNUG_OK)
        status = take_name(r, root);
    if (status == SNUG_OK)
        status = take_class(r, root);
    if (status == SNUG_OK)
        status = take_prefix(r, root);
    if (status == SNUG_OK)
        status = take_gen(r, root);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *prompts = snug_json_get(root, "prompts");
    const struct snug_json_node *file = snug_json_get(root, "file");
    const struct snug_json_node *turns = snug_json_get(root, "turns");
    if (r->out->workload_class == SNUG_WORKLOAD_SESSION)
        return prompts || file ? refuse(r, "a session has turns, and no prompts or file")
                               : take_session(r, turns);
    if (turns)
        return refuse(r, "turns are for class session");
    if (!prompts == !file)
        return refuse(r, "give either prompts or file");
    return prompts ? take_prompts(r, prompts) : take_file(r, file);
}

static snug_status take_document(struct reader *r, const char *name, const char *text, size_t n)
{
    struct snug_json *doc = NULL;
    snug_status status = snug_json_parse(name, text, n, &doc, r->err);
    if (status == SNUG_OK)
        status = take_object(r, snug_json_root(doc));
    snug_json_free(doc);
    return status;
}

static snug_status take_lines(struct reader *r)
{
    const char *end = r->source->text + r->source->n;
    for (const char *at = r->source->text; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const size_t n = (size_t)((newline ? newline : end) - at);
        char name[PATH_MAX + 16];
        r->line++;
        snprintf(name, sizeof name, "%s:%d", r->source->name, r->line);
        if (strspn(at, " \t\r") < n) {
            if (r->out->n_sessions == SNUG_WORKLOAD_SESSIONS_MAX)
                return refuse(r, "more than %d sessions", SNUG_WORKLOAD_SESSIONS_MAX);
            const snug_status status = take_document(r, name, at, n);
            if (status != SNUG_OK)
                return status;
        }
        at += n + (newline != NULL);
    }
    return r->out->n_sessions ? SNUG_OK : refuse(r, "no session in it");
}

/* ---- hash ---- */

/* Length first, so that no two lists of texts read alike. */
static void hash_text(struct snug_sha256 *hash, const char *text)
{
    char head[32];
    const size_t n = strlen(text);
    const int n_head = snprintf(head, sizeof head, "%zu:", n);
    snug_sha256_update(hash, head, (size_t)n_head);
    snug_sha256_update(hash, text, n);
}

static void hash_all(const struct snug_workload_text *t, const char *name, char out[65])
{
    struct snug_sha256 hash;
    char head[128];
    snug_sha256_init(&hash);
    snprintf(head, sizeof head, "snug workload 1 %s n_gen=%lld unique_prefix=%d prompts=%d",
             CLASSES[t->workload_class], (long long)t->n_gen, t->use_unique_prefix, t->n_prompts);
    hash_text(&hash, head);
    hash_text(&hash, name);
    for (int i = 0; i < t->n_prompts; i++)
        hash_text(&hash, t->prompts[i]);
    for (int i = 0; i < t->n_sessions; i++) {
        snprintf(head, sizeof head, "session of %d", t->sessions[i].n_turns);
        hash_text(&hash, head);
        for (int k = 0; k < t->sessions[i].n_turns; k++) {
            hash_text(&hash, t->sessions[i].turns[k].user);
            hash_text(&hash, t->sessions[i].turns[k].assistant);
        }
    }
    snug_sha256_final_hex(&hash, out);
}
_Static_assert(sizeof(((struct snug_workload *)0)->hash) == SNUG_SHA256_HEX_MAX, "hashes fit");

/* ---- public ---- */

snug_status snug_workload_file_parse(const struct snug_workload_source *source,
                                     struct snug_workload *workload,
                                     struct snug_workload_text *out_text, struct snug_error *err)
{
    struct snug_workload_text text = {.n_prompts = 0};
    struct reader r = {.source = source, .out = &text, .err = err};
    text.sessions = snug_arena_alloc(&text.arena, source->is_lines ? SNUG_WORKLOAD_SESSIONS_MAX : 1,
                                     sizeof *text.sessions);
    snug_status status = !text.sessions ? no_memory(&r)
                         : source->is_lines
                             ? take_lines(&r)
                             : take_document(&r, source->name, source->text, source->n);
    if (status != SNUG_OK) {
        snug_workload_text_clear(&text);
        return status;
    }
    memset(workload->name, 0, sizeof workload->name); /* workloads are compared byte by byte */
    memcpy(workload->name, r.name, strlen(r.name));
    hash_all(&text, r.name, workload->hash);
    workload->n_gen = text.n_gen;
    *out_text = text;
    return SNUG_OK;
}

snug_status snug_workload_file_read(const char *path, struct snug_workload *workload,
                                    struct snug_workload_text *out_text, struct snug_error *err)
{
    char *text = NULL, *slash;
    size_t n = 0;
    char real[PATH_MAX], folder[PATH_MAX];
    snug_status status = snug_file_read(path, SNUG_WORKLOAD_BYTES_MAX, &text, &n, err);
    if (status != SNUG_OK)
        return status;
    if (!realpath(path, real) || strlen(real) >= SNUG_WORKLOAD_PATH_MAX) {
        free(text);
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: its absolute path is longer than the %d bytes a workload keeps", path,
                         SNUG_WORKLOAD_PATH_MAX - 1);
    }
    memcpy(folder, real, sizeof folder);
    slash = strrchr(folder, '/');
    *slash = '\0'; /* "" for the root, before the slash that is put between */
    const size_t n_path = strlen(path);
    const struct snug_workload_source source = {
        .name = path,
        .folder = folder,
        .is_lines = n_path > 6 && strcmp(path + n_path - 6, ".jsonl") == 0,
        .text = text,
        .n = n};
    status = snug_workload_file_parse(&source, workload, out_text, err);
    if (status == SNUG_OK) {
        memset(workload->path, 0, sizeof workload->path);
        memcpy(workload->path, real, strlen(real));
    }
    free(text);
    return status;
}

void snug_workload_text_clear(struct snug_workload_text *text)
{
    snug_arena_clear(&text->arena);
    *text = (struct snug_workload_text){.n_prompts = 0};
}
