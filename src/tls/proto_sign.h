/*
 * The blocking socket between a role that speaks TLS and keys: one request, one answer, fixed structs, because a handshake
 * waits for it. The asker gives up after a time limit; keys treats the request as hostile and answers `signature_len` 0 to what
 * it cannot do.
 */
#ifndef VEREDUS_TLS_PROTO_SIGN_H
#define VEREDUS_TLS_PROTO_SIGN_H

#include <stdint.h>

enum { SIGN_KEY_ID_SIZE = 32, SIGN_DATA_MAX = 2048, SIGN_SIGNATURE_MAX = 1024, SIGN_TIMEOUT_MS = 2000 };
enum sign_padding { SIGN_PADDING_NONE, SIGN_PADDING_PKCS1, SIGN_PADDING_PSS };

struct sign_request {
    uint32_t serial; /* comes back in the answer */
    uint16_t data_len;
    uint8_t padding;  /* enum sign_padding; for RSA */
    uint8_t digested; /* 1: `data` is a digest made with `digest`; 0: it is the text to be signed */
    char digest[16];  /* "SHA256" and so on, NUL-terminated; empty where the key's algorithm needs none */
    /* Which key: SHA-256 of its SubjectPublicKeyInfo. By a name, the old certificate could get the new key's signature. */
    unsigned char key_id[SIGN_KEY_ID_SIZE];
    unsigned char data[SIGN_DATA_MAX];
};

struct sign_answer {
    uint32_t serial;
    uint16_t signature_len; /* 0: refused */
    unsigned char signature[SIGN_SIGNATURE_MAX];
};

#endif
