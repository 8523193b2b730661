/*
 * What submission does to a message's header (RFC 6409, section 8): the sender addresses that a login must own, missing
 * fields, and fields that must not travel on.
 */
#ifndef VEREDUS_MESSAGE_SUBMIT_H
#define VEREDUS_MESSAGE_SUBMIT_H

#include "base/arena.h"
#include "base/buf.h"

enum { SUBMIT_SENDERS_MAX = 16 };

enum submit_result { SUBMIT_OK, SUBMIT_NO_FROM, SUBMIT_SEVERAL_FROM, SUBMIT_BAD_FROM, SUBMIT_NO_MEMORY };

struct submit_senders {
    size_t count;
    struct str addresses[SUBMIT_SENDERS_MAX]; /* normalised, in the arena */
};

/* The addresses of the From field, which must have one, and of a Sender field. */
enum submit_result submit_read_senders(struct str message, struct arena *arena,
                                       struct submit_senders *senders);

/*
 * Removes every Return-Path field, and for submission Bcc and Resent-Bcc too; the rest stays byte for byte. One pass, in
 * place.
 */
void submit_remove_fields(struct buf *message, bool submission);

/* Which of the fields that submission adds are missing. */
void submit_missing(struct str message, bool *date, bool *message_id);

#endif
