/* Any bytes as a task file, and as its labels. What is accepted keeps the caps that task_file.h
 * states, and every text is there. */
#include <stdlib.h>

#include "fuzz/check.h"
#include "lab/task_file.h"

static void check_item(const struct snug_task_item *item)
{
    check(item->line > 0 && item->context);
    check(item->n_choices >= 2 && item->n_choices <= SNUG_TASK_CHOICES_MAX);
    check(item->i_answer >= -1 && item->i_answer < item->n_choices);
    check(item->is_partial == (item->continuation != NULL));
    for (int i = 0; i < item->n_choices; i++)
        check(item->choices[i] && item->choices[i][0]);
}

static void try_task(const char *text, size_t n, const char *labels)
{
    struct snug_task_file file = {.n_items = -7};
    struct snug_error err = {0};
    if (snug_task_file_parse("fuzz", text, n, labels, &file, &err) != SNUG_OK) {
        check(err.text[0] && file.n_items == -7);
        return;
    }
    check(file.n_items > 0 && file.n_items <= SNUG_TASK_ITEMS_MAX);
    check(file.n_unanswerable >= 0 && file.n_unanswerable < file.n_items);
    for (int i = 0; i < file.n_items; i++)
        check_item(&file.items[i]);
    snug_task_file_clear(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char piqa[] = "{\"goal\":\"G\",\"sol1\":\"a\",\"sol2\":\"b\"}";
    char *text = fuzz_text(data, n);
    if (!text)
        return 0;
    try_task(text, n, NULL);
    try_task(text, n, "0\n1\n");
    try_task(piqa, sizeof piqa - 1, text); /* the bytes as labels */
    free(text);
    return 0;
}
