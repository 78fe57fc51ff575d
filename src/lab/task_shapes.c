/* The shapes of multiple-choice items, worded as in lm-evaluation-harness (its files piqa.yaml,
 * arc_easy.yaml, openbookqa.yaml, winogrande/preprocess_winogrande.py, hellaswag/utils.py). */
#include "lab/task_shapes.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

/* An item as it is read: where texts go and what errors begin with. */
struct maker {
    struct snug_arena *arena;
    const char *place;
    struct snug_error *err;
    struct snug_task_item item;
    const struct snug_json_node *label; /* what tells the answer, for the words of a refusal */
    const char *choices[SNUG_TASK_CHOICES_MAX];
};

static snug_status fail(const struct maker *m, const char *what)
{
    return snug_fail(m->err, SNUG_BAD_INPUT, "%s: %s", m->place, what);
}

/* ---- texts ---- */

struct span {
    const char *text;
    size_t n;
};

static struct span trim(const char *text, size_t n)
{
    while (n > 0 && isspace((unsigned char)*text)) {
        text++;
        n--;
    }
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    return (struct span){text, n};
}

/* head + text + tail in the arena; NULL with an error when it is empty or too long. */
static const char *join(const struct maker *m, const char *head, struct span text, const char *tail)
{
    if (text.n == 0) {
        fail(m, "an empty question or choice");
        return NULL;
    }
    if (text.n > SNUG_TASK_TEXT_MAX) {
        snug_fail(m->err, SNUG_BAD_INPUT, "%s: a text of %zu bytes, at most %u are taken", m->place,
                  text.n, SNUG_TASK_TEXT_MAX);
        return NULL;
    }
    const char *made = snug_arena_printf(m->arena, "%s%.*s%s", head, (int)text.n, text.text, tail);
    if (!made)
        snug_fail(m->err, SNUG_NO_MEMORY, "%s: no memory for an item", m->place);
    return made;
}

/* The status of the error that join has set. */
static snug_status kept_failure(const struct maker *m)
{
    return m->err->status;
}

static struct span string_of(const struct snug_json_node *node)
{
    const char *text = snug_json_string(node, "");
    return trim(text, strlen(text));
}

static snug_status set_context(struct maker *m, const char *head, struct span text,
                               const char *tail)
{
    m->item.context = join(m, head, text, tail);
    return m->item.context ? SNUG_OK : kept_failure(m);
}

static snug_status add_choice(struct maker *m, const char *head, struct span text)
{
    if (m->item.n_choices == SNUG_TASK_CHOICES_MAX)
        return snug_fail(m->err, SNUG_BAD_INPUT, "%s: more than %d choices in one item", m->place,
                         SNUG_TASK_CHOICES_MAX);
    const char *made = join(m, head, text, "");
    if (!made)
        return kept_failure(m);
    m->choices[m->item.n_choices++] = made;
    return SNUG_OK;
}

/* No label, null, an empty text and -1 (as in hidden test sets) tell no answer; what is there but
 * names no choice is refused once the choices are counted. */
enum { NO_ANSWER = -1, BAD_ANSWER = -2 };

static bool is_no_label(const struct snug_json_node *node)
{
    return !node || (snug_json_is_string(node) ? string_of(node).n == 0 : snug_json_is_null(node));
}

static int index_from(int64_t value, int base)
{
    return value < base || value - base >= SNUG_TASK_CHOICES_MAX ? BAD_ANSWER : (int)(value - base);
}

/* A label as number or as text of one, counted from `base`. */
static void take_index(struct maker *m, const struct snug_json_node *node, int base)
{
    const struct span text = string_of(node);
    m->label = node;
    m->item.i_answer = NO_ANSWER;
    if (is_no_label(node))
        return;
    int64_t value = INT64_MIN;
    if (snug_json_is_number(node) && snug_json_number(node, 0.5) == (double)snug_json_int(node, 0))
        value = snug_json_int(node, INT64_MIN);
    if (snug_json_is_string(node)) {
        char *end = NULL;
        value = strtol(text.text, &end, 10);
        if (end != text.text + text.n)
            value = INT64_MIN;
    }
    m->item.i_answer = value == -1 ? NO_ANSWER : index_from(value, base);
}

static snug_status refuse_label(const struct maker *m)
{
    char number[32] = "of another kind";
    const struct span text = string_of(m->label);
    if (snug_json_is_number(m->label))
        snprintf(number, sizeof number, "%.12g", snug_json_number(m->label, 0.0));
    const bool is_text = snug_json_is_string(m->label);
    return snug_fail(m->err, SNUG_BAD_INPUT, "%s: the answer '%.*s' names none of the %d choices",
                     m->place, is_text ? (int)(text.n < 40 ? text.n : 40) : 32,
                     is_text ? text.text : number, m->item.n_choices);
}

/* ---- shapes ---- */

static snug_status read_piqa(struct maker *m, const struct snug_json_node *node)
{
    snug_status status =
        set_context(m, "Question: ", string_of(snug_json_get(node, "goal")), "\nAnswer:");
    if (status == SNUG_OK)
        status = add_choice(m, " ", string_of(snug_json_get(node, "sol1")));
    if (status == SNUG_OK)
        status = add_choice(m, " ", string_of(snug_json_get(node, "sol2")));
    take_index(m, snug_json_get(node, "label"), 0);
    return status;
}

/* Labels are texts or whole numbers; n = 0 for anything else. */
static struct span label_text(const struct snug_json_node *node, char number[32])
{
    if (!snug_json_is_number(node))
        return string_of(node);
    snprintf(number, 32, "%lld", (long long)snug_json_int(node, -1));
    return (struct span){number, strlen(number)};
}

static bool is_label(const struct snug_json_node *label, struct span key)
{
    char number[32];
    const struct span text = label_text(label, number);
    return key.n > 0 && text.n == key.n && memcmp(text.text, key.text, key.n) == 0;
}

static snug_status read_choices(struct maker *m, const struct snug_json_node *choices,
                                const struct snug_json_node *answer)
{
    char number[32];
    const struct span key = label_text(answer, number);
    m->label = answer;
    m->item.i_answer = is_no_label(answer) ? NO_ANSWER : BAD_ANSWER;
    const struct snug_json_node *texts = snug_json_get(choices, "text");
    const struct snug_json_node *labels = snug_json_get(choices, "label");
    const struct snug_json_node *list = snug_json_is_array(choices) ? choices : texts;
    if (!snug_json_is_array(list))
        return fail(m, "choices: expected {\"text\": [..], \"label\": [..]} or a list of {text, "
                       "label}");
    const size_t n = snug_json_count(list);
    bool has_labels = false;
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *one = snug_json_at(list, i);
        const struct snug_json_node *text =
            snug_json_is_object(one) ? snug_json_get(one, "text") : one;
        const struct snug_json_node *label =
            snug_json_is_object(one) ? snug_json_get(one, "label") : snug_json_at(labels, i);
        const snug_status status = add_choice(m, " ", string_of(text));
        if (status != SNUG_OK)
            return status;
        has_labels = has_labels || label;
        if (is_label(label, key))
            m->item.i_answer = (int)i;
    }
    if (!has_labels && key.n == 1 && isalnum((unsigned char)key.text[0])) {
        const int c = toupper((unsigned char)key.text[0]);
        m->item.i_answer = isdigit(c) ? index_from(c - '0', 1) : index_from(c, 'A');
    }
    return SNUG_OK;
}

static snug_status read_arc(struct maker *m, const struct snug_json_node *node)
{
    const struct snug_json_node *question = snug_json_get(node, "question");
    const bool is_nested = snug_json_is_object(question);
    const struct snug_json_node *text = is_nested ? snug_json_get(question, "stem") : question;
    const struct snug_json_node *choices = snug_json_get(is_nested ? question : node, "choices");
    const snug_status status = set_context(m, "Question: ", string_of(text), "\nAnswer:");
    return status == SNUG_OK ? read_choices(m, choices, snug_json_get(node, "answerKey")) : status;
}

/* As tables (question_stem) and as published (question.stem, told from ARC by fact1). */
static snug_status read_openbookqa(struct maker *m, const struct snug_json_node *node)
{
    const struct snug_json_node *question = snug_json_get(node, "question");
    const bool is_nested = snug_json_is_object(question);
    const struct snug_json_node *stem =
        is_nested ? snug_json_get(question, "stem") : snug_json_get(node, "question_stem");
    const struct snug_json_node *choices = snug_json_get(is_nested ? question : node, "choices");
    const snug_status status = set_context(m, "", string_of(stem), "");
    return status == SNUG_OK ? read_choices(m, choices, snug_json_get(node, "answerKey")) : status;
}

/* The context ends before the gap, and what follows the gap is scored behind each option. */
static snug_status set_gap(struct maker *m, struct span sentence)
{
    const char *gap = memchr(sentence.text, '_', sentence.n);
    if (!gap)
        return fail(m, "a sentence without the gap '_'");
    const size_t n = (size_t)(gap - sentence.text);
    const struct span rest = trim(gap + 1, sentence.n - n - 1);
    if (memchr(rest.text, '_', rest.n))
        return fail(m, "a sentence with more than one gap '_'");
    if (rest.n == 0)
        return fail(m, "nothing follows the gap '_' that could be scored");
    m->item.is_partial = true;
    m->item.context =
        n > SNUG_TASK_TEXT_MAX ? NULL : snug_arena_strndup(m->arena, sentence.text, n);
    if (n > SNUG_TASK_TEXT_MAX)
        return fail(m, "a sentence longer than 65536 bytes");
    if (!m->item.context)
        return snug_fail(m->err, SNUG_NO_MEMORY, "%s: no memory for an item", m->place);
    m->item.continuation = join(m, " ", rest, "");
    return m->item.continuation ? SNUG_OK : kept_failure(m);
}
_Static_assert(SNUG_TASK_TEXT_MAX == 65536, "the error text above says 65536");

static snug_status read_winogrande(struct maker *m, const struct snug_json_node *node)
{
    snug_status status = set_gap(m, string_of(snug_json_get(node, "sentence")));
    if (status == SNUG_OK)
        status = add_choice(m, "", string_of(snug_json_get(node, "option1")));
    if (status == SNUG_OK)
        status = add_choice(m, "", string_of(snug_json_get(node, "option2")));
    take_index(m, snug_json_get(node, "answer"), 1);
    return status;
}

/* WikiHow's marks out of a text, as the harness does: " [title]" is a full stop, any other bracket
 * goes, and doubled spaces become one. */
static void put_without_marks(struct snug_buffer *out, struct span text)
{
    static const char title[] = " [title]";
    struct snug_buffer clean = {0};
    for (size_t i = 0; i < text.n;) {
        const char *at = text.text + i;
        const char *close = *at == '[' ? memchr(at, ']', text.n - i) : NULL;
        if (text.n - i >= sizeof title - 1 && memcmp(at, title, sizeof title - 1) == 0) {
            snug_buffer_puts(&clean, ". ");
            i += sizeof title - 1;
        } else if (close) {
            i += (size_t)(close - at) + 1;
        } else {
            snug_buffer_append(&clean, at, 1);
            i++;
        }
    }
    for (size_t i = 0; i < clean.len; i++) {
        snug_buffer_append(out, clean.data + i, 1);
        if (clean.data[i] == ' ' && i + 1 < clean.len && clean.data[i + 1] == ' ')
            i++;
    }
    out->is_failed = out->is_failed || clean.is_failed;
    snug_buffer_clear(&clean);
}

/* "B then C" as a sentence's begin: first letter large, the others small, as Python's capitalize.
 */
static void put_capitalised(struct snug_buffer *out, struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        const int c = (unsigned char)text.text[i];
        const char made = (char)(i == 0 ? toupper(c) : tolower(c));
        snug_buffer_append(out, &made, 1);
    }
}

static snug_status add_marked(struct maker *m, struct span text, bool is_context)
{
    struct snug_buffer clean = {0};
    put_without_marks(&clean, text);
    snug_status status = SNUG_OK;
    const struct span made = trim(snug_buffer_text(&clean), clean.len);
    if (clean.is_failed)
        status = snug_fail(m->err, SNUG_NO_MEMORY, "%s: no memory for an item", m->place);
    else
        status = is_context ? set_context(m, "", made, "") : add_choice(m, " ", made);
    snug_buffer_clear(&clean);
    return status;
}

static snug_status read_hellaswag(struct maker *m, const struct snug_json_node *node)
{
    struct snug_buffer context = {0};
    const struct span label = string_of(snug_json_get(node, "activity_label"));
    const struct span whole = string_of(snug_json_get(node, "ctx"));
    const struct span a = string_of(snug_json_get(node, "ctx_a"));
    const struct span b = string_of(snug_json_get(node, "ctx_b"));
    if (label.n > 0) {
        snug_buffer_append(&context, label.text, label.n);
        snug_buffer_puts(&context, ": ");
    }
    if (a.n > 0) {
        snug_buffer_append(&context, a.text, a.n);
        snug_buffer_puts(&context, " ");
        put_capitalised(&context, b);
    } else {
        snug_buffer_append(&context, whole.text, whole.n);
    }
    const struct span made = trim(snug_buffer_text(&context), context.len);
    snug_status status = SNUG_OK;
    if (context.is_failed)
        status = snug_fail(m->err, SNUG_NO_MEMORY, "%s: no memory for an item", m->place);
    else if (a.n + whole.n == 0)
        status = fail(m, "no context: expected ctx, or ctx_a and ctx_b");
    else
        status = add_marked(m, made, true);
    snug_buffer_clear(&context);
    const struct snug_json_node *endings = snug_json_get(node, "endings");
    for (size_t i = 0; status == SNUG_OK && i < snug_json_count(endings); i++)
        status = add_marked(m, string_of(snug_json_at(endings, i)), false);
    take_index(m, snug_json_get(node, "label"), 0);
    return status;
}

/* "Answer2:" and so on: where it begins, or NULL. */
static const char *find_mark(const char *text, const char *word, int number, size_t *out_n)
{
    char mark[32];
    *out_n = (size_t)snprintf(mark, sizeof mark, "%s%d:", word, number);
    return strstr(text, mark);
}

/* "INTRODUCTION: Q\n\nAnswer1: T Answer2: T\n\nAnswer format: .." */
static snug_status read_llm_adapters(struct maker *m, const struct snug_json_node *node)
{
    static const char *const words[] = {"Answer", "Option", "Solution", "Ending"};
    const char *text = snug_json_get_string(node, "instruction", "");
    const struct span answer = string_of(snug_json_get(node, "answer"));
    const char *word = NULL, *mark = NULL;
    size_t n = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words && !mark; i++) {
        word = words[i];
        mark = find_mark(text, word, 1, &n);
    }
    const char *colon = strstr(text, ": ");
    if (!mark || !colon || colon >= mark)
        return fail(m, "an instruction without 'question: .. Answer1: ..' (or Option1, Solution1, "
                       "Ending1)");
    const struct span question = trim(colon + 2, (size_t)(mark - colon - 2));
    const bool is_gap = strcmp(word, "Option") == 0 && memchr(question.text, '_', question.n);
    snug_status status =
        is_gap ? set_gap(m, question) : set_context(m, "Question: ", question, "\nAnswer:");
    for (int i = 1; status == SNUG_OK && mark; i++) {
        const char *begin = mark + n;
        const char *next = find_mark(begin, word, i + 1, &n);
        const char *format = strstr(begin, "Answer format:");
        const char *end = next ? next : format ? format : begin + strlen(begin);
        status = add_choice(m, is_gap ? "" : " ", trim(begin, (size_t)(end - begin)));
        mark = next;
    }
    const size_t n_word = strlen(word);
    char *rest = NULL;
    m->label = snug_json_get(node, "answer");
    m->item.i_answer = is_no_label(m->label) ? NO_ANSWER : BAD_ANSWER;
    if (answer.n > n_word && strncasecmp(answer.text, word, n_word) == 0 &&
        isdigit((unsigned char)answer.text[n_word])) {
        const long number = strtol(answer.text + n_word, &rest, 10);
        m->item.i_answer = rest == answer.text + answer.n ? index_from(number, 1) : BAD_ANSWER;
    }
    return status;
}

static const struct {
    const char *name;
    snug_status (*read)(struct maker *m, const struct snug_json_node *node);
} SHAPES[SNUG_N_TASK_SHAPES] = {
    [SNUG_TASK_PIQA] = {"piqa", read_piqa},
    [SNUG_TASK_ARC] = {"arc", read_arc},
    [SNUG_TASK_OPENBOOKQA] = {"openbookqa", read_openbookqa},
    [SNUG_TASK_WINOGRANDE] = {"winogrande", read_winogrande},
    [SNUG_TASK_HELLASWAG] = {"hellaswag", read_hellaswag},
    [SNUG_TASK_LLM_ADAPTERS] = {"llm_adapters", read_llm_adapters},
};

/* Keys that tell a shape, all of them; the first row that fits is taken. */
static const struct {
    enum snug_task_shape shape;
    const char *keys[3];
} SIGNS[] = {
    {SNUG_TASK_PIQA, {"goal", "sol1", "sol2"}},
    {SNUG_TASK_OPENBOOKQA, {"question", "fact1"}},
    {SNUG_TASK_ARC, {"question"}},
    {SNUG_TASK_OPENBOOKQA, {"question_stem", "choices"}},
    {SNUG_TASK_WINOGRANDE, {"sentence", "option1", "option2"}},
    {SNUG_TASK_HELLASWAG, {"endings"}},
    {SNUG_TASK_LLM_ADAPTERS, {"instruction", "answer"}},
};

const char *snug_task_shape_name(enum snug_task_shape shape)
{
    return (unsigned)shape < SNUG_N_TASK_SHAPES ? SHAPES[shape].name : "?";
}

enum snug_task_shape snug__task_shape_find(const struct snug_json_node *item)
{
    for (size_t s = 0; s < sizeof SIGNS / sizeof *SIGNS; s++) {
        bool has_all = true;
        for (size_t k = 0; k < 3 && SIGNS[s].keys[k]; k++)
            has_all = has_all && snug_json_get(item, SIGNS[s].keys[k]);
        if (has_all)
            return SIGNS[s].shape;
    }
    return SNUG_N_TASK_SHAPES;
}

snug_status snug__task_item_read(struct snug_arena *arena, enum snug_task_shape shape,
                                 const struct snug_json_node *node, const char *place,
                                 struct snug_task_item *out, struct snug_error *err)
{
    struct snug_error own = {0};
    struct maker m = {.arena = arena, .place = place, .err = &own, .item = {.i_answer = -1}};
    snug_status status = SHAPES[shape].read(&m, node);
    if (status == SNUG_OK && m.item.n_choices < 2)
        status = fail(&m, "fewer than two choices");
    if (status == SNUG_OK && (m.item.i_answer == BAD_ANSWER || m.item.i_answer >= m.item.n_choices))
        status = refuse_label(&m);
    const size_t n = (size_t)m.item.n_choices;
    const char **choices = status == SNUG_OK ? snug_arena_alloc(arena, n, sizeof *choices) : NULL;
    if (status == SNUG_OK && !choices)
        status = snug_fail(&own, SNUG_NO_MEMORY, "%s: no memory for an item", place);
    if (status != SNUG_OK)
        return snug_fail(err, status, "%s", own.text);
    memcpy(choices, m.choices, n * sizeof *choices);
    m.item.choices = choices;
    *out = m.item;
    return SNUG_OK;
}
