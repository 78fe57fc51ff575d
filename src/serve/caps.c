/* Limits from outside: a small JSON file. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "snug/serve.h"

/* Beyond these a limit is a slip: more memory than addresses, more CPUs than Linux can have. */
static const double BYTES_MAX = 281474976710656.0, CPUS_MAX = 8192.0;

static snug_status take_limit(const char *name, const char *key, const struct snug_json_node *value,
                              double max, double *out, struct snug_error *err)
{
    const double number = snug_json_number(value, NAN);
    if (!(number > 0 && number <= max))
        return snug_fail(err, SNUG_BAD_INPUT, "%s: %s must be a number above 0, at most %.0f", name,
                         key, max);
    *out = number;
    return SNUG_OK;
}

snug_status snug_serve_caps_parse(const char *name, const char *text, size_t n,
                                  struct snug_serve_caps *out, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug_serve_caps caps = {0};
    const char *key = NULL;
    const struct snug_json_node *value = NULL;
    if (n > SNUG_SERVE_CAPS_BYTES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: more than %d bytes", name,
                         SNUG_SERVE_CAPS_BYTES_MAX);
    snug_status status = snug_json_parse(name, text, n, &doc, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(doc);
    if (!snug_json_is_object(root))
        status =
            snug_fail(err, SNUG_BAD_INPUT,
                      "%s: no object such as {\"memory_bytes\": 2000000000, \"cpus\": 1.5}", name);
    for (size_t i = 0; status == SNUG_OK && snug_json_member(root, i, &key, &value); i++) {
        if (strcmp(key, "memory_bytes") == 0)
            status = take_limit(name, key, value, BYTES_MAX, &caps.memory_bytes, err);
        else if (strcmp(key, "cpus") == 0)
            status = take_limit(name, key, value, CPUS_MAX, &caps.cpus, err);
        else
            status = snug_fail(err, SNUG_BAD_INPUT,
                               "%s: '%.40s' is not known: memory_bytes and cpus are", name, key);
    }
    snug_json_free(doc);
    if (status == SNUG_OK)
        *out = caps;
    return status;
}
