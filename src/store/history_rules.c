/* What may stand in a history file. One table for both ways: an export writes nothing that is not
 * in it, and an import takes nothing else, so that a text with a path, a name or a host cannot slip
 * out with a field that somebody adds elsewhere. Texts are plain words: letters, digits and a few
 * signs, so that neither paths nor addresses pass. */
#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/history_file.h"

enum kind {
    NUMBER, /* finite, min to max */
    WHOLE,
    FLAG,
    WORD,  /* min to max bytes of letters, digits and . _ + - */
    WORDS, /* the same with spaces, and with , ( ) = in words or @ alone */
    OBJECT,
    LIST,  /* at most max elements */
    CONFIG /* knobs: whole numbers or words */
};

struct rule {
    const char *keys; /* between spaces; NULL: of an element */
    enum kind kind;
    double min, max;
    const struct rule *rules; /* OBJECT: of its members; LIST: one, of an element */
    size_t n_rules;
    bool is_needed;
};

#define BYTES_MAX 0x1p62
#define COUNT_MAX 0x1p31
#define FIGURE_MAX 1e18    /* bytes per second, tokens, joules: far above any */
#define UNIX_S_MAX 1e11    /* the year 5138 */
#define KEY_MAX 31         /* bytes of a member's name */
#define CONFIG_WORD_MAX 31 /* as long as a knob's value can be written */

#define N(table) (sizeof(table) / sizeof(table)[0])
#define RANGE(keys, kind, min, max)                                                                \
    {                                                                                              \
        keys, kind, min, max, NULL, 0, false                                                       \
    }
#define NEEDS(keys, kind, min, max)                                                                \
    {                                                                                              \
        keys, kind, min, max, NULL, 0, true                                                        \
    }
#define FIGURES(keys) RANGE(keys, NUMBER, 0, FIGURE_MAX)
#define COUNTS(keys) RANGE(keys, WHOLE, 0, COUNT_MAX)
#define BYTES(keys) RANGE(keys, WHOLE, 0, BYTES_MAX)
#define TEXT(keys, max) RANGE(keys, WORDS, 0, max)
#define NAME(keys, max) RANGE(keys, WORD, 0, max)
#define PART(keys, table)                                                                          \
    {                                                                                              \
        keys, OBJECT, 0, 0, table, N(table), false                                                 \
    }
#define NEEDS_PART(keys, table)                                                                    \
    {                                                                                              \
        keys, OBJECT, 0, 0, table, N(table), true                                                  \
    }
#define LISTED(keys, max, table)                                                                   \
    {                                                                                              \
        keys, LIST, 0, max, table, N(table), false                                                 \
    }

/* ---- machines: what lasts, and its limits; nothing of the moment ---- */

static const struct rule FACT[] = {RANGE("value", NUMBER, -FIGURE_MAX, FIGURE_MAX)};
static const struct rule CACHE_PARTS[] = {
    COUNTS("level n_instances"),
    BYTES("size_bytes"),
};
static const struct rule CACHE[] = {PART(NULL, CACHE_PARTS)};
static const struct rule CORE_KIND_PARTS[] = {
    NAME("name", 31),
    COUNTS("n_cores n_threads"),
    FIGURES("max_hz"),
};
static const struct rule CORE_KIND[] = {PART(NULL, CORE_KIND_PARTS)};
/* The description of an RPC device is its server's address: the colon makes it no plain word. */
static const struct rule DEVICE_PARTS[] = {
    NAME("name", 63),
    TEXT("description", 127),
    NAME("kind", 15),
    BYTES("bytes_free bytes_total"),
};
static const struct rule DEVICE[] = {PART(NULL, DEVICE_PARTS)};
static const struct rule MACHINE_FACTS[] = {
    TEXT("cpu_name", 127),
    NAME("arch", 31),
    TEXT("isa", 255),
    COUNTS("n_cores n_threads n_numa n_cpus_allowed"),
    BYTES("ram_bytes"),
    NAME("fingerprint", 64),
    RANGE("n_threads_usable n_cores_usable", WHOLE, 1, COUNT_MAX), /* others divide by them */
    NAME("mask_cores mask_performance", 131),
    PART("quota_cpus memory_limit_bytes clock_max_hz", FACT),
    LISTED("caches", 8, CACHE),
    LISTED("kinds", 4, CORE_KIND),
    LISTED("devices", 16, DEVICE),
};
static const struct rule MACHINE[] = {
    NEEDS("fingerprint", WORD, 1, 64),
    PART("facts", MACHINE_FACTS),
};

/* ---- models: the shape, without what it is called and where it lies ---- */

static const struct rule TYPE_PARTS[] = {
    NAME("type", 15),
    COUNTS("n_tensors"),
    BYTES("n_elements bytes"),
};
static const struct rule TYPE[] = {PART(NULL, TYPE_PARTS)};
static const struct rule MODEL_FACTS[] = {
    NAME("arch tokenizer", 31),
    TEXT("file_type", 31),
    NAME("hash", 64),
    RANGE("is_tied", FLAG, 0, 0),
    BYTES("n_params bytes_tensors bytes_file"),
    COUNTS("n_splits n_tensors n_layer n_embd n_ff n_head n_head_kv n_embd_head_k n_embd_head_v "
           "n_vocab n_ctx_train n_expert n_expert_used n_swa"),
    LISTED("types", 48, TYPE),
};
static const struct rule MODEL[] = {
    NEEDS("hash", WORD, 1, 64),
    PART("facts", MODEL_FACTS),
};

/* ---- tasks; machine and model: numbers of lines ---- */

static const struct rule TASK[] = {
    NEEDS("machine model n_parallel", WHOLE, 1, COUNT_MAX),
    NEEDS("build", WORDS, 1, 127),
    NEEDS("load_level", WORD, 0, 63),
    NEEDS("n_prompt n_gen n_depth n_ctx", WHOLE, 0, COUNT_MAX),
    NEEDS("workload_hash", WORD, 0, 64),
};

/* ---- trials ---- */

static const struct rule BLOCK[] = {FIGURES(NULL)};
static const struct rule WARNING[] = {NAME(NULL, 31)};
static const struct rule TRIAL_BYTES[] = {BYTES("weights cache compute device rss_peak rss_base")};
static const struct rule ENERGY[] = {
    RANGE("is_known", FLAG, 0, 0),
    FIGURES("prefill_j prefill_s decode_j decode_s idle_w uncertainty_j"),
};
static const struct rule CONDITIONS[] = {
    FIGURES("wall_s clock_hz_min clock_hz_median clock_hz_max n_thermal_events n_quota_periods "
            "n_quota_throttled throttled_s pressure_cpu_frac pressure_memory_frac "
            "pressure_io_frac other_load_frac load_average n_major_faults swapped_bytes "
            "resident_before_frac resident_frac sampler_cpu_s"),
    RANGE("temperature_c_max", NUMBER, -273, FIGURE_MAX),
    PART("energy", ENERGY),
};
static const struct rule MEASUREMENT[] = {
    NEEDS("outcome", WORD, 1, 15),
    NEEDS("started_unix_s", NUMBER, 1, UNIX_S_MAX),
    FIGURES("prefill_tps decode_tps ttft_s tpot_p50_s tpot_p95_s load_s wall_s "
            "warmup_prefill_tps warmup_decode_tps throttled_s other_load_frac load_average "
            "first_sample_s noise_frac turn_s reused_frac"),
    RANGE("n_cached_hits n_output", WHOLE, -1, COUNT_MAX),
    PART("bytes", TRIAL_BYTES),
    LISTED("prefill_block_tps decode_block_tps", SNUG_BLOCKS_MAX, BLOCK),
    LISTED("warmup_prefill_block_tps warmup_decode_block_tps", SNUG_WARMUP_BLOCKS_MAX, BLOCK),
    LISTED("warnings", 32, WARNING),
    PART("conditions", CONDITIONS),
    TEXT("build", 63),
};
static const struct rule TRIAL[] = {
    NEEDS("task", WHOLE, 1, COUNT_MAX),
    NEEDS("role", WORD, 1, 31),
    NAME("strategy", 63),
    NEEDS("config", CONFIG, 0, SNUG_KNOBS_MAX),
    RANGE("effective", CONFIG, 0, SNUG_KNOBS_MAX),
    NEEDS_PART("measurement", MEASUREMENT),
};

/* ---- noise floors, qualities, sensitivities ---- */

static const struct rule NOISE[] = {
    NEEDS("machine", WHOLE, 1, COUNT_MAX),
    NEEDS("build", WORDS, 1, 127),
    NEEDS("frac", NUMBER, 0, 1),
    NEEDS("n_blocks", WHOLE, 0, COUNT_MAX),
    NEEDS("seen_unix_s", NUMBER, 0, UNIX_S_MAX),
};

static const struct rule ESTIMATE[] = {
    RANGE("value", NUMBER, -FIGURE_MAX, FIGURE_MAX),
    FIGURES("se"),
};
/* Without reference_name, which is a file's. */
static const struct rule QUALITY_FIGURES[] = {
    COUNTS("n_chunks"),
    BYTES("n_tokens"),
    PART("nll perplexity bits_per_byte kld_mean same_top_frac dp_rms_frac", ESTIMATE),
    RANGE("kld_median kld_p99 kld_max floor_kld", NUMBER, -FIGURE_MAX, FIGURE_MAX),
    FIGURES("floor_flip_frac wall_s tokens_per_s"),
};
static const struct rule QUALITY[] = {
    NEEDS("model n_ctx", WHOLE, 1, COUNT_MAX), NEEDS("build", WORDS, 1, 127),
    NEEDS("type_k type_v", WORD, 0, 15),       NEEDS("text_hash", WORD, 1, 64),
    NEEDS("reference_hash", WORD, 0, 64),      NEEDS("seen_unix_s", NUMBER, 0, UNIX_S_MAX),
    NEEDS_PART("figures", QUALITY_FIGURES),
};

/* By hash, as the store has it: true wherever the model lies. */
static const struct rule SENSITIVITY[] = {
    NEEDS("model_hash text_hash", WORD, 1, 64),
    NEEDS("imatrix_hash", WORD, 0, 64),
    NEEDS("build", WORDS, 1, 127),
    NEEDS("tensors", WORDS, 1, 63),
    NEEDS("type", WORD, 1, 15),
    NEEDS("n_ctx", WHOLE, 1, COUNT_MAX),
    NEEDS("n_chunks", WHOLE, 0, COUNT_MAX),
    NEEDS("kld", NUMBER, -FIGURE_MAX, FIGURE_MAX),
    NEEDS("se", NUMBER, 0, FIGURE_MAX),
    NEEDS("seen_unix_s", NUMBER, 0, UNIX_S_MAX),
};

const struct snug__history_kind snug__history_kinds[] = {
#define KIND(name, text, counted, max) {text, counted, max},
    SNUG_HISTORY_KINDS(KIND)
#undef KIND
};

static const struct {
    const struct rule *rules;
    size_t n;
} LINES[] = {
#define LINE(name, text, counted, max) {name, N(name)},
    SNUG_HISTORY_KINDS(LINE)
#undef LINE
};

/* ---- the sieve ---- */

struct sieve {
    struct snug_json_writer w;
    bool is_strict;
    struct snug_error *err;
};

static bool is_plain(unsigned char c)
{
    return c < 128 && (isalnum(c) || (c && strchr("._+-", c)));
}

static bool is_word(const char *text, const struct rule *rule)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (!is_plain((unsigned char)text[i]))
            return false;
    return (double)n >= rule->min && (double)n <= rule->max;
}

static bool is_word_of_text(const char *word, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_plain((unsigned char)word[i]) && !strchr(",()=", word[i]))
            return n == 1 && word[0] == '@';
    return n > 0;
}

/* The words of text that may pass, between single spaces; as many as fit. */
static void keep_words(const char *text, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    for (const char *at = text; *at;) {
        const size_t gap = strspn(at, " "), len = strcspn(at + gap, " ");
        if (is_word_of_text(at + gap, len) && n + len + 2 < cap)
            n += (size_t)snprintf(out + n, cap - n, "%s%.*s", n ? " " : "", (int)len, at + gap);
        at += gap + len;
    }
}

static bool is_whole(const struct snug_json_node *node, double min, double max)
{
    const double value = snug_json_number(node, NAN);
    return value >= min && value <= max && value == floor(value);
}

static bool is_flag(const struct snug_json_node *node)
{
    return snug_json_bool(node, false) == snug_json_bool(node, true);
}

static bool is_config(const struct snug_json_node *node, const struct rule *rule)
{
    static const struct rule name = {NULL, WORD, 1, CONFIG_WORD_MAX, NULL, 0, false};
    static const struct rule value = {NULL, WORD, 0, CONFIG_WORD_MAX, NULL, 0, false};
    const char *key = NULL;
    const struct snug_json_node *member = NULL;
    if (!snug_json_is_object(node) || (double)snug_json_count(node) > rule->max)
        return false;
    for (size_t i = 0; snug_json_member(node, i, &key, &member); i++) {
        const char *text = snug_json_string(member, NULL);
        if (!is_word(key, &name) ||
            !(text ? is_word(text, &value) : is_whole(member, -0x1p53, 0x1p53)))
            return false;
    }
    return true;
}

/* Does the value itself fit? Members and elements are looked at on their own. */
static bool fits(const struct sieve *s, const struct snug_json_node *node, const struct rule *rule)
{
    const char *text = snug_json_string(node, NULL);
    const double number = snug_json_number(node, NAN);
    char kept[256];
    switch (rule->kind) {
    case NUMBER:
        return number >= rule->min && number <= rule->max;
    case WHOLE:
        return is_whole(node, rule->min, rule->max);
    case FLAG:
        return is_flag(node);
    case WORD:
        return text && is_word(text, rule);
    case WORDS:
        if (!text)
            return false;
        keep_words(text, kept, sizeof kept);
        return (double)strlen(kept) >= rule->min && (double)strlen(kept) <= rule->max &&
               (!s->is_strict || strcmp(text, kept) == 0);
    case OBJECT:
        return snug_json_is_object(node);
    case LIST:
        return snug_json_is_array(node) && (double)snug_json_count(node) <= rule->max;
    case CONFIG:
        return is_config(node, rule);
    }
    return false;
}

static snug_status fail_value(struct sieve *s, const struct rule *rule)
{
    static const char *const wants[] = {
        [NUMBER] = "a number",
        [WHOLE] = "a whole number",
        [FLAG] = "true or false",
        [WORD] = "letters, digits and . _ + - in bytes",
        [WORDS] = "plain words in bytes",
        [OBJECT] = "an object",
        [LIST] = "a list of elements",
        [CONFIG] = "an object of knobs",
    };
    if (rule->kind == FLAG || rule->kind == OBJECT)
        return snug_fail(s->err, SNUG_BAD_INPUT, "expected %s", wants[rule->kind]);
    return snug_fail(s->err, SNUG_BAD_INPUT, "expected %s, from %.15g to %.15g", wants[rule->kind],
                     rule->min, rule->max);
}

static snug_status put_value(struct sieve *s, const char *key, const struct snug_json_node *node,
                             const struct rule *rule);

static snug_status put_member(struct sieve *s, const struct snug_json_node *object, const char *key,
                              const struct rule *rule)
{
    const struct snug_json_node *node = snug_json_get(object, key);
    const bool is_there = node && !snug_json_is_null(node);
    if (!is_there && rule->is_needed)
        return snug_fail(s->err, SNUG_BAD_INPUT, "\"%s\" is missing", key);
    if (!is_there || (!s->is_strict && !rule->is_needed && !fits(s, node, rule)))
        return SNUG_OK;
    const snug_status status = put_value(s, key, node, rule);
    return status == SNUG_OK ? SNUG_OK : snug_fail_prefix(s->err, status, "\"%s\"", key);
}

/* Members in the order of the rules, into the open object. */
static snug_status put_members(struct sieve *s, const struct snug_json_node *object,
                               const struct rule *rules, size_t n)
{
    char key[KEY_MAX + 1];
    snug_status status = SNUG_OK;
    for (size_t i = 0; i < n; i++) {
        for (const char *at = rules[i].keys; *at && status == SNUG_OK; at += strspn(at, " ")) {
            const size_t len = strcspn(at, " ");
            assert(len < sizeof key);
            snprintf(key, sizeof key, "%.*s", (int)len, at);
            status = put_member(s, object, key, &rules[i]);
            at += len;
        }
    }
    return status;
}

static snug_status put_list(struct sieve *s, const char *key, const struct snug_json_node *list,
                            const struct rule *rule)
{
    const struct snug_json_node *elements[SNUG_BLOCKS_MAX];
    const size_t n = snug_json_elements(list, elements, SNUG_BLOCKS_MAX);
    snug_status status = SNUG_OK;
    snug_json_begin_array(&s->w, key);
    for (size_t i = 0; i < n && status == SNUG_OK; i++)
        if (s->is_strict || fits(s, elements[i], rule->rules))
            status = put_value(s, NULL, elements[i], rule->rules);
    snug_json_end(&s->w);
    return status;
}

static void put_config(struct sieve *s, const char *key, const struct snug_json_node *config)
{
    const char *name = NULL;
    const struct snug_json_node *value = NULL;
    snug_json_begin_object(&s->w, key);
    for (size_t i = 0; snug_json_member(config, i, &name, &value); i++)
        snug_json_put_node(&s->w, name, value);
    snug_json_end(&s->w);
}

static snug_status put_value(struct sieve *s, const char *key, const struct snug_json_node *node,
                             const struct rule *rule)
{
    char kept[256];
    snug_status status = SNUG_OK;
    if (!fits(s, node, rule))
        return fail_value(s, rule);
    switch (rule->kind) {
    case WORDS:
        keep_words(snug_json_string(node, ""), kept, sizeof kept);
        snug_json_put_string(&s->w, key, kept);
        break;
    case OBJECT:
        snug_json_begin_object(&s->w, key);
        status = put_members(s, node, rule->rules, rule->n_rules);
        snug_json_end(&s->w);
        break;
    case LIST:
        status = put_list(s, key, node, rule);
        break;
    case CONFIG:
        put_config(s, key, node);
        break;
    default:
        snug_json_put_node(&s->w, key, node);
    }
    return status;
}

snug_status snug__history_sieve(const struct snug_json_node *line, enum snug_history_kind kind,
                                bool is_strict, char **out_json, struct snug_error *err)
{
    struct sieve s = {.is_strict = is_strict, .err = err};
    snug_json_begin_object(&s.w, NULL);
    snug_json_put_string(&s.w, "kind", snug__history_kinds[kind].name);
    const snug_status status = put_members(&s, line, LINES[kind].rules, LINES[kind].n);
    if (status != SNUG_OK) {
        snug_json_writer_clear(&s.w);
        return status;
    }
    snug_json_end(&s.w);
    char *json = snug_json_finish(&s.w, false);
    if (!json)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a line of a history file");
    *out_json = json;
    return SNUG_OK;
}
