/* How near a generated answer is to a reference: measures of text, JSON and tool calls, all
 * computed here. Words are runs of letters, digits and bytes above 127, lower case in ASCII; every
 * other mark but white space is a word of its own.
 *
 * Source: Levenshtein (1966); Papineni et al., BLEU (ACL 2002) with the smoothing of Chen and
 * Cherry (WMT 2014), method 1; Lin, ROUGE (ACL 2004), section 3, ROUGE-L with beta = 1. */
#ifndef SNUG_LAB_TEXT_MEASURES_H
#define SNUG_LAB_TEXT_MEASURES_H

#include "base/json.h"
#include "snug/base.h"

/* Longer texts are cut: Levenshtein and ROUGE-L cost the product of both lengths. */
#define SNUG_MEASURE_BYTES_MAX 65536
#define SNUG_MEASURE_WORDS_MAX 8192

/* All from 0 to 1, 1 for equal texts. NAN when memory is out. */
struct snug_text_measures {
    double exact;       /* byte for byte */
    double exact_words; /* the same words in the same order: case and white space aside */
    double jaccard;     /* |A and B| / |A or B| of the sets of words; 1 when both are empty */
    double levenshtein; /* 1 - edits / longer length, in UTF-8 characters */
    double bleu;        /* up to 4-grams; a precision of 0 counts as 0.1 / n; brevity penalty */
    double rouge_l;     /* F1 of the longest common subsequence of words */
};
void snug_text_measure(const char *answer, const char *reference, struct snug_text_measures *out);

/* 1 when the text, white space aside, is one JSON value. */
double snug_json_validity(const char *answer);
/* Of the fields named (NULL at the end), the share that the JSON object has: present and not null
 * counts 1, present but null or an empty text counts 0.5. 0 when it is no object; 1 for no fields.
 */
double snug_json_required(const char *answer, const char *const *fields);

/* Tool calls: an array of {"name": .., "arguments": {..}}, or an object that holds it as
 * "tool_calls" (arguments may be a JSON text, as in OpenAI's form). Pairs are by position. */
struct snug_tool_measures {
    double count; /* 1 when both have as many calls */
    double names; /* share of positions with the same name, of the longer list */
    double
        structure; /* mean over calls of the longer list of |keys in common| / |keys of either| */
    double values; /* likewise of the share of the reference's arguments with equal value */
};
/* 0 all through when the answer is no such JSON; 1 when neither has a call. */
void snug_tool_measure(const char *answer, const struct snug_json_node *reference,
                       struct snug_tool_measures *out);

#endif
