/* The table of methods: snug's own strategies, the default first, then the yardsticks. */
#include "perf/tunebench/methods.h"

#include <string.h>

#include "perf/tunebench/tunebench.h"

static const struct tb_method methods[TB_METHODS_MAX] = {
#define OWN(name, help) {#name, help, NULL, true, true, TB_PRIOR_TRUE, TB_PAST_NONE, false, false},
    SNUG_STRATEGIES(OWN)
#undef OWN
        {"snug-no-prior", "snug without the cost model's predictions", &snug__strategy_snug, true,
         true, TB_PRIOR_NONE, TB_PAST_NONE, false, false},
    {"snug-wrong-prior", "snug with predictions of the mirrored config", &snug__strategy_snug, true,
     true, TB_PRIOR_WRONG, TB_PAST_NONE, false, false},
    {"snug-past", "snug with what it told itself on the tables of --past", &snug__strategy_snug,
     true, true, TB_PRIOR_TRUE, TB_PAST_TRUE, false, false},
    {"snug-past-no-prior", "the same without the cost model's predictions", &snug__strategy_snug,
     true, true, TB_PRIOR_NONE, TB_PAST_TRUE, false, false},
    {"snug-wrong-past", "snug-past where what was fast is called slow", &snug__strategy_snug, true,
     true, TB_PRIOR_TRUE, TB_PAST_WRONG, false, false},
    {"snug-wrong-past-no-prior", "the same without the cost model's predictions",
     &snug__strategy_snug, true, true, TB_PRIOR_NONE, TB_PAST_WRONG, false, false},
    {"snug-ladder", "snug whose trials begin with a block, and go on where it pays; when named",
     &snug__strategy_snug, true, true, TB_PRIOR_TRUE, TB_PAST_NONE, false, true},
    {"snug-drop", "snug that stops varying knobs found to matter in no way; when named",
     &snug__strategy_snug, true, true, TB_PRIOR_TRUE, TB_PAST_NONE, true, false},
#define YARDSTICK(name, kind, def, fit, help)                                                      \
    {name, help, &tb_kind_##kind, def, fit, TB_PRIOR_NONE, TB_PAST_NONE, false, false},
    TB_METHODS(YARDSTICK)
#undef YARDSTICK
};

const struct tb_method *tb_methods(void)
{
    return methods;
}

const struct tb_method *tb_method_find(const char *name)
{
    for (const struct tb_method *m = methods; m->name; m++)
        if (strcmp(m->name, name) == 0)
            return m;
    return NULL;
}

/* ---- none: only what it was told first ---- */

static snug_status ask_none(struct snug_strategy *s, struct snug_config *out_config,
                            struct snug_ask_info *out_info, struct snug_error *err)
{
    (void)s;
    (void)out_config;
    (void)out_info;
    return snug_fail(err, SNUG_NOT_FOUND, "one config is all of it");
}

const struct snug__strategy_kind tb_kind_none = {.ask = ask_none};
