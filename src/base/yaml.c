/* The wrapper of libyaml and libcyaml.
 *
 * libyaml's events make a tree first, because libcyaml can express neither a mapping with free keys
 * (knobs) nor a value that may be one scalar or a list, and because only a tree can tell the place
 * of what is wrong after the schema was met (a knob's name, a value out of bounds). The guards are
 * there too: libcyaml then sees only what is bounded. The rest, which keys there are and what they
 * hold, is libcyaml's: its schema is made from the fields of base/yaml.h. */
#include "base/yaml.h"

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/near.h"
#include "base/yaml_node.h"
#include "snug/units.h"

/* ---- events to a tree ---- */

struct builder {
    struct snug_yaml *doc;
    struct snug_yaml_node *parent; /* the open list or mapping */
    int depth;
    /* The key that was read in the open mapping and waits for its value, and where it stands. */
    const char *key;
    yaml_mark_t key_mark;
    struct snug_error *err;
};

static snug_status fail_at(struct builder *b, yaml_mark_t mark, const char *text)
{
    const struct snug_yaml_node here = {.line = (int)mark.line + 1, .column = (int)mark.column + 1};
    return snug_yaml_fail(b->doc, &here, b->err, "%s", text);
}

static snug_status fail_memory(const struct snug_yaml *doc, struct snug_error *err)
{
    return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its values", doc->name);
}

/* Hang a new node into the open list or mapping. */
static snug_status add_node(struct builder *b, enum snug__yaml_kind kind, yaml_mark_t mark,
                            struct snug_yaml_node **out)
{
    struct snug_yaml_node *parent = b->parent;
    if (b->doc->n_nodes == SNUG_YAML_NODES_MAX)
        return fail_at(b, mark, "more values than a file may have (100000)");
    if (parent && parent->kind == SNUG__YAML_MAP && parent->n == SNUG_YAML_KEYS_MAX)
        return fail_at(b, mark, "more than 256 keys in one mapping");
    struct snug_yaml_node *node = snug_arena_alloc(&b->doc->arena, 1, sizeof *node);
    if (!node)
        return fail_memory(b->doc, b->err);
    const yaml_mark_t at = b->key ? b->key_mark : mark;
    node->kind = kind;
    node->line = (int)at.line + 1;
    node->column = (int)at.column + 1;
    node->key = b->key;
    node->parent = parent;
    b->key = NULL;
    b->doc->n_nodes++;
    if (!parent) {
        b->doc->root = node;
    } else {
        node->i = parent->n++;
        if (parent->last)
            parent->last->next = node;
        else
            parent->first = node;
        parent->last = node;
    }
    *out = node;
    return SNUG_OK;
}

static snug_status take_key(struct builder *b, const char *text, yaml_mark_t mark)
{
    char words[160];
    if (snug_yaml_get(b->parent, text)) {
        snprintf(words, sizeof words, "'%.60s' stands twice in one mapping", text);
        return fail_at(b, mark, words);
    }
    b->key = text;
    b->key_mark = mark;
    return SNUG_OK;
}

static bool is_waiting_for_key(const struct builder *b)
{
    return b->parent && b->parent->kind == SNUG__YAML_MAP && !b->key;
}

static snug_status take_scalar(struct builder *b, const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;
    const size_t n = event->data.scalar.length;
    if (memchr(value, '\0', n))
        return fail_at(b, event->start_mark, "a NUL character in a text");
    char *text = snug_arena_strndup(&b->doc->arena, value, n);
    if (!text)
        return fail_memory(b->doc, b->err);
    if (is_waiting_for_key(b))
        return take_key(b, text, event->start_mark);
    struct snug_yaml_node *node = NULL;
    const snug_status status = add_node(b, SNUG__YAML_SCALAR, event->start_mark, &node);
    if (status == SNUG_OK)
        node->text = text;
    return status;
}

static snug_status open_node(struct builder *b, const yaml_event_t *event,
                             enum snug__yaml_kind kind)
{
    struct snug_yaml_node *node = NULL;
    if (is_waiting_for_key(b))
        return fail_at(b, event->start_mark, "a key must be a plain word");
    if (b->depth == SNUG_YAML_DEPTH_MAX)
        return fail_at(b, event->start_mark, "lists and mappings are more than 16 deep");
    const snug_status status = add_node(b, kind, event->start_mark, &node);
    if (status != SNUG_OK)
        return status;
    b->parent = node;
    b->depth++;
    return SNUG_OK;
}

static void close_node(struct builder *b)
{
    b->parent = b->parent->parent;
    b->depth--;
}

/* Anchors and tags of the three events that may carry them. */
static snug_status check_marks(struct builder *b, const yaml_event_t *event)
{
    const void *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        anchor = event->data.alias.anchor;
        break;
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (anchor)
        return fail_at(b, event->start_mark,
                       "anchors (&name) and aliases (*name) are not taken: write the value out");
    if (tag)
        return fail_at(b, event->start_mark, "tags (!name) are not taken: leave it out");
    return SNUG_OK;
}

static snug_status take_event(struct builder *b, const yaml_event_t *event)
{
    const snug_status status = check_marks(b, event);
    if (status != SNUG_OK)
        return status;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->doc->root)
            return fail_at(b, event->start_mark, "a second document: one file is one document");
        return SNUG_OK;
    case YAML_SCALAR_EVENT:
        return take_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_node(b, event, SNUG__YAML_LIST);
    case YAML_MAPPING_START_EVENT:
        return open_node(b, event, SNUG__YAML_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        close_node(b);
        return SNUG_OK;
    default:
        return SNUG_OK;
    }
}

static snug_status fail_parser(struct builder *b, const yaml_parser_t *parser)
{
    char words[256];
    if (parser->error == YAML_MEMORY_ERROR)
        return fail_memory(b->doc, b->err);
    if (parser->error == YAML_READER_ERROR) {
        /* Encodings are told by their offset alone. */
        return snug_fail(b->err, SNUG_BAD_INPUT, "%s: byte %zu: %s: the file must be UTF-8 text",
                         b->doc->name, parser->problem_offset,
                         parser->problem ? parser->problem : "unreadable");
    }
    snprintf(words, sizeof words, "not YAML: %s%s%s",
             parser->problem ? parser->problem : "unreadable", parser->context ? " " : "",
             parser->context ? parser->context : "");
    return fail_at(b, parser->problem_mark, words);
}

static snug_status build_tree(struct builder *b)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return fail_memory(b->doc, b->err);
    yaml_parser_set_input_string(&parser, (const unsigned char *)b->doc->text, b->doc->n_text);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    snug_status status = SNUG_OK;
    for (bool is_ended = false; status == SNUG_OK && !is_ended;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            status = fail_parser(b, &parser);
            break;
        }
        is_ended = event.type == YAML_STREAM_END_EVENT;
        status = take_event(b, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

snug_status snug_yaml_parse(const char *name, const char *text, size_t n, struct snug_yaml **out,
                            struct snug_error *err)
{
    struct snug_yaml *doc = calloc(1, sizeof *doc);
    if (!doc)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its values", name);
    doc->name = snug_arena_strdup(&doc->arena, name);
    char *copy = snug_arena_alloc(&doc->arena, n + 1, 1); /* whole, whatever bytes it holds */
    if (copy && n > 0)
        memcpy(copy, text, n);
    doc->text = copy;
    doc->n_text = n;
    struct builder b = {.doc = doc, .err = err};
    snug_status status = doc->name && doc->text
                             ? build_tree(&b)
                             : snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for it", name);
    if (status == SNUG_OK && !snug_yaml_is_map(doc->root))
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: %s", name,
                           doc->root ? "not a mapping: lines of 'key: value' are expected"
                                     : "nothing in it: lines of 'key: value' are expected");
    if (status != SNUG_OK) {
        snug_yaml_free(doc);
        return status;
    }
    *out = doc;
    return SNUG_OK;
}

/* ---- the tree to a struct ---- */

static const cyaml_strval_t BOOLS[] = {{"off", 0},  {"on", 1}, {"false", 0},
                                       {"true", 1}, {"no", 0}, {"yes", 1}};

/* libcyaml's first words, which say what is wrong, and where its innermost step stands. */
struct cyaml_words {
    char what[256];
    int line, column;
    char path[192]; /* steps from the inside out, put in order at the end */
};

static void put_step(struct cyaml_words *words, const char *step)
{
    char after[sizeof words->path];
    const bool has_dot = words->path[0] && words->path[0] != '[';
    snprintf(after, sizeof after, "%s%s%.120s", step, has_dot ? "." : "", words->path);
    snprintf(words->path, sizeof words->path, "%s", after);
}

/* Lines as "Load: Invalid INT value: '2z'", "Load: Backtrace:", then from the inside out
 * "  in mapping field 'n' (line: 3, column: 7)" and "  in sequence entry '1' (line: 2, column: 4)",
 * entries counted from 1. */
static void on_cyaml_line(cyaml_log_t level, void *ctx, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
static void on_cyaml_line(cyaml_log_t level, void *ctx, const char *format, va_list args)
{
    struct cyaml_words *words = ctx;
    char line[256], step[96];
    int entry = 0, at_line = 0, at_column = 0;
    (void)level;
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "  in ", 5) != 0) {
        if (!words->what[0])
            snprintf(words->what, sizeof words->what, "%.200s",
                     strncmp(line, "Load: ", 6) == 0 ? line + 6 : line);
        return;
    }
    const char *place = strstr(line, "(line: ");
    if (!words->line && place &&
        sscanf(place, "(line: %d, column: %d)", &at_line, &at_column) == 2) {
        words->line = at_line;
        words->column = at_column;
    }
    if (sscanf(line, "  in mapping field '%80[^']'", step) == 1) {
        put_step(words, step);
    } else if (sscanf(line, "  in sequence entry '%d'", &entry) == 1) {
        snprintf(step, sizeof step, "[%d]", entry);
        put_step(words, step);
    }
}

static const cyaml_schema_value_t *text_schema(struct snug_yaml *doc)
{
    cyaml_schema_value_t *value = snug_arena_alloc(&doc->arena, 1, sizeof *value);
    if (value)
        *value = (cyaml_schema_value_t){.type = CYAML_STRING,
                                        .flags = CYAML_FLAG_POINTER,
                                        .data_size = sizeof(char),
                                        .string = {.min = 1, .max = 4096}};
    return value;
}

static const cyaml_schema_field_t *make_fields(struct snug_yaml *doc,
                                               const struct snug_yaml_field *fields);

static bool make_list(struct snug_yaml *doc, const struct snug_yaml_field *field,
                      cyaml_schema_field_t *out)
{
    cyaml_schema_value_t *entry = NULL;
    out->count_offset = (uint32_t)field->at_count;
    out->count_size = sizeof(unsigned);
    out->value.type = CYAML_SEQUENCE;
    if (field->type == SNUG_YAML_TEXTS) {
        out->value.data_size = sizeof(char *);
        out->value.sequence.entry = text_schema(doc);
    } else {
        entry = snug_arena_alloc(&doc->arena, 1, sizeof *entry);
        if (!entry)
            return false;
        *entry = (cyaml_schema_value_t){.type = CYAML_MAPPING, .data_size = (uint32_t)field->size};
        entry->mapping.fields = make_fields(doc, field->fields);
        if (!entry->mapping.fields)
            return false;
        out->value.data_size = (uint32_t)field->size;
        out->value.sequence.entry = entry;
    }
    out->value.sequence.min = 1;
    out->value.sequence.max = (uint32_t)field->max;
    return out->value.sequence.entry != NULL;
}

static bool make_field(struct snug_yaml *doc, const struct snug_yaml_field *field,
                       cyaml_schema_field_t *out)
{
    const unsigned optional = field->is_required ? 0 : CYAML_FLAG_OPTIONAL;
    unsigned flags = optional;
    out->key = field->key;
    out->data_offset = (uint32_t)field->at;
    switch (field->type) {
    case SNUG_YAML_TEXT:
        flags |= CYAML_FLAG_POINTER;
        out->value.type = CYAML_STRING;
        out->value.data_size = sizeof(char);
        out->value.string.min = 1;
        out->value.string.max = (uint32_t)field->max;
        break;
    case SNUG_YAML_INT:
        out->value.type = CYAML_INT;
        out->value.data_size = sizeof(int64_t);
        break;
    case SNUG_YAML_BOOL:
        /* libcyaml's own booleans take any word for true. */
        flags |= CYAML_FLAG_STRICT;
        out->value.type = CYAML_ENUM;
        out->value.data_size = sizeof(int);
        out->value.enumeration.strings = BOOLS;
        out->value.enumeration.count = sizeof BOOLS / sizeof *BOOLS;
        break;
    case SNUG_YAML_TEXTS:
    case SNUG_YAML_MAPS:
        flags |= CYAML_FLAG_POINTER;
        if (!make_list(doc, field, out))
            return false;
        break;
    case SNUG_YAML_MAP:
        flags |= CYAML_FLAG_POINTER;
        out->value.type = CYAML_MAPPING;
        out->value.data_size = (uint32_t)field->size;
        out->value.mapping.fields = make_fields(doc, field->fields);
        if (!out->value.mapping.fields)
            return false;
        break;
    case SNUG_YAML_ANY:
        out->value.type = CYAML_IGNORE;
        break;
    }
    out->value.flags = (enum cyaml_flag)flags;
    return true;
}

static const cyaml_schema_field_t *make_fields(struct snug_yaml *doc,
                                               const struct snug_yaml_field *fields)
{
    size_t n = 0;
    while (fields[n].key)
        n++;
    cyaml_schema_field_t *out = snug_arena_alloc(&doc->arena, n + 1, sizeof *out);
    for (size_t i = 0; out && i < n; i++) {
        if (!make_field(doc, &fields[i], &out[i]))
            return NULL;
    }
    return out;
}

static const cyaml_config_t CONFIG = {
    .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR, .flags = CYAML_CFG_NO_ALIAS};

static snug_status fail_unknown(const struct snug_yaml *doc, const struct snug_yaml_node *node,
                                const struct snug_yaml_field *fields, struct snug_error *err)
{
    const char *names[64];
    char listed[256] = "";
    int n = 0;
    size_t n_text = 0;
    for (; fields[n].key && n < 64; n++) {
        names[n] = fields[n].key;
        if (n_text < sizeof listed)
            n_text += (size_t)snprintf(listed + n_text, sizeof listed - n_text, "%s%s",
                                       n ? ", " : "", names[n]);
    }
    const char *near = snug__near_word(node->key, names, n);
    if (near)
        return snug_yaml_fail(doc, node, err, "no such key; did you mean '%s'?", near);
    return snug_yaml_fail(doc, node, err, "no such key; there are: %s", listed);
}

/* What libcyaml does not tell well, looked up in the tree: the place of an unknown key and its
 * nearest known one, and whole numbers out of their bounds. SNUG_OK when nothing is found. */
static snug_status check_map(const struct snug_yaml *doc, const struct snug_yaml_node *map,
                             const struct snug_yaml_field *fields, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    if (!snug_yaml_is_map(map))
        return SNUG_OK; /* libcyaml says so better */
    for (const struct snug_yaml_node *node = map->first; status == SNUG_OK && node;
         node = node->next) {
        const struct snug_yaml_field *field = fields;
        struct snug_error why = {0};
        int64_t value = 0;
        while (field->key && strcmp(field->key, node->key) != 0)
            field++;
        if (!field->key)
            return fail_unknown(doc, node, fields, err);
        if (field->type == SNUG_YAML_MAP)
            status = check_map(doc, node, field->fields, err);
        for (const struct snug_yaml_node *entry = node->first;
             status == SNUG_OK && field->type == SNUG_YAML_MAPS && entry; entry = entry->next)
            status = check_map(doc, entry, field->fields, err);
        if (field->type == SNUG_YAML_INT && node->text &&
            snug_int_parse(node->key, node->text, field->min, field->max, &value, &why) != SNUG_OK)
            status = snug_yaml_fail(doc, node, err, "%s", why.text);
    }
    return status;
}

static snug_status fail_cyaml(const struct snug_yaml *doc, cyaml_err_t code,
                              const struct cyaml_words *words, struct snug_error *err)
{
    /* libyaml has read this text before: it fails now for want of memory alone. */
    if (code == CYAML_ERR_OOM || code == CYAML_ERR_LIBYAML_PARSER_INIT ||
        code == CYAML_ERR_LIBYAML_EVENT_INIT || code == CYAML_ERR_LIBYAML_PARSER)
        return fail_memory(doc, err);
    return snug_fail(err, SNUG_BAD_INPUT, "%s:%d:%d: %s%s%s", doc->name,
                     words->line ? words->line : 1, words->column ? words->column : 1, words->path,
                     words->path[0] ? ": " : "",
                     words->what[0] ? words->what : cyaml_strerror(code));
}

snug_status snug_yaml_load(struct snug_yaml *doc, const struct snug_yaml_field *fields, size_t size,
                           const void **out, struct snug_error *err)
{
    struct cyaml_words words = {0};
    cyaml_config_t config = CONFIG;
    cyaml_schema_value_t *schema = snug_arena_alloc(&doc->arena, 1, sizeof *schema);
    if (!schema)
        return fail_memory(doc, err);
    *schema = (cyaml_schema_value_t){
        .type = CYAML_MAPPING, .flags = CYAML_FLAG_POINTER, .data_size = (uint32_t)size};
    schema->mapping.fields = make_fields(doc, fields);
    if (!schema->mapping.fields)
        return fail_memory(doc, err);
    const snug_status status = check_map(doc, doc->root, fields, err);
    if (status != SNUG_OK)
        return status;
    config.log_fn = on_cyaml_line;
    config.log_ctx = &words;
    void *loaded = NULL;
    const cyaml_err_t code =
        cyaml_load_data((const uint8_t *)doc->text, doc->n_text, &config, schema, &loaded, NULL);
    if (code != CYAML_OK)
        return fail_cyaml(doc, code, &words, err);
    doc->loaded = loaded;
    doc->schema = schema;
    if (!loaded) /* a mapping without any key */
        return snug_yaml_fail(doc, doc->root, err, "nothing in it");
    *out = loaded;
    return SNUG_OK;
}

void snug_yaml_free(struct snug_yaml *doc)
{
    if (!doc)
        return;
    if (doc->loaded)
        cyaml_free(&CONFIG, doc->schema, doc->loaded, 0);
    snug_arena_clear(&doc->arena);
    free(doc);
}
