/* Words as a shell reads them back. */
#ifndef SNUG_ENGINE_SHELL_H
#define SNUG_ENGINE_SHELL_H

#include "base/buffer.h"

/* One word, in single quotes where a shell would change it, with a space before it unless out is
 * empty or ends a line. */
void snug__shell_put(struct snug_buffer *out, const char *word);

#endif
