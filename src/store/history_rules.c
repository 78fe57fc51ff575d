/* What may stand in a history file. One table for both ways: an export writes nothing that is not
 * in it, and an import takes nothing else, so that a text with a path, a name or a host cannot slip
 * out with a field that somebody adds elsewhere. Texts are plain words: letters, digits and a few
 * signs, so that neither paths nor addresses pass. */
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
    const char *key;
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
#define CONFIG_WORD_MAX 31 /* as long as a knob's value can be written */

#define N(table) (sizeof(table) / sizeof(table)[0])
#define RANGE(name, kind, min, max)                                                                \
    {                                                                                              \
        name, kind, min, max, NULL, 0, false                                                       \
    }
#define NEEDS(name, kind, min, max)                                                                \
    {                                                                                              \
        name, kind, min, max, NULL, 0, true                                                        \
    }
#define FIGURE(name) RANGE(name, NUMBER, 0, FIGURE_MAX)
#define COUNTED(name) RANGE(name, WHOLE, 0, COUNT_MAX)
#define BYTES(name) RANGE(name, WHOLE, 0, BYTES_MAX)
#define TEXT(name, max) RANGE(name, WORDS, 0, max)
#define NAME(name, max) RANGE(name, WORD, 0, max)
#define PART(name, table)                                                                          \
    {                                                                                              \
        name, OBJECT, 0, 0, table, N(table), false                                                 \
    }
#define LISTED(name, max, table)                                                                   \
    {                                                                                              \
        name, LIST, 0, max, table, N(table), false                                                 \
    }

/* ---- machines: what lasts, and its limits; nothing of the moment ---- */

static const struct rule FACT[] = {RANGE("value", NUMBER, -FIGURE_MAX, FIGURE_MAX)};
static const struct rule CACHE_PARTS[] = {
    COUNTED("level"),
    BYTES("size_bytes"),
    COUNTED("n_instances"),
};
static const struct rule CACHE[] = {PART(NULL, CACHE_PARTS)};
static const struct rule CORE_KIND_PARTS[] = {
    NAME("name", 31),
    COUNTED("n_cores"),
    COUNTED("n_threads"),
    FIGURE("max_hz"),
};
static const struct rule CORE_KIND[] = {PART(NULL, CORE_KIND_PARTS)};
/* The description of an RPC device is its server's address: the colon makes it no plain word. */
static const struct rule DEVICE_PARTS[] = {
    NAME("name", 63),    TEXT("description", 127), NAME("kind", 15),
    BYTES("bytes_free"), BYTES("bytes_total"),
};
static const struct rule DEVICE[] = {PART(NULL, DEVICE_PARTS)};
static const struct rule MACHINE_FACTS[] = {
    TEXT("cpu_name", 127),
    NAME("arch", 31),
    TEXT("isa", 255),
    COUNTED("n_cores"),
    COUNTED("n_threads"),
    COUNTED("n_numa"),
    BYTES("ram_bytes"),
    NAME("fingerprint", 64),
    COUNTED("n_cpus_allowed"),
    PART("quota_cpus", FACT),
    RANGE("n_threads_usable", WHOLE, 1, COUNT_MAX), /* others divide by them */
    RANGE("n_cores_usable", WHOLE, 1, COUNT_MAX),
    NAME("mask_cores", 131),
    NAME("mask_performance", 131),
    PART("memory_limit_bytes", FACT),
    PART("clock_max_hz", FACT),
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
    COUNTED("n_tensors"),
    BYTES("n_elements"),
    BYTES("bytes"),
};
static const struct rule TYPE[] = {PART(NULL, TYPE_PARTS)};
static const struct rule MODEL_FACTS[] = {
    NAME("arch", 31),
    TEXT("file_type", 31),
    NAME("tokenizer", 31),
    NAME("hash", 64),
    RANGE("is_tied", FLAG, 0, 0),
    BYTES("n_params"),
    BYTES("bytes_tensors"),
    BYTES("bytes_file"),
    COUNTED("n_splits"),
    COUNTED("n_tensors"),
    COUNTED("n_layer"),
    COUNTED("n_embd"),
    COUNTED("n_ff"),
    COUNTED("n_head"),
    COUNTED("n_head_kv"),
    COUNTED("n_embd_head_k"),
    COUNTED("n_embd_head_v"),
    COUNTED("n_vocab"),
    COUNTED("n_ctx_train"),
    COUNTED("n_expert"),
    COUNTED("n_expert_used"),
    COUNTED("n_swa"),
    LISTED("types", 48, TYPE),
};
static const struct rule MODEL[] = {
    NEEDS("hash", WORD, 1, 64),
    PART("facts", MODEL_FACTS),
};

/* ---- tasks; machine and model: numbers of lines ---- */

static const struct rule TASK[] = {
    NEEDS("machine", WHOLE, 1, COUNT_MAX),  NEEDS("model", WHOLE, 1, COUNT_MAX),
    NEEDS("build", WORDS, 1, 127),          NEEDS("load_level", WORD, 0, 63),
    NEEDS("n_prompt", WHOLE, 0, COUNT_MAX), NEEDS("n_gen", WHOLE, 0, COUNT_MAX),
    NEEDS("n_depth", WHOLE, 0, COUNT_MAX),  NEEDS("n_parallel", WHOLE, 1, COUNT_MAX),
    NEEDS("n_ctx", WHOLE, 0, COUNT_MAX),    NEEDS("workload_hash", WORD, 0, 64),
};

/* ---- trials ---- */

static const struct rule BLOCK[] = {FIGURE(NULL)};
static const struct rule WARNING[] = {NAME(NULL, 31)};
static const struct rule TRIAL_BYTES[] = {
    BYTES("weights"), BYTES("cache"),    BYTES("compute"),
    BYTES("device"),  BYTES("rss_peak"), BYTES("rss_base"),
};
static const struct rule ENERGY[] = {
    RANGE("is_known", FLAG, 0, 0),
    FIGURE("prefill_j"),
    FIGURE("prefill_s"),
    FIGURE("decode_j"),
    FIGURE("decode_s"),
    FIGURE("idle_w"),
    FIGURE("uncertainty_j"),
};
static const struct rule CONDITIONS[] = {
    FIGURE("wall_s"),
    FIGURE("clock_hz_min"),
    FIGURE("clock_hz_median"),
    FIGURE("clock_hz_max"),
    RANGE("temperature_c_max", NUMBER, -273, FIGURE_MAX),
    FIGURE("n_thermal_events"),
    FIGURE("n_quota_periods"),
    FIGURE("n_quota_throttled"),
    FIGURE("throttled_s"),
    FIGURE("pressure_cpu_frac"),
    FIGURE("pressure_memory_frac"),
    FIGURE("pressure_io_frac"),
    FIGURE("other_load_frac"),
    FIGURE("load_average"),
    FIGURE("n_major_faults"),
    FIGURE("swapped_bytes"),
    FIGURE("resident_before_frac"),
    FIGURE("resident_frac"),
    FIGURE("sampler_cpu_s"),
    PART("energy", ENERGY),
};
static const struct rule MEASUREMENT[] = {
    NEEDS("outcome", WORD, 1, 15),
    NEEDS("started_unix_s", NUMBER, 1, UNIX_S_MAX),
    FIGURE("prefill_tps"),
    FIGURE("decode_tps"),
    FIGURE("ttft_s"),
    FIGURE("tpot_p50_s"),
    FIGURE("tpot_p95_s"),
    FIGURE("load_s"),
    FIGURE("wall_s"),
    FIGURE("warmup_prefill_tps"),
    FIGURE("warmup_decode_tps"),
    FIGURE("throttled_s"),
    FIGURE("other_load_frac"),
    FIGURE("load_average"),
    PART("bytes", TRIAL_BYTES),
    LISTED("prefill_block_tps", SNUG_BLOCKS_MAX, BLOCK),
    LISTED("decode_block_tps", SNUG_BLOCKS_MAX, BLOCK),
    LISTED("warnings", 32, WARNING),
    FIGURE("first_sample_s"),
    FIGURE("noise_frac"),
    FIGURE("turn_s"),
    FIGURE("reused_frac"),
    RANGE("n_cached_hits", WHOLE, -1, COUNT_MAX),
    RANGE("n_output", WHOLE, -1, COUNT_MAX),
    LISTED("warmup_prefill_block_tps", SNUG_WARMUP_BLOCKS_MAX, BLOCK),
    LISTED("warmup_decode_block_tps", SNUG_WARMUP_BLOCKS_MAX, BLOCK),
    PART("conditions", CONDITIONS),
    TEXT("build", 63),
};
static const struct rule TRIAL[] = {
    NEEDS("task", WHOLE, 1, COUNT_MAX),
    NEEDS("role", WORD, 1, 31),
    NAME("strategy", 63),
    NEEDS("config", CONFIG, 0, SNUG_KNOBS_MAX),
    RANGE("effective", CONFIG, 0, SNUG_KNOBS_MAX),
    {"measurement", OBJECT, 0, 0, MEASUREMENT, N(MEASUREMENT), true},
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
    FIGURE("se"),
};
/* Without reference_name, which is a file's. */
static const struct rule QUALITY_FIGURES[] = {
    COUNTED("n_chunks"),
    BYTES("n_tokens"),
    PART("nll", ESTIMATE),
    PART("perplexity", ESTIMATE),
    PART("bits_per_byte", ESTIMATE),
    PART("kld_mean", ESTIMATE),
    PART("same_top_frac", ESTIMATE),
    PART("dp_rms_frac", ESTIMATE),
    RANGE("kld_median", NUMBER, -FIGURE_MAX, FIGURE_MAX),
    RANGE("kld_p99", NUMBER, -FIGURE_MAX, FIGURE_MAX),
    RANGE("kld_max", NUMBER, -FIGURE_MAX, FIGURE_MAX),
    RANGE("floor_kld", NUMBER, -FIGURE_MAX, FIGURE_MAX),
    FIGURE("floor_flip_frac"),
    FIGURE("wall_s"),
    FIGURE("tokens_per_s"),
};
static const struct rule QUALITY[] = {
    NEEDS("model", WHOLE, 1, COUNT_MAX),
    NEEDS("build", WORDS, 1, 127),
    NEEDS("type_k", WORD, 0, 15),
    NEEDS("type_v", WORD, 0, 15),
    NEEDS("text_hash", WORD, 1, 64),
    NEEDS("reference_hash", WORD, 0, 64),
    NEEDS("n_ctx", WHOLE, 1, COUNT_MAX),
    NEEDS("seen_unix_s", NUMBER, 0, UNIX_S_MAX),
    {"figures", OBJECT, 0, 0, QUALITY_FIGURES, N(QUALITY_FIGURES), true},
};

/* By hash, as the store has it: true wherever the model lies. */
static const struct rule SENSITIVITY[] = {
    NEEDS("model_hash", WORD, 1, 64),
    NEEDS("text_hash", WORD, 1, 64),
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

static const struct {
    const char *name, *counted;
    int64_t max;
    const struct rule *rules;
    size_t n_rules;
} KINDS[] = {
#define KIND(name, text, counted, max) {text, counted, max, name, N(name)},
    SNUG_HISTORY_KINDS(KIND)
#undef KIND
};

const char *snug__history_kind_name(enum snug_history_kind kind)
{
    return KINDS[kind].name;
}

const char *snug__history_count_name(enum snug_history_kind kind)
{
    return KINDS[kind].counted;
}

int64_t snug__history_kind_max(enum snug_history_kind kind)
{
    return KINDS[kind].max;
}

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

/* Members in the order of the rules, into the open object. */
static snug_status put_members(struct sieve *s, const struct snug_json_node *object,
                               const struct rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct rule *rule = &rules[i];
        const struct snug_json_node *node = snug_json_get(object, rule->key);
        const bool is_there = node && !snug_json_is_null(node);
        if (!is_there && rule->is_needed)
            return snug_fail(s->err, SNUG_BAD_INPUT, "\"%s\" is missing", rule->key);
        if (!is_there || (!s->is_strict && !rule->is_needed && !fits(s, node, rule)))
            continue;
        const snug_status status = put_value(s, rule->key, node, rule);
        if (status != SNUG_OK)
            return snug_fail_prefix(s->err, status, "\"%s\"", rule->key);
    }
    return SNUG_OK;
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
    snug_json_put_string(&s.w, "kind", KINDS[kind].name);
    const snug_status status = put_members(&s, line, KINDS[kind].rules, KINDS[kind].n_rules);
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
