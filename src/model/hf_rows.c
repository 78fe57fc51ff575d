/* Tables: the architectures of Hugging Face's transformers that are known, and what their tensors
 * are called there and in a GGUF. Sources: transformers' modeling_*.py for names and shapes,
 * llama.cpp's converter and gguf-py for what becomes of them. */
#include "model/hf.h"

/* clang-format off */
const struct snug__hf_arch snug__hf_archs[] = {
    {"LlamaForCausalLM", HF_LLAMA, "llama", "model.", "layers."},
    {"MistralForCausalLM", HF_LLAMA, "llama", "model.", "layers."},
    {"MixtralForCausalLM", HF_MIXTRAL, "llama", "model.", "layers."},
    {"Qwen2ForCausalLM", HF_QWEN2, "qwen2", "model.", "layers."},
    {"Qwen2MoeForCausalLM", HF_QWEN2MOE, "qwen2moe", "model.", "layers."},
    {"Qwen3ForCausalLM", HF_QWEN3, "qwen3", "model.", "layers."},
    {"Qwen3MoeForCausalLM", HF_QWEN3MOE, "qwen3moe", "model.", "layers."},
    {"Phi3ForCausalLM", HF_PHI3, "phi3", "model.", "layers."},
    {"GemmaForCausalLM", HF_GEMMA, "gemma", "model.", "layers."},
    {"Gemma2ForCausalLM", HF_GEMMA2, "gemma2", "model.", "layers."},
    {"Gemma3ForCausalLM", HF_GEMMA3, "gemma3", "model.", "layers."},
    {"Starcoder2ForCausalLM", HF_STARCODER2, "starcoder2", "model.", "layers."},
    {"GPT2LMHeadModel", HF_GPT2, "gpt2", "", "h."},
    {"MambaForCausalLM", HF_MAMBA, "mamba", "backbone.", "layers."},
};
const int snug__n_hf_archs = (int)(sizeof snug__hf_archs / sizeof snug__hf_archs[0]);

#define SPLIT (HF_ROPE & ~(unsigned)HF_PHI3) /* q, k, v are tensors of their own */
#define GATED (HF_LLAMA | HF_QWEN2 | HF_QWEN3 | HF_GEMMAS)
#define QWENMOE (HF_QWEN2MOE | HF_QWEN3MOE)
#define BIASED (HF_QWEN2 | HF_QWEN2MOE | HF_STARCODER2)
#define SANDWICH (HF_GEMMA2 | HF_GEMMA3) /* a norm before and one after */

/* Before the layers. */
const struct snug__hf_row snug__hf_head_rows[] = {
    {HF_ROPE, "embed_tokens.weight", "token_embd.weight", DIM_EMBD, DIM_VOCAB, 0},
    {HF_GPT2, "wte.weight", "token_embd.weight", DIM_EMBD, DIM_VOCAB, 0},
    {HF_GPT2, "wpe.weight", "position_embd.weight", DIM_EMBD, DIM_CTX, HF_F32},
    {HF_MAMBA, "embeddings.weight", "token_embd.weight", DIM_EMBD, DIM_VOCAB, 0},
};
const int snug__n_hf_head_rows = (int)(sizeof snug__hf_head_rows / sizeof snug__hf_head_rows[0]);

/* One layer, in the order of computation. */
const struct snug__hf_row snug__hf_block_rows[] = {
    {HF_ROPE, "input_layernorm.weight", "attn_norm.weight", DIM_EMBD, DIM_NONE, 0},
    {HF_STARCODER2, "input_layernorm.bias", "attn_norm.bias", DIM_EMBD, DIM_NONE, 0},
    {SPLIT, "self_attn.q_proj.weight", "attn_q.weight", DIM_EMBD, DIM_Q, 0},
    {SPLIT, "self_attn.k_proj.weight", "attn_k.weight", DIM_EMBD, DIM_KV, 0},
    {SPLIT, "self_attn.v_proj.weight", "attn_v.weight", DIM_EMBD, DIM_KV, 0},
    {BIASED, "self_attn.q_proj.bias", "attn_q.bias", DIM_Q, DIM_NONE, 0},
    {BIASED, "self_attn.k_proj.bias", "attn_k.bias", DIM_KV, DIM_NONE, 0},
    {BIASED, "self_attn.v_proj.bias", "attn_v.bias", DIM_KV, DIM_NONE, 0},
    {HF_LLAMA, "self_attn.q_proj.bias", "attn_q.bias", DIM_Q, DIM_NONE, HF_OPTIONAL},
    {HF_LLAMA, "self_attn.k_proj.bias", "attn_k.bias", DIM_KV, DIM_NONE, HF_OPTIONAL},
    {HF_LLAMA, "self_attn.v_proj.bias", "attn_v.bias", DIM_KV, DIM_NONE, HF_OPTIONAL},
    {HF_QWEN3 | HF_QWEN3MOE | HF_GEMMA3, "self_attn.q_norm.weight", "attn_q_norm.weight", DIM_HEAD,
     DIM_NONE, 0},
    {HF_QWEN3 | HF_QWEN3MOE | HF_GEMMA3, "self_attn.k_norm.weight", "attn_k_norm.weight", DIM_HEAD,
     DIM_NONE, 0},
    {HF_PHI3, "self_attn.qkv_proj.weight", "attn_qkv.weight", DIM_EMBD, DIM_QKV, 0},
    {HF_ROPE, "self_attn.o_proj.weight", "attn_output.weight", DIM_Q, DIM_EMBD, 0},
    {HF_STARCODER2, "self_attn.o_proj.bias", "attn_output.bias", DIM_EMBD, DIM_NONE, 0},
    {HF_LLAMA, "self_attn.o_proj.bias", "attn_output.bias", DIM_EMBD, DIM_NONE, HF_OPTIONAL},
    {SANDWICH, "post_attention_layernorm.weight", "post_attention_norm.weight", DIM_EMBD, DIM_NONE,
     0},
    {SANDWICH, "pre_feedforward_layernorm.weight", "ffn_norm.weight", DIM_EMBD, DIM_NONE, 0},
    {HF_ROPE & ~(unsigned)SANDWICH, "post_attention_layernorm.weight", "ffn_norm.weight", DIM_EMBD,
     DIM_NONE, 0},
    {HF_STARCODER2, "post_attention_layernorm.bias", "ffn_norm.bias", DIM_EMBD, DIM_NONE, 0},
    {GATED, "mlp.gate_proj.weight", "ffn_gate.weight", DIM_EMBD, DIM_FF, 0},
    {GATED, "mlp.up_proj.weight", "ffn_up.weight", DIM_EMBD, DIM_FF, 0},
    {HF_PHI3, "mlp.gate_up_proj.weight", "ffn_up.weight", DIM_EMBD, DIM_FF2, 0},
    {GATED | HF_PHI3, "mlp.down_proj.weight", "ffn_down.weight", DIM_FF, DIM_EMBD, 0},
    {HF_LLAMA, "mlp.gate_proj.bias", "ffn_gate.bias", DIM_FF, DIM_NONE, HF_OPTIONAL},
    {HF_LLAMA, "mlp.up_proj.bias", "ffn_up.bias", DIM_FF, DIM_NONE, HF_OPTIONAL},
    {HF_LLAMA, "mlp.down_proj.bias", "ffn_down.bias", DIM_EMBD, DIM_NONE, HF_OPTIONAL},
    {HF_STARCODER2, "mlp.c_fc.weight", "ffn_up.weight", DIM_EMBD, DIM_FF, 0},
    {HF_STARCODER2, "mlp.c_fc.bias", "ffn_up.bias", DIM_FF, DIM_NONE, 0},
    {HF_STARCODER2, "mlp.c_proj.weight", "ffn_down.weight", DIM_FF, DIM_EMBD, 0},
    {HF_STARCODER2, "mlp.c_proj.bias", "ffn_down.bias", DIM_EMBD, DIM_NONE, 0},
    {SANDWICH, "post_feedforward_layernorm.weight", "post_ffw_norm.weight", DIM_EMBD, DIM_NONE, 0},
    /* mixtures of experts */
    {HF_MIXTRAL, "block_sparse_moe.gate.weight", "ffn_gate_inp.weight", DIM_EMBD, DIM_EXPERTS,
     HF_F32},
    {HF_MIXTRAL, "block_sparse_moe.experts.%d.w1.weight", "ffn_gate_exps.weight", DIM_EMBD, DIM_FF,
     HF_PER_EXPERT},
    {HF_MIXTRAL, "block_sparse_moe.experts.%d.w3.weight", "ffn_up_exps.weight", DIM_EMBD, DIM_FF,
     HF_PER_EXPERT},
    {HF_MIXTRAL, "block_sparse_moe.experts.%d.w2.weight", "ffn_down_exps.weight", DIM_FF, DIM_EMBD,
     HF_PER_EXPERT},
    {QWENMOE, "mlp.gate.weight", "ffn_gate_inp.weight", DIM_EMBD, DIM_EXPERTS, HF_F32},
    {QWENMOE, "mlp.experts.%d.gate_proj.weight", "ffn_gate_exps.weight", DIM_EMBD, DIM_FF_EXPERT,
     HF_PER_EXPERT},
    {QWENMOE, "mlp.experts.%d.up_proj.weight", "ffn_up_exps.weight", DIM_EMBD, DIM_FF_EXPERT,
     HF_PER_EXPERT},
    {QWENMOE, "mlp.experts.%d.down_proj.weight", "ffn_down_exps.weight", DIM_FF_EXPERT, DIM_EMBD,
     HF_PER_EXPERT},
    {HF_QWEN2MOE, "mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight", DIM_EMBD, DIM_NONE,
     HF_F32 | HF_SQUEEZED},
    {HF_QWEN2MOE, "mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight", DIM_EMBD,
     DIM_FF_SHARED, 0},
    {HF_QWEN2MOE, "mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight", DIM_EMBD,
     DIM_FF_SHARED, 0},
    {HF_QWEN2MOE, "mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight", DIM_FF_SHARED,
     DIM_EMBD, 0},
    /* GPT-2 */
    {HF_GPT2, "ln_1.weight", "attn_norm.weight", DIM_EMBD, DIM_NONE, 0},
    {HF_GPT2, "ln_1.bias", "attn_norm.bias", DIM_EMBD, DIM_NONE, 0},
    {HF_GPT2, "attn.c_attn.weight", "attn_qkv.weight", DIM_EMBD, DIM_QKV, HF_TRANSPOSED},
    {HF_GPT2, "attn.c_attn.bias", "attn_qkv.bias", DIM_QKV, DIM_NONE, 0},
    {HF_GPT2, "attn.c_proj.weight", "attn_output.weight", DIM_EMBD, DIM_EMBD, HF_TRANSPOSED},
    {HF_GPT2, "attn.c_proj.bias", "attn_output.bias", DIM_EMBD, DIM_NONE, 0},
    {HF_GPT2, "ln_2.weight", "ffn_norm.weight", DIM_EMBD, DIM_NONE, 0},
    {HF_GPT2, "ln_2.bias", "ffn_norm.bias", DIM_EMBD, DIM_NONE, 0},
    {HF_GPT2, "mlp.c_fc.weight", "ffn_up.weight", DIM_EMBD, DIM_FF, HF_TRANSPOSED},
    {HF_GPT2, "mlp.c_fc.bias", "ffn_up.bias", DIM_FF, DIM_NONE, 0},
    {HF_GPT2, "mlp.c_proj.weight", "ffn_down.weight", DIM_FF, DIM_EMBD, HF_TRANSPOSED},
    {HF_GPT2, "mlp.c_proj.bias", "ffn_down.bias", DIM_EMBD, DIM_NONE, 0},
    /* Mamba */
    {HF_MAMBA, "norm.weight", "attn_norm.weight", DIM_EMBD, DIM_NONE, 0},
    {HF_MAMBA, "mixer.in_proj.weight", "ssm_in.weight", DIM_EMBD, DIM_INNER2, 0},
    {HF_MAMBA, "mixer.conv1d.weight", "ssm_conv1d.weight", DIM_CONV, DIM_INNER,
     HF_F32 | HF_SQUEEZED},
    {HF_MAMBA, "mixer.conv1d.bias", "ssm_conv1d.bias", DIM_INNER, DIM_NONE, 0},
    {HF_MAMBA, "mixer.x_proj.weight", "ssm_x.weight", DIM_INNER, DIM_X, 0},
    {HF_MAMBA, "mixer.dt_proj.weight", "ssm_dt.weight", DIM_DT, DIM_INNER, 0},
    {HF_MAMBA, "mixer.dt_proj.bias", "ssm_dt.bias", DIM_INNER, DIM_NONE, 0},
    {HF_MAMBA, "mixer.A_log", "ssm_a", DIM_STATE, DIM_INNER, HF_F32},
    {HF_MAMBA, "mixer.D", "ssm_d", DIM_INNER, DIM_NONE, 0},
    {HF_MAMBA, "mixer.out_proj.weight", "ssm_out.weight", DIM_INNER, DIM_EMBD, 0},
};
const int snug__n_hf_block_rows = (int)(sizeof snug__hf_block_rows / sizeof snug__hf_block_rows[0]);

/* Behind the layers. */
const struct snug__hf_row snug__hf_tail_rows[] = {
    {HF_ROPE, "norm.weight", "output_norm.weight", DIM_EMBD, DIM_NONE, 0},
    {HF_STARCODER2, "norm.bias", "output_norm.bias", DIM_EMBD, DIM_NONE, 0},
    {HF_GPT2, "ln_f.weight", "output_norm.weight", DIM_EMBD, DIM_NONE, 0},
    {HF_GPT2, "ln_f.bias", "output_norm.bias", DIM_EMBD, DIM_NONE, 0},
    {HF_MAMBA, "norm_f.weight", "output_norm.weight", DIM_EMBD, DIM_NONE, 0},
};
const int snug__n_hf_tail_rows = (int)(sizeof snug__hf_tail_rows / sizeof snug__hf_tail_rows[0]);
/* clang-format on */

int64_t snug__hf_width(const struct snug__hf_config *c, enum snug__hf_dim dim)
{
    switch (dim) {
    case DIM_NONE:
        return 1;
    case DIM_EMBD:
        return c->n_embd;
    case DIM_FF:
        return c->n_ff;
    case DIM_FF2:
        return 2 * c->n_ff;
    case DIM_FF_EXPERT:
        return c->n_ff_expert;
    case DIM_FF_SHARED:
        return c->n_ff_shared;
    case DIM_Q:
        return c->n_head * c->n_embd_head;
    case DIM_KV:
        return c->n_head_kv * c->n_embd_head;
    case DIM_QKV:
        return (c->n_head + 2 * c->n_head_kv) * c->n_embd_head;
    case DIM_HEAD:
        return c->n_embd_head;
    case DIM_VOCAB:
        return c->n_vocab;
    case DIM_CTX:
        return c->n_ctx;
    case DIM_EXPERTS:
        return c->n_expert;
    case DIM_INNER:
        return c->n_inner;
    case DIM_INNER2:
        return 2 * c->n_inner;
    case DIM_STATE:
        return c->n_state;
    case DIM_CONV:
        return c->n_conv;
    case DIM_DT:
        return c->n_dt_rank;
    default:
        return c->n_dt_rank + 2 * c->n_state;
    }
}
