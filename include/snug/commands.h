/* snug/commands.h: a plan in the words of other programs: command lines, a recipe, a Modelfile.
 *
 * Each emitter writes one whole text. What it holds is the plan and nothing else: the limits of a
 * program that cannot follow the plan stand as comments in its text. */
#ifndef SNUG_COMMANDS_H
#define SNUG_COMMANDS_H

#include "snug/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_COMMAND_PATH_MAX 4095          /* bytes of a path, as Linux has it */
#define SNUG_COMMAND_RECIPE_MAX (96u << 10) /* bytes of a recipe, that execve takes everywhere */

struct snug_command_options {
    const char *gguf_path;   /* the file that is run; NULL: NAME-plan.gguf in this folder */
    const char *source_path; /* the weights it is made of: GGUF, Hugging Face folder, address; NULL:
                                the model's own path, for a preset NAME-f16.gguf in this folder */
    const char *imatrix_path; /* activation statistics for llama-quantize, or NULL */
    int port;                 /* of llama-server; 0: its own default */
};

struct snug_command; /* what an emitter gets; private */

struct snug_emitter {
    const char *name;    /* "llama-server" */
    const char *summary; /* one line of help */
    const char *file;    /* a good name for the text as a file: "Modelfile" */
    snug_status (*emit)(const struct snug_command *command, char **out_text,
                        struct snug_error *err);
};

/* All rows; name is NULL at the end. */
const struct snug_emitter *snug_plan_emitters(void);

/* The text of one emitter, malloc'ed, with a newline at its end. Words are quoted for the program
 * that reads the text; what comes from the model's own texts cannot leave its comment.
 * Errors  SNUG_NOT_FOUND: no such emitter (names the near one); SNUG_BAD_INPUT: a path with a line
 *         break or longer than SNUG_COMMAND_PATH_MAX, a plan of another model, a cache type that
 *         llama.cpp has not, statistics missing that a type needs; SNUG_UNSUPPORTED: the emitter
 *         cannot express this plan (an architecture without known Hugging Face names, a recipe
 *         longer than SNUG_COMMAND_RECIPE_MAX). */
snug_status snug_plan_command(const struct snug_plan *plan, const struct snug_model *model,
                              const char *emitter, const struct snug_command_options *options,
                              char **out_text, struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
