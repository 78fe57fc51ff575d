/* Multiple-choice tasks from files that the user names: JSON lines, or one JSON array. The shape is
 * found from the keys of the first item; every item becomes a context with choices to continue it.
 * Contexts are worded as in lm-evaluation-harness, so that accuracies can be compared. */
#ifndef SNUG_LAB_TASK_FILE_H
#define SNUG_LAB_TASK_FILE_H

#include "base/arena.h"
#include "snug/base.h"

/* Caps, each tested at cap and cap + 1. */
#define SNUG_TASK_FILE_MAX (64u << 20) /* bytes of a task file, and of a file of labels */
#define SNUG_TASK_ITEMS_MAX 100000
#define SNUG_TASK_CHOICES_MAX 32
#define SNUG_TASK_TEXT_MAX (64u << 10) /* bytes of one context or choice */
#define SNUG_TASK_LINES_KEPT 16        /* places of items without an answer that are kept */

/* shape        keys                                                   context, choices
 * piqa         goal, sol1, sol2; label here or in a file of labels    "Question: G\nAnswer:", " S"
 * arc          question, choices {text: [], label: []}, answerKey;    "Question: Q\nAnswer:", " T"
 *              question {stem, choices [{text, label}]}, answerKey
 * openbookqa   question_stem, choices as above, answerKey;            "Q", " T"
 *              question {stem, choices}, fact1, answerKey
 * winogrande   sentence with one "_", option1, option2, answer        partial, see below
 * hellaswag    ctx, or ctx_a and ctx_b; endings[], label;             "L: CTX", " E"
 *              activity_label L where there is one; "[title]" marks become a full stop
 * llm_adapters instruction, answer: "...: Q Answer1: T Answer2: T"    as arc; with Option1, Option2
 *              and a "_" in Q as winogrande
 * OpenBookQA's original files without fact1 ("Main") have the keys of ARC's and are worded as
 * those: take those with it ("Additional"). */
enum snug_task_shape {
    SNUG_TASK_PIQA,
    SNUG_TASK_ARC,
    SNUG_TASK_OPENBOOKQA,
    SNUG_TASK_WINOGRANDE,
    SNUG_TASK_HELLASWAG,
    SNUG_TASK_LLM_ADAPTERS,
    SNUG_N_TASK_SHAPES
};
const char *snug_task_shape_name(enum snug_task_shape shape);

/* is_partial false: choices[i] continues the context. True (WinoGrande): choices[i] is put between
 * the context and what follows the gap, and `continuation`, the same for all, is what is scored. */
struct snug_task_item {
    const char *context;
    const char *const *choices; /* with the space that comes before them, unless is_partial */
    int n_choices;              /* 2 .. SNUG_TASK_CHOICES_MAX */
    int i_answer;               /* -1: the file tells none */
    bool is_partial;
    const char *continuation; /* NULL unless is_partial */
    int64_t line;             /* where the item begins, from 1 */
};

struct snug_task_file {
    struct snug_arena arena; /* holds everything below */
    const char *name;        /* file name without its folder */
    enum snug_task_shape shape;
    char hash[65]; /* SHA-256 of the file, then of the labels where they came from another */
    struct snug_task_item *items;
    int n_items;
    int n_unanswerable; /* never scored, never counted as wrong */
    int64_t unanswerable_lines[SNUG_TASK_LINES_KEPT];
};

/* name begins the error text, with the line. labels: text of a file with one number per line, from
 * 0, or NULL.
 * Out     *out on success only; release with snug_task_file_clear
 * Errors  SNUG_BAD_INPUT: not JSON, not UTF-8, no known shape, past a cap, empty, an answer that
 *         names none of its item's choices, or no item that has an answer */
snug_status snug_task_file_parse(const char *name, const char *text, size_t n, const char *labels,
                                 struct snug_task_file *out, struct snug_error *err) SNUG_CHECKED;
/* labels_path NULL: for PIQA, "NAME-labels.lst" or "NAME.lst" beside "NAME.jsonl", if there is
 * one and the items tell no label themselves. */
snug_status snug_task_file_read(const char *path, const char *labels_path,
                                struct snug_task_file *out, struct snug_error *err) SNUG_CHECKED;
void snug_task_file_clear(struct snug_task_file *file);

#endif
