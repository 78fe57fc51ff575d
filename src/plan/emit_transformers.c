/* A Python snippet that loads the source weights with Transformers and bitsandbytes, as near to the
 * plan as those come: one base of 4 or 8 bits, and modules that stay at 16. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "plan/emit.h"

/* Average bits from which a base of 8 (or 16) is nearer than one of 4 (or 8). */
static const double BITS_OF_4 = 6.25, BITS_OF_8 = 12.0;
#define UNMAPPED_SHOWN 8

struct name_pair {
    const char *gguf, *module;
};

/* Modules of a block; gate and up, or q, k and v, are one module where the GGUF holds them as one.
 */
static const struct name_pair BLOCK[] = {
    {"attn_q.weight", "self_attn.q_proj"},     {"attn_k.weight", "self_attn.k_proj"},
    {"attn_v.weight", "self_attn.v_proj"},     {"attn_output.weight", "self_attn.o_proj"},
    {"attn_qkv.weight", "self_attn.qkv_proj"}, {"ffn_gate.weight", "mlp.gate_proj"},
    {"ffn_up.weight", "mlp.up_proj"},          {"ffn_down.weight", "mlp.down_proj"},
};
/* Phi-3's ffn_up is gate and up together. */
static const struct name_pair PHI3[] = {{"ffn_up.weight", "mlp.gate_up_proj"}};

static const struct {
    const char *arch;
    const struct name_pair *own; /* looked up before BLOCK */
    int n_own;
} ARCHS[] = {
    {"llama", NULL, 0}, {"qwen2", NULL, 0},   {"qwen3", NULL, 0},
    {"gemma", NULL, 0}, {"gemma2", NULL, 0},  {"granite", NULL, 0},
    {"olmo2", NULL, 0}, {"smollm3", NULL, 0}, {"phi3", PHI3, 1},
};

static int find_arch(const char *arch, struct snug_error *err)
{
    char listed[256];
    size_t n = 0;
    for (size_t i = 0; i < sizeof ARCHS / sizeof *ARCHS; i++) {
        if (strcmp(ARCHS[i].arch, arch) == 0)
            return (int)i;
        n += (size_t)snprintf(listed + n, sizeof listed - n, "%s%s", i ? ", " : "", ARCHS[i].arch);
    }
    (void)snug_fail(err, SNUG_UNSUPPORTED,
                    "modules of the architecture '%.40s' have no known names in Transformers; "
                    "known are those of %s",
                    arch, listed);
    return -1;
}

static const char *module_of(int arch, const char *rest)
{
    for (int i = 0; i < ARCHS[arch].n_own; i++) {
        if (strcmp(ARCHS[arch].own[i].gguf, rest) == 0)
            return ARCHS[arch].own[i].module;
    }
    for (size_t i = 0; i < sizeof BLOCK / sizeof *BLOCK; i++) {
        if (strcmp(BLOCK[i].gguf, rest) == 0)
            return BLOCK[i].module;
    }
    return NULL;
}

/* ---- Python's own notation ---- */

/* A str whose os.fsencode is the text, byte for byte: what is not UTF-8 as surrogates. */
static void put_string(struct snug_buffer *out, const char *text)
{
    snug_buffer_puts(out, "\"");
    for (const char *p = text; *p;) {
        const size_t n = snug_utf8_length((const unsigned char *)p);
        const unsigned char ch = (unsigned char)*p;
        if (n == 0)
            snug_buffer_printf(out, "\\udc%02x", ch);
        else if (ch < 0x20 || ch == 0x7f)
            snug_buffer_printf(out, "\\x%02x", ch);
        else if (ch == '"' || ch == '\\')
            snug_buffer_printf(out, "\\%c", ch);
        else
            snug_buffer_append(out, p, n);
        p += n ? n : 1;
    }
    snug_buffer_puts(out, "\"");
}

/* A comment of a GGUF's own words: also UTF-8, which Python asks of its sources. */
static void put_comment(struct snug_buffer *out, const char *text)
{
    for (const char *p = text; *p;) {
        const size_t n = snug_utf8_length((const unsigned char *)p);
        snug_buffer_append(out, n == 0 || (unsigned char)*p < 0x20 || *p == 0x7f ? "?" : p,
                           n ? n : 1);
        p += n ? n : 1;
    }
}

/* ---- the list of skipped modules ---- */

/* Is this tensor kept at 16 bits beside a base of so many? */
static bool is_skipped(const struct snug_command *c, int i, int base)
{
    return snug_model_type_bits(c->plan->types[i]) >= (base == 4 ? 8.0 : 16.0);
}

/* One line per module: all its layers as a range, or the layers one by one. */
static void put_module(const struct snug_command *c, int arch, int base, const char *module,
                       struct snug_buffer *out)
{
    struct snug_buffer layers = {0};
    int64_t n_skipped = 0, n_all = 0, layer = 0, top = -1;
    for (int i = 0; i < c->plan->n_tensors; i++) {
        const char *rest = NULL, *own = NULL;
        if (snug__split_name(c->plan->names[i], &layer, &rest))
            own = module_of(arch, rest);
        if (!own || strcmp(own, module) != 0)
            continue;
        n_all++;
        top = layer > top ? layer : top;
        if (!is_skipped(c, i, base))
            continue;
        snug_buffer_printf(&layers, "%s%lld", n_skipped++ ? ", " : "", (long long)layer);
    }
    if (n_skipped > 0 && n_skipped == n_all && top + 1 == n_all)
        snug_buffer_printf(out, "    *(f\"model.layers.{i}.%s\" for i in range(%lld)),\n", module,
                           (long long)n_all);
    else if (n_skipped > 0)
        snug_buffer_printf(out, "    *(f\"model.layers.{i}.%s\" for i in [%s]),\n", module,
                           snug_buffer_text(&layers));
    out->is_failed = out->is_failed || layers.is_failed;
    snug_buffer_clear(&layers);
}

static void put_skips(const struct snug_command *c, int arch, int base, struct snug_buffer *out)
{
    snug_buffer_printf(out,
                       "# The plan keeps these at %d bits or more. There is one base per model, so "
                       "they stay at 16.\n"
                       "# lm_head is what Transformers itself leaves out where no list is given.\n"
                       "skip = [\n    \"lm_head\",\n",
                       base == 4 ? 8 : 16);
    for (int i = 0; i < ARCHS[arch].n_own; i++)
        put_module(c, arch, base, ARCHS[arch].own[i].module, out);
    for (size_t i = 0; i < sizeof BLOCK / sizeof *BLOCK; i++) {
        if (strcmp(module_of(arch, BLOCK[i].gguf), BLOCK[i].module) == 0)
            put_module(c, arch, base, BLOCK[i].module, out);
    }
    snug_buffer_puts(out, "]\n\n");
}

/* Matrices of a block that no module is known for: they get the base, whatever the plan says. */
static void put_unmapped(const struct snug_command *c, int arch, struct snug_buffer *out)
{
    int n = 0;
    int64_t layer = 0;
    const char *rest = NULL;
    for (int i = 0; i < c->plan->n_tensors; i++) {
        if (!snug__is_matrix(&c->model->tensors[i]) ||
            !snug__split_name(c->plan->names[i], &layer, &rest) || module_of(arch, rest))
            continue;
        if (n < UNMAPPED_SHOWN) {
            snug_buffer_puts(out, n ? ", " : "# - no module is known for ");
            put_comment(out, c->plan->names[i]);
        }
        n++;
    }
    if (n > UNMAPPED_SHOWN)
        snug_buffer_printf(out, " and %d more", n - UNMAPPED_SHOWN);
    if (n > 0)
        snug_buffer_puts(out, ": they follow the base;\n");
}

/* ---- placement ---- */

/* Bytes for weights: what a tier has, without the cache, the buffers and the reserve there. */
static void put_memory(const struct snug_command *c, struct snug_buffer *out)
{
    int n_devices = 0, n = 0;
    snug_buffer_puts(out, "# Memory for weights alone: cache and buffers are taken off.\n"
                          "max_memory = ");
    for (int i = 0; i < c->plan->n_tiers; i++) {
        const struct snug_plan_tier *t = &c->plan->tiers[i];
        const uint64_t taken = t->cache + t->compute + t->reserve;
        const unsigned long long mib =
            t->bytes_usable > taken ? (t->bytes_usable - taken) >> 20 : 0;
        if (!snug__tier_is_device(t) && !snug__tier_is_host(t))
            continue;
        snug_buffer_puts(out, n++ ? ", " : "{");
        if (snug__tier_is_device(t))
            snug_buffer_printf(out, "%d: \"%lluMiB\"", n_devices++, mib);
        else
            snug_buffer_printf(out, "\"cpu\": \"%lluMiB\"", mib);
    }
    snug_buffer_puts(out, n ? "}\n\n" : "None\n\n");
}

/* Layers on both sides; llama.cpp's embedding is on the host anyway. */
static bool is_offloaded(const struct snug_plan *plan)
{
    bool has_device = false, has_host = false;
    for (int i = 0; i < plan->n_tiers; i++) {
        const struct snug_plan_tier *t = &plan->tiers[i];
        has_device = has_device || (snug__tier_is_device(t) && t->n_layer > 0);
        has_host = has_host || (snug__tier_is_host(t) && t->n_layer > 0);
    }
    return has_device && has_host;
}

/* ---- the text ---- */

static void put_limits(const struct snug_command *c, int arch, int base, struct snug_buffer *out)
{
    snug_buffer_puts(out, "# ");
    put_comment(out, c->name[0] ? c->name : "model");
    snug_buffer_printf(out,
                       ", as near as Transformers comes to snug's plan of %.2f bits per weight.\n"
                       "# Limits:\n",
                       c->bits);
    if (base < 16)
        snug_buffer_printf(out,
                           "# - one base of %d bits for all modules but those skipped, so size and "
                           "loss are not the plan's;\n"
                           "# - embeddings and lm_head stay at 16 bits;\n",
                           base);
    else
        snug_buffer_puts(out, "# - the plan is nearer to 16 bits than to 8, so nothing is "
                              "quantised;\n");
    snug_buffer_printf(out,
                       "# - the cache stays at 16 bits (the plan: K %s, V %s), and grows up to the "
                       "%lld tokens planned only if you stop there;\n"
                       "# - n_batch, n_ubatch and threads of the plan have no counterpart;\n",
                       snug_model_type_name(c->plan->type_k), snug_model_type_name(c->plan->type_v),
                       (long long)c->n_ctx_seq);
    put_unmapped(c, arch, out);
    if (base < 16 && is_offloaded(c->plan))
        snug_buffer_puts(out, "# - modules on the CPU are kept unquantised and moved for each "
                              "step: much slower than llama.cpp;\n");
    snug_buffer_puts(out, "# - bitsandbytes wants a GPU for good speed.\n");
}

/* The folder of the source where it is one; a GGUF would be unpacked to 16 bits. */
static void put_model(const struct snug_command *c, struct snug_buffer *out)
{
    const bool is_folder = c->origin == SNUG__ORIGIN_FOLDER;
    snug_buffer_puts(out, "model_id = ");
    put_string(out, is_folder ? c->source_path : c->name[0] ? c->name : "model");
    snug_buffer_puts(out, is_folder ? "\n\n" : "  # put its Hugging Face name or folder here\n\n");
}

static void put_config(const struct snug_command *c, int base, struct snug_buffer *out)
{
    snug_buffer_puts(out, "config = BitsAndBytesConfig(\n");
    if (base == 4)
        snug_buffer_puts(out, "    load_in_4bit=True,\n    bnb_4bit_quant_type=\"nf4\",\n"
                              "    bnb_4bit_use_double_quant=True,\n"
                              "    bnb_4bit_compute_dtype=torch.bfloat16,\n");
    else
        snug_buffer_puts(out, "    load_in_8bit=True,\n");
    snug_buffer_puts(out, "    llm_int8_skip_modules=skip,\n");
    if (is_offloaded(c->plan))
        snug_buffer_puts(out, "    llm_int8_enable_fp32_cpu_offload=True,\n");
    snug_buffer_puts(out, ")\n\n");
}

snug_status snug__emit_transformers(const struct snug_command *c, char **out_text,
                                    struct snug_error *err)
{
    const int arch = find_arch(c->plan->arch[0] ? c->plan->arch : c->model->arch, err);
    if (arch < 0)
        return SNUG_UNSUPPORTED;
    const int base = c->bits < BITS_OF_4 ? 4 : c->bits < BITS_OF_8 ? 8 : 16;
    struct snug_buffer out = {0};
    put_limits(c, arch, base, &out);
    snug_buffer_printf(&out,
                       "import torch\nfrom transformers import AutoModelForCausalLM, "
                       "AutoTokenizer%s\n\n",
                       base < 16 ? ", BitsAndBytesConfig" : "");
    put_model(c, &out);
    if (base < 16) {
        put_skips(c, arch, base, &out);
        put_config(c, base, &out);
    }
    put_memory(c, &out);
    snug_buffer_puts(&out, "tokenizer = AutoTokenizer.from_pretrained(model_id)\n"
                           "model = AutoModelForCausalLM.from_pretrained(\n    model_id,\n");
    if (base < 16)
        snug_buffer_puts(&out, "    quantization_config=config,\n");
    snug_buffer_puts(&out, "    dtype=torch.bfloat16,  # torch_dtype before Transformers 4.56\n    "
                           "device_map=\"auto\",\n"
                           "    max_memory=max_memory,\n)\n");
    const snug_status status = snug__emit_end(&out, out_text, err);
    snug_buffer_clear(&out);
    return status;
}
