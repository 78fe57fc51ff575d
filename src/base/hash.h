/* SHA-256, streaming: names for content (models, machines, tasks) that two computers agree on. */
#ifndef SNUG_BASE_HASH_H
#define SNUG_BASE_HASH_H

#include "snug/base.h"

#define SNUG_SHA256_BYTES 32
#define SNUG_SHA256_HEX_MAX 65 /* 64 digits and the NUL */

struct snug_sha256 {
    uint32_t state[8];
    uint64_t n_bytes;  /* hashed so far */
    uint8_t block[64]; /* the last n_bytes % 64 bytes, not yet hashed */
};

void snug_sha256_init(struct snug_sha256 *hash);
void snug_sha256_update(struct snug_sha256 *hash, const void *data, size_t n);
/* Ends the stream; call init before using hash again. */
void snug_sha256_final(struct snug_sha256 *hash, uint8_t out[SNUG_SHA256_BYTES]);
/* The same as 64 lower-case hexadecimal digits. Returns out. */
const char *snug_sha256_final_hex(struct snug_sha256 *hash, char out[SNUG_SHA256_HEX_MAX]);
/* One piece of data at once. Returns out. */
const char *snug_sha256_hex(const void *data, size_t n, char out[SNUG_SHA256_HEX_MAX]);

#endif
