/* Plan a model for a machine and print how to run it:
 * cc plan.c $(pkg-config --cflags --libs snug) && ./a.out llama3-8b rtx3060-12g */
#include <stdio.h>
#include <stdlib.h>

#include <snug/commands.h>
#include <snug/plan.h>
#include <snug/units.h>

static void show(const struct snug_plan *plan)
{
    char bytes[SNUG_UNIT_TEXT_MAX], total[SNUG_UNIT_TEXT_MAX];
    printf("%s: %s\n", snug_plan_grade_name(plan->grade), plan->reason);
    printf("file %s, memory %s\n", snug_bytes_text(plan->file_bytes, bytes),
           snug_bytes_text(plan->total_bytes, total));
    for (int i = 0; i < plan->n_depths; i++)
        printf("decode behind %lld tokens: %.1f tok/s (%.1f to %.1f)\n", (long long)plan->depths[i],
               plan->decode_tps[i].value, plan->decode_tps[i].lo, plan->decode_tps[i].hi);
    printf("loss %.4f nats per token (%.4f to %.4f), by %s\n", plan->loss.value, plan->loss.lo,
           plan->loss.hi, snug_sensitivity_method_name(plan->method));
    for (int i = 0; i < plan->n_notes; i++)
        printf("note: %s\n", plan->notes[i]);
}

int main(int argc, char **argv)
{
    struct snug_model model = {.n_tensors = 0};
    struct snug_law law;
    struct snug_sensitivity sensitivity = {.n_tensors = 0};
    struct snug_plan plan = {.n_tensors = 0};
    struct snug_plan_request request;
    struct snug_error err = {SNUG_OK};
    char *text = NULL;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: plan MODEL [MACHINE]\n");
        return 2;
    }
    const struct snug_law_request machine = {.machine = argc == 3 ? argv[2] : "this"};
    snug_status status = snug_model_open(argv[1], &model, &err);
    if (status == SNUG_OK)
        status = snug_law_open(&machine, &law, &err);
    if (status == SNUG_OK)
        status = snug_sensitivity_position(&model, &sensitivity, &err);
    if (status == SNUG_OK) {
        snug_plan_request_init(&request);
        request.model = &model;
        request.law = &law;
        request.sensitivity = &sensitivity;
        status = snug_plan_solve(&request, &plan, &err);
    }
    if (status == SNUG_OK)
        show(&plan);
    if (status == SNUG_OK && plan.grade != SNUG_PLAN_INFEASIBLE)
        status = snug_plan_command(&plan, &model, "llama-server", NULL, &text, &err);
    if (status != SNUG_OK)
        fprintf(stderr, "plan: %s\n", err.text);
    else if (text)
        printf("%s", text);
    free(text);
    snug_plan_clear(&plan);
    snug_sensitivity_clear(&sensitivity);
    snug_model_clear(&model);
    return status == SNUG_OK ? 0 : 1;
}
