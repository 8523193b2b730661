/* The roles, as numbers in messages and as names on the command line and in log lines. */
#ifndef VEREDUS_IPC_PEER_H
#define VEREDUS_IPC_PEER_H

#include <stdint.h>

enum role_kind {
    ROLE_SUPERVISOR,
    ROLE_SMTPD_MX,
    ROLE_SMTPD_MSA,
    ROLE_IMAPD,
    ROLE_STORE,
    ROLE_READER,
    ROLE_RELAY,
    ROLE_RESOLVER,
    ROLE_KEYS,
    ROLE_INDEXER,
    ROLE_KINDS
};

/* "smtpd-mx" and so on; "unknown" for a number that is none. */
const char *role_kind_name(enum role_kind kind);

#endif
