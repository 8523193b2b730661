/*
 * imapd <-> store: POP3's lock and expunge, IMAP's changes and news, and the log, into which imapd writes what is appended.
 *
 * The messages of the log are those of proto_log.h; their numbers are below 16, those here above.
 */
#ifndef VEREDUS_IPC_PROTO_CHANGE_H
#define VEREDUS_IPC_PROTO_CHANGE_H

#include "ipc/proto_log.h"
#include "ipc/proto_mailbox.h"

enum { CHANGE_VERSION = 3 };

/* What has become of a change. */
enum change_result {
    CHANGE_RESULT_DONE,
    CHANGE_RESULT_MISSING,
    CHANGE_RESULT_EXISTS,
    CHANGE_RESULT_OVER_QUOTA,
    CHANGE_RESULT_CANNOT,
    CHANGE_RESULT_LIMIT,
    CHANGE_RESULT_GONE,    /* the message that was to be replaced */
    CHANGE_RESULT_REFUSED, /* the account has no right to do it */
    CHANGE_RESULT_NOBODY,  /* there is no account of this name */
    CHANGE_RESULT_TEMPORARY
};

/*
 * imapd -> store. LOCK is POP3's exclusive lock on the INBOX of the grant's account; the store applies what the log has
 * pending before it answers, so that the session sees all mail. UNLOCK or the end of the channel frees it.
 */
#define MAILBOX_LOCK_FIELDS(F, M)                                                                            \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, 64)
IPC_MESSAGE(mailbox_lock, 16, false, MAILBOX_LOCK_FIELDS);

#define MAILBOX_UNLOCK_FIELDS(F, M) F(M, U64, handle, 0)
IPC_MESSAGE(mailbox_unlock, 17, false, MAILBOX_UNLOCK_FIELDS);

/*
 * `uids`: 32 bits each; none: nothing to remove. Answered when it has been committed. `last`: the final part of this expunge; where
 * it is answered with MAILBOX_OK the lock is free again.
 */
#define MAILBOX_EXPUNGE_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U64, handle, 0)                                                                                     \
    F(M, U8, last, 1)                                                                                        \
    F(M, STR, uids, IPC_CHUNK_MAX)
IPC_MESSAGE(mailbox_expunge, 18, false, MAILBOX_EXPUNGE_FIELDS);

/* store -> imapd */
#define MAILBOX_LOCKED_FIELDS(F, M)                                                                          \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)                                                                      \
    F(M, U64, handle, 0)
IPC_MESSAGE(mailbox_locked, 16, false, MAILBOX_LOCKED_FIELDS);

#define MAILBOX_EXPUNGED_FIELDS(F, M)                                                                        \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, MAILBOX_TEMPORARY)
IPC_MESSAGE(mailbox_expunged, 17, false, MAILBOX_EXPUNGED_FIELDS);

/* imapd -> store */

enum change_kind {
    CHANGE_KIND_STORE,   /* flags: ranges, operation, flags, keywords, modseq (unchanged since) */
    CHANGE_KIND_EXPUNGE, /* those of the ranges that have \Deleted */
    CHANGE_KIND_COPY,    /* ranges to `name` */
    CHANGE_KIND_MOVE,
    CHANGE_KIND_APPEND, /* the record at segment and offset to `name`: flags, keywords, internal_ms; expunges the ranges */
    CHANGE_KIND_CREATE, /* name, special_use */
    CHANGE_KIND_DELETE,
    CHANGE_KIND_RENAME, /* name to other_name */
    CHANGE_KIND_SUBSCRIBE,
    CHANGE_KIND_UNSUBSCRIBE,
    CHANGE_KIND_SEEN_RECENT, /* no message there is now \Recent to the next session */
    CHANGE_KIND_METADATA, /* annotations of `name` (empty: of the account); the ranges hold struct imap_change's data */
    CHANGE_KIND_ACL,    /* an entry of `name`: other_name is its identifier; operation, flags: enum right */
    CHANGE_KIND_FORGET, /* what came with `more` is not to be filed */
    CHANGE_KINDS
};

/*
 * A change, answered with CHANGED when it has been committed. `kind` is enum change_kind, `mailbox` the number of the
 * selected one, `owner` its account. With `more` there comes another part of the same ticket, whose ranges are added. APPEND
 * names a record that imapd has flushed; with `more` it is filed together with the next. Names may be those of mailboxes of
 * others: whether the grant's account may do it there (store/acl.h) is looked up for every change, in its transaction.
 */
#define MAILBOX_CHANGE_FIELDS(F, M)                                                                          \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, 64)                                                                                     \
    F(M, U8, kind, CHANGE_KINDS - 1)                                                                         \
    F(M, U8, more, 1)                                                                                        \
    F(M, U64, owner, 0) /* 0: the grant's account */                                                         \
    F(M, U64, mailbox, 0)                                                                                    \
    F(M, U8, operation, 2)                                                                                   \
    F(M, U64, flags, 0)                                                                                      \
    F(M, U64, modseq, 0)                                                                                     \
    F(M, U64, internal_ms, 0)                                                                                \
    F(M, U32, special_use, 0)                                                                                \
    F(M, U64, segment, 0)                                                                                    \
    F(M, U64, offset, 0)                                                                                     \
    F(M, STR, name, MAILBOX_NAME_OCTETS)                                                                     \
    F(M, STR, other_name, MAILBOX_NAME_OCTETS)                                                               \
    F(M, STR, keywords, MAILBOX_KEYWORDS_MAX)                                                                \
    F(M, STR, ranges, MAILBOX_RANGES_MAX)
IPC_MESSAGE(mailbox_change, 19, false, MAILBOX_CHANGE_FIELDS);

/* From now on NEWS with this ticket when the mailbox has changed. One watch a ticket: the next replaces it; mailbox 0 ends it. */
#define MAILBOX_WATCH_FIELDS(F, M)                                                                           \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, 64)                                                                                     \
    F(M, U8, read_only, 1) /* the session takes no \Recent */                                                \
    F(M, U64, owner, 0)    /* 0: the grant's account */                                                      \
    F(M, U64, mailbox, 0)
IPC_MESSAGE(mailbox_watch, 20, false, MAILBOX_WATCH_FIELDS);

/* What of an account changes: bits, as those of enum imap_news. */
enum account_news_kind {
    ACCOUNT_NEWS_MESSAGES =
        1, /* messages or flags in one of its mailboxes, or in one that others share with it */
    ACCOUNT_NEWS_NAMES = 2, /* names, subscriptions, rights */
    ACCOUNT_NEWS_METADATA = 4,
    ACCOUNT_NEWS_ANY = 7
};

/* From now on ACCOUNT_NEWS of these kinds; 0 ends it. Answered with WATCHED; where that is refused, all stays as it was. */
#define ACCOUNT_WATCH_FIELDS(F, M)                                                                           \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, STR, grant, 64)                                                                                     \
    F(M, U8, news, ACCOUNT_NEWS_ANY)
IPC_MESSAGE(account_watch, 21, false, ACCOUNT_WATCH_FIELDS);

/* store -> imapd */

#define ACCOUNT_WATCHED_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, CHANGE_RESULT_TEMPORARY)
IPC_MESSAGE(account_watched, 20, false, ACCOUNT_WATCHED_FIELDS);

#define ACCOUNT_NEWS_FIELDS(F, M)                                                                            \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, news, ACCOUNT_NEWS_ANY)
IPC_MESSAGE(account_news, 21, false, ACCOUNT_NEWS_FIELDS);

#define MAILBOX_CHANGED_FIELDS(F, M)                                                                         \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, result, CHANGE_RESULT_TEMPORARY)                                                                \
    F(M, U64, modseq, 0)                                                                                     \
    F(M, U32, uid_validity, 0)                                                                               \
    F(M, U8, more, 1) /* more ranges come; nothing else of this part counts */                               \
    F(M, STR, id, 16)                                                                                        \
    F(M, STR, keywords, MAILBOX_KEYWORDS_MAX)                                                                \
    F(M, STR, source_uids, MAILBOX_RANGES_MAX / 2)                                                           \
    F(M, STR, target_uids, MAILBOX_RANGES_MAX / 2)
IPC_MESSAGE(mailbox_changed, 18, false, MAILBOX_CHANGED_FIELDS);

/* `refused`: there are too many watches, and nothing will come; the session has to look itself. */
#define MAILBOX_NEWS_FIELDS(F, M)                                                                            \
    F(M, U64, ticket, 0)                                                                                     \
    F(M, U8, refused, 1)
IPC_MESSAGE(mailbox_news, 19, false, MAILBOX_NEWS_FIELDS);

static const struct ipc_type *const change_to_store_types[] = {
    &log_flushed_type,     &log_sealed_type,     &mailbox_lock_type,  &mailbox_unlock_type,
    &mailbox_expunge_type, &mailbox_change_type, &mailbox_watch_type, &account_watch_type};
static const struct ipc_receives change_to_store
    __attribute__((unused)) = {"imapd to store", CHANGE_VERSION, 8, change_to_store_types};
static const struct ipc_type *const change_from_store_types[] = {
    &log_segment_type,    &log_space_type,        &log_applied_type,
    &mailbox_locked_type, &mailbox_expunged_type, &mailbox_changed_type,
    &mailbox_news_type,   &account_watched_type,  &account_news_type};
static const struct ipc_receives change_from_store
    __attribute__((unused)) = {"store to imapd", CHANGE_VERSION, 9, change_from_store_types};

#endif
