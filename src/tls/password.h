/*
 * Verifiers of passwords: Argon2id (RFC 9106) over a keyed hash of the password, so that a stolen index is worth nothing
 * without the pepper that only keys has.
 */
#ifndef VEREDUS_TLS_PASSWORD_H
#define VEREDUS_TLS_PASSWORD_H

#include "base/buf.h"

enum { PASSWORD_PEPPER_SIZE = 32, PASSWORD_VERIFIER_MAX = 128 };

/* Once a process. */
bool password_setup(void);
/* Appends the verifier text; takes tens of milliseconds and 64 MiB. Thread-safe. */
bool password_make(struct str password, const unsigned char pepper[PASSWORD_PEPPER_SIZE],
                   struct buf *verifier);
/* An empty verifier is one that no password matches, checked in the same time as any other. Thread-safe. */
bool password_verify(struct str password, struct str verifier,
                     const unsigned char pepper[PASSWORD_PEPPER_SIZE]);

#endif
