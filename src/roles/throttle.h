/*
 * What keys remembers of logins that failed and of those that did not, to slow down guessing before a password is hashed. Pure:
 * the time is passed in, and no session is touched.
 *
 * Failures count for a client with a login, for a client, and for a login, each over a minute. The first two can refuse a login;
 * the third only makes it wait behind others, so that nobody can lock a user out from another address. A client that has logged
 * in as this user before goes first, and is not refused for what others at its address do.
 */
#ifndef VEREDUS_ROLES_THROTTLE_H
#define VEREDUS_ROLES_THROTTLE_H

#include "base/str.h"

enum { THROTTLE_KEY_SIZE = 16, THROTTLE_CLIENT_MAX = 30, THROTTLE_PAIR_MAX = 20 };

enum throttle_verdict {
    THROTTLE_KNOWN,   /* has logged in as this user lately */
    THROTTLE_NEW,     /* nothing is known, or little */
    THROTTLE_SUSPECT, /* there were failures: behind all others */
    THROTTLE_REFUSE
};

struct throttle;

/* `key`: random octets, so that nobody can choose what falls on the same entry. NULL without memory. */
struct throttle *throttle_new(const unsigned char key[THROTTLE_KEY_SIZE]);
void throttle_free(struct throttle *throttle);
/* `client`: an address as text; an IPv6 client is its first 64 bits. The loopback, where webmail may be, is no client. */
enum throttle_verdict throttle_ask(const struct throttle *throttle, struct str client, struct str login,
                                   uint64_t now_ms);
void throttle_failed(struct throttle *throttle, struct str client, struct str login, uint64_t now_ms);
void throttle_succeeded(struct throttle *throttle, struct str client, struct str login, uint64_t now_ms);

#endif
