/* Configs: one value per row of a space. */
#include <stdio.h>
#include <string.h>

#include "snug/trial.h"

int snug_space_find(const struct snug_space *space, const char *name)
{
    for (int i = 0; i < space->n; i++) {
        if (strcmp(space->knobs[i].name, name) == 0)
            return i;
    }
    return -1;
}

void snug_space_default(const struct snug_space *space, struct snug_config *out_config)
{
    memset(out_config, 0, sizeof *out_config);
    for (int i = 0; i < space->n; i++)
        out_config->value[i] = space->knobs[i].def;
}

/* Values behind the last row have no meaning and are not compared. */
bool snug_config_equal(const struct snug_space *space, const struct snug_config *a,
                       const struct snug_config *b)
{
    return memcmp(a->value, b->value, (size_t)space->n * sizeof a->value[0]) == 0;
}

const char *snug_config_text(const struct snug_space *space, const struct snug_config *config,
                             bool is_short, char *out, size_t cap)
{
    char text[32];
    size_t n = 0;
    if (cap == 0)
        return "";
    out[0] = '\0';
    for (int i = 0; i < space->n && n < cap; i++) {
        const struct snug_knob *knob = &space->knobs[i];
        if (is_short && config->value[i] == knob->def)
            continue;
        n += (size_t)snprintf(out + n, cap - n, "%s%s=%s", n ? " " : "", knob->name,
                              snug_knob_text(knob, config->value[i], text));
    }
    if (n == 0)
        snprintf(out, cap, "%s", "default");
    return out;
}
