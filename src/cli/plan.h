/* What `snug plan` shares among its files: what was opened, and how it is shown. */
#ifndef SNUG_CLI_PLAN_H
#define SNUG_CLI_PLAN_H

#include "base/buffer.h"
#include "cli/cli.h"
#include "snug/plan.h"

#define CLI_PLAN_VERIFY "plan-verify" /* kind of session in the history */

struct cli_planning {
    const struct cli_args *args;
    struct snug_machine machine;
    struct snug_model model;
    struct snug_law law;
    struct snug_sensitivity sensitivity;
    struct snug_plan_oracle *oracle;
    struct snug_plan_request request;
    struct snug_plan plan;
    struct snug_buffer measured; /* table of --text */
};

/* The plan as text: verdict first. */
void cli_plan_put(struct snug_buffer *out, const struct cli_planning *p);
/* "--pareto", "--compare", "--shadow": tables below it. */
snug_status cli_plan_put_menu(struct snug_buffer *out, const struct cli_planning *p,
                              struct snug_error *err) SNUG_CHECKED;
snug_status cli_plan_put_compare(struct snug_buffer *out, const struct cli_planning *p,
                                 struct snug_error *err) SNUG_CHECKED;
snug_status cli_plan_put_shadow(struct snug_buffer *out, const struct cli_planning *p,
                                struct snug_error *err) SNUG_CHECKED;
/* Correct the law of this machine by stored trials, where there are any. */
void cli_plan_correct(struct cli_planning *p);
/* "--text": measure the top few and take the best; their table. */
snug_status cli_plan_rerank(struct cli_planning *p, struct snug_buffer *out,
                            struct snug_error *err) SNUG_CHECKED;
/* "--verify": the plan's file is made and run here; predicted against measured. */
snug_status cli_plan_put_verify(struct snug_buffer *out, const struct cli_planning *p,
                                struct snug_error *err) SNUG_CHECKED;
/* "5.12 bits", "23.4 (20.1 to 26.0)": figures of a plan. */
double cli_plan_bits(const struct snug_plan *plan);

#endif
