/* Measures of text: words, edits, n-grams, subsequences. Rows of dynamic programs, two at a time.
 */
#include "lab/text_measures.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double BLEU_EPSILON = 0.1;
#define BLEU_ORDER 4

/* ---- words ---- */

struct words {
    char *text; /* lower case, cut up */
    const char **word;
    size_t n;
};

static bool is_letter(unsigned char c)
{
    return isalnum(c) || c > 127 || c == '_';
}

static bool split(const char *text, struct words *out)
{
    const size_t n = strnlen(text, SNUG_MEASURE_BYTES_MAX);
    /* Every word may be one byte, and each needs its end. */
    out->text = malloc(2 * n + 1);
    out->word = calloc(SNUG_MEASURE_WORDS_MAX, sizeof *out->word);
    out->n = 0;
    if (!out->text || !out->word)
        return false;
    char *to = out->text;
    for (size_t i = 0; i < n && out->n < SNUG_MEASURE_WORDS_MAX;) {
        const unsigned char c = (unsigned char)text[i];
        if (isspace(c)) {
            i++;
            continue;
        }
        out->word[out->n++] = to;
        do {
            *to++ = (char)tolower((unsigned char)text[i++]);
        } while (is_letter(c) && i < n && is_letter((unsigned char)text[i]));
        *to++ = '\0';
    }
    return true;
}

static void words_clear(struct words *w)
{
    free(w->text);
    free(w->word);
}

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool same_words(const struct words *a, const struct words *b)
{
    bool is_same = a->n == b->n;
    for (size_t i = 0; i < a->n && is_same; i++)
        is_same = strcmp(a->word[i], b->word[i]) == 0;
    return is_same;
}

/* Sorted in place, twins dropped. */
static size_t make_set(const char **word, size_t n)
{
    size_t n_set = 0;
    qsort(word, n, sizeof *word, compare_words);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(word[i], word[n_set - 1]) != 0)
            word[n_set++] = word[i];
    }
    return n_set;
}

static double jaccard(struct words *a, struct words *b)
{
    const size_t n_a = make_set(a->word, a->n), n_b = make_set(b->word, b->n);
    size_t n_both = 0;
    for (size_t i = 0, j = 0; i < n_a && j < n_b;) {
        const int order = strcmp(a->word[i], b->word[j]);
        n_both += order == 0;
        i += order <= 0;
        j += order >= 0;
    }
    const size_t n_either = n_a + n_b - n_both;
    return n_either ? (double)n_both / (double)n_either : 1.0;
}

/* ---- edits ---- */

/* Code points; a byte that begins none is one of its own. */
static uint32_t *decode(const char *text, size_t *out_n)
{
    const size_t n = strnlen(text, SNUG_MEASURE_BYTES_MAX);
    uint32_t *points = malloc((n + 1) * sizeof *points);
    size_t n_points = 0;
    for (size_t i = 0; points && i < n;) {
        size_t length = snug_utf8_length((const unsigned char *)text + i);
        if (length == 0 || i + length > n)
            length = 1;
        uint32_t point = 0;
        for (size_t k = 0; k < length; k++)
            point = point << 8 | (unsigned char)text[i + k];
        points[n_points++] = point;
        i += length;
    }
    *out_n = n_points;
    return points;
}

static double levenshtein(const char *a, const char *b)
{
    size_t n_a = 0, n_b = 0;
    uint32_t *x = decode(a, &n_a), *y = decode(b, &n_b);
    uint32_t *row = malloc((n_b + 1) * sizeof *row);
    double similarity = NAN;
    if (x && y && row) {
        for (size_t j = 0; j <= n_b; j++)
            row[j] = (uint32_t)j;
        for (size_t i = 1; i <= n_a; i++) {
            uint32_t diagonal = row[0];
            row[0] = (uint32_t)i;
            for (size_t j = 1; j <= n_b; j++) {
                const uint32_t change = diagonal + (x[i - 1] != y[j - 1]);
                const uint32_t step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
                diagonal = row[j];
                row[j] = change < step ? change : step;
            }
        }
        const size_t longer = n_a > n_b ? n_a : n_b;
        similarity = longer ? 1.0 - (double)row[n_b] / (double)longer : 1.0;
    }
    free(x);
    free(y);
    free(row);
    return similarity;
}

/* ---- subsequences and n-grams ---- */

static double rouge_l(const struct words *a, const struct words *b)
{
    if (a->n == 0 || b->n == 0)
        return a->n == b->n;
    uint32_t *row = calloc(b->n + 1, sizeof *row);
    if (!row)
        return NAN;
    for (size_t i = 0; i < a->n; i++) {
        uint32_t diagonal = 0;
        for (size_t j = 1; j <= b->n; j++) {
            const uint32_t above = row[j];
            if (strcmp(a->word[i], b->word[j - 1]) == 0)
                row[j] = diagonal + 1;
            else if (row[j - 1] > row[j])
                row[j] = row[j - 1];
            diagonal = above;
        }
    }
    const double common = (double)row[b->n];
    free(row);
    const double precision = common / (double)a->n, recall = common / (double)b->n;
    return common > 0.0 ? 2.0 * precision * recall / (precision + recall) : 0.0;
}

static bool same_gram(const char *const *a, const char *const *b, size_t order)
{
    for (size_t i = 0; i < order; i++) {
        if (strcmp(a[i], b[i]) != 0)
            return false;
    }
    return true;
}

/* How many n-grams of the answer stand in the reference, each of the reference's used once. */
static size_t matches(const struct words *a, const struct words *b, size_t order, bool *is_used)
{
    size_t n = 0;
    memset(is_used, 0, b->n * sizeof *is_used);
    for (size_t i = 0; i + order <= a->n; i++) {
        for (size_t j = 0; j + order <= b->n; j++) {
            if (!is_used[j] && same_gram(a->word + i, b->word + j, order)) {
                is_used[j] = true;
                n++;
                break;
            }
        }
    }
    return n;
}

static double bleu(const struct words *a, const struct words *b)
{
    if (a->n == 0 || b->n == 0)
        return a->n == b->n;
    bool *is_used = malloc(b->n * sizeof *is_used);
    if (!is_used)
        return NAN;
    double sum = 0.0;
    for (size_t order = 1; order <= BLEU_ORDER; order++) {
        const size_t n = a->n >= order ? a->n - order + 1 : 0;
        const size_t n_found = n ? matches(a, b, order, is_used) : 0;
        /* A text too short for an n-gram has none: counted as one that is not found. */
        const double total = n ? (double)n : 1.0;
        sum += log((n_found ? (double)n_found : BLEU_EPSILON) / total);
    }
    free(is_used);
    const double brevity = a->n >= b->n ? 1.0 : exp(1.0 - (double)b->n / (double)a->n);
    return brevity * exp(sum / BLEU_ORDER);
}

void snug_text_measure(const char *answer, const char *reference, struct snug_text_measures *out)
{
    struct words a = {.text = NULL}, b = {.text = NULL};
    *out = (struct snug_text_measures){NAN, NAN, NAN, NAN, NAN, NAN};
    const bool is_split = split(answer, &a), has_both = split(reference, &b) && is_split;
    out->exact = strcmp(answer, reference) == 0;
    out->levenshtein = levenshtein(answer, reference);
    if (has_both) {
        out->exact_words = same_words(&a, &b);
        out->bleu = bleu(&a, &b);
        out->rouge_l = rouge_l(&a, &b);
        out->jaccard = jaccard(&a, &b); /* last: it sorts */
    }
    words_clear(&a);
    words_clear(&b);
}

/* ---- JSON ---- */

static struct snug_json *parse(const char *text)
{
    struct snug_json *doc = NULL;
    return snug_json_parse("answer", text, strlen(text), &doc, NULL) == SNUG_OK ? doc : NULL;
}

double snug_json_validity(const char *answer)
{
    struct snug_json *doc = parse(answer);
    snug_json_free(doc);
    return doc != NULL;
}

static bool is_filled(const struct snug_json_node *node)
{
    if (snug_json_is_string(node))
        return snug_json_string(node, "")[0] != '\0';
    return snug_json_is_number(node) || snug_json_is_array(node) || snug_json_is_object(node) ||
           snug_json_bool(node, false) == snug_json_bool(node, true);
}

double snug_json_required(const char *answer, const char *const *fields)
{
    struct snug_json *doc = parse(answer);
    const struct snug_json_node *root = snug_json_root(doc);
    double sum = 0.0;
    int n = 0;
    for (; fields[n]; n++) {
        const struct snug_json_node *node = snug_json_get(root, fields[n]);
        sum += !node ? 0.0 : is_filled(node) ? 1.0 : 0.5;
    }
    const bool is_object = snug_json_is_object(root);
    snug_json_free(doc);
    return !is_object ? 0.0 : n ? sum / n : 1.0;
}

/* ---- tool calls ---- */

static const struct snug_json_node *calls_of(const struct snug_json_node *root)
{
    return snug_json_is_array(root) ? root : snug_json_get(root, "tool_calls");
}

/* {"name", "arguments"}, or OpenAI's {"function": {...}}. */
static const struct snug_json_node *call_at(const struct snug_json_node *calls, size_t i)
{
    const struct snug_json_node *call = snug_json_at(calls, i);
    const struct snug_json_node *function = snug_json_get(call, "function");
    return function ? function : call;
}

/* Arguments as an object; those that come as a text are parsed into *out_doc. */
static const struct snug_json_node *arguments_of(const struct snug_json_node *call,
                                                 struct snug_json **out_doc)
{
    const struct snug_json_node *arguments = snug_json_get(call, "arguments");
    *out_doc = snug_json_is_string(arguments) ? parse(snug_json_string(arguments, "")) : NULL;
    return *out_doc ? snug_json_root(*out_doc) : arguments;
}

static bool same_value(const struct snug_json_node *a, const struct snug_json_node *b)
{
    struct snug_json_writer w = {0}, v = {0};
    snug_json_begin_array(&w, NULL);
    snug_json_put_node(&w, NULL, a);
    snug_json_end(&w);
    snug_json_begin_array(&v, NULL);
    snug_json_put_node(&v, NULL, b);
    snug_json_end(&v);
    char *x = snug_json_finish(&w, false), *y = snug_json_finish(&v, false);
    const bool is_same = x && y && strcmp(x, y) == 0;
    free(x);
    free(y);
    return is_same || (snug_json_is_number(a) && snug_json_is_number(b) &&
                       snug_json_number(a, 0.0) == snug_json_number(b, 1.0));
}

static void pair(const struct snug_json_node *mine, const struct snug_json_node *theirs,
                 struct snug_tool_measures *sum)
{
    struct snug_json *docs[2];
    const struct snug_json_node *a = arguments_of(mine, &docs[0]);
    const struct snug_json_node *b = arguments_of(theirs, &docs[1]);
    const size_t n_a = snug_json_count(a), n_b = snug_json_count(b);
    size_t n_keys = 0, n_values = 0;
    const char *key = NULL;
    const struct snug_json_node *value = NULL;
    for (size_t i = 0; snug_json_member(b, i, &key, &value); i++) {
        const struct snug_json_node *other = snug_json_get(a, key);
        n_keys += other != NULL;
        n_values += other && same_value(other, value);
    }
    const size_t n_either = n_a + n_b - n_keys;
    sum->names += strcmp(snug_json_get_string(mine, "name", ""),
                         snug_json_get_string(theirs, "name", "?")) == 0;
    sum->structure += n_either ? (double)n_keys / (double)n_either : 1.0;
    sum->values += n_b ? (double)n_values / (double)n_b : 1.0;
    snug_json_free(docs[0]);
    snug_json_free(docs[1]);
}

void snug_tool_measure(const char *answer, const struct snug_json_node *reference,
                       struct snug_tool_measures *out)
{
    struct snug_json *doc = parse(answer);
    const struct snug_json_node *mine = calls_of(snug_json_root(doc));
    const struct snug_json_node *theirs = calls_of(reference);
    const size_t n_mine = snug_json_count(mine), n_theirs = snug_json_count(theirs);
    const size_t longer = n_mine > n_theirs ? n_mine : n_theirs;
    *out = (struct snug_tool_measures){0};
    if (longer == 0 && doc) {
        *out = (struct snug_tool_measures){1.0, 1.0, 1.0, 1.0};
    } else if (longer > 0) {
        for (size_t i = 0; i < n_mine && i < n_theirs; i++)
            pair(call_at(mine, i), call_at(theirs, i), out);
        out->count = n_mine == n_theirs;
        out->names /= (double)longer;
        out->structure /= (double)longer;
        out->values /= (double)longer;
    }
    snug_json_free(doc);
}
