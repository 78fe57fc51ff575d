/* The yardsticks of tunebench, one file in methods/ and one row here each. Names that end in -like
 * are written afresh from what papers and code describe; they are nobody's own program. */
#ifndef TUNEBENCH_METHODS_H
#define TUNEBENCH_METHODS_H

#include "tune/strategy.h"

/* name, kind, told the default, told --fit's choice, help */
#define TB_METHODS(X)                                                                              \
    X("default", none, true, false, "llama.cpp's default, once")                                   \
    X("fit", none, false, true, "the choice of llama.cpp's --fit, once")                           \
    X("grid", grid, true, true, "an even grid of the lattice, in random order")                    \
    X("ofat", ofat, true, true, "one factor at a time, the best level kept")                       \
    X("ga-like", ga, true, true, "LaTune's genetic algorithm: speed alone, population 5")          \
    X("nsga2-like", nsga2, true, true, "NSGA-II (Deb 2002), population 8")                         \
    X("tpe-like", tpe, true, true, "tree of Parzen estimators (Bergstra 2011) on speed")           \
    X("scoot-like", scoot, true, true, "SCOOT: forest for what fails, adaptive threshold")         \
    X("restune-like", restune, true, true, "ReSTune: least bytes above a floor of speed, swept")   \
    X("latune-like", latune, true, true, "LaTune's search as described, without transfer")         \
    X("latune-as-coded", latune_coded, true, true, "the same with defects of its published code")

#define TB_METHOD_EXTERN(name, kind, def, fit, help)                                               \
    extern const struct snug__strategy_kind tb_kind_##kind;
TB_METHODS(TB_METHOD_EXTERN)
#undef TB_METHOD_EXTERN

#endif
