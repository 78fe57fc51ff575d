/* Any bytes as a file of prompts. What is accepted keeps the caps that answer_file.h states, and
 * every text is there. */
#include <stdlib.h>

#include "fuzz/check.h"
#include "lab/answer_file.h"

static void check_row(const struct snug_answer_row *row)
{
    int n = 0;
    check(row->line > 0 && row->prompt && row->prompt[0]);
    for (; row->required && row->required[n]; n++)
        check(n < SNUG_ANSWER_FIELDS_MAX);
    check(!row->required || n > 0);
    check(!row->tools || snug_json_is_array(row->tools) || snug_json_is_object(row->tools));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_answer_file file = {.n_rows = -7};
    struct snug_error err = {0};
    char *text = fuzz_text(data, n);
    if (!text)
        return 0;
    if (snug_answer_file_parse("fuzz", text, n, &file, &err) == SNUG_OK) {
        check(file.n_rows > 0 && file.n_rows <= SNUG_ANSWER_ROWS_MAX);
        check(file.n_bare >= 0 && file.n_bare <= file.n_rows && file.n_docs <= file.n_rows);
        for (int i = 0; i < file.n_rows; i++)
            check_row(&file.rows[i]);
        snug_answer_file_clear(&file);
    } else {
        check(err.text[0] && file.n_rows == -7);
    }
    free(text);
    return 0;
}
