/*
 * Records of the log: self-describing, checksummed, and read as hostile.
 *
 * A record is a header of RECORD_HEADER octets, perhaps a summary, an envelope, a trace header and a body, padded with zeros to a
 * multiple of eight. All numbers are little-endian. The header has a checksum of its own, so a torn tail is known as such before
 * its lengths are believed. Envelope, trace header and body together are the payload. The summary (message/summary.h, behind
 * its CRC-32C) stands in front of it, so that a mailbox is listed with one short read a message; a record without one, or with
 * one that is damaged, is as good: whoever needs it parses the message.
 *
 *   0 magic "VRD1"  4 kind  5 version  6 flags (16)  8 whole length (32)  12 envelope length  16 trace length
 *   20 body length  24 id (12)  36 summary length  40 wall-clock ms (64)  48 CRC-32C of the payload  52 CRC-32C of 0 to 51
 *
 * Version 1 is a record without a summary, version 2 one with it.
 */
#ifndef VEREDUS_STORE_RECORD_H
#define VEREDUS_STORE_RECORD_H

#include "base/buf.h"
#include "base/ident.h"

enum {
    RECORD_HEADER = 56,
    RECORD_VERSION = 1,
    RECORD_VERSION_SUMMARY = 2,
    RECORD_SUMMARY_MAX = 65536 + 4, /* with its checksum */
    RECORD_ENVELOPE_MAX = 8 << 20,
    RECORD_RECIPIENTS_MAX = 10000,
    RECORD_RETIRES_MAX = 16384,
    /* In an entry's length: the row stays, its sender knows of the delay now. */
    RECORD_RETIRE_NOTIFIED = 0x8000,
    RECORD_TOTAL_MAX = 1200 << 20 /* a header that claims more is not believed */
};

enum record_kind {
    RECORD_MESSAGE = 1, /* to be delivered to the recipients of its envelope */
    RECORD_EVENTS = 2,  /* changes of the index, in the store's own segments only */
    RECORD_COPY = 3,  /* a message moved by compaction; delivers nothing unless events are lost (reindex.h) */
    RECORD_APPEND = 4 /* a message by IMAP's APPEND: without envelope, delivers nothing; a change files it */
};

enum record_flag {
    RECORD_SMTPUTF8 = 1,
    RECORD_ESMTP = 2,
    RECORD_TLS = 4,
    RECORD_LMTP = 8,
    RECORD_REPORT = 16, /* a bounce or notice of ours: failing to deliver it makes no other */
    RECORD_RELAYED = 32 /* a copy of what the queue needs: applied anew, it may leave this host */
};

struct record_header {
    uint8_t kind;
    uint16_t flags;
    uint32_t total; /* octets, with header and padding */
    uint32_t envelope_len;
    uint32_t trace_len;
    uint32_t body_len;
    struct ident id;
    uint64_t wall_ms;
    uint32_t payload_crc;
    uint32_t summary_len; /* with its checksum; 0: there is none */
};

/* Where the payload begins, from the record's beginning. */
static inline int64_t record_payload_at(const struct record_header *header)
{
    return RECORD_HEADER + (int64_t)header->summary_len;
}

static inline uint64_t record_payload_len(const struct record_header *header)
{
    return (uint64_t)header->envelope_len + header->trace_len + header->body_len;
}

/* Whether it is the bytes of a message, however it came into the log. */
static inline bool record_is_message(const struct record_header *header)
{
    return header->kind == RECORD_MESSAGE || header->kind == RECORD_COPY || header->kind == RECORD_APPEND;
}

struct record_recipient {
    struct str address;
    struct str original; /* ORCPT */
    uint8_t notify;
};

/* What an envelope says besides its recipients. Slices point into the record. */
struct record_envelope {
    struct str sender;
    uint8_t body_kind; /* enum smtp_body_kind */
    uint8_t ret;       /* enum smtp_ret */
    struct str envelope_id;
    struct str grant; /* of the login; empty without one */
    struct str login;
    struct str client; /* address text */
    struct str helo;
    struct str tls;
    /* For a report, the queue rows that it settles: message id, 16 bits of length, address each. */
    struct str retires;
    uint32_t recipient_count;
    struct str recipients; /* encoded; read with record_next_recipient */
};

/* Appends the envelope without recipients; the count is that of the recipients that will be appended next. */
bool record_encode_envelope(const struct record_envelope *envelope, struct buf *out);
bool record_encode_recipient(const struct record_recipient *recipient, struct buf *out);
/* False also if the sender has control characters in it, which no honest session lets in. */
bool record_decode_envelope(struct str bytes, struct record_envelope *envelope);
/* Whether an address has no control characters: it may then stand in a header field or a command. */
bool record_address_is_clean(struct str address);
/* Takes one recipient from *rest. */
bool record_next_recipient(struct str *rest, struct record_recipient *recipient);

/* Appends a summary with its checksum in front, as a record has it. */
bool record_encode_summary(struct str summary, struct buf *out);
/* The summary in the section of a record; false if it is damaged. What it says is not looked at. */
bool record_decode_summary(struct str section, struct str *summary);

/*
 * Fills the header's lengths and checksums for these parts and writes its RECORD_HEADER octets. `summary` is a section as
 * record_encode_summary makes it, or empty. The padding to be written behind the body is header->total less the rest. False if
 * it is too large.
 */
bool record_encode_header(struct record_header *header, struct str summary, struct str envelope,
                          struct str trace, struct str body, unsigned char out[RECORD_HEADER]);

/* Makes the header of a record, as it lies in the log, that of a copy of it. `relayed`: with RECORD_RELAYED, otherwise without. */
void record_make_copy(unsigned char bytes[RECORD_HEADER], bool relayed);

enum record_state { RECORD_GOOD, RECORD_BAD };

/* Reads and checks RECORD_HEADER octets. */
enum record_state record_decode_header(const unsigned char bytes[RECORD_HEADER],
                                       struct record_header *header);

#endif
