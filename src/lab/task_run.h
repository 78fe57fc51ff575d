/* Running a multiple-choice task: every item that has an answer is scored, and the choice with the
 * largest log-probability is what the model chose. */
#ifndef SNUG_LAB_TASK_RUN_H
#define SNUG_LAB_TASK_RUN_H

#include "base/json.h"
#include "lab/task_file.h"
#include "snug/quality.h"
#include "snug/score.h"

struct snug_task_result {
    char name[128]; /* of the file */
    char hash[65];
    enum snug_task_shape shape;
    int n_items;         /* in the file */
    int n_asked;         /* of them, the first so many were wanted */
    bool is_interrupted; /* the user stopped it: what follows is of the items scored until then */
    int n_scored;        /* accuracies are over these */
    int n_unanswerable;  /* among the items that were looked at: not scored, not wrong */
    int64_t unanswerable_lines[SNUG_TASK_LINES_KEPT];
    int n_cut; /* scored items whose context was cut to fit */
    /* Share of items whose answer has the largest log-probability; and the largest per byte of the
     * choice (acc_norm). For winogrande both are the same. se = sqrt(p (1 - p) / (n - 1)), NAN for
     * n = 1. */
    struct snug_estimate accuracy, accuracy_norm;
    double chance_frac; /* mean of 1 / n_choices: what guessing reaches */
    double wall_s;      /* scoring, load included */
};

struct snug_task_options {
    int n_max; /* only the first so many items of the file; 0: all */
    void (*progress)(int n_done, int n, double accuracy, void *data); /* may be NULL */
    void *progress_data;
};

/* The index of the largest log-probability, of the first of equals; per byte when is_norm. */
int snug_task_choose(const struct snug_item_scores *scores, bool is_norm);
/* p with its standard error over n trials. */
struct snug_estimate snug_task_accuracy(int n_correct, int n);

/* Ends OK also when the user stopped it: is_interrupted, and the figures are of whole batches until
 * then (n_scored 0 and NAN, where there was none).
 * Errors  those of snug_score_run, with FILE:LINE of the item where it is of one item */
snug_status snug_task_run(struct snug_scorer *scorer, const struct snug_space *space,
                          const struct snug_config *config, const struct snug_task_file *file,
                          const struct snug_task_options *options, struct snug_task_result *out,
                          struct snug_error *err) SNUG_CHECKED;

void snug_task_result_to_json(struct snug_json_writer *w, const char *key,
                              const struct snug_task_result *result);

#endif
