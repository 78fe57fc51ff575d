/* Any bytes as JSON: refused with a text that names the place, or a document that every getter
 * survives on every node, and that comes back from its own text. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "base/json.h"

/* The getters for other kinds, too: they give the fallback. Returns how many values there are. */
static size_t walk(const struct snug_json_node *node, int depth)
{
    size_t n_values = 1;
    const char *key = NULL;
    const struct snug_json_node *child = NULL;
    check(depth <= SNUG_JSON_DEPTH_MAX);
    check(snug_json_is_string(node) == (snug_json_string(node, NULL) != NULL));
    check(snug_json_is_number(node) || snug_json_number(node, 7.0) == 7.0);
    snug_json_int(node, 0);
    snug_json_bool(node, false);
    check(snug_json_get(node, "no such key \x01") == NULL);
    const size_t n = snug_json_count(node);
    check(n == 0 || snug_json_is_array(node) || snug_json_is_object(node));
    if (snug_json_is_array(node)) {
        check(snug_json_at(node, n) == NULL);
        for (size_t i = 0; i < n && i < 256; i++) /* at() may cost O(i) */
            n_values += walk(snug_json_at(node, i), depth + 1);
    }
    for (size_t i = 0; i < 256 && snug_json_member(node, i, &key, &child); i++)
        n_values += walk(child, depth + 1) + strlen(key);
    return n_values;
}

static char *text_of(const struct snug_json_node *node, bool is_pretty)
{
    struct snug_json_writer w = {0};
    snug_json_put_node(&w, NULL, node);
    return snug_json_finish(&w, is_pretty);
}

/* Only containers: a writer's root is one. */
static void write_and_read_again(const struct snug_json_node *root)
{
    struct snug_json *doc = NULL;
    struct snug_json_writer w = {0};
    snug_json_begin_array(&w, NULL);
    snug_json_put_node(&w, NULL, root);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, true);
    if (!text) /* one level deeper than the cap */
        return;
    const snug_status status = snug_json_parse("again", text, strlen(text), &doc, NULL);
    if (status == SNUG_OK) {
        const struct snug_json_node *back = snug_json_at(snug_json_root(doc), 0);
        char *a = text_of(root, false), *b = text_of(back, false);
        check(walk(back, 0) == walk(root, 0));
        check(a == NULL || b == NULL || strcmp(a, b) == 0);
        free(a);
        free(b);
    }
    snug_json_free(doc);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_error err = {0};
    struct snug_json *doc = NULL;
    if (snug_json_parse("fuzz", (const char *)data, n, &doc, &err) != SNUG_OK) {
        check(!doc && strncmp(err.text, "fuzz:", 5) == 0);
        return 0;
    }
    walk(snug_json_root(doc), 0);
    write_and_read_again(snug_json_root(doc));
    snug_json_free(doc);
    return 0;
}
