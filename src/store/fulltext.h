/*
 * The full-text index of an account: SQLite's FTS5 with the terms of message/terms.h, in a file of its own, fulltext/ACCOUNT.db.
 * It only narrows a search, and only says something of messages up to a place in each mailbox; whoever asks looks at the messages
 * themselves. All of it can be made anew from the log, so a file that is damaged, or belongs to another index (`index_id`), is
 * thrown away.
 *
 * The store writes, one transaction for some hundred messages; the reader opens the file for one question. A document's number is
 * its mailbox and UID, so what was expunged does no harm; a copy is a document again.
 */
#ifndef VEREDUS_STORE_FULLTEXT_H
#define VEREDUS_STORE_FULLTEXT_H

#include "store/index.h"

enum { FULLTEXT_WORDS_MAX = 128 /* of one question */, FULLTEXT_QUESTION_MAX = 4096 /* octets of one */ };

struct fulltext {
    sqlite3 *db;
    sqlite3_stmt *statements[FULLTEXT_STATEMENTS];
    int code; /* SQLite's, of what failed last */
    char error[256];
};

/* The number that this index and the full-text indexes made from it have in common; the writer makes it. 0, or -1. */
int fulltext_index_id(struct index *index, int64_t *id);

/*
 * Both open in the current directory, which is the store's. NULL: error in `errors`; nothing in it where the reader finds no file
 * that belongs to this index.
 */
struct fulltext *fulltext_open_writer(int64_t account, int64_t index_id, struct buf *errors);
struct fulltext *fulltext_open_reader(int64_t account, int64_t index_id, struct buf *errors);
void fulltext_close(struct fulltext *fulltext);
/* Removes the file; not an error if there is none. 0, or -1 with errno. */
int fulltext_remove(int64_t account);
/* Calls `found` for the account of each file until it returns false. 0, or -1 with errno. */
int fulltext_each_file(bool (*found)(void *context, int64_t account), void *context);

/* The UID up to which the index knows the mailbox, 0 where it does not know it with this UIDVALIDITY. 0, or -1. */
int fulltext_place(struct fulltext *fulltext, int64_t mailbox, uint32_t uid_validity, uint32_t *uid);
/* Documents that were ever added, those whose messages are gone included. -1 on failure. */
int64_t fulltext_documents(struct fulltext *fulltext);

/* Of the writer. 0, or -1: roll back. SQLITE_BUSY as `code`: somebody reads the file, and it may be tried again. */
int fulltext_begin(struct fulltext *fulltext);
/* `terms` as terms_of_message appends them. */
int fulltext_add(struct fulltext *fulltext, int64_t mailbox, uint32_t uid, struct str terms);
/* A message of which nothing is known: it is always among those found. */
int fulltext_add_unknown(struct fulltext *fulltext, int64_t mailbox, uint32_t uid);
int fulltext_set_place(struct fulltext *fulltext, int64_t mailbox, uint32_t uid_validity, uint32_t uid);
int fulltext_commit(struct fulltext *fulltext);
void fulltext_rollback(struct fulltext *fulltext);
/* In a transaction of its own: makes a little order, so that questions stay fast. `more`: there is more to do. */
int fulltext_tidy(struct fulltext *fulltext, bool *more);

/*
 * Which messages of the mailbox, up to UID `last`, may have all terms of one of the alternatives: terms with blanks between them,
 * alternatives with commas. Calls `found` for each in order until it returns false. 0, or -1; also where the question is none.
 */
int fulltext_search(struct fulltext *fulltext, int64_t mailbox, uint32_t last, struct str question,
                    bool (*found)(void *context, uint32_t uid), void *context);

#endif
