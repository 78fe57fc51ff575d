/* Any text as objectives: refused with a text and nothing changed, or two or three different axes
 * with something to learn; and any JSON as the goal of a stored session: always a goal. */
#include <math.h>
#include <stdlib.h>

#include "fuzz/check.h"
#include "tune/loop_goal.h"

static void check_goal(const struct snug_goal *goal)
{
    check(goal->n_axes >= 2 && goal->n_axes <= SNUG_AXES_MAX);
    check(snug_axis_is_learned((enum snug_axis)snug_goal_lead(goal)));
    check(snug_goal_has(goal, (enum snug_axis)snug_goal_lead(goal)));
    for (int i = 0; i < goal->n_axes; i++)
        for (int j = 0; j < i; j++)
            check(goal->axis[i] != goal->axis[j]);
}

static void try_words(const char *text)
{
    struct snug_error err = {0};
    struct snug_goal goal = {.n_axes = 0, .limit = {0.5}}, again = {.limit = {0.5}};
    char words[64];
    if (snug_goal_parse(text, &goal, &err) != SNUG_OK) {
        check(err.text[0] && goal.n_axes == 0);
        return;
    }
    check_goal(&goal);
    check(snug_goal_parse(snug_goal_text(&goal, words, sizeof words), &again, &err) == SNUG_OK);
    check(snug_goal_equal(&goal, &again));
}

static void try_stored(const char *text, size_t n)
{
    struct snug_json *doc = NULL;
    struct snug_goal goal;
    if (snug_json_parse("fuzz", text, n, &doc, NULL) != SNUG_OK)
        return;
    snug__tune_goal_read(snug_json_root(doc), &goal);
    check_goal(&goal);
    for (int l = 0; l < SNUG_N_LIMITS; l++)
        check(goal.limit[l] >= 0 && isfinite(goal.limit[l]));
    snug_json_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = fuzz_text(data, n);
    if (!text)
        return 0;
    try_words(text);
    try_stored(text, n);
    free(text);
    return 0;
}
