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

bool remote_key_sign(void *context, const unsigned char *key_id, const char *digest, bool digested,
                     int padding, struct str data, struct buf *signature);

/*
 * The private keys that keys holds. Each tls section has the one that came last and some before it: while a new certificate
 * comes into force, some handshakes are under way with the old one.
 */
struct key_ring;

struct key_ring *key_ring_new(void);
void key_ring_free(struct key_ring *ring);
/* Adds the key of the tls section `name` from PEM; false if there is none in it, or there are too many. */
bool key_ring_add(struct key_ring *ring, struct str name, struct str pem);
/* Called when a key is asked for that is not there: takes what may have been sent already and not been looked at. */
typedef void (*key_ring_refresh)(void *context);
/* Answers one waiting request on the socket. False if the peer is gone or broke the rules: close it. */
bool key_ring_serve(struct key_ring *ring, int fd, key_ring_refresh refresh, void *context);

#endif
