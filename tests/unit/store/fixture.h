/*
 * A store in a directory of its own for the tests: index, segments, applier, a small configuration (local domain
 * example.org, relay domain relay.example), and helpers that write records as smtpd does.
 */
#ifndef VEREDUS_TESTS_STORE_FIXTURE_H
#define VEREDUS_TESTS_STORE_FIXTURE_H

#include "ipc/peer.h"
#include "store/apply.h"
#include "store/batch.h"
#include "store/entry.h"
#include "store/journal.h"
#include "store/resolve.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { FIXTURE_BOOT = 77, FIXTURE_INSTANCE = 3, FIXTURE_RECIPIENTS = 8 };

struct fixture {
    char dir[64];
    const struct io *io;
    struct config *config;
    struct index *index;
    struct segments segments;
    struct applier *applier;
    struct apply_counts counts;
    unsigned char key[GRANT_KEY_SIZE];
    uint64_t next_id;
    uint64_t now_ms;
    bool noting;         /* events are noted and written, as the store role does */
    struct batch *batch; /* for the store's own segment */
    int64_t own;         /* 0: none yet */
    int own_fd;
    int64_t own_end;
};

struct letter {
    struct ident id; /* all zero: the next one */
    const char *sender;
    const char *recipients[FIXTURE_RECIPIENTS];
    struct str body;
    struct str grant;
    struct str retires;
    uint32_t lie_count; /* recipients that the envelope promises, if not 0 */
    uint8_t kind;       /* 0: RECORD_MESSAGE */
    bool summary;       /* it has one */
};

/* Makes a directory below /dev/shm or /tmp, enters it, opens everything. `more`: further configuration text. */
void fixture_open(struct fixture *f, const char *more);
/* The same without opening index and segments; f->io and f->noting can then be set before fixture_open_here. */
void fixture_prepare(struct fixture *f, const char *more);
/* As the store role's: the commit writes the events to the own segment first. 0, or -1 after rolling back. */
int fixture_commit(struct fixture *f);
/* Appends a batch to the own segment, within a transaction; tells where it begins. */
bool fixture_append(void *fixture, struct batch *batch, int64_t *segment, int64_t *offset);
/* Nothing more is written to the own segment; the next events go to a new one. Its row is the caller's to seal. */
void fixture_drop_own(struct fixture *f);
/* As the store role at its start: applies what every unsealed segment has and seals it. 0, or -1. */
int fixture_restart(struct fixture *f);
/* Opens index and segments in the current directory again (as after a restart). */
void fixture_open_here(struct fixture *f);
/* The same where it may fail: then all is closed again. */
bool fixture_try_open(struct fixture *f);
void fixture_close_here(struct fixture *f);
void fixture_reopen(struct fixture *f);
/* Closes and removes everything. */
void fixture_close(struct fixture *f);
/* Removes a directory and what is in it. */
void fixture_remove(const char *dir);

int64_t fixture_account(struct fixture *f, const char *address, int64_t quota);
void fixture_alias(struct fixture *f, const char *address, const char *target);
/* Makes a segment and commits; returns its write descriptor. */
int fixture_segment(struct fixture *f, int origin, int64_t *id);
/* Adds a letter to the batch; its body must live until the batch is written. Returns its id. */
struct ident fixture_add(struct fixture *f, struct batch *batch, const struct letter *letter,
                         struct buf *scratch);
/* One letter, written and flushed. Returns its id. */
struct ident fixture_write(struct fixture *f, int fd, const struct letter *letter);
/* One transaction: applies the segment. 0, or -1 after rolling back. */
int fixture_apply(struct fixture *f, int64_t segment);
void fixture_grant(struct fixture *f, uint32_t kind, uint32_t instance, uint64_t boot,
                   unsigned char out[GRANT_SIZE]);

/* The number of messages in an account's INBOX. */
int64_t fixture_count(struct fixture *f, int64_t account);
/* Reads a whole message; false if it cannot be read. */
bool fixture_read(struct fixture *f, int64_t account, uint32_t uid, struct buf *out);
/* Whether the journal of this message has this event, with this text in it. */
bool fixture_journal(struct fixture *f, const struct ident *id, enum journal_event event, const char *text);
/*
 * Appends every row of every table as text, to be compared, but for the journal and SQLite's own numbers of queue rows; each
 * message with its flags, wherever they lie. `more`: the rows of a further query too, or NULL.
 */
void fixture_picture(struct fixture *f, const char *more, struct buf *out);
/* Turns one octet of a segment around. */
void fixture_damage(int64_t segment, int64_t at);
/* A number from one row: "SELECT ...". */
int64_t fixture_sql(struct fixture *f, const char *sql);

#endif
