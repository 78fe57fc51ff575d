/* Metadata of a GGUF file. Scalars are kept, strings up to their first 255 bytes, short integer
 * arrays too (per-layer sizes); vocabularies are walked over and only counted.
 * Cost: the header is read once, 64 KiB at a time; a 256 k token vocabulary takes some ms. */
#include "model/gguf_read.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_MIN_BYTES 13 /* key length 8, one byte of key, type 4: the least that a key takes */

/* Bytes per value by enum snug__gguf_type; 0 where the file says how many. */
static const uint8_t scalar_bytes[SNUG__GGUF_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static const char *const type_names[SNUG__GGUF_N_TYPES] = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

bool snug__gguf_is_integer(enum snug__gguf_type type)
{
    return type != SNUG__GGUF_F32 && type != SNUG__GGUF_F64 && type != SNUG__GGUF_STRING &&
           type != SNUG__GGUF_ARRAY;
}

snug_status snug__gguf_check_header(const struct snug__cursor *cursor, struct snug_error *err)
{
    if (cursor->pos <= SNUG_GGUF_HEADER_MAX)
        return SNUG_OK;
    return snug__cursor_bad(cursor, err, cursor->pos, "the header passes %u bytes",
                            SNUG_GGUF_HEADER_MAX);
}

snug_status snug__gguf_read_name(struct snug__cursor *cursor, struct snug_arena *arena,
                                 const char *what, uint64_t cap, const char **out,
                                 struct snug_error *err)
{
    uint64_t at = cursor->pos, n = 0;
    snug_status status = snug__cursor_u64(cursor, what, &n, err);
    if (status != SNUG_OK)
        return status;
    if (n < 1 || n > cap)
        return snug__cursor_bad(cursor, err, at,
                                "%s of %" PRIu64 " bytes; 1 to %" PRIu64 " are accepted", what, n,
                                cap);
    const uint8_t *p = NULL;
    status = snug__cursor_take(cursor, (size_t)n, what, &p, err);
    if (status != SNUG_OK)
        return status;
    if (memchr(p, 0, (size_t)n)) /* two names could look equal, or hide */
        return snug__cursor_bad(cursor, err, at, "%s holds a zero byte", what);
    *out = snug_arena_strndup(arena, (const char *)p, (size_t)n);
    return *out ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "%s of a GGUF", what);
}

static void set_scalar(struct snug__gguf_value *value, const uint8_t *p)
{
    int n_bytes = scalar_bytes[value->type];
    uint64_t raw = snug__load_le(p, n_bytes);
    float f32 = 0;
    uint32_t raw32 = (uint32_t)raw;
    switch (value->type) {
    case SNUG__GGUF_F32:
        memcpy(&f32, &raw32, sizeof f32);
        value->number = (double)f32;
        return;
    case SNUG__GGUF_F64:
        memcpy(&value->number, &raw, sizeof raw);
        return;
    case SNUG__GGUF_I8:
        value->integer = (int8_t)raw;
        break;
    case SNUG__GGUF_I16:
        value->integer = (int16_t)raw;
        break;
    case SNUG__GGUF_I32:
        value->integer = (int32_t)raw;
        break;
    case SNUG__GGUF_I64:
        value->integer = (int64_t)raw;
        break;
    default: /* unsigned and bool */
        value->integer = raw > INT64_MAX ? INT64_MAX : (int64_t)raw;
    }
    value->number = (double)value->integer;
}

static snug_status read_string(struct snug__cursor *cursor, struct snug_arena *arena,
                               struct snug__gguf_value *value, struct snug_error *err)
{
    uint64_t at = cursor->pos;
    snug_status status = snug__cursor_u64(cursor, "string length", &value->n, err);
    if (status != SNUG_OK)
        return status;
    if (value->n > SNUG_GGUF_STRING_MAX)
        return snug__cursor_bad(cursor, err, at,
                                "%s is a string of %" PRIu64 " bytes; up to %u are accepted",
                                value->key, value->n, SNUG_GGUF_STRING_MAX);
    status = snug__cursor_skip(cursor, value->n, value->key, err); /* all of it is there */
    if (status != SNUG_OK)
        return status;
    uint64_t end = cursor->pos;
    size_t n_kept = value->n < SNUG__TEXT_KEPT_MAX ? (size_t)value->n : SNUG__TEXT_KEPT_MAX;
    const uint8_t *p = NULL;
    cursor->pos = end - value->n;
    status = snug__cursor_take(cursor, n_kept, value->key, &p, err);
    if (status != SNUG_OK)
        return status;
    value->text = snug_arena_strndup(arena, (const char *)p, n_kept);
    if (!value->text)
        return snug_fail(err, SNUG_NO_MEMORY, "string of a GGUF");
    cursor->pos = end;
    return SNUG_OK;
}

static snug_status skip_strings(struct snug__cursor *cursor, const struct snug__gguf_value *value,
                                struct snug_error *err)
{
    for (uint64_t i = 0; i < value->n; i++) {
        uint64_t n = 0, at = cursor->pos;
        snug_status status = snug__cursor_u64(cursor, value->key, &n, err);
        if (status != SNUG_OK)
            return status;
        if (n > SNUG_GGUF_STRING_MAX)
            return snug__cursor_bad(cursor, err, at,
                                    "string %" PRIu64 " of %s has %" PRIu64
                                    " bytes; up to %u are accepted",
                                    i, value->key, n, SNUG_GGUF_STRING_MAX);
        status = snug__cursor_skip(cursor, n, value->key, err);
        if (status == SNUG_OK)
            status = snug__gguf_check_header(cursor, err);
        if (status != SNUG_OK)
            return status;
    }
    return SNUG_OK;
}

/* Items of an array whose bytes are known to be there. */
static snug_status read_items(struct snug__cursor *cursor, struct snug_arena *arena,
                              struct snug__gguf_value *value, struct snug_error *err)
{
    int64_t *items = snug_arena_alloc(arena, (size_t)value->n, sizeof *items);
    if (!items)
        return snug_fail(err, SNUG_NO_MEMORY, "array of a GGUF");
    struct snug__gguf_value item = {.type = value->item_type};
    for (uint64_t i = 0; i < value->n; i++) {
        const uint8_t *p = NULL;
        snug_status status =
            snug__cursor_take(cursor, scalar_bytes[item.type], value->key, &p, err);
        if (status != SNUG_OK)
            return status;
        set_scalar(&item, p);
        items[i] = item.integer;
    }
    value->items = items;
    return SNUG_OK;
}

static snug_status check_array(struct snug__cursor *cursor, struct snug__gguf_value *value,
                               uint64_t at, struct snug_error *err)
{
    if ((unsigned)value->item_type >= SNUG__GGUF_N_TYPES || value->item_type == SNUG__GGUF_ARRAY)
        return snug__cursor_bad(cursor, err, at,
                                "%s is an array of type %d; 0 to 12 without 9 (an array of arrays) "
                                "are accepted",
                                value->key, (int)value->item_type);
    if (value->n > SNUG_GGUF_ARRAY_MAX)
        return snug__cursor_bad(cursor, err, at,
                                "%s is an array of %" PRIu64 " elements; up to %u are accepted",
                                value->key, value->n, SNUG_GGUF_ARRAY_MAX);
    return SNUG_OK;
}

static snug_status read_array(struct snug__cursor *cursor, struct snug_arena *arena,
                              uint64_t *n_items_left, struct snug__gguf_value *value,
                              struct snug_error *err)
{
    uint64_t at = cursor->pos;
    uint32_t item_type = 0;
    snug_status status = snug__cursor_u32(cursor, "array type", &item_type, err);
    if (status == SNUG_OK)
        status = snug__cursor_u64(cursor, "array length", &value->n, err);
    if (status != SNUG_OK)
        return status;
    value->item_type = (enum snug__gguf_type)item_type;
    status = check_array(cursor, value, at, err);
    if (status != SNUG_OK)
        return status;
    if (value->item_type == SNUG__GGUF_STRING)
        return skip_strings(cursor, value, err);
    uint64_t n_bytes = value->n * scalar_bytes[value->item_type];
    bool is_vocabulary = strncmp(value->key, "tokenizer.", 10) == 0;
    if (is_vocabulary || !snug__gguf_is_integer(value->item_type) || value->n > *n_items_left ||
        n_bytes > cursor->source->size - cursor->pos)
        return snug__cursor_skip(cursor, n_bytes, value->key, err);
    *n_items_left -= value->n;
    return read_items(cursor, arena, value, err);
}

static snug_status read_value(struct snug__cursor *cursor, struct snug_arena *arena,
                              uint64_t *n_items_left, struct snug__gguf_value *value,
                              struct snug_error *err)
{
    value->at = cursor->pos;
    snug_status status =
        snug__gguf_read_name(cursor, arena, "key", SNUG_GGUF_KEY_MAX, &value->key, err);
    if (status != SNUG_OK)
        return status;
    uint64_t at = cursor->pos;
    uint32_t type = 0;
    status = snug__cursor_u32(cursor, "value type", &type, err);
    if (status != SNUG_OK)
        return status;
    if (type >= SNUG__GGUF_N_TYPES)
        return snug__cursor_bad(cursor, err, at,
                                "%s has value type %" PRIu32 "; 0 to 12 are accepted", value->key,
                                type);
    value->type = (enum snug__gguf_type)type;
    if (value->type == SNUG__GGUF_STRING)
        return read_string(cursor, arena, value, err);
    if (value->type == SNUG__GGUF_ARRAY)
        return read_array(cursor, arena, n_items_left, value, err);
    const uint8_t *p = NULL;
    status = snug__cursor_take(cursor, scalar_bytes[type], value->key, &p, err);
    if (status == SNUG_OK)
        set_scalar(value, p);
    return status;
}

static int compare_keys(const void *a, const void *b)
{
    const struct snug__gguf_value *x = a, *y = b;
    return strcmp(x->key, y->key);
}

const struct snug__gguf_value *snug__gguf_find(const struct snug__gguf *gguf, const char *key)
{
    struct snug__gguf_value wanted = {.key = key};
    if (gguf->n_values == 0)
        return NULL;
    return bsearch(&wanted, gguf->values, gguf->n_values, sizeof wanted, compare_keys);
}

static snug_status read_values(struct snug__cursor *cursor, struct snug_arena *arena,
                               struct snug__gguf *gguf, struct snug_error *err)
{
    uint64_t n_items_left = SNUG__ITEMS_KEPT_MAX;
    gguf->values = snug_arena_alloc(arena, gguf->n_values, sizeof *gguf->values);
    if (!gguf->values)
        return snug_fail(err, SNUG_NO_MEMORY, "%zu keys of a GGUF", gguf->n_values);
    for (size_t i = 0; i < gguf->n_values; i++) {
        snug_status status = read_value(cursor, arena, &n_items_left, &gguf->values[i], err);
        if (status == SNUG_OK)
            status = snug__gguf_check_header(cursor, err);
        if (status != SNUG_OK)
            return status;
    }
    gguf->keys_end = cursor->pos;
    qsort(gguf->values, gguf->n_values, sizeof *gguf->values, compare_keys);
    for (size_t i = 1; i < gguf->n_values; i++) {
        const struct snug__gguf_value *a = &gguf->values[i - 1], *b = &gguf->values[i];
        if (strcmp(a->key, b->key) == 0)
            return snug__cursor_bad(cursor, err, a->at > b->at ? a->at : b->at,
                                    "key %s is there twice", a->key);
    }
    return SNUG_OK;
}

static snug_status read_alignment(const struct snug__cursor *cursor, struct snug__gguf *gguf,
                                  struct snug_error *err)
{
    const struct snug__gguf_value *value = snug__gguf_find(gguf, "general.alignment");
    gguf->alignment = SNUG__GGUF_ALIGNMENT;
    if (!value)
        return SNUG_OK;
    uint64_t n = value->type == SNUG__GGUF_U32 ? (uint64_t)value->integer : 0;
    if (n == 0 || (n & (n - 1)) != 0)
        return snug__cursor_bad(cursor, err, value->at,
                                "general.alignment is %" PRId64 " (%s); a power of two in u32 is "
                                "expected",
                                value->integer, type_names[value->type]);
    gguf->alignment = n;
    return SNUG_OK;
}

static snug_status read_magic(struct snug__cursor *cursor, struct snug__gguf *gguf,
                              struct snug_error *err)
{
    const uint8_t *p = NULL;
    snug_status status = snug__cursor_take(cursor, 4, "magic", &p, err);
    if (status != SNUG_OK)
        return status;
    if (memcmp(p, SNUG__GGUF_MAGIC, 4) != 0)
        return snug__cursor_bad(cursor, err, 0,
                                "not a GGUF file: found %02x %02x %02x %02x, expected \"GGUF\"",
                                p[0], p[1], p[2], p[3]);
    status = snug__cursor_u32(cursor, "version", &gguf->version, err);
    if (status != SNUG_OK)
        return status;
    if (gguf->version != 0 && (gguf->version & 0xffff) == 0)
        return snug__cursor_bad(cursor, err, 4,
                                "a big-endian GGUF; little endian is expected "
                                "(llama.cpp's gguf_convert_endian.py converts)");
    if (gguf->version != 2 && gguf->version != 3)
        return snug__cursor_bad(cursor, err, 4, "GGUF version %" PRIu32 "; 2 and 3 are accepted",
                                gguf->version);
    return SNUG_OK;
}

static snug_status read_counts(struct snug__cursor *cursor, struct snug__gguf *gguf,
                               struct snug_error *err)
{
    uint64_t n_tensors = 0, n_keys = 0;
    snug_status status = snug__cursor_u64(cursor, "tensor count", &n_tensors, err);
    if (status == SNUG_OK)
        status = snug__cursor_u64(cursor, "key count", &n_keys, err);
    if (status != SNUG_OK)
        return status;
    uint64_t left = cursor->source->size - cursor->pos;
    if (n_tensors > SNUG_GGUF_TENSORS_MAX)
        return snug__cursor_bad(cursor, err, 8, "%" PRIu64 " tensors; up to %d are accepted",
                                n_tensors, SNUG_GGUF_TENSORS_MAX);
    if (n_keys > SNUG_GGUF_KEYS_MAX)
        return snug__cursor_bad(cursor, err, 16, "%" PRIu64 " keys; up to %d are accepted", n_keys,
                                SNUG_GGUF_KEYS_MAX);
    /* before memory is taken for them */
    if (n_keys * ENTRY_MIN_BYTES > left || n_tensors * ENTRY_MIN_BYTES > left)
        return snug__cursor_bad(cursor, err, 8,
                                "%" PRIu64 " tensors and %" PRIu64 " keys do not fit the %" PRIu64
                                " bytes left: truncated?",
                                n_tensors, n_keys, left);
    gguf->n_tensors = (int)n_tensors;
    gguf->n_values = (size_t)n_keys;
    return SNUG_OK;
}

snug_status snug__gguf_read(const struct snug__source *source, struct snug_arena *arena,
                            struct snug__gguf *out, struct snug_error *err)
{
    struct snug__gguf gguf = {0};
    struct snug__cursor *cursor = malloc(sizeof *cursor); /* 64 KiB: too much for small stacks */
    if (!cursor)
        return snug_fail(err, SNUG_NO_MEMORY, "window of a GGUF");
    snug__cursor_init(cursor, source);
    snug_status status = read_magic(cursor, &gguf, err);
    if (status == SNUG_OK)
        status = read_counts(cursor, &gguf, err);
    if (status == SNUG_OK)
        status = read_values(cursor, arena, &gguf, err);
    if (status == SNUG_OK)
        status = read_alignment(cursor, &gguf, err);
    if (status == SNUG_OK)
        status = snug__gguf_read_tensors(cursor, arena, &gguf, err);
    free(cursor);
    if (status == SNUG_OK)
        *out = gguf;
    return status;
}
