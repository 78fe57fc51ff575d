/* Any bytes as the limits of a server: refused with the file's name, or limits within bounds. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "snug/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_serve_caps caps = {.memory_bytes = -7, .cpus = -7};
    struct snug_error err = {.status = SNUG_OK};
    if (snug_serve_caps_parse("fuzz", (const char *)data, n, &caps, &err) != SNUG_OK) {
        check(strncmp(err.text, "fuzz:", 5) == 0 && caps.cpus == -7 && caps.memory_bytes == -7);
        return 0;
    }
    check(n <= SNUG_SERVE_CAPS_BYTES_MAX);
    check(caps.memory_bytes >= 0 && caps.memory_bytes <= 281474976710656.0);
    check(caps.cpus >= 0 && caps.cpus <= 8192);
    return 0;
}
