/*
 * Events: what the index knows and the log's messages do not say. Accounts, aliases, who got which message under which UID, what
 * was expunged, what became of queue rows, where records lie, up to where a segment is applied: every change of these tables is
 * noted while a transaction runs, and goes, as one RECORD_EVENTS record, into the store's own segment just before the
 * transaction is committed. So the index can be rebuilt from the log alone (reindex.h), decisions as they were made,
 * UIDs as they were given; and verify can compare every row with the log. Only the journal is not covered.
 *
 * Records are numbered by a counter that is committed with the transaction. A transaction that fails after its record was
 * written leaves a record whose number the next one bears again: the later one counts. A hole in the numbers means that a
 * record was lost.
 *
 * An own segment with events in it is needed until a snapshot has noted the whole state again (snapshot.h): the counter
 * events_segment is the lowest number of those that are.
 */
#ifndef VEREDUS_STORE_EVENTS_H
#define VEREDUS_STORE_EVENTS_H

#include "store/flags.h"
#include "store/record.h"

struct account;
struct acl_entry;
struct entry;

/* A transaction should end when it has noted so many octets. */
enum { EVENTS_ENOUGH = 32 << 20 };

/* Whether anything has been noted in the transaction under way. */
bool events_pending(const struct index *index);
/*
 * Last of all before index_commit: the body of the RECORD_EVENTS record to be written and flushed, valid until commit or
 * rollback, and the kind and id of its header. 0, or -1: roll back. While events are noted, index_commit fails unless
 * this has been called; nothing more is noted in this transaction.
 */
int events_take(struct index *index, struct record_header *header, struct str *body);
/*
 * The id that all records of events of this log bear: random, and known to nobody who can have text written into the
 * store's segments, so an imitation is told from a record even where the log is damaged. Drawn at the first use.
 */
int events_log_id(struct index *index, struct ident *id);
int events_set_log_id(struct index *index, const struct ident *id);

/*
 * For the store's other files: notes one change. Do nothing unless index_note_events is on. A lack of memory shows at
 * events_take and at the commit.
 */
void events_account(struct index *index, const struct account *account);
void events_account_gone(struct index *index, int64_t account);
void events_alias(struct index *index, struct str address, struct str target);
/* All targets if `target` is empty. */
void events_alias_gone(struct index *index, struct str address, struct str target);
void events_mailbox(struct index *index, const struct mailbox *mailbox);

/* A mailbox has been made, or has got this name. */
void events_mailbox_name(struct index *index, const struct mailbox *mailbox, struct str name);
void events_mailbox_gone(struct index *index, int64_t account, int64_t mailbox);
void events_keywords(struct index *index, const struct mailbox *mailbox, struct str keywords);
/* NULL: the entry is removed. */
void events_annotation(struct index *index, int64_t account, int64_t mailbox, struct str entry,
                       const struct str *value);
/* Without rights: the entry is removed. */
void events_acl(struct index *index, int64_t owner, int64_t mailbox, const struct acl_entry *entry);
void events_subscription(struct index *index, int64_t account, struct str name, bool subscribed);
/* The change, and the ranges of UIDs that it was asked for: made again it has the same result. */
void events_flags(struct index *index, const struct mailbox *mailbox, const struct flags_change *change,
                  const struct uid_range *ranges, size_t count);

struct filed_event {
    int64_t account;
    int64_t mailbox;
    uint32_t uid;
    struct filing filing;
};
void events_filed(struct index *index, const struct filed_event *filed);
void events_expunged(struct index *index, int64_t account, int64_t mailbox, uint32_t uid);
/* The whole row as it is now. */
void events_entry(struct index *index, const struct entry *entry);
void events_entry_gone(struct index *index, const struct ident *record, struct str address);
/* Where a record lies (from now on). */
void events_record(struct index *index, const struct ident *record, int64_t segment, int64_t place,
                   uint32_t octets);
void events_segment(struct index *index, const struct segment_info *segment);
void events_segment_gone(struct index *index, int64_t segment);
void events_counter(struct index *index, const char *name, int64_t value);

/* Reading. */

/*
 * Who adds a kind of what stays true also adds it to the snapshot that compaction takes (snapshot.c), else it is lost with the
 * segment that it was noted in; and its table to verify's (verify_rows.c).
 */
enum event_kind {
    EVENT_ACCOUNT = 'A',
    EVENT_ACCOUNT_GONE = 'a',
    EVENT_ALIAS = 'L',
    EVENT_ALIAS_GONE = 'l',
    EVENT_MAILBOX = 'B',
    EVENT_MAILBOX_NAME = 'N',
    EVENT_MAILBOX_GONE = 'b',
    EVENT_KEYWORDS = 'K',
    EVENT_SUBSCRIPTION = 'U',
    EVENT_ANNOTATION = 'M',
    EVENT_ACL = 'P',
    EVENT_FLAGS = 'G',
    EVENT_FILED = 'F',
    EVENT_EXPUNGED = 'X',
    EVENT_ENTRY = 'Q',
    EVENT_ENTRY_GONE = 'q',
    EVENT_RECORD = 'R',
    EVENT_SEGMENT = 'S',
    EVENT_SEGMENT_GONE = 's',
    EVENT_COUNTER = 'C'
};

/* One decoded event: the kind's numbers and texts in the order of its encoding (events.c); texts point into the record. */
struct index_event {
    enum event_kind kind;
    uint64_t numbers[10];
    struct str texts[5];
    struct ident record;
};

/* Takes the transaction's number from the front of a body. */
bool events_number(struct str *rest, uint64_t *number);
/* Takes one event. False at the end, or if the rest cannot be read: then *rest is not empty. */
bool events_next(struct str *rest, struct index_event *event);

#endif
