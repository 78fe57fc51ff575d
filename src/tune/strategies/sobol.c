/* Strategy "sobol": the scrambled Sobol sequence on the lattice, point after point. */
#include "tune/strategy.h"

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    (void)out_info; /* predicts nothing */
    return snug__strategy_sobol_config(s, out_config, err);
}

const struct snug__strategy_kind snug__strategy_sobol = {.ask = ask};
