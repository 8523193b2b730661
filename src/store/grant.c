/* Grants; see grant.h. The keyed hash is BLAKE2b with 128 bits of output; the first octet keeps the two kinds apart. */
#include "store/grant.h"

#include <sodium.h>

enum { MAC_SIZE = 16, KIND_LOGIN = 1, KIND_BODY = 2 };

static void sign(unsigned char kind, const void *data, size_t len, const unsigned char *key,
                 unsigned char *mac)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, key, GRANT_KEY_SIZE, MAC_SIZE);
    crypto_generichash_update(&state, &kind, 1);
    crypto_generichash_update(&state, data, len);
    crypto_generichash_final(&state, mac, MAC_SIZE);
}

static bool verify(unsigned char kind, struct str bytes, size_t size, const unsigned char *key)
{
    unsigned char mac[MAC_SIZE];
    if (bytes.len != size) {
        return false;
    }
    sign(kind, bytes.data, size - MAC_SIZE, key, mac);
    return sodium_memcmp(mac, bytes.data + size - MAC_SIZE, MAC_SIZE) == 0;
}

void grant_make(const struct grant *grant, const unsigned char key[GRANT_KEY_SIZE],
                unsigned char out[GRANT_SIZE])
{
    memset(out, 0, GRANT_SIZE);
    memcpy(out, &grant->account, 8);
    memcpy(out + 8, &grant->issued_ms, 8);
    memcpy(out + 16, &grant->instance, 4);
    memcpy(out + 20, &grant->kind, 4);
    memcpy(out + 24, &grant->boot, 8);
    sign(KIND_LOGIN, out, GRANT_SIZE - MAC_SIZE, key, out + GRANT_SIZE - MAC_SIZE);
}

bool grant_check(struct str bytes, const unsigned char key[GRANT_KEY_SIZE], struct grant *grant)
{
    if (!verify(KIND_LOGIN, bytes, GRANT_SIZE, key)) {
        return false;
    }
    memcpy(&grant->account, bytes.data, 8);
    memcpy(&grant->issued_ms, bytes.data + 8, 8);
    memcpy(&grant->instance, bytes.data + 16, 4);
    memcpy(&grant->kind, bytes.data + 20, 4);
    memcpy(&grant->boot, bytes.data + 24, 8);
    return true;
}

void body_grant_make(const struct body_grant *grant, const unsigned char key[GRANT_KEY_SIZE],
                     unsigned char out[BODY_GRANT_SIZE])
{
    memset(out, 0, BODY_GRANT_SIZE);
    memcpy(out, &grant->segment, 8);
    memcpy(out + 8, &grant->offset, 8);
    memcpy(out + 16, &grant->instance, 4);
    memcpy(out + 20, &grant->total, 4);
    memcpy(out + 24, grant->id, 12);
    sign(KIND_BODY, out, BODY_GRANT_SIZE - MAC_SIZE, key, out + BODY_GRANT_SIZE - MAC_SIZE);
}

bool body_grant_check(struct str bytes, const unsigned char key[GRANT_KEY_SIZE], struct body_grant *grant)
{
    if (!verify(KIND_BODY, bytes, BODY_GRANT_SIZE, key)) {
        return false;
    }
    memcpy(&grant->segment, bytes.data, 8);
    memcpy(&grant->offset, bytes.data + 8, 8);
    memcpy(&grant->instance, bytes.data + 16, 4);
    memcpy(&grant->total, bytes.data + 20, 4);
    memcpy(grant->id, bytes.data + 24, 12);
    return true;
}
