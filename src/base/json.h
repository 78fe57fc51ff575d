/* JSON in and out, the only file that knows yyjson. Readers borrow from the document; all getters
 * accept NULL nodes and missing keys and then return the fallback, so that a chain needs no checks.
 */
#ifndef SNUG_BASE_JSON_H
#define SNUG_BASE_JSON_H

#include "snug/base.h"

struct snug_json;      /* a parsed document */
struct snug_json_node; /* a value inside one */

#define SNUG_JSON_DEPTH_MAX 32

/* Parse n bytes; `name` (a file or origin) begins the error text, with line and column. */
snug_status snug_json_parse(const char *name, const char *text, size_t n,
                            struct snug_json **out_doc, struct snug_error *err) SNUG_CHECKED;
void snug_json_free(struct snug_json *doc);
const struct snug_json_node *snug_json_root(const struct snug_json *doc);

const struct snug_json_node *snug_json_get(const struct snug_json_node *object, const char *key);
/* Elements of an array or members of an object; 0 for anything else. */
size_t snug_json_count(const struct snug_json_node *node);
/* Element i of an array. O(i) for mixed arrays. */
const struct snug_json_node *snug_json_at(const struct snug_json_node *array, size_t i);
/* The first elements of an array, at most cap, in one pass; returns how many. */
size_t snug_json_elements(const struct snug_json_node *array, const struct snug_json_node **out,
                          size_t cap);
/* The first members of an object, at most cap, in one pass; returns how many. */
size_t snug_json_members(const struct snug_json_node *object, const char **out_keys,
                         const struct snug_json_node **out_values, size_t cap);
/* Member i of an object: its key and value; false past the end. */
bool snug_json_member(const struct snug_json_node *object, size_t i, const char **out_key,
                      const struct snug_json_node **out_value);

bool snug_json_is_number(const struct snug_json_node *node);
bool snug_json_is_string(const struct snug_json_node *node);
bool snug_json_is_array(const struct snug_json_node *node);
bool snug_json_is_null(const struct snug_json_node *node); /* a null that is there */
bool snug_json_is_object(const struct snug_json_node *node);
double snug_json_number(const struct snug_json_node *node, double fallback);
int64_t snug_json_int(const struct snug_json_node *node, int64_t fallback);
bool snug_json_bool(const struct snug_json_node *node, bool fallback);
const char *snug_json_string(const struct snug_json_node *node, const char *fallback);

/* snug_json_number(snug_json_get(object, key), fallback) and so on */
double snug_json_get_number(const struct snug_json_node *object, const char *key, double fallback);
int64_t snug_json_get_int(const struct snug_json_node *object, const char *key, int64_t fallback);
bool snug_json_get_bool(const struct snug_json_node *object, const char *key, bool fallback);
const char *snug_json_get_string(const struct snug_json_node *object, const char *key,
                                 const char *fallback);

/* Writer. Zero state is ready; the first begin opens the root. Inside an array pass key = NULL.
 * Numbers that are not finite become null. Failures are kept and reported by finish. */
struct snug_json_writer {
    void *doc;
    void *stack[SNUG_JSON_DEPTH_MAX];
    int depth;
    bool is_failed;
};

void snug_json_begin_object(struct snug_json_writer *w, const char *key);
void snug_json_begin_array(struct snug_json_writer *w, const char *key);
void snug_json_end(struct snug_json_writer *w);
void snug_json_put_number(struct snug_json_writer *w, const char *key, double value);
void snug_json_put_int(struct snug_json_writer *w, const char *key, int64_t value);
void snug_json_put_bool(struct snug_json_writer *w, const char *key, bool value);
/* NULL text becomes null; invalid UTF-8 is replaced byte by byte by '?'. */
void snug_json_put_string(struct snug_json_writer *w, const char *key, const char *text);
/* A deep copy of a parsed value. */
void snug_json_put_node(struct snug_json_writer *w, const char *key,
                        const struct snug_json_node *node);
/* The text (malloc'ed, one line unless is_pretty) or NULL on failure; the writer is clear again. */
char *snug_json_finish(struct snug_json_writer *w, bool is_pretty);
void snug_json_writer_clear(struct snug_json_writer *w);

/* Bytes of the UTF-8 character at c (NUL-terminated text), 0 when it is not one. */
size_t snug_utf8_length(const unsigned char *c);

#endif
