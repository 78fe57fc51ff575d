/* Looking at a YAML tree, and naming a place in it. */
#include <stdio.h>
#include <string.h>

#include "base/yaml_node.h"

const struct snug_yaml_node *snug_yaml_root(const struct snug_yaml *doc)
{
    return doc ? doc->root : NULL;
}

const struct snug_yaml_node *snug_yaml_get(const struct snug_yaml_node *map, const char *key)
{
    if (!snug_yaml_is_map(map))
        return NULL;
    for (const struct snug_yaml_node *child = map->first; child; child = child->next) {
        if (strcmp(child->key, key) == 0)
            return child;
    }
    return NULL;
}

int snug_yaml_count(const struct snug_yaml_node *node)
{
    return node ? node->n : 0;
}

const struct snug_yaml_node *snug_yaml_at(const struct snug_yaml_node *node, int i)
{
    const struct snug_yaml_node *child = node ? node->first : NULL;
    while (child && i-- > 0)
        child = child->next;
    return child;
}

const char *snug_yaml_key(const struct snug_yaml_node *value)
{
    return value ? value->key : NULL;
}

const char *snug_yaml_text(const struct snug_yaml_node *node)
{
    return node && node->kind == SNUG__YAML_SCALAR ? node->text : NULL;
}

bool snug_yaml_is_list(const struct snug_yaml_node *node)
{
    return node && node->kind == SNUG__YAML_LIST;
}

bool snug_yaml_is_map(const struct snug_yaml_node *node)
{
    return node && node->kind == SNUG__YAML_MAP;
}

/* "rounds[3].knobs.type_k", entries counted from 1; "" for the root. Written from its end. */
static const char *path_of(const struct snug_yaml_node *node, char *out, size_t cap)
{
    size_t at = cap - 1;
    out[at] = '\0';
    for (; node && node->parent; node = node->parent) {
        char step[80];
        const bool is_first = !node->parent->parent;
        const int n = node->key
                          ? snprintf(step, sizeof step, "%s%.60s", is_first ? "" : ".", node->key)
                          : snprintf(step, sizeof step, "[%d]", node->i + 1);
        if ((size_t)n > at)
            break; /* a path this long is told well enough by its end */
        at -= (size_t)n;
        memcpy(out + at, step, (size_t)n);
    }
    return out + at;
}

snug_status snug_yaml_fail(const struct snug_yaml *doc, const struct snug_yaml_node *node,
                           struct snug_error *err, const char *format, ...)
{
    char text[SNUG_ERROR_TEXT_MAX], path[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *where = path_of(node, path, sizeof path);
    return snug_fail(err, SNUG_BAD_INPUT, "%s:%d:%d: %s%s%s", doc->name, node ? node->line : 1,
                     node ? node->column : 1, where, where[0] ? ": " : "", text);
}
