/* The tree behind base/yaml.h: what its two files share. */
#ifndef SNUG_BASE_YAML_NODE_H
#define SNUG_BASE_YAML_NODE_H

#include "base/arena.h"
#include "base/yaml.h"

enum snug__yaml_kind { SNUG__YAML_SCALAR, SNUG__YAML_LIST, SNUG__YAML_MAP };

struct snug_yaml_node {
    enum snug__yaml_kind kind;
    int line, column; /* from 1; of the key when it is a member of a mapping */
    int i;            /* place among its siblings */
    int n;            /* children */
    const char *key;  /* of a member of a mapping, else NULL */
    const char *text; /* of a scalar */
    struct snug_yaml_node *parent, *first, *last, *next;
};

struct snug_yaml {
    struct snug_arena arena;
    const char *name;
    const char *text; /* own copy: libcyaml reads it again */
    size_t n_text;
    struct snug_yaml_node *root;
    int n_nodes;
    void *loaded; /* what snug_yaml_load gave, and the schema it is freed by */
    const void *schema;
};

#endif
