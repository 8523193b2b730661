/*
 * Records of the log: self-describing, checksummed, and read as hostile.
 *
 * A record is a header of RECORD_HEADER octets, an envelope, a trace header and a body, padded with zeros to a multiple
 * of eight. All numbers are little-endian. The header has a checksum of its own, so a torn tail is known as such before
 * its lengths are believed.
 *
 *   0 magic "VRD1"  4 kind  5 version  6 flags (16)  8 whole length (32)  12 envelope length  16 trace length
 *   20 body length  24 id (12)  36 zero (32)  40 wall-clock ms (64)  48 CRC-32C of the rest  52 CRC-32C of 0 to 51
 */
#ifndef VEREDUS_STORE_RECORD_H
#define VEREDUS_STORE_RECORD_H

#include "base/buf.h"
#include "base/ident.h"

enum { RECORD_HEADER = 56, RECORD_VERSION = 1, RECORD_ENVELOPE_MAX = 8 << 20, RECORD_RECIPIENTS_MAX = 10000 };

enum record_kind {
    RECORD_MESSAGE = 1, /* to be delivered to the recipients of its envelope */
    RECORD_EVENTS = 2,  /* changes of the index, in the store's own segments only */
    RECORD_COPY = 3     /* a message moved here by compaction; delivers nothing */
};

enum record_flag {
    RECORD_SMTPUTF8 = 1,
    RECORD_ESMTP = 2,
    RECORD_TLS = 4,
    RECORD_LMTP = 8,
    RECORD_REPORT = 16 /* a bounce or notice of ours: failing to deliver it makes no other */
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
};

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
    struct str retires; /* for a report: the queue rows that it settles (see queue.h) */
    uint32_t recipient_count;
    struct str recipients; /* encoded; read with record_next_recipient */
};

/* Appends the envelope without recipients; the count is that of the recipients that will be appended next. */
bool record_encode_envelope(const struct record_envelope *envelope, struct buf *out);
bool record_encode_recipient(const struct record_recipient *recipient, struct buf *out);
bool record_decode_envelope(struct str bytes, struct record_envelope *envelope);
/* Takes one recipient from *rest. */
bool record_next_recipient(struct str *rest, struct record_recipient *recipient);

/*
 * Fills the header's lengths and checksums for these parts and writes its RECORD_HEADER octets. The padding to be
 * written behind the body is header->total less the rest. False if it is too large.
 */
bool record_encode_header(struct record_header *header, struct str envelope, struct str trace, struct str body,
                          unsigned char out[RECORD_HEADER]);

enum record_state { RECORD_GOOD, RECORD_BAD };

/* Reads and checks RECORD_HEADER octets. */
enum record_state record_decode_header(const unsigned char bytes[RECORD_HEADER], struct record_header *header);

#endif
