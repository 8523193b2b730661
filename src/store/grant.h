/*
 * Grants: what keys gives a session after a good login. store and reader check one by themselves, by a key that the three
 * share and no other role has. A grant names the account and the instance of the role that it was given to, so it is worth
 * nothing to any other process, and a record that carries one can still be checked when the log is replayed after a crash.
 *
 * A body grant lets the relay read one record's bytes at the reader, in the same way.
 */
#ifndef VEREDUS_STORE_GRANT_H
#define VEREDUS_STORE_GRANT_H

#include "base/str.h"

enum { GRANT_SIZE = 48, GRANT_KEY_SIZE = 32, BODY_GRANT_SIZE = 72 };

struct grant {
    uint64_t account;
    uint64_t issued_ms; /* wall clock */
    uint32_t instance;  /* of the role that asked */
    uint32_t kind;      /* enum role_kind of it */
    uint64_t boot;      /* of the supervisor's run, so that instance numbers are not mixed up */
};

void grant_make(const struct grant *grant, const unsigned char key[GRANT_KEY_SIZE],
                unsigned char out[GRANT_SIZE]);
/* False if it was not made with this key. */
bool grant_check(struct str bytes, const unsigned char key[GRANT_KEY_SIZE], struct grant *grant);

struct body_grant {
    uint64_t segment;
    uint64_t offset; /* of the record */
    uint32_t instance;
    uint32_t total;
    unsigned char id[12];
};

void body_grant_make(const struct body_grant *grant, const unsigned char key[GRANT_KEY_SIZE],
                     unsigned char out[BODY_GRANT_SIZE]);
bool body_grant_check(struct str bytes, const unsigned char key[GRANT_KEY_SIZE], struct body_grant *grant);

#endif
