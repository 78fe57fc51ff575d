/* YAML in, the only door to libcyaml and libyaml. A document is read twice: by libyaml into a tree
 * of nodes that know their places, then by libcyaml, against a schema, into a struct.
 *
 * Taken is the plain subset: one document of mappings, lists and scalars. Anchors, aliases and tags
 * are refused (they can say a gigabyte in a line), and so are duplicate keys and keys that are no
 * plain words. */
#ifndef SNUG_BASE_YAML_H
#define SNUG_BASE_YAML_H

#include "snug/base.h"

struct snug_yaml;      /* a parsed document */
struct snug_yaml_node; /* a value inside one */

#define SNUG_YAML_DEPTH_MAX 16
#define SNUG_YAML_KEYS_MAX 256     /* of one mapping */
#define SNUG_YAML_NODES_MAX 100000 /* of a document */

/* `name` begins every error text: "FILE:LINE:COLUMN: rounds[3].knobs: ...".
 * Errors  SNUG_BAD_INPUT: not YAML, or beyond the subset or the caps. */
snug_status snug_yaml_parse(const char *name, const char *text, size_t n, struct snug_yaml **out,
                            struct snug_error *err) SNUG_CHECKED;
void snug_yaml_free(struct snug_yaml *doc);

/* Getters accept NULL and missing keys and then give NULL, 0 or false. */
const struct snug_yaml_node *snug_yaml_root(const struct snug_yaml *doc);
const struct snug_yaml_node *snug_yaml_get(const struct snug_yaml_node *map, const char *key);
/* Entries of a list or members of a mapping; 0 for a scalar. */
int snug_yaml_count(const struct snug_yaml_node *node);
/* Entry i of a list, or the value of member i of a mapping. O(i). */
const struct snug_yaml_node *snug_yaml_at(const struct snug_yaml_node *node, int i);
/* The key that a mapping has a value under, or NULL. */
const char *snug_yaml_key(const struct snug_yaml_node *value);
/* Text of a scalar, quotes removed; NULL for the others. */
const char *snug_yaml_text(const struct snug_yaml_node *node);
bool snug_yaml_is_list(const struct snug_yaml_node *node);
bool snug_yaml_is_map(const struct snug_yaml_node *node);

/* SNUG_BAD_INPUT with the place and path of a node before the text. */
snug_status snug_yaml_fail(const struct snug_yaml *doc, const struct snug_yaml_node *node,
                           struct snug_error *err, const char *format, ...) SNUG_PRINTF(4, 5);

/* ---- schema ---- */

enum snug_yaml_type {
    SNUG_YAML_TEXT,  /* const char *, 1 .. max bytes */
    SNUG_YAML_INT,   /* int64_t within min .. max */
    SNUG_YAML_BOOL,  /* int: 0 or 1; written off, on, false, true, no, yes */
    SNUG_YAML_TEXTS, /* const char **, 1 .. max texts, and an unsigned count */
    SNUG_YAML_MAPS,  /* pointer to 1 .. max structs, and an unsigned count */
    SNUG_YAML_MAP,   /* pointer to one struct */
    SNUG_YAML_ANY    /* read from the tree: free keys, or a value that may be a list */
};

/* One key of a mapping. A table of them ends with key NULL. */
struct snug_yaml_field {
    const char *key;
    enum snug_yaml_type type;
    bool is_required; /* others stay zero when missing */
    size_t at, at_count;
    int64_t min, max;
    const struct snug_yaml_field *fields; /* of MAP and MAPS */
    size_t size;                          /* of the struct of MAP and MAPS */
};

/* Read the whole document into a struct of `size` bytes, owned by doc. Once per document. Unknown
 * keys are refused with the nearest known one. */
snug_status snug_yaml_load(struct snug_yaml *doc, const struct snug_yaml_field *fields, size_t size,
                           const void **out, struct snug_error *err) SNUG_CHECKED;

#endif
