/* Parts of the knob rows that JSON needs too. */
#ifndef SNUG_TRIAL_KNOB_H
#define SNUG_TRIAL_KNOB_H

#include "base/near.h"
#include "snug/trial.h"

/* "on", "off" or the ENUM's name, whole; NULL for a plain number or a value the row has not. */
const char *snug__knob_name_of(const struct snug_knob *knob, int64_t value);

#endif
