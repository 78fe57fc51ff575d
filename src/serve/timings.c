/* The last "timings" object in the end of an answer. Inside a JSON string its quotes would be
 * escaped, so that no text that a model writes is taken for it. */
#include "serve/timings.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

static const char KEY[] = "\"timings\":{";
/* Beyond these a number is no count of tokens and no time of a request. */
static const double TOKENS_MAX = 1e9, MS_MAX = 1e9;

void snug__timings_pass(struct snug__timings_tail *tail, const char *bytes, size_t n)
{
    if (n > sizeof tail->bytes) {
        bytes += n - sizeof tail->bytes;
        n = sizeof tail->bytes;
    }
    const size_t room = sizeof tail->bytes - n;
    if (tail->n > room) {
        memmove(tail->bytes, tail->bytes + tail->n - room, room);
        tail->n = room;
    }
    memcpy(tail->bytes + tail->n, bytes, n);
    tail->n += n;
}

/* The object's first byte, or NULL. */
static const char *find_last(const struct snug__timings_tail *tail)
{
    const size_t n_key = sizeof KEY - 1;
    for (size_t i = tail->n; i >= n_key; i--) {
        if (memcmp(tail->bytes + i - n_key, KEY, n_key) == 0)
            return tail->bytes + i - 1;
    }
    return NULL;
}

static double bounded(const struct snug_json_node *object, const char *key, double max)
{
    const double value = snug_json_get_number(object, key, 0);
    return value > 0 && value <= max ? value : 0;
}

bool snug__timings_find(const struct snug__timings_tail *tail, struct snug__timings *out)
{
    const char *begin = find_last(tail);
    const char *end =
        begin ? memchr(begin, '}', (size_t)(tail->bytes + tail->n - begin)) : NULL; /* it is flat */
    struct snug_json *doc = NULL;
    if (!end || snug_json_parse("timings", begin, (size_t)(end - begin) + 1, &doc, NULL) != SNUG_OK)
        return false;
    const struct snug_json_node *root = snug_json_root(doc);
    struct snug__timings t = {.n_prompt = bounded(root, "prompt_n", TOKENS_MAX),
                              .prompt_s = bounded(root, "prompt_ms", MS_MAX) / 1000,
                              .n_gen = fmax(bounded(root, "predicted_n", TOKENS_MAX) - 1, 0),
                              .gen_s = bounded(root, "predicted_ms", MS_MAX) / 1000};
    snug_json_free(doc);
    if (t.n_prompt == 0 || t.prompt_s == 0)
        t.n_prompt = t.prompt_s = 0;
    if (t.n_gen == 0 || t.gen_s == 0)
        t.n_gen = t.gen_s = 0;
    if (t.n_prompt == 0 && t.n_gen == 0)
        return false;
    *out = t;
    return true;
}
