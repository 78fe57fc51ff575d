/* JSON over yyjson: a bounded reader for worker lines, requests and files, and a writer that keeps
 * its first failure. A node is a yyjson_val, a writer's doc and stack are its mutable twins. */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

struct snug_json {
    yyjson_doc *doc;
};

static yyjson_val *value_of(const struct snug_json_node *node)
{
    return (yyjson_val *)(uintptr_t)node; /* yyjson's getters take no const, but never write */
}

static const struct snug_json_node *node_of(const yyjson_val *value)
{
    return (const struct snug_json_node *)value;
}

/* Offset of the bracket that nests too deep, or n. yyjson has no limit of its own, and what is read
 * here is later walked by recursion. Text that is no JSON may be misjudged; the parser refuses it.
 */
static size_t find_too_deep(const char *text, size_t n)
{
    size_t depth = 0;
    bool is_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (is_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                is_string = false;
        } else if (c == '"') {
            is_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > SNUG_JSON_DEPTH_MAX)
                return i;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return n;
}

/* pos counts bytes from the start of text. */
static snug_status fail_at(const char *name, const char *text, size_t n, size_t pos,
                           const char *message, struct snug_error *err)
{
    size_t line = 0, column = 0, character = 0;
    if (!yyjson_locate_pos(text, n, pos, &line, &column, &character))
        line = column = 1;
    return snug_fail(err, SNUG_BAD_INPUT, "%s:%zu:%zu: %s", name, line, column, message);
}

snug_status snug_json_parse(const char *name, const char *text, size_t n,
                            struct snug_json **out_doc, struct snug_error *err)
{
    size_t too_deep = find_too_deep(text, n);
    if (too_deep < n)
        return fail_at(name, text, n, too_deep, "nested too deep: at most 32 levels", err);
    struct snug_json *json = calloc(1, sizeof *json);
    if (!json)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: %zu bytes of JSON", name, n);
    yyjson_read_err read_err = {0};
    /* Without YYJSON_READ_INSITU the text is copied and not written to. */
    json->doc = yyjson_read_opts((char *)(uintptr_t)text, n, YYJSON_READ_NOFLAG, NULL, &read_err);
    if (!json->doc) {
        free(json);
        if (read_err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
            return snug_fail(err, SNUG_NO_MEMORY, "%s: %zu bytes of JSON", name, n);
        return fail_at(name, text, n, read_err.pos, read_err.msg, err);
    }
    *out_doc = json;
    return SNUG_OK;
}
_Static_assert(SNUG_JSON_DEPTH_MAX == 32, "the error text above says 32");

void snug_json_free(struct snug_json *doc)
{
    if (!doc)
        return;
    yyjson_doc_free(doc->doc);
    free(doc);
}

const struct snug_json_node *snug_json_root(const struct snug_json *doc)
{
    return doc ? node_of(yyjson_doc_get_root(doc->doc)) : NULL;
}

const struct snug_json_node *snug_json_get(const struct snug_json_node *object, const char *key)
{
    return node_of(yyjson_obj_get(value_of(object), key));
}

size_t snug_json_count(const struct snug_json_node *node)
{
    yyjson_val *value = value_of(node);
    return yyjson_is_arr(value) ? yyjson_arr_size(value) : yyjson_obj_size(value);
}

const struct snug_json_node *snug_json_at(const struct snug_json_node *array, size_t i)
{
    return node_of(yyjson_arr_get(value_of(array), i));
}

size_t snug_json_elements(const struct snug_json_node *array, const struct snug_json_node **out,
                          size_t cap)
{
    yyjson_arr_iter iter = yyjson_arr_iter_with(value_of(array));
    size_t n = 0;
    while (n < cap && yyjson_arr_iter_has_next(&iter))
        out[n++] = node_of(yyjson_arr_iter_next(&iter));
    return n;
}

size_t snug_json_members(const struct snug_json_node *object, const char **out_keys,
                         const struct snug_json_node **out_values, size_t cap)
{
    yyjson_obj_iter iter = yyjson_obj_iter_with(value_of(object));
    size_t n = 0;
    for (; n < cap && yyjson_obj_iter_has_next(&iter); n++) {
        yyjson_val *key = yyjson_obj_iter_next(&iter);
        out_keys[n] = yyjson_get_str(key);
        out_values[n] = node_of(yyjson_obj_iter_get_val(key));
    }
    return n;
}

bool snug_json_member(const struct snug_json_node *object, size_t i, const char **out_key,
                      const struct snug_json_node **out_value)
{
    yyjson_obj_iter iter; /* values of an object have no fixed size: walk, O(i) */
    if (!yyjson_obj_iter_init(value_of(object), &iter))
        return false;
    yyjson_val *key = yyjson_obj_iter_next(&iter);
    for (; key && i > 0; i--)
        key = yyjson_obj_iter_next(&iter);
    if (!key)
        return false;
    *out_key = yyjson_get_str(key);
    *out_value = node_of(yyjson_obj_iter_get_val(key));
    return true;
}

bool snug_json_is_number(const struct snug_json_node *node)
{
    return yyjson_is_num(value_of(node));
}

bool snug_json_is_string(const struct snug_json_node *node)
{
    return yyjson_is_str(value_of(node));
}

bool snug_json_is_null(const struct snug_json_node *node)
{
    return yyjson_is_null(value_of(node));
}

bool snug_json_is_array(const struct snug_json_node *node)
{
    return yyjson_is_arr(value_of(node));
}

bool snug_json_is_object(const struct snug_json_node *node)
{
    return yyjson_is_obj(value_of(node));
}

double snug_json_number(const struct snug_json_node *node, double fallback)
{
    yyjson_val *value = value_of(node);
    return yyjson_is_num(value) ? yyjson_get_num(value) : fallback;
}

int64_t snug_json_int(const struct snug_json_node *node, int64_t fallback)
{
    yyjson_val *value = value_of(node);
    if (yyjson_is_sint(value))
        return yyjson_get_sint(value);
    if (yyjson_is_uint(value)) {
        uint64_t number = yyjson_get_uint(value);
        /* A fallback rather than a number that is not in the text. */
        return number <= INT64_MAX ? (int64_t)number : fallback;
    }
    if (yyjson_is_real(value)) { /* 5.0 and 1e3 are whole numbers too */
        double number = yyjson_get_real(value);
        if (number >= -0x1p63 && number < 0x1p63 && number == trunc(number))
            return (int64_t)number;
    }
    return fallback;
}

bool snug_json_bool(const struct snug_json_node *node, bool fallback)
{
    yyjson_val *value = value_of(node);
    return yyjson_is_bool(value) ? yyjson_get_bool(value) : fallback;
}

const char *snug_json_string(const struct snug_json_node *node, const char *fallback)
{
    yyjson_val *value = value_of(node);
    return yyjson_is_str(value) ? yyjson_get_str(value) : fallback;
}

double snug_json_get_number(const struct snug_json_node *object, const char *key, double fallback)
{
    return snug_json_number(snug_json_get(object, key), fallback);
}

int64_t snug_json_get_int(const struct snug_json_node *object, const char *key, int64_t fallback)
{
    return snug_json_int(snug_json_get(object, key), fallback);
}

bool snug_json_get_bool(const struct snug_json_node *object, const char *key, bool fallback)
{
    return snug_json_bool(snug_json_get(object, key), fallback);
}

const char *snug_json_get_string(const struct snug_json_node *object, const char *key,
                                 const char *fallback)
{
    return snug_json_string(snug_json_get(object, key), fallback);
}

/* Bytes of the UTF-8 character at c (NUL-terminated text), 0 when it is not one: overlong forms,
 * surrogates and what lies above U+10FFFF are refused. Source: Unicode 15, table 3-7. */
size_t snug_utf8_length(const unsigned char *c)
{
    if (c[0] < 0x80)
        return 1;
    size_t n = c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : 2;
    if (c[0] < 0xc2 || c[0] > 0xf4)
        return 0;
    unsigned char lo = c[0] == 0xe0 ? 0xa0 : c[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char hi = c[0] == 0xed ? 0x9f : c[0] == 0xf4 ? 0x8f : 0xbf;
    if (c[1] < lo || c[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

/* A string value of its own with every byte that is not UTF-8 replaced; NULL without memory. */
static yyjson_mut_val *clean_string(yyjson_mut_doc *doc, const char *text)
{
    size_t n = strlen(text);
    yyjson_mut_val *value = yyjson_mut_strncpy(doc, text, n);
    if (!value)
        return NULL;
    /* The copy belongs to doc and nobody else has seen it yet. */
    unsigned char *copy = (unsigned char *)(uintptr_t)yyjson_mut_get_str(value);
    for (size_t i = 0; i < n;) {
        size_t length = snug_utf8_length(copy + i);
        if (length == 0)
            copy[i] = '?';
        i += length ? length : 1;
    }
    return value;
}

/* The document, made on first use: the zero state allocates nothing. NULL after a failure, which
 * the makers of values below accept and answer with NULL. */
static yyjson_mut_doc *ready_doc(struct snug_json_writer *w)
{
    if (!w->doc && !w->is_failed)
        w->doc = yyjson_mut_doc_new(NULL);
    if (!w->doc)
        w->is_failed = true;
    return w->is_failed ? NULL : w->doc;
}

/* Put value below what is open. A key in an array, none in an object, a second root: all of these
 * are failures, as is a NULL value (no memory). */
static void attach(struct snug_json_writer *w, const char *key, yyjson_mut_val *value)
{
    yyjson_mut_doc *doc = w->doc;
    if (w->is_failed)
        return;
    bool is_put = false;
    if (w->depth == 0 && value && !key && !yyjson_mut_doc_get_root(doc)) {
        yyjson_mut_doc_set_root(doc, value);
        is_put = true;
    } else if (w->depth > 0) {
        yyjson_mut_val *parent = w->stack[w->depth - 1];
        if (yyjson_mut_is_arr(parent) && !key)
            is_put = yyjson_mut_arr_append(parent, value);
        else if (yyjson_mut_is_obj(parent) && key)
            is_put = yyjson_mut_obj_add(parent, clean_string(doc, key), value);
    }
    if (!is_put)
        w->is_failed = true;
}

/* The stack holds containers that are attached already: an unfinished text is never leaked. */
static void open_level(struct snug_json_writer *w, const char *key, yyjson_mut_val *value)
{
    if (w->depth >= SNUG_JSON_DEPTH_MAX)
        w->is_failed = true;
    attach(w, key, value);
    if (!w->is_failed)
        w->stack[w->depth++] = value;
}

void snug_json_begin_object(struct snug_json_writer *w, const char *key)
{
    open_level(w, key, yyjson_mut_obj(ready_doc(w)));
}

void snug_json_begin_array(struct snug_json_writer *w, const char *key)
{
    open_level(w, key, yyjson_mut_arr(ready_doc(w)));
}

void snug_json_end(struct snug_json_writer *w)
{
    if (w->depth == 0)
        w->is_failed = true;
    if (!w->is_failed)
        w->depth--;
}

void snug_json_put_number(struct snug_json_writer *w, const char *key, double value)
{
    yyjson_mut_doc *doc = ready_doc(w);
    attach(w, key, isfinite(value) ? yyjson_mut_real(doc, value) : yyjson_mut_null(doc));
}

void snug_json_put_int(struct snug_json_writer *w, const char *key, int64_t value)
{
    attach(w, key, yyjson_mut_sint(ready_doc(w), value));
}

void snug_json_put_bool(struct snug_json_writer *w, const char *key, bool value)
{
    attach(w, key, yyjson_mut_bool(ready_doc(w), value));
}

void snug_json_put_string(struct snug_json_writer *w, const char *key, const char *text)
{
    yyjson_mut_doc *doc = ready_doc(w);
    attach(w, key, !doc ? NULL : text ? clean_string(doc, text) : yyjson_mut_null(doc));
}

/* Levels of arrays and objects; the reader bounds them, so recursion is safe. */
static int depth_of(const struct snug_json_node *node)
{
    int deepest = 0; /* scalars and NULL have none */
    yyjson_val *value = value_of(node), *child, *key;
    size_t i, n;
    if (!yyjson_is_ctn(value))
        return 0;
    if (yyjson_is_arr(value)) {
        yyjson_arr_foreach(value, i, n, child)
        {
            int depth = depth_of(node_of(child));
            deepest = depth > deepest ? depth : deepest;
        }
    } else {
        yyjson_obj_foreach(value, i, n, key, child)
        {
            int depth = depth_of(node_of(child));
            deepest = depth > deepest ? depth : deepest;
        }
    }
    return deepest + 1;
}

void snug_json_put_node(struct snug_json_writer *w, const char *key,
                        const struct snug_json_node *node)
{
    yyjson_mut_doc *doc = ready_doc(w);
    if (w->depth + depth_of(node) > SNUG_JSON_DEPTH_MAX)
        w->is_failed = true; /* our own reader would refuse the text */
    attach(w, key, node ? yyjson_val_mut_copy(doc, value_of(node)) : yyjson_mut_null(doc));
}

char *snug_json_finish(struct snug_json_writer *w, bool is_pretty)
{
    char *text = NULL; /* from yyjson's default allocator, which is malloc */
    if (!w->is_failed && w->doc && w->depth == 0) {
        yyjson_write_flag flags = is_pretty ? YYJSON_WRITE_PRETTY_TWO_SPACES : YYJSON_WRITE_NOFLAG;
        text = yyjson_mut_write(w->doc, flags, NULL);
    }
    snug_json_writer_clear(w);
    return text;
}

void snug_json_writer_clear(struct snug_json_writer *w)
{
    yyjson_mut_doc_free(w->doc);
    *w = (struct snug_json_writer){0};
}
