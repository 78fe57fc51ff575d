/* From a tensor's relative squared error to nats per token.
 *
 *   loss = factor(role) * depth(layer) / n_layer * error
 *
 * The error enters linearly, as for any smooth loss near its minimum, and so it was measured: from
 * Q2_K to Q5_0, over a factor of fifty in the loss, the mean ratio of loss to error moves by 3 %,
 * and that of a single group by 10 %. A layer's share of the residual stream, and with it of the
 * damage, is taken to go down with the number of layers; the models measured have 5 and 6.
 *
 * Factors and depths are from perf/plan_sensitivity.py: 259 measured divergences (role by third of
 * the layers, Q4_0 and Q5_0, 16 chunks of text) of four trained models of 0.3 to 7 M parameters,
 * and of their copies with an output of its own. They are rounded, since a model that was left out
 * of the fit is told no better by more digits: the log of measured over foretold scatters by 1.0
 * there (standard deviation over groups, the model's own level taken out; mean of four models), and
 * by 1.2 with the error alone; roles help in three of four and depth in three of four. So what the
 * rule tells well is the order of types, and of roles fairly; what it tells badly is the level:
 * over all groups of a model left out, measured over foretold is 0.20, 1.4, 2.8 and 3.1. How much
 * any error costs a model is not seen in its weights. Method kld measures it. */
#include <string.h>

#include "plan/sensitivity.h"

/* The two outside layers are by the models whose vocabulary is of subwords: where it is of
 * characters, the embedding weighs ten times as much and the output a fifth. */
static const struct {
    const char *role;
    double factor;
} FACTORS[] = {
    {"attn_q", 0.1},      {"attn_k", 0.15},  {"attn_v", 0.55}, {"attn_qkv", 0.8},
    {"attn_output", 0.3}, {"ffn_gate", 0.6}, {"ffn_up", 0.5},  {"ffn_down", 0.8},
    {"token_embd", 0.3},  {"output", 1.4},
};
static const double OTHER = 0.35; /* never measured: the geometric mean of those in layers */

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

/* Measured by thirds: 0.5, 1.25, 1.25; half of that, in logarithms, since models differ in it. */
static double depth(double x)
{
    return x < 1.0 / 3.0 ? 0.7 : 1.15;
}

/* What is often assumed where nothing is known: first and last layers matter most. Mean 1. */
static double u_shape(double x)
{
    const double u = 2.0 * x - 1.0;
    return 0.7 + 0.9 * u * u;
}

static double factor_of(const struct snug_model *model, int i_tensor, double (*shape)(double x))
{
    char role[SNUG__ROLE_MAX];
    int64_t layer = -1;
    snug__tensor_role(model->tensors[i_tensor].name, role, &layer);
    const double factor = role_factor(role);
    if (layer < 0)
        return model->is_tied && strcmp(role, "token_embd") == 0 ? factor + role_factor("output")
                                                                 : factor;
    const int64_t n = model->n_layer > layer ? model->n_layer : layer + 1;
    return factor * shape(((double)layer + 0.5) / (double)n) / (double)n;
}

double snug__tensor_factor(const struct snug_model *model, int i_tensor,
                           enum snug_sensitivity_method method)
{
    return factor_of(model, i_tensor, method == SNUG_SENSITIVITY_POSITION ? u_shape : depth);
}

void snug__loss_interval(enum snug_sensitivity_method method, double *out_lo, double *out_hi)
{
    /* Of weights: the ratios above. With an imatrix: the same, and the same factors come out. Of
     * kld: the whole in one type cost 0.98 to 1.18 of the sum of its groups, in four models and two
     * types each; a little more for types between those measured. Position: weights, and the wrong
     * depth. */
    static const struct {
        double lo, hi;
    } INTERVALS[SNUG_N_SENSITIVITY_METHODS] = {
        [SNUG_SENSITIVITY_POSITION] = {0.15, 4.0},
        [SNUG_SENSITIVITY_WEIGHTS] = {0.2, 3.0},
        [SNUG_SENSITIVITY_IMATRIX] = {0.2, 3.0},
        [SNUG_SENSITIVITY_KLD] = {0.85, 1.3},
    };
    *out_lo = INTERVALS[method].lo;
    *out_hi = INTERVALS[method].hi;
}
