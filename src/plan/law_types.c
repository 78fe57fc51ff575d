/* Figures of types that were not measured: those of the nearest relative that was. */
#include "plan/law_fit.h"

#include <math.h>

#include <ggml.h>

/* What resembles what, nearest first: unpacking work per weight and which kernels there are decide.
 * time_ratio: time per weight against the relative where computing bounds, roughly; the grid
 * look-ups of IQ1 to IQ3 are taken to be twice as dear on a CPU. A guess for what was not measured.
 */
struct relative {
    int type, relatives[3];
    double time_ratio;
};
static const struct relative RELATIVES[] = {
    {GGML_TYPE_F32, {GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0}, 1.5},
    {GGML_TYPE_F16, {GGML_TYPE_BF16, GGML_TYPE_F32, GGML_TYPE_Q8_0}, 1.0},
    {GGML_TYPE_BF16, {GGML_TYPE_F16, GGML_TYPE_F32, GGML_TYPE_Q8_0}, 1.0},
    {GGML_TYPE_Q4_0, {GGML_TYPE_Q4_1, GGML_TYPE_IQ4_NL, GGML_TYPE_Q8_0}, 1.0},
    {GGML_TYPE_Q4_1, {GGML_TYPE_Q4_0, GGML_TYPE_Q8_0, GGML_TYPE_Q5_0}, 1.1},
    {GGML_TYPE_Q5_0, {GGML_TYPE_Q5_1, GGML_TYPE_Q5_K, GGML_TYPE_Q8_0}, 1.0},
    {GGML_TYPE_Q5_1, {GGML_TYPE_Q5_0, GGML_TYPE_Q5_K, GGML_TYPE_Q8_0}, 1.0},
    {GGML_TYPE_Q8_0, {GGML_TYPE_Q4_0, GGML_TYPE_Q6_K, GGML_TYPE_F16}, 1.1},
    {GGML_TYPE_Q2_K, {GGML_TYPE_Q3_K, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K}, 1.0},
    {GGML_TYPE_Q3_K, {GGML_TYPE_Q2_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K}, 1.1},
    {GGML_TYPE_Q4_K, {GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_Q4_0}, 1.0},
    {GGML_TYPE_Q5_K, {GGML_TYPE_Q6_K, GGML_TYPE_Q4_K, GGML_TYPE_Q8_0}, 1.1},
    {GGML_TYPE_Q6_K, {GGML_TYPE_Q5_K, GGML_TYPE_Q4_K, GGML_TYPE_Q8_0}, 1.0},
    {GGML_TYPE_IQ4_NL, {GGML_TYPE_IQ4_XS, GGML_TYPE_Q4_0, GGML_TYPE_Q4_K}, 1.0},
    {GGML_TYPE_IQ4_XS, {GGML_TYPE_IQ4_NL, GGML_TYPE_Q4_K, GGML_TYPE_Q4_0}, 1.0},
    {GGML_TYPE_IQ3_S, {GGML_TYPE_Q3_K, GGML_TYPE_IQ4_XS, GGML_TYPE_Q4_K}, 2.0},
    {GGML_TYPE_IQ3_XXS, {GGML_TYPE_IQ3_S, GGML_TYPE_Q3_K, GGML_TYPE_Q4_K}, 2.0},
    {GGML_TYPE_IQ2_S, {GGML_TYPE_IQ2_XS, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K}, 2.0},
    {GGML_TYPE_IQ2_XS, {GGML_TYPE_IQ2_S, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K}, 2.0},
    {GGML_TYPE_IQ2_XXS, {GGML_TYPE_IQ2_XS, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K}, 2.0},
    {GGML_TYPE_IQ1_S, {GGML_TYPE_IQ1_M, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K}, 1.5},
    {GGML_TYPE_IQ1_M, {GGML_TYPE_IQ1_S, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K}, 2.0},
    {GGML_TYPE_TQ1_0, {GGML_TYPE_TQ2_0, GGML_TYPE_Q2_K, GGML_TYPE_Q4_0}, 1.2},
    {GGML_TYPE_TQ2_0, {GGML_TYPE_TQ1_0, GGML_TYPE_Q2_K, GGML_TYPE_Q4_0}, 0.8},
    {GGML_TYPE_MXFP4, {GGML_TYPE_IQ4_NL, GGML_TYPE_Q4_0, GGML_TYPE_Q4_K}, 1.0},
};
enum { N_RELATIVES = sizeof RELATIVES / sizeof *RELATIVES };

bool snug__law_is_type(int type)
{
    for (int i = 0; i < N_RELATIVES; i++)
        if (RELATIVES[i].type == type)
            return true;
    return false;
}

int snug__law_type_from_name(const char *name)
{
    const int type = name ? snug_model_type_from_name(name) : -1;
    return type >= 0 && snug__law_is_type(type) ? type : -1;
}

/* Bytes bound a part of the time and computing the rest: between the same time per byte and the
 * same time per weight, the geometric middle, and the root of the ratio. */
static double decode_ratio(const struct relative *r, int relative)
{
    return sqrt(snug_model_type_bits(relative) / snug_model_type_bits(r->type) * r->time_ratio);
}

typedef double (*ratio_fn)(const struct relative *r, int relative);

static double prefill_ratio(const struct relative *r, int relative)
{
    (void)relative;
    return r->time_ratio;
}

static double same_ratio(const struct relative *r, int relative)
{
    (void)r;
    (void)relative;
    return 1.0;
}

/* The dearest that is known, for a type none of whose relatives is. */
static double dearest(const double *by_type)
{
    double most = 0.0;
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++)
        most = fmax(most, by_type[y]);
    return most;
}

/* Twice, so that relatives of relatives are reached. */
static void fill(double *by_type, ratio_fn ratio)
{
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N_RELATIVES; i++) {
            const struct relative *r = &RELATIVES[i];
            for (int k = 0; k < 3 && by_type[r->type] <= 0.0; k++)
                if (by_type[r->relatives[k]] > 0.0)
                    by_type[r->type] = by_type[r->relatives[k]] * ratio(r, r->relatives[k]);
        }
    }
    const double last = dearest(by_type);
    for (int i = 0; i < N_RELATIVES; i++)
        if (by_type[RELATIVES[i].type] <= 0.0)
            by_type[RELATIVES[i].type] = last;
}

void snug__law_fill_types(struct snug_law_tier *tier)
{
    fill(tier->decode_s_per_byte, decode_ratio);
    fill(tier->prefill_s_per_flop, prefill_ratio);
    fill(tier->cache_s_per_byte, same_ratio);
    fill(tier->attention_s_per_flop, same_ratio);
    fill(tier->attention_step_s_per_flop, same_ratio);
}
