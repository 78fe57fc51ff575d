/* Items of a task file to requests of the scorer, and their scores to an accuracy. */
#include "lab/task_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/process.h"

/* Items per request: often enough for a progress line and for Ctrl-C, and seldom enough that the
 * pipe costs nothing. */
#define BATCH_ITEMS 8
_Static_assert(BATCH_ITEMS *SNUG_TASK_CHOICES_MAX <= SNUG_SCORE_ITEMS_MAX, "partial items fit");
_Static_assert(SNUG_TASK_CHOICES_MAX <= SNUG_SCORE_CHOICES_MAX, "an item fits");
_Static_assert(2 * SNUG_TASK_TEXT_MAX + 64 <= SNUG_SCORE_TEXT_MAX, "a context fits");

/* A batch on its way. A partial item takes one request item per choice: context + choice is the
 * context, and the continuation is the only choice. */
struct run {
    const struct snug_task_file *file;
    struct snug_task_result *result;
    struct snug_arena arena; /* texts of partial items, of one batch */
    const struct snug_task_item *batch[BATCH_ITEMS];
    int n_batch;
    struct snug_score_item *ask; /* SNUG_SCORE_ITEMS_MAX */
    struct snug_item_scores *got;
    const struct snug_task_item *asked_by[SNUG_SCORE_ITEMS_MAX];
    size_t n_ask;
    int n_correct, n_correct_norm;
    double chance_sum;
};

int snug_task_choose(const struct snug_item_scores *scores, bool is_norm)
{
    int best = 0;
    double most = -INFINITY;
    for (int i = 0; i < scores->n_choices; i++) {
        const struct snug_score *s = &scores->choices[i];
        const double value =
            is_norm ? s->log_prob / (s->n_bytes > 0 ? s->n_bytes : 1) : s->log_prob;
        if (value > most) {
            most = value;
            best = i;
        }
    }
    return best;
}

struct snug_estimate snug_task_accuracy(int n_correct, int n)
{
    if (n < 1)
        return (struct snug_estimate){NAN, NAN};
    const double p = (double)n_correct / n;
    return (struct snug_estimate){p, n > 1 ? sqrt(p * (1.0 - p) / (n - 1)) : (double)NAN};
}

static snug_status put_partial(struct run *r, const struct snug_task_item *item,
                               struct snug_error *err)
{
    for (int i = 0; i < item->n_choices; i++) {
        const char *context = snug_arena_printf(&r->arena, "%s%s", item->context, item->choices[i]);
        if (!context)
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for a request");
        r->asked_by[r->n_ask] = item;
        r->ask[r->n_ask++] = (struct snug_score_item){context, &item->continuation, 1};
    }
    return SNUG_OK;
}

static snug_status put_item(struct run *r, const struct snug_task_item *item,
                            struct snug_error *err)
{
    r->batch[r->n_batch++] = item;
    if (item->is_partial)
        return put_partial(r, item, err);
    r->asked_by[r->n_ask] = item;
    r->ask[r->n_ask++] = (struct snug_score_item){item->context, item->choices, item->n_choices};
    return SNUG_OK;
}

static void count(struct run *r, const struct snug_task_item *item,
                  const struct snug_item_scores *scores)
{
    struct snug_task_result *result = r->result;
    r->n_correct += snug_task_choose(scores, false) == item->i_answer;
    r->n_correct_norm += snug_task_choose(scores, true) == item->i_answer;
    r->chance_sum += 1.0 / item->n_choices;
    result->n_cut += scores->n_cut_tokens > 0;
    result->n_scored++;
    result->accuracy = snug_task_accuracy(r->n_correct, result->n_scored);
    result->accuracy_norm = snug_task_accuracy(r->n_correct_norm, result->n_scored);
    result->chance_frac = r->chance_sum / result->n_scored;
}

static void take_batch(struct run *r)
{
    size_t at = 0;
    for (int i = 0; i < r->n_batch; i++) {
        const struct snug_task_item *item = r->batch[i];
        struct snug_item_scores scores = r->got[at];
        if (item->is_partial) {
            scores.n_choices = item->n_choices;
            for (int k = 0; k < item->n_choices; k++) {
                const struct snug_item_scores *one = &r->got[at + (size_t)k];
                scores.choices[k] = one->choices[0];
                if (one->n_cut_tokens > scores.n_cut_tokens)
                    scores.n_cut_tokens = one->n_cut_tokens;
            }
        }
        at += item->is_partial ? (size_t)item->n_choices : 1;
        count(r, item, &scores);
    }
}

/* The worker names the item by its place in the request: say where it stands in the file. */
static snug_status fail_item(const struct run *r, snug_status status, struct snug_error *err)
{
    size_t i = 0;
    int n = 0;
    if (!err || sscanf(err->text, "item %zu: %n", &i, &n) != 1 || n == 0 || i >= r->n_ask)
        return status;
    char words[SNUG_ERROR_TEXT_MAX];
    snprintf(words, sizeof words, "%s", err->text + n);
    return snug_fail(err, status, "%s:%lld: %s", r->file->name, (long long)r->asked_by[i]->line,
                     words);
}

static snug_status flush(struct run *r, struct snug_scorer *scorer, const struct snug_space *space,
                         const struct snug_config *config, struct snug_error *err)
{
    if (r->n_ask == 0)
        return SNUG_OK;
    const snug_status status = snug_score_run(scorer, space, config, r->ask, r->n_ask, r->got, err);
    if (status == SNUG_OK)
        take_batch(r);
    const snug_status result = status == SNUG_OK ? status : fail_item(r, status, err);
    r->n_batch = 0;
    r->n_ask = 0;
    snug_arena_clear(&r->arena);
    return result;
}

static void skip(struct run *r, const struct snug_task_item *item)
{
    struct snug_task_result *result = r->result;
    if (result->n_unanswerable < SNUG_TASK_LINES_KEPT)
        result->unanswerable_lines[result->n_unanswerable] = item->line;
    result->n_unanswerable++;
}

snug_status snug_task_run(struct snug_scorer *scorer, const struct snug_space *space,
                          const struct snug_config *config, const struct snug_task_file *file,
                          const struct snug_task_options *options, struct snug_task_result *out,
                          struct snug_error *err)
{
    struct snug_task_result result = {.shape = file->shape, .n_items = file->n_items};
    struct run r = {.file = file, .result = &result};
    const int n =
        options->n_max > 0 && options->n_max < file->n_items ? options->n_max : file->n_items;
    const double start = snug_clock_s();
    result.n_asked = n;
    snprintf(result.name, sizeof result.name, "%s", file->name);
    snprintf(result.hash, sizeof result.hash, "%s", file->hash);
    result.accuracy = result.accuracy_norm = snug_task_accuracy(0, 0);
    r.ask = calloc(SNUG_SCORE_ITEMS_MAX, sizeof *r.ask);
    r.got = calloc(SNUG_SCORE_ITEMS_MAX, sizeof *r.got);
    snug_status status =
        r.ask && r.got ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "no memory for a task");
    for (int i = 0; i < n && status == SNUG_OK; i++) {
        const struct snug_task_item *item = &file->items[i];
        if (item->i_answer < 0)
            skip(&r, item);
        else
            status = put_item(&r, item, err);
        if (status == SNUG_OK && (r.n_batch == BATCH_ITEMS || i + 1 == n)) {
            status = flush(&r, scorer, space, config, err);
            if (status == SNUG_OK && options->progress)
                options->progress(i + 1, n, result.accuracy.value, options->progress_data);
        }
    }
    result.wall_s = snug_clock_s() - start;
    /* What was scored before the user had enough is a result too. */
    result.is_interrupted = status == SNUG_INTERRUPTED;
    if (result.is_interrupted)
        status = SNUG_OK;
    if (status == SNUG_OK)
        *out = result;
    snug_arena_clear(&r.arena);
    free(r.ask);
    free(r.got);
    return status;
}

static void put_estimate(struct snug_json_writer *w, const char *key,
                         const struct snug_estimate *estimate)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "value", estimate->value);
    snug_json_put_number(w, "se", estimate->se);
    snug_json_end(w);
}

void snug_task_result_to_json(struct snug_json_writer *w, const char *key,
                              const struct snug_task_result *result)
{
    snug_json_begin_object(w, key);
    snug_json_put_string(w, "name", result->name);
    snug_json_put_string(w, "hash", result->hash);
    snug_json_put_string(w, "shape", snug_task_shape_name(result->shape));
    snug_json_put_int(w, "n_items", result->n_items);
    snug_json_put_int(w, "n_asked", result->n_asked);
    snug_json_put_bool(w, "is_interrupted", result->is_interrupted);
    snug_json_put_int(w, "n_scored", result->n_scored);
    snug_json_put_int(w, "n_unanswerable", result->n_unanswerable);
    snug_json_begin_array(w, "unanswerable_lines");
    for (int i = 0; i < result->n_unanswerable && i < SNUG_TASK_LINES_KEPT; i++)
        snug_json_put_int(w, NULL, result->unanswerable_lines[i]);
    snug_json_end(w);
    snug_json_put_int(w, "n_cut", result->n_cut);
    put_estimate(w, "accuracy", &result->accuracy);
    put_estimate(w, "accuracy_norm", &result->accuracy_norm);
    snug_json_put_number(w, "chance_frac", result->chance_frac);
    snug_json_put_number(w, "wall_s", result->wall_s);
    snug_json_end(w);
}
