/*
 * relay, smtpd <-> resolver: where mail for a domain goes, and the addresses of a host.
 *
 * The answer says how the look-up went in the terms that decide between trying again and giving up; `secure` is
 * set only if every answer used was validated by DNSSEC. Names are A-labels in lower case without the last dot. The receiver
 * checks every length and name again.
 */
#ifndef VEREDUS_IPC_PROTO_RESOLVE_H
#define VEREDUS_IPC_PROTO_RESOLVE_H

#include "ipc/channel.h"

enum { RESOLVE_VERSION = 1, RESOLVE_HOSTS_MAX = 32, RESOLVE_ADDRESSES_MAX = 16 };

enum resolve_status {
    RESOLVE_OK,
    RESOLVE_NO_DOMAIN, /* NXDOMAIN: permanent */
    RESOLVE_NO_DATA,   /* the name exists, but has nothing of what was asked */
    RESOLVE_TEMPORARY, /* SERVFAIL, time-out, unreachable servers */
    RESOLVE_BOGUS      /* DNSSEC validation failed: temporary, named as such */
};

/* -> resolver */
#define RESOLVE_MX_FIELDS(F, M)                                                                              \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, domain, 255)
IPC_MESSAGE(resolve_mx, 1, false, RESOLVE_MX_FIELDS);

#define RESOLVE_HOST_FIELDS(F, M)                                                                            \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, host, 255)                                                                                     \
    F(M, U8, families, 3) /* bits: 1 IPv4, 2 IPv6 */
IPC_MESSAGE(resolve_host, 2, false, RESOLVE_HOST_FIELDS);

/* The name of an address, confirmed by looking that name up again (for trace fields). */
#define RESOLVE_REVERSE_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, address, 16) /* 4 or 16 bytes */
IPC_MESSAGE(resolve_reverse, 3, false, RESOLVE_REVERSE_FIELDS);

/* resolver -> : `hosts` are entries of preference as 16 bits, length as 8 bits, name; a null MX has one of length 0. */
#define RESOLVE_MX_ANSWER_FIELDS(F, M)                                                                       \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, status, RESOLVE_BOGUS)                                                                          \
    F(M, U8, secure, 1)                                                                                      \
    F(M, STR, hosts, RESOLVE_HOSTS_MAX * 258)                                                                \
    F(M, STR, cause, 256) /* in words, for the journal */
IPC_MESSAGE(resolve_mx_answer, 1, false, RESOLVE_MX_ANSWER_FIELDS);

/* `addresses` are entries of length as 8 bits (4 or 16) and the address. */
#define RESOLVE_HOST_ANSWER_FIELDS(F, M)                                                                     \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, status, RESOLVE_BOGUS)                                                                          \
    F(M, U8, secure, 1)                                                                                      \
    F(M, STR, addresses, RESOLVE_ADDRESSES_MAX * 17)                                                         \
    F(M, STR, cause, 256)
IPC_MESSAGE(resolve_host_answer, 2, false, RESOLVE_HOST_ANSWER_FIELDS);

#define RESOLVE_REVERSE_ANSWER_FIELDS(F, M)                                                                  \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, status, RESOLVE_BOGUS)                                                                          \
    F(M, STR, name, 255)
IPC_MESSAGE(resolve_reverse_answer, 3, false, RESOLVE_REVERSE_ANSWER_FIELDS);

static const struct ipc_type *const resolve_to_resolver_types[] = {&resolve_mx_type, &resolve_host_type,
                                                                   &resolve_reverse_type};
static const struct ipc_receives resolve_to_resolver
    __attribute__((unused)) = {"to resolver", RESOLVE_VERSION, 3, resolve_to_resolver_types};
static const struct ipc_type *const resolve_from_resolver_types[] = {
    &resolve_mx_answer_type, &resolve_host_answer_type, &resolve_reverse_answer_type};
static const struct ipc_receives resolve_from_resolver
    __attribute__((unused)) = {"from resolver", RESOLVE_VERSION, 3, resolve_from_resolver_types};

#endif
