/* Verifiers of passwords; see password.h. */
#include "tls/password.h"

#include <sodium.h>

enum { MIXED_SIZE = 32, MIXED_HEX = MIXED_SIZE * 2 + 1 };

/* Of a password that nobody knows: what unknown names are checked against, with the same cost parameters. */
static char dummy[crypto_pwhash_STRBYTES];

/* As hexadecimal text, because libsodium's strings must have no NUL. */
static void mix(struct str password, const unsigned char *pepper, char *out)
{
    unsigned char mixed[MIXED_SIZE];
    crypto_generichash(mixed, sizeof(mixed), (const unsigned char *)password.data, password.len, pepper,
                       PASSWORD_PEPPER_SIZE);
    sodium_bin2hex(out, MIXED_HEX, mixed, sizeof(mixed));
    sodium_memzero(mixed, sizeof(mixed));
}

static bool hash(const char *mixed, char *out)
{
    return crypto_pwhash_str(out, mixed, MIXED_HEX - 1, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                             crypto_pwhash_MEMLIMIT_INTERACTIVE) == 0;
}

bool password_setup(void)
{
    char mixed[MIXED_HEX];
    unsigned char random[MIXED_SIZE];
    if (sodium_init() < 0) {
        return false;
    }
    randombytes_buf(random, sizeof(random));
    sodium_bin2hex(mixed, sizeof(mixed), random, sizeof(random));
    return hash(mixed, dummy);
}

bool password_make(struct str password, const unsigned char pepper[PASSWORD_PEPPER_SIZE],
                   struct buf *verifier)
{
    char mixed[MIXED_HEX];
    char text[crypto_pwhash_STRBYTES];
    mix(password, pepper, mixed);
    bool fine = hash(mixed, text) && buf_append_str(verifier, str_of(text));
    sodium_memzero(mixed, sizeof(mixed));
    return fine;
}

bool password_verify(struct str password, struct str verifier,
                     const unsigned char pepper[PASSWORD_PEPPER_SIZE])
{
    char mixed[MIXED_HEX];
    char text[crypto_pwhash_STRBYTES] = "";
    bool real = verifier.len > 0 && verifier.len < sizeof(text);
    if (real) {
        memcpy(text, verifier.data, verifier.len);
    } else {
        memcpy(text, dummy, sizeof(text));
    }
    mix(password, pepper, mixed);
    bool right = crypto_pwhash_str_verify(text, mixed, MIXED_HEX - 1) == 0;
    sodium_memzero(mixed, sizeof(mixed));
    return right && real;
}
