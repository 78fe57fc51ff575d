/* Published models as transformers stores them: config.json (the keys that matter) and the tensors
 * of their safetensors files, in the notation of hf_build.h, with the parameter counts that the hub
 * states for them. Counts are an oracle from outside; a tied output that is stored too is not in
 * them (Qwen3-0.6B). snug:long a table */
#ifndef SNUG_TEST_HF_MODELS_H
#define SNUG_TEST_HF_MODELS_H

#include <stdint.h>

struct hf_model {
    const char *name, *gguf, *dtype;
    uint64_t n_params;
    const char *config, *tensors;
};

/* clang-format off */
static const struct hf_model hf_models[] = {
    {"llama3_8b", "llama", "BF16", 8030261248,
     "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 32, "
     "\"hidden_size\": 4096, \"intermediate_size\": 14336, \"num_attention_heads\": 32, "
     "\"num_key_value_heads\": 8, \"vocab_size\": 128256, "
     "\"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"tie_word_embeddings\": false}",
     "1 model.embed_tokens.weight 128256 4096\n"
     "1 lm_head.weight 128256 4096\n"
     "1 model.norm.weight 4096\n"
     "32 model.layers.#.input_layernorm.weight 4096\n"
     "32 model.layers.#.post_attention_layernorm.weight 4096\n"
     "32 model.layers.#.self_attn.q_proj.weight 4096 4096\n"
     "32 model.layers.#.self_attn.k_proj.weight 1024 4096\n"
     "32 model.layers.#.self_attn.v_proj.weight 1024 4096\n"
     "32 model.layers.#.self_attn.o_proj.weight 4096 4096\n"
     "32 model.layers.#.mlp.gate_proj.weight 14336 4096\n"
     "32 model.layers.#.mlp.up_proj.weight 14336 4096\n"
     "32 model.layers.#.mlp.down_proj.weight 4096 14336\n"},
    {"mistral_7b", "llama", "BF16", 7241732096,
     "{\"architectures\": [\"MistralForCausalLM\"], \"num_hidden_layers\": 32, "
     "\"hidden_size\": 4096, \"intermediate_size\": 14336, \"num_attention_heads\": 32, "
     "\"num_key_value_heads\": 8, \"vocab_size\": 32000, "
     "\"max_position_embeddings\": 32768, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"sliding_window\": 4096, "
     "\"tie_word_embeddings\": false}",
     "1 model.embed_tokens.weight 32000 4096\n"
     "1 lm_head.weight 32000 4096\n"
     "1 model.norm.weight 4096\n"
     "32 model.layers.#.input_layernorm.weight 4096\n"
     "32 model.layers.#.post_attention_layernorm.weight 4096\n"
     "32 model.layers.#.self_attn.q_proj.weight 4096 4096\n"
     "32 model.layers.#.self_attn.k_proj.weight 1024 4096\n"
     "32 model.layers.#.self_attn.v_proj.weight 1024 4096\n"
     "32 model.layers.#.self_attn.o_proj.weight 4096 4096\n"
     "32 model.layers.#.mlp.gate_proj.weight 14336 4096\n"
     "32 model.layers.#.mlp.up_proj.weight 14336 4096\n"
     "32 model.layers.#.mlp.down_proj.weight 4096 14336\n"},
    {"mixtral_8x7b", "llama", "BF16", 46702792704,
     "{\"architectures\": [\"MixtralForCausalLM\"], \"num_hidden_layers\": 32, "
     "\"hidden_size\": 4096, \"intermediate_size\": 14336, \"num_attention_heads\": 32, "
     "\"num_key_value_heads\": 8, \"vocab_size\": 32000, "
     "\"max_position_embeddings\": 32768, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"num_local_experts\": 8, \"num_experts_per_tok\": 2, "
     "\"sliding_window\": null, \"tie_word_embeddings\": false}",
     "1 model.embed_tokens.weight 32000 4096\n"
     "1 lm_head.weight 32000 4096\n"
     "1 model.norm.weight 4096\n"
     "32 model.layers.#.input_layernorm.weight 4096\n"
     "32 model.layers.#.post_attention_layernorm.weight 4096\n"
     "32 model.layers.#.self_attn.q_proj.weight 4096 4096\n"
     "32 model.layers.#.self_attn.k_proj.weight 1024 4096\n"
     "32 model.layers.#.self_attn.v_proj.weight 1024 4096\n"
     "32 model.layers.#.self_attn.o_proj.weight 4096 4096\n"
     "32 model.layers.#.block_sparse_moe.gate.weight 8 4096\n"
     "32x8 model.layers.#.block_sparse_moe.experts.@.w1.weight 14336 4096\n"
     "32x8 model.layers.#.block_sparse_moe.experts.@.w2.weight 4096 14336\n"
     "32x8 model.layers.#.block_sparse_moe.experts.@.w3.weight 14336 4096\n"},
    {"qwen2_7b", "qwen2", "BF16", 7615616512,
     "{\"architectures\": [\"Qwen2ForCausalLM\"], \"num_hidden_layers\": 28, "
     "\"hidden_size\": 3584, \"intermediate_size\": 18944, \"num_attention_heads\": 28, "
     "\"num_key_value_heads\": 4, \"vocab_size\": 152064, "
     "\"max_position_embeddings\": 131072, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"use_sliding_window\": false, "
     "\"sliding_window\": 131072, \"tie_word_embeddings\": false}",
     "1 model.embed_tokens.weight 152064 3584\n"
     "1 lm_head.weight 152064 3584\n"
     "1 model.norm.weight 3584\n"
     "28 model.layers.#.input_layernorm.weight 3584\n"
     "28 model.layers.#.post_attention_layernorm.weight 3584\n"
     "28 model.layers.#.self_attn.q_proj.weight 3584 3584\n"
     "28 model.layers.#.self_attn.k_proj.weight 512 3584\n"
     "28 model.layers.#.self_attn.v_proj.weight 512 3584\n"
     "28 model.layers.#.self_attn.o_proj.weight 3584 3584\n"
     "28 model.layers.#.mlp.gate_proj.weight 18944 3584\n"
     "28 model.layers.#.mlp.up_proj.weight 18944 3584\n"
     "28 model.layers.#.mlp.down_proj.weight 3584 18944\n"
     "28 model.layers.#.self_attn.q_proj.bias 3584\n"
     "28 model.layers.#.self_attn.k_proj.bias 512\n"
     "28 model.layers.#.self_attn.v_proj.bias 512\n"},
    {"qwen15_moe", "qwen2moe", "BF16", 14315784192,
     "{\"architectures\": [\"Qwen2MoeForCausalLM\"], \"num_hidden_layers\": 24, "
     "\"hidden_size\": 2048, \"intermediate_size\": 5632, \"num_attention_heads\": 16, "
     "\"num_key_value_heads\": 16, \"vocab_size\": 151936, "
     "\"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"num_experts\": 60, \"num_experts_per_tok\": 4, "
     "\"moe_intermediate_size\": 1408, \"shared_expert_intermediate_size\": 5632, "
     "\"decoder_sparse_step\": 1, \"tie_word_embeddings\": false}",
     "1 model.embed_tokens.weight 151936 2048\n"
     "1 lm_head.weight 151936 2048\n"
     "1 model.norm.weight 2048\n"
     "24 model.layers.#.input_layernorm.weight 2048\n"
     "24 model.layers.#.post_attention_layernorm.weight 2048\n"
     "24 model.layers.#.self_attn.q_proj.weight 2048 2048\n"
     "24 model.layers.#.self_attn.k_proj.weight 2048 2048\n"
     "24 model.layers.#.self_attn.v_proj.weight 2048 2048\n"
     "24 model.layers.#.self_attn.o_proj.weight 2048 2048\n"
     "24 model.layers.#.self_attn.q_proj.bias 2048\n"
     "24 model.layers.#.self_attn.k_proj.bias 2048\n"
     "24 model.layers.#.self_attn.v_proj.bias 2048\n"
     "24x60 model.layers.#.mlp.experts.@.gate_proj.weight 1408 2048\n"
     "24x60 model.layers.#.mlp.experts.@.up_proj.weight 1408 2048\n"
     "24x60 model.layers.#.mlp.experts.@.down_proj.weight 2048 1408\n"
     "24 model.layers.#.mlp.gate.weight 60 2048\n"
     "24 model.layers.#.mlp.shared_expert_gate.weight 1 2048\n"
     "24 model.layers.#.mlp.shared_expert.gate_proj.weight 5632 2048\n"
     "24 model.layers.#.mlp.shared_expert.up_proj.weight 5632 2048\n"
     "24 model.layers.#.mlp.shared_expert.down_proj.weight 2048 5632\n"},
    {"qwen3_0_6b", "qwen3", "BF16", 596049920,
     "{\"architectures\": [\"Qwen3ForCausalLM\"], \"num_hidden_layers\": 28, "
     "\"hidden_size\": 1024, \"intermediate_size\": 3072, \"num_attention_heads\": 16, "
     "\"num_key_value_heads\": 8, \"vocab_size\": 151936, "
     "\"max_position_embeddings\": 40960, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"head_dim\": 128, \"sliding_window\": null, "
     "\"tie_word_embeddings\": true}",
     "1 model.embed_tokens.weight 151936 1024\n"
     "1 lm_head.weight 151936 1024\n"
     "1 model.norm.weight 1024\n"
     "28 model.layers.#.input_layernorm.weight 1024\n"
     "28 model.layers.#.post_attention_layernorm.weight 1024\n"
     "28 model.layers.#.self_attn.q_proj.weight 2048 1024\n"
     "28 model.layers.#.self_attn.k_proj.weight 1024 1024\n"
     "28 model.layers.#.self_attn.v_proj.weight 1024 1024\n"
     "28 model.layers.#.self_attn.o_proj.weight 1024 2048\n"
     "28 model.layers.#.mlp.gate_proj.weight 3072 1024\n"
     "28 model.layers.#.mlp.up_proj.weight 3072 1024\n"
     "28 model.layers.#.mlp.down_proj.weight 1024 3072\n"
     "28 model.layers.#.self_attn.q_norm.weight 128\n"
     "28 model.layers.#.self_attn.k_norm.weight 128\n"},
    {"qwen3_30b_a3b", "qwen3moe", "BF16", 30532122624,
     "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"num_hidden_layers\": 48, "
     "\"hidden_size\": 2048, \"intermediate_size\": 6144, \"num_attention_heads\": 32, "
     "\"num_key_value_heads\": 4, \"vocab_size\": 151936, "
     "\"max_position_embeddings\": 40960, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"head_dim\": 128, \"num_experts\": 128, "
     "\"num_experts_per_tok\": 8, \"moe_intermediate_size\": 768, "
     "\"decoder_sparse_step\": 1, \"mlp_only_layers\": [], "
     "\"tie_word_embeddings\": false}",
     "1 model.embed_tokens.weight 151936 2048\n"
     "1 lm_head.weight 151936 2048\n"
     "1 model.norm.weight 2048\n"
     "48 model.layers.#.input_layernorm.weight 2048\n"
     "48 model.layers.#.post_attention_layernorm.weight 2048\n"
     "48 model.layers.#.self_attn.q_proj.weight 4096 2048\n"
     "48 model.layers.#.self_attn.k_proj.weight 512 2048\n"
     "48 model.layers.#.self_attn.v_proj.weight 512 2048\n"
     "48 model.layers.#.self_attn.o_proj.weight 2048 4096\n"
     "48 model.layers.#.self_attn.q_norm.weight 128\n"
     "48 model.layers.#.self_attn.k_norm.weight 128\n"
     "48x128 model.layers.#.mlp.experts.@.gate_proj.weight 768 2048\n"
     "48x128 model.layers.#.mlp.experts.@.up_proj.weight 768 2048\n"
     "48x128 model.layers.#.mlp.experts.@.down_proj.weight 2048 768\n"
     "48 model.layers.#.mlp.gate.weight 128 2048\n"},
    {"phi3_mini", "phi3", "BF16", 3821079552,
     "{\"architectures\": [\"Phi3ForCausalLM\"], \"num_hidden_layers\": 32, "
     "\"hidden_size\": 3072, \"intermediate_size\": 8192, \"num_attention_heads\": 32, "
     "\"num_key_value_heads\": 32, \"vocab_size\": 32064, "
     "\"max_position_embeddings\": 4096, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"original_max_position_embeddings\": 4096, "
     "\"sliding_window\": 2047, \"rope_scaling\": null, \"tie_word_embeddings\": false}",
     "1 model.embed_tokens.weight 32064 3072\n"
     "1 lm_head.weight 32064 3072\n"
     "1 model.norm.weight 3072\n"
     "32 model.layers.#.input_layernorm.weight 3072\n"
     "32 model.layers.#.post_attention_layernorm.weight 3072\n"
     "32 model.layers.#.self_attn.qkv_proj.weight 9216 3072\n"
     "32 model.layers.#.self_attn.o_proj.weight 3072 3072\n"
     "32 model.layers.#.mlp.gate_up_proj.weight 16384 3072\n"
     "32 model.layers.#.mlp.down_proj.weight 3072 8192\n"},
    {"gemma_7b", "gemma", "BF16", 8537680896,
     "{\"architectures\": [\"GemmaForCausalLM\"], \"num_hidden_layers\": 28, "
     "\"hidden_size\": 3072, \"intermediate_size\": 24576, \"num_attention_heads\": 16, "
     "\"num_key_value_heads\": 16, \"vocab_size\": 256000, "
     "\"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"head_dim\": 256}",
     "1 model.embed_tokens.weight 256000 3072\n"
     "1 model.norm.weight 3072\n"
     "28 model.layers.#.input_layernorm.weight 3072\n"
     "28 model.layers.#.post_attention_layernorm.weight 3072\n"
     "28 model.layers.#.self_attn.q_proj.weight 4096 3072\n"
     "28 model.layers.#.self_attn.k_proj.weight 4096 3072\n"
     "28 model.layers.#.self_attn.v_proj.weight 4096 3072\n"
     "28 model.layers.#.self_attn.o_proj.weight 3072 4096\n"
     "28 model.layers.#.mlp.gate_proj.weight 24576 3072\n"
     "28 model.layers.#.mlp.up_proj.weight 24576 3072\n"
     "28 model.layers.#.mlp.down_proj.weight 3072 24576\n"},
    {"gemma2_9b", "gemma2", "F32", 9241705984,
     "{\"architectures\": [\"Gemma2ForCausalLM\"], \"num_hidden_layers\": 42, "
     "\"hidden_size\": 3584, \"intermediate_size\": 14336, \"num_attention_heads\": 16, "
     "\"num_key_value_heads\": 8, \"vocab_size\": 256000, "
     "\"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"head_dim\": 256, \"sliding_window\": 4096, "
     "\"attn_logit_softcapping\": 50.0, \"final_logit_softcapping\": 30.0}",
     "1 model.embed_tokens.weight 256000 3584\n"
     "1 model.norm.weight 3584\n"
     "42 model.layers.#.input_layernorm.weight 3584\n"
     "42 model.layers.#.post_attention_layernorm.weight 3584\n"
     "42 model.layers.#.pre_feedforward_layernorm.weight 3584\n"
     "42 model.layers.#.post_feedforward_layernorm.weight 3584\n"
     "42 model.layers.#.self_attn.q_proj.weight 4096 3584\n"
     "42 model.layers.#.self_attn.k_proj.weight 2048 3584\n"
     "42 model.layers.#.self_attn.v_proj.weight 2048 3584\n"
     "42 model.layers.#.self_attn.o_proj.weight 3584 4096\n"
     "42 model.layers.#.mlp.gate_proj.weight 14336 3584\n"
     "42 model.layers.#.mlp.up_proj.weight 14336 3584\n"
     "42 model.layers.#.mlp.down_proj.weight 3584 14336\n"},
    {"gemma3_1b", "gemma3", "BF16", 999885952,
     "{\"architectures\": [\"Gemma3ForCausalLM\"], \"num_hidden_layers\": 26, "
     "\"hidden_size\": 1152, \"intermediate_size\": 6912, \"num_attention_heads\": 4, "
     "\"num_key_value_heads\": 1, \"vocab_size\": 262144, "
     "\"max_position_embeddings\": 32768, \"rms_norm_eps\": 1e-05, "
     "\"rope_theta\": 500000.0, \"head_dim\": 256, \"sliding_window\": 512, "
     "\"sliding_window_pattern\": 6, \"rope_local_base_freq\": 10000, "
     "\"final_logit_softcapping\": null}",
     "1 model.embed_tokens.weight 262144 1152\n"
     "1 model.norm.weight 1152\n"
     "26 model.layers.#.input_layernorm.weight 1152\n"
     "26 model.layers.#.post_attention_layernorm.weight 1152\n"
     "26 model.layers.#.pre_feedforward_layernorm.weight 1152\n"
     "26 model.layers.#.post_feedforward_layernorm.weight 1152\n"
     "26 model.layers.#.self_attn.q_proj.weight 1024 1152\n"
     "26 model.layers.#.self_attn.k_proj.weight 256 1152\n"
     "26 model.layers.#.self_attn.v_proj.weight 256 1152\n"
     "26 model.layers.#.self_attn.o_proj.weight 1152 1024\n"
     "26 model.layers.#.mlp.gate_proj.weight 6912 1152\n"
     "26 model.layers.#.mlp.up_proj.weight 6912 1152\n"
     "26 model.layers.#.mlp.down_proj.weight 1152 6912\n"
     "26 model.layers.#.self_attn.q_norm.weight 256\n"
     "26 model.layers.#.self_attn.k_norm.weight 256\n"},
    {"starcoder2_3b", "starcoder2", "F32", 3030371328,
     "{\"architectures\": [\"Starcoder2ForCausalLM\"], \"num_hidden_layers\": 30, "
     "\"hidden_size\": 3072, \"intermediate_size\": 12288, \"num_attention_heads\": 24, "
     "\"num_key_value_heads\": 2, \"vocab_size\": 49152, "
     "\"max_position_embeddings\": 16384, \"norm_epsilon\": 1e-05, "
     "\"rope_theta\": 999999.4420358813, \"sliding_window\": 4096, \"use_bias\": true, "
     "\"tie_word_embeddings\": true}",
     "1 model.embed_tokens.weight 49152 3072\n"
     "1 model.norm.weight 3072\n"
     "1 model.norm.bias 3072\n"
     "30 model.layers.#.input_layernorm.weight 3072\n"
     "30 model.layers.#.input_layernorm.bias 3072\n"
     "30 model.layers.#.post_attention_layernorm.weight 3072\n"
     "30 model.layers.#.post_attention_layernorm.bias 3072\n"
     "30 model.layers.#.self_attn.q_proj.weight 3072 3072\n"
     "30 model.layers.#.self_attn.q_proj.bias 3072\n"
     "30 model.layers.#.self_attn.k_proj.weight 256 3072\n"
     "30 model.layers.#.self_attn.k_proj.bias 256\n"
     "30 model.layers.#.self_attn.v_proj.weight 256 3072\n"
     "30 model.layers.#.self_attn.v_proj.bias 256\n"
     "30 model.layers.#.self_attn.o_proj.weight 3072 3072\n"
     "30 model.layers.#.self_attn.o_proj.bias 3072\n"
     "30 model.layers.#.mlp.c_fc.weight 12288 3072\n"
     "30 model.layers.#.mlp.c_fc.bias 12288\n"
     "30 model.layers.#.mlp.c_proj.weight 3072 12288\n"
     "30 model.layers.#.mlp.c_proj.bias 3072\n"},
    {"gpt2", "gpt2", "F32", 124439808,
     "{\"architectures\": [\"GPT2LMHeadModel\"], \"n_layer\": 12, \"n_embd\": 768, "
     "\"n_head\": 12, \"n_positions\": 1024, \"n_ctx\": 1024, \"vocab_size\": 50257, "
     "\"layer_norm_epsilon\": 1e-05}",
     "1 wte.weight 50257 768\n"
     "1 wpe.weight 1024 768\n"
     "1 ln_f.weight 768\n"
     "1 ln_f.bias 768\n"
     "12 h.#.attn.bias 1 1 1024 1024\n"
     "12 h.#.ln_1.weight 768\n"
     "12 h.#.ln_1.bias 768\n"
     "12 h.#.ln_2.weight 768\n"
     "12 h.#.ln_2.bias 768\n"
     "12 h.#.attn.c_attn.weight 768 2304\n"
     "12 h.#.attn.c_attn.bias 2304\n"
     "12 h.#.attn.c_proj.weight 768 768\n"
     "12 h.#.attn.c_proj.bias 768\n"
     "12 h.#.mlp.c_fc.weight 768 3072\n"
     "12 h.#.mlp.c_fc.bias 3072\n"
     "12 h.#.mlp.c_proj.weight 3072 768\n"
     "12 h.#.mlp.c_proj.bias 768\n"},
    {"mamba_130m", "mamba", "F32", 129135360,
     "{\"architectures\": [\"MambaForCausalLM\"], \"num_hidden_layers\": 24, "
     "\"hidden_size\": 768, \"intermediate_size\": 1536, \"state_size\": 16, "
     "\"conv_kernel\": 4, \"time_step_rank\": 48, \"expand\": 2, \"vocab_size\": 50280, "
     "\"layer_norm_epsilon\": 1e-05}",
     "1 backbone.embeddings.weight 50280 768\n"
     "1 backbone.norm_f.weight 768\n"
     "24 backbone.layers.#.norm.weight 768\n"
     "24 backbone.layers.#.mixer.in_proj.weight 3072 768\n"
     "24 backbone.layers.#.mixer.conv1d.weight 1536 1 4\n"
     "24 backbone.layers.#.mixer.conv1d.bias 1536\n"
     "24 backbone.layers.#.mixer.x_proj.weight 80 1536\n"
     "24 backbone.layers.#.mixer.dt_proj.weight 1536 48\n"
     "24 backbone.layers.#.mixer.dt_proj.bias 1536\n"
     "24 backbone.layers.#.mixer.A_log 1536 16\n"
     "24 backbone.layers.#.mixer.D 1536\n"
     "24 backbone.layers.#.mixer.out_proj.weight 768 1536\n"},
};
/* clang-format on */

#endif
