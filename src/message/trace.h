/* Trace fields (RFC 5321, section 4.4): Received, Return-Path, Delivered-To, and loops. */
#ifndef VEREDUS_MESSAGE_TRACE_H
#define VEREDUS_MESSAGE_TRACE_H

#include "base/buf.h"

/* What a Received field says. All text may come from outside; it is made safe here. */
struct trace_received {
    struct str helo;
    struct str client_name;    /* confirmed by DNS; may be empty */
    struct str client_address; /* as text, "192.0.2.1" or "2001:db8::1" */
    struct str by;             /* our host name */
    bool lmtp;
    bool esmtp;
    bool tls;
    bool authenticated;
    bool utf8;
    struct str tls_version;
    struct str tls_cipher;
    struct str id;
    struct str recipient; /* for the "for" clause; empty: none */
    uint64_t wall_ms;
};

/* The protocol word of RFC 3848 and RFC 6531: "ESMTPSA", "UTF8LMTPS" and so on. */
const char *trace_protocol(const struct trace_received *received);
/* Appends the folded field, ending in CRLF. */
bool trace_append_received(const struct trace_received *received, struct buf *out);
/* Appends "Return-Path: <...>" and CRLF. */
bool trace_append_return_path(struct str reverse_path, struct buf *out);
bool trace_append_delivered_to(struct str recipient, struct buf *out);
/* The number of Received fields of a message, for the hop limit (RFC 5321, section 6.3). */
unsigned trace_count_received(struct str message);
/*
 * The addresses in the Delivered-To fields at the top of a message, at most `max` of them into `addresses`. Returns how many
 * fields there are.
 */
size_t trace_delivered_to(struct str message, struct str *addresses, size_t max);
/* Whether it has already been delivered to this address (Delivered-To). */
bool trace_was_delivered_to(struct str message, struct str recipient);

#endif
