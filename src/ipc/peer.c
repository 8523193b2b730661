/* The names of the roles; see peer.h. */
#include "ipc/peer.h"

const char *role_kind_name(enum role_kind kind)
{
    static const char *const names[ROLE_KINDS] = {
        [ROLE_SUPERVISOR] = "supervisor", [ROLE_SMTPD_MX] = "smtpd-mx", [ROLE_SMTPD_MSA] = "smtpd-msa",
        [ROLE_IMAPD] = "imapd",           [ROLE_STORE] = "store",       [ROLE_READER] = "reader",
        [ROLE_RELAY] = "relay",           [ROLE_RESOLVER] = "resolver", [ROLE_KEYS] = "keys",
        [ROLE_INDEXER] = "indexer",
    };
    return (unsigned)kind < ROLE_KINDS ? names[kind] : "unknown";
}
