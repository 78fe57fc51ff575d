/* Models that are known by their header alone; private to the room. */
#ifndef SNUG_MODEL_SHAPE_FILE_H
#define SNUG_MODEL_SHAPE_FILE_H

#include "base/buffer.h"
#include "snug/model.h"

/* A model of a whole GGUF header in memory and a hole up to size; the model keeps a copy of the
 * header. `path` becomes model->path. */
snug_status snug__model_open_header(const char *path, const struct snug_buffer *header,
                                    uint64_t size, struct snug_model *out,
                                    struct snug_error *err) SNUG_CHECKED;

#endif
