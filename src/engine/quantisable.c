/* Which types a tensor can have, as libllama 0.7 decides it (llama-quant.cpp,
 * tensor_allows_quantization and tensor_requires_imatrix). A file that it makes is read back and
 * compared, so a list that grew there is noticed. */
#include <string.h>

#include <ggml.h>

#include "engine/sensitivity.h"

/* Parts of names that libllama leaves alone. */
static const char *const KEPT[] = {
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    "position_embd",
    "token_types",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
};

bool snug__tensor_is_quantisable(const struct snug_tensor *tensor)
{
    const size_t n = strlen(tensor->name);
    if (tensor->ne[1] <= 1 && tensor->ne[2] <= 1 && tensor->ne[3] <= 1)
        return false;
    if (n < 6 || strcmp(tensor->name + n - 6, "weight") != 0)
        return false;
    for (size_t i = 0; i < sizeof KEPT / sizeof *KEPT; i++) {
        if (strstr(tensor->name, KEPT[i]))
            return false;
    }
    return true;
}

bool snug__type_is_source(int type)
{
    return type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16;
}

bool snug__type_needs_imatrix(int type)
{
    switch (type) {
    case GGML_TYPE_IQ1_S:
    case GGML_TYPE_IQ1_M:
    case GGML_TYPE_IQ2_XXS:
    case GGML_TYPE_IQ2_XS:
    case GGML_TYPE_IQ2_S:
    case GGML_TYPE_IQ3_XXS:
        return true; /* libllama's list, which holds ggml's */
    default:
        return ggml_quantize_requires_imatrix((enum ggml_type)type);
    }
}

bool snug__tensor_can_have(const struct snug_tensor *tensor, int type, bool has_imatrix_row)
{
    if (type == tensor->type)
        return true;
    return snug__type_is_source(tensor->type) && snug__tensor_is_quantisable(tensor) &&
           tensor->ne[0] % ggml_blck_size((enum ggml_type)type) == 0 &&
           snug_model_type_bits(type) <= snug_model_type_bits(tensor->type) &&
           (has_imatrix_row || !snug__type_needs_imatrix(type));
}
