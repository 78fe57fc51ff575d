/* From a tensor's relative squared error to nats per token.
 *
 *   loss = factor(role) * depth(layer) / n_layer * error
 *
 * The error enters linearly, as for any smooth loss near its minimum; a layer's share of the
 * residual stream, and with it of the damage, goes down with the number of layers. */
#include <string.h>

#include "plan/sensitivity.h"

/* Fitted to measured divergences; see the file's head. */
static const struct {
    const char *role;
    double factor;
} FACTORS[] = {
    {"attn_q", 1.0},      {"attn_k", 1.0},   {"attn_v", 1.0}, {"attn_qkv", 1.0},
    {"attn_output", 1.0}, {"ffn_gate", 1.0}, {"ffn_up", 1.0}, {"ffn_down", 1.0},
    {"token_embd", 1.0},  {"output", 1.0},
};
static const double OTHER = 1.0; /* in a layer, of a role that was never measured */

static double role_factor(const char *role)
{
    /* "ffn_up_exps", "ffn_up_shexp": what an expert does is what the plain one did. */
    const char *tail = strstr(role, "_exps");
    tail = tail ? tail : strstr(role, "_shexp");
    tail = tail ? tail : strstr(role, "_chexps");
    const size_t n = tail ? (size_t)(tail - role) : strlen(role);
    for (size_t i = 0; i < sizeof FACTORS / sizeof *FACTORS; i++) {
        if (strlen(FACTORS[i].role) == n && strncmp(FACTORS[i].role, role, n) == 0)
            return FACTORS[i].factor;
    }
    return OTHER;
}

/* Mean 1 over the layers; x runs from 0 to 1. */
static double depth(double x)
{
    const double u = 2.0 * x - 1.0;
    return 0.7 + 0.9 * u * u;
}

double snug__tensor_factor(const struct snug_model *model, int i_tensor)
{
    char role[SNUG__ROLE_MAX];
    int64_t layer = -1;
    snug__tensor_role(model->tensors[i_tensor].name, role, &layer);
    const double factor = role_factor(role);
    if (layer < 0)
        return model->is_tied && strcmp(role, "token_embd") == 0 ? factor + role_factor("output")
                                                                 : factor;
    const int64_t n = model->n_layer > layer ? model->n_layer : layer + 1;
    return factor * depth(((double)layer + 0.5) / (double)n) / (double)n;
}

void snug__loss_interval(enum snug_sensitivity_method method, double *out_lo, double *out_hi)
{
    static const struct {
        double lo, hi;
    } INTERVALS[SNUG_N_SENSITIVITY_METHODS] = {
        [SNUG_SENSITIVITY_POSITION] = {0.2, 5.0},
        [SNUG_SENSITIVITY_WEIGHTS] = {0.33, 3.0},
        [SNUG_SENSITIVITY_IMATRIX] = {0.33, 3.0},
        [SNUG_SENSITIVITY_KLD] = {0.7, 1.4},
    };
    *out_lo = INTERVALS[method].lo;
    *out_hi = INTERVALS[method].hi;
}
