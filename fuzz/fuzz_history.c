/* Any bytes as a history file, and as the lines of one: refused by name, or lines within the rules,
 * which come through the same rules unchanged and hold no path. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "store/history_file.h"

static snug_status see(const struct snug_json_node *line, enum snug_history_kind kind, void *data,
                       struct snug_error *err)
{
    struct snug_history_counts *seen = data;
    char *once = NULL, *twice = NULL;
    struct snug_json *doc = NULL;
    check(kind >= 0 && kind < SNUG_HISTORY_N_KINDS);
    seen->n[kind]++;
    if (snug__history_sieve(line, kind, true, &once, err) == SNUG_OK) {
        check(!strchr(once, '/'));
        if (snug_json_parse("again", once, strlen(once), &doc, NULL) == SNUG_OK &&
            snug__history_sieve(snug_json_root(doc), kind, true, &twice, NULL) == SNUG_OK)
            check(strcmp(once, twice) == 0);
    } else {
        check(err->status == SNUG_NO_MEMORY); /* it passed once already */
    }
    snug_json_free(doc);
    free(once);
    free(twice);
    return SNUG_OK;
}

/* What the sum and the counts would keep from the parser of lines. */
static void try_lines(const char *text, size_t n)
{
    const char *end = memchr(text, '\n', n);
    struct snug_history_counts seen = {{0}};
    struct snug_error err = {.status = SNUG_OK};
    struct snug__history_file file = {.text = NULL, .body = end ? end + 1 : text};
    file.n_body = n - (size_t)(file.body - text);
    if (snug__history_lines("fuzz", &file, NULL, see, &seen, &err) == SNUG_OK)
        check(memcmp(&seen, &file.counts, sizeof seen) == 0);
    else
        check(strncmp(err.text, "fuzz:", 5) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug__history_file file = {.text = NULL};
    struct snug_error err = {.status = SNUG_OK};
    if (snug__history_open("fuzz", data, n, &file, &err) == SNUG_OK) {
        check(file.n_body <= SNUG_HISTORY_TEXT_MAX);
        try_lines(file.text, strlen(file.text));
        snug__history_close(&file);
    } else {
        check(err.status == SNUG_NO_MEMORY || strncmp(err.text, "fuzz:", 5) == 0);
        check(!file.text);
    }
    try_lines((const char *)data, n);
    return 0;
}
