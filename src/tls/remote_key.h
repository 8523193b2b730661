/*
 * Both ends of the blocking socket for signatures (tls/proto_sign.h): the asking one in smtpd and imapd, the signing one in
 * keys.
 */
#ifndef VEREDUS_TLS_REMOTE_KEY_H
#define VEREDUS_TLS_REMOTE_KEY_H

#include "tls/tls.h"

/* Where signatures are asked for; a tls_sign callback's context. `fd` -1: there is nobody to ask. */
struct remote_key_client {
    int fd;
    uint32_t serial;
};

bool remote_key_sign(void *context, struct str name, const char *digest, bool digested, int padding,
                     struct str data, struct buf *signature);

/* The private keys that keys holds, by the names of their tls sections. */
struct key_ring;

struct key_ring *key_ring_new(void);
void key_ring_free(struct key_ring *ring);
/* Adds or replaces a key from PEM; false if there is none in it. */
bool key_ring_add(struct key_ring *ring, struct str name, struct str pem);
/* Answers one waiting request on the socket. False if the peer is gone or broke the rules: close it. */
bool key_ring_serve(struct key_ring *ring, int fd);

#endif
