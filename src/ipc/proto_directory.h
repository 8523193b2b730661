/*
 * smtpd <-> reader: who a recipient is, and whether a login may use an address.
 *
 * Only for the reply at RCPT and MAIL: the store resolves recipients again when it applies the record, from the
 * address, with the rights of the segment.
 */
#ifndef VEREDUS_IPC_PROTO_DIRECTORY_H
#define VEREDUS_IPC_PROTO_DIRECTORY_H

#include "ipc/channel.h"

enum { DIRECTORY_VERSION = 1, DIRECTORY_ADDRESS_MAX = 512, GRANT_MAX = 64 };

enum recipient_verdict {
    RECIPIENT_LOCAL,
    RECIPIENT_RELAY,          /* not local: allowed only where the listener and login say so */
    RECIPIENT_RELAY_DOMAIN,   /* a domain that we are a configured relay for */
    RECIPIENT_UNKNOWN,        /* a local domain, but no such user: 550 5.1.1 */
    RECIPIENT_OVER_QUOTA,     /* and policy says refuse: 552 5.2.2 */
    RECIPIENT_OVER_QUOTA_NOW, /* and policy says defer: 452 4.2.2 */
    RECIPIENT_DISABLED,       /* 550 5.2.1 */
    RECIPIENT_FAILED          /* could not be looked up: 451 4.3.0 */
};

/* smtpd -> reader */
#define DIRECTORY_RECIPIENT_FIELDS(F, M)                                                                     \
    F(M, U64, ticket, 0) /* comes back in the answer */                                                      \
    F(M, U64, size, 0)   /* of the message, if known, else 0 */                                              \
    F(M, STR, address, DIRECTORY_ADDRESS_MAX)
IPC_MESSAGE(directory_recipient, 1, false, DIRECTORY_RECIPIENT_FIELDS);

#define DIRECTORY_SENDER_FIELDS(F, M)                                                                        \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, GRANT_MAX)                                                                              \
    F(M, STR, address, DIRECTORY_ADDRESS_MAX)
IPC_MESSAGE(directory_sender, 2, false, DIRECTORY_SENDER_FIELDS);

/* reader -> smtpd */
#define DIRECTORY_RECIPIENT_ANSWER_FIELDS(F, M)                                                              \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U64, room, 0) /* octets until the mailbox is full; UINT64_MAX: no limit, or not ours */             \
    F(M, U8, verdict, RECIPIENT_FAILED)
IPC_MESSAGE(directory_recipient_answer, 1, false, DIRECTORY_RECIPIENT_ANSWER_FIELDS);

#define DIRECTORY_SENDER_ANSWER_FIELDS(F, M)                                                                 \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, verdict, 2)
IPC_MESSAGE(directory_sender_answer, 2, false, DIRECTORY_SENDER_ANSWER_FIELDS);
enum sender_verdict { SENDER_ALLOWED, SENDER_FORBIDDEN, SENDER_FAILED };

static const struct ipc_type *const directory_to_reader_types[] = {&directory_recipient_type,
                                                                   &directory_sender_type};
static const struct ipc_receives directory_to_reader
    __attribute__((unused)) = {"smtpd to reader", DIRECTORY_VERSION, 2, directory_to_reader_types};
static const struct ipc_type *const directory_to_smtpd_types[] = {&directory_recipient_answer_type,
                                                                  &directory_sender_answer_type};
static const struct ipc_receives directory_to_smtpd
    __attribute__((unused)) = {"reader to smtpd", DIRECTORY_VERSION, 2, directory_to_smtpd_types};

#endif
